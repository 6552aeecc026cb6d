"""Training stages with several workers: under torchrun, or emulated in this process.

Worker 0 runs the recipe. The others wait, and take part where a network is trained: they are sent what worker 0 calls
the training with. So `torchrun --nproc-per-node 4 -m pyasr.run --recipe an4` is the same command with four workers, and
all stages but those of training run once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pyasr.base.errors import ConfigError, PyasrError
from pyasr.dist.comm import Comm
from pyasr.dist.emulate import run_emulated
from pyasr.dist.launch import Jobs, join, started_rank, started_workers
from pyasr.dist.options import DistOptions
from pyasr.dist.workers import Workers

Result = TypeVar("Result")
Training = Callable[[Workers], Result]


class Crew:
    """The workers of a run. options: None: the recipe has no section train.dist."""

    def __init__(self, options: DistOptions | None) -> None:
        self.options = options or DistOptions()
        self.rank, self._comm, self._jobs = started_rank(), None, None
        if started_workers() > 1:
            _check(self.options)
            self._comm = join(self.options.timeout_s, self.options.deterministic)
            self._jobs = Jobs()

    def train(self, training: Training[Result], options: DistOptions | None = None) -> Result:
        """training(workers) on every worker; worker 0's result. `training` is a partial of an importable function.

        options: of this training; None: the crew's.
        """
        options = options or self.options
        if self._jobs is not None:
            _check(options)
            self._jobs.tell((training, options))
            return training(Workers(options, self._comm))
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
                return
            training, options = job
            training(Workers(options, self._comm))

    def dismiss(self) -> None:
        """By worker 0, when the recipe is done."""
        if self._jobs is not None:
            self._jobs.tell(None)


def _check(options: DistOptions) -> None:
    """ConfigError when several real workers cannot train like this."""
    if options.method == "none":
        raise ConfigError(
            f"{started_workers()} workers were started, and train.dist.method is 'none': choose how they train"
            " together (--set train.dist.method=ddp, gtc, bmuf or gtc+bmuf), or start one"
        )
    if options.emulated_workers > 1:
        raise ConfigError("train.dist.emulated_workers is for a single process: leave it out under torchrun")


def _emulated(training: Training[Result], options: DistOptions, comm: Comm) -> Result:
    return training(Workers(options, comm))
