"""Training stages with several workers: under torchrun, or emulated in this process.

Worker 0 runs the recipe. The others wait, and take part where a network is trained: they are sent what worker 0 calls
the training with. So `torchrun --nproc-per-node 4 -m pyasr.run --recipe an4` is the same command with four workers, and
all stages but those of training run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from pyasr.base.errors import ConfigError, PyasrError
from pyasr.dist.comm import Comm, ProcessGroupComm
from pyasr.dist.emulate import run_emulated
from pyasr.dist.launch import Jobs, join, leave, started_rank, started_workers
from pyasr.dist.options import DistOptions
from pyasr.dist.workers import Workers

Result = TypeVar("Result")
Training = Callable[[Workers], Result]


class Crew:
    """The workers that train a process' networks. Under torchrun, making it joins them: there is one a process.

    options: of each training to come; None: of one without a section train.dist. ConfigError when several real workers
    cannot train like that.
    """

    def __init__(self, options: Iterable[DistOptions | None]) -> None:
        self.rank, self._jobs = started_rank(), None
        if started_workers() > 1:
            wanted = [each or DistOptions() for each in options]
            for each in wanted:
                _check(each)
            join(max(each.timeout_s for each in wanted))
            self._jobs = Jobs()

    def train(self, training: Training[Result], options: DistOptions | None) -> Result:
        """training(workers) on every worker; worker 0's result. `training` is a partial of an importable function.

        options: a recipe's section train.dist; None: it has none.
        """
        options = options or DistOptions()
        if self._jobs is not None:
            _check(options)
            self._jobs.tell((training, options))
            return training(_together(options))
        size = options.emulated_workers
        return run_emulated(size, partial(_emulated, training, options))[0] if size > 1 else training(Workers(options))

    def follow(self) -> None:
        """By the workers that do not run the recipe: train whenever worker 0 does, until it is done."""
        while True:
            try:
                job = self._jobs.hear()
            except RuntimeError as error:
                raise PyasrError(f"worker {self.rank}: worker 0 has ended; see its output ({error})") from error
            if job is None:
                leave()
                return
            training, options = job
            training(_together(options))

    def dismiss(self) -> None:
        """By worker 0, when the recipe is done."""
        if self._jobs is not None:
            self._jobs.tell(None)
            leave()


def _check(options: DistOptions) -> None:
    """ConfigError when several real workers cannot train like this."""
    if options.method == "none":
        raise ConfigError(
            f"{started_workers()} workers were started, and train.dist.method is 'none': choose how they train"
            " together (--set train.dist.method=ddp, gtc, bmuf or gtc+bmuf), or start one"
        )
    if options.emulated_workers > 1:
        raise ConfigError("train.dist.emulated_workers is for a single process: leave it out under torchrun")


def _together(options: DistOptions) -> Workers:
    """Real workers, this one among them."""
    return Workers(options, ProcessGroupComm(None, options.deterministic, timedelta(seconds=options.timeout_s)))


def _emulated(training: Training[Result], options: DistOptions, comm: Comm) -> Result:
    return training(Workers(options, comm))
