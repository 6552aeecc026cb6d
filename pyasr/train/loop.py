"""The training loop, the only one: systems differ in options and data alone, and in their criterion.

Everything that is drawn is a function of the seed and the position, and the position is in the checkpoint: a
training that is killed and continued makes the same steps, on the CPU bit for bit. With several workers each runs this
loop; what they do together is in `pyasr.dist.workers`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pyasr.base.artifact import digest
from pyasr.base.errors import DataError
from pyasr.base.progress import track
from pyasr.base.seeds import rng
from pyasr.dist.workers import SaveClock, Workers
from pyasr.features.network import NetworkFrontend
from pyasr.features.noise import NoisePool
from pyasr.nn.model import AcousticModel
from pyasr.train.best import BestModels
from pyasr.train.checkpoint import save_checkpoint
from pyasr.train.criterion import Criterion, FrameCriterion
from pyasr.train.data import Batch, BatchMaker
from pyasr.train.dev import DEV, dev_augment, evaluate
from pyasr.train.feed import feed
from pyasr.train.lazy import LazySource
from pyasr.train.log import Row, TrainingLog
from pyasr.train.options import PhaseOptions, TrainOptions
from pyasr.train.parts import Checkpoints
from pyasr.train.plan import sub_epoch
from pyasr.train.rate import PlateauRate, make_optimiser
from pyasr.train.share import Groups
from pyasr.train.source import Source
from pyasr.train.state import Position, Sums


@dataclass(frozen=True)
class TrainingData:
    """sources: "transcribed" and, for a student, "untranscribed". dev: with hard targets. noise: for augmentation."""

    sources: Mapping[str, Source | LazySource]
    dev: Source
    frontend: NetworkFrontend
    noise: NoisePool | None = None

    def key(self) -> Row:
        """What the data are, for the key of a checkpoint."""
        sources = {name: source.key() for name, source in {**self.sources, DEV: self.dev}.items()}
        noise = None if self.noise is None else [str(clip.path) for clip in self.noise.clips]
        return {"sources": sources, "frontend": self.frontend.to_dict(), "noise": noise}


class Trainer:
    """Trains `model` in place. work_dir holds the checkpoint, log.jsonl, tensorboard/ and nonfinite/.

    say: told each row of the log, as it is written.
    workers: those that train one model together, each with a model of the same weights; None: this one alone.
    criterion: None: cross-entropy to the targets of the sources.
    """

    def __init__(
        self,
        model: AcousticModel,
        data: TrainingData,
        options: TrainOptions,
        seed: int,
        work_dir: str | Path,
        what: str,
        say: Callable[[Row], None] = lambda row: None,
        device: str | torch.device | None = None,
        criterion: Criterion | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.workers = workers or Workers()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model, self.data, self.options, self.seed, self.what = model, data, options, seed, what
        self.model.to(self.device)
        self.work_dir = Path(work_dir)
        # How often it is saved, and by how many processes batches are made, changes no number.
        changes_nothing = {"checkpoint_s", "workers", "threads"}
        made_from = [options.model_dump(exclude=changes_nothing), seed, what, data.key()]
        made_from += [] if criterion is None else [criterion.key()]
        made_from += [] if self.workers.method == "none" else [self.workers.key()]
        self.key = digest(made_from)
        self.criterion = criterion or FrameCriterion(options.loss)
        self.checkpoints = Checkpoints(self.work_dir, self.key, self.workers.comm)
        self.optimiser = self.workers.attach(model, make_optimiser(model, options.optimiser))
        self.position, self.sums = Position(), Sums()
        self.journal = TrainingLog(None if self.workers.rank else self.work_dir, say)
        self.rate = PlateauRate(options.optimiser)
        self.best = BestModels(options.average)
        self.nonfinite = self.left_out = 0

    def run(self) -> list[Row]:
        """Train to the end; the model is then the best (or the mean of the best) by dev loss. Returns the log."""
        self._resume()
        threads_before = torch.get_num_threads()
        # More threads than cores cost more than they bring: they wait for each other, spinning.
        torch.set_num_threads(self.options.threads or max(1, threads_before - self.options.workers))
        try:
            with self.journal.drawing(self.position.step):
                if self.criterion.goes_on and not self.log:
                    self._judge_start()
                while self.position.phase < len(self.options.phases):
                    self._run_phase(self.options.phases[self.position.phase])
        finally:
            torch.set_num_threads(threads_before)
        self.model.eval()
        return self.log

    @property
    def log(self) -> list[Row]:
        return self.journal.rows

    def _judge_start(self) -> None:
        self.position.sub_epoch = -1
        self._judge()
        self.position = Position()
        self._save()

    def _judge(self, phase: PhaseOptions | None = None) -> bool:
        """Look at dev, keep the model if it is the best, and write the log; whether the phase has ended."""
        with self.workers.global_model():
            dev = self._look_at_dev()
            value, ended = dev[self.criterion.chosen_by], ""
            self.best.see(value, self.model)
        if phase is None:
            self.rate.observe(value)
        else:
            stopped = self.rate.observe(value) and self.position.sub_epoch + 1 >= phase.min_sub_epochs
            if stopped or self.position.sub_epoch + 1 >= phase.max_sub_epochs:
                ended = "dev" if stopped else "max_sub_epochs"
        self.journal.add(self._row(dev, ended))
        self.sums = Sums()
        return bool(ended)

    def _run_phase(self, phase: PhaseOptions) -> None:
        maker = self._maker(phase.chunk_frames)
        while True:
            self._run_sub_epoch(phase, maker)
            self.workers.end_sub_epoch()
            ended = self._judge(phase)
            self.position = self.position.following(ended)
            if ended:
                self._take_best()
                self.rate = PlateauRate(self.options.optimiser)
                self.optimiser = self.workers.attach(self.model, make_optimiser(self.model, self.options.optimiser))
            self._save()
            if ended:
                return

    def _run_sub_epoch(self, phase: PhaseOptions, maker: torch.utils.data.Dataset) -> None:
        position, options = self.position, self.options
        stretches = {
            name: partial(source.stretches, name, options.batch_s, self.seed)
            for name, source in self.data.sources.items()
        }
        groups = Groups(sub_epoch(position.sub_epoch, phase, stretches, position.places), self.workers.size)
        what = f"{self.what}: sub-epoch {position.sub_epoch + 1} of at most {phase.max_sub_epochs}"
        batches = feed(groups, self.workers.rank, maker, self.readers)
        self.model.train()
        clock = SaveClock(self.workers.comm, options.checkpoint_s)
        begun = time.monotonic()
        shown = partial(track, what=what, unit="batch", share=lambda made: made[1].at)
        for batch, group in batches if self.workers.rank else shown(batches):
            self._step(batch)
            position.places[group.source] = group.place
            now = time.monotonic()
            self.sums.seconds += now - begun
            begun = now
            if clock.due():
                self._save()
        self.left_out = groups.left_out
        if self.left_out and not position.places:
            raise DataError(
                f"{self.what}: {self.left_out} utterances for {self.workers.size} workers; train with fewer"
            )

    @property
    def readers(self) -> int:
        """Processes that make batches for this worker."""
        return 0 if self.workers.emulated else self.options.workers

    def _maker(self, chunk_frames: int) -> torch.utils.data.Dataset:
        delay = self.options.network.delay_frames
        data = self.data
        options = self.options.augment
        maker = BatchMaker(data.sources, data.frontend, options, data.noise, self.seed, delay, chunk_frames)
        return self.criterion.batches(maker)

    def _step(self, batch: Batch) -> None:
        # What dropout draws depends on the step, not on what was drawn before: resume needs no random state.
        drawn_for = [self.position.step, self.workers.rank] if self.workers.rank else [self.position.step]
        torch.manual_seed(int(rng(self.seed, self.what, "dropout", *drawn_for).integers(2**62)))
        options = self.options
        transcribed = batch.source == "transcribed"
        on_device = batch.to(self.device)
        loss, counts = self._loss(on_device)
        weighted = loss if on_device.weights is None else loss * on_device.weights
        mean = weighted.mean() * (1.0 if transcribed else options.loss.untranscribed_weight)
        self.optimiser.zero_grad(set_to_none=True)
        norm, finite = self.workers.backward(mean, options.optimiser.clip_norm)
        self.position.step += 1
        if not finite:
            self._skip(batch, float(mean.detach()), float(norm))
            return
        for group in self.optimiser.param_groups:
            factor = options.transcribed_lr_factor if transcribed else 1.0
            group["lr"] = self.rate.lr * factor * self.workers.lr_factor
        self.optimiser.step()
        self.rate.step += 1
        self.sums.clipped += bool(norm > options.optimiser.clip_norm)
        self.sums.add(batch.source, float(loss.detach().sum()), batch.num_frames, counts)

    def _loss(self, batch: Batch) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Of each frame, float32 (F,), and the criterion's counts."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"):
            logits = batch.rows(self.workers.model(batch.frames, batch.lengths))
        return self.criterion.loss(self.model, logits, batch)

    def _skip(self, batch: Batch, loss: float, norm: float) -> None:
        """Save a batch whose loss or gradient is not finite, and go on without it; it may be another worker's."""
        self.workers.skip()
        if math.isfinite(loss) and math.isfinite(norm):
            return
        self.nonfinite += 1
        worker = f"-worker-{self.workers.rank}" if self.workers.size > 1 else ""
        path = self.work_dir / "nonfinite" / f"step-{self.position.step}{worker}.pt"
        save_checkpoint(path, self.key, {**batch.content(), "loss": loss})
        if self.nonfinite > self.options.nonfinite_limit:
            raise DataError(
                f"{self.what}: {self.nonfinite} batches with a loss or gradient that is not finite, the limit is"
                f" {self.options.nonfinite_limit}; the last is in {path}: look at its utterances"
                f" ({', '.join(batch.cut_ids[:3])}, ...), or lower the learning rate"
            )

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy in per cent of the frames of dev."""
        data, options = self.data, self.options
        heard, delay = dev_augment(options.augment), options.network.delay_frames
        maker = BatchMaker({DEV: data.dev}, data.frontend, heard, data.noise, self.seed, delay)
        return evaluate(self.model, maker, options.batch_s, self.seed, self.workers, self.readers)

    def _look_at_dev(self) -> Row:
        """The same on all workers."""
        loss, accuracy = self.evaluate()
        judged = self.criterion.judge(self.model) if self.workers.rank == 0 else {}
        return {"dev_loss": loss, "dev_accuracy": accuracy, **self.workers.gather(judged)[0]}

    def _take_best(self) -> None:
        if self.best.value is None:
            raise DataError(f"{self.what}: the dev loss was never finite; lower the learning rate")
        self.best.put_into(self.model, lambda: self._look_at_dev()[self.criterion.chosen_by])

    def _row(self, dev: Row, ended: str) -> Row:
        position, sums = self.position, self.sums.over_workers(self.workers)
        frames = sum(sums.frames.values())
        return {
            "phase": position.phase,
            "sub_epoch": position.sub_epoch,
            "step": position.step,
            "lr": self.rate.lr,
            **{f"loss_{source}": loss / sums.frames[source] for source, loss in sorted(sums.loss.items())},
            **{f"frames_{source}": count for source, count in sorted(sums.frames.items())},
            **self.criterion.describe(sums.counts),
            **dev,
            "best": self.best.value == dev[self.criterion.chosen_by],
            "clipped": sums.clipped,
            "nonfinite": int(self.workers.total([self.nonfinite])[0]),
            "seconds": sums.seconds,
            "frames_per_s": frames / max(sums.seconds, 1e-9),
            "ended": ended,
            **({"left_out": self.left_out, **self.workers.stats()} if self.workers.size > 1 else {}),
        }

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "workers": self.workers.state_dict(),
            "position": vars(self.position),
            "sums": vars(self.sums),
            "rate": self.rate.state(),
            "best": self.best.state(),
            "nonfinite": self.nonfinite,
            "log": self.log,
        }
        self.checkpoints.save(state, self.workers.one_model)

    def _resume(self) -> None:
        states = self.checkpoints.load()
        if states is None:
            return
        same = len(states) == self.workers.size
        state = states[self.workers.rank] if same else self._shared_out(states)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.workers.load_state_dict(state.get("workers", {}))
        self.position, self.sums = Position(**state["position"]), Sums(**state["sums"])
        self.rate = PlateauRate.from_state(self.options.optimiser, state["rate"])
        self.best = BestModels.from_state(self.options.average, state["best"])
        self.nonfinite, self.journal.rows = state["nonfinite"], state["log"]

    def _shared_out(self, states: list[Row]) -> Row:
        """This worker's state from those of another number of workers; worker 0 takes over what is summed up."""
        first, sums, nonfinite = states[0], Sums(), 0
        if self.workers.rank == 0:
            for state in states:
                nonfinite += state["nonfinite"]
                sums.include(Sums(**state["sums"]))
        own = {"sums": vars(sums), "nonfinite": nonfinite}
        return {**first, **own, **self.workers.share_out(states)}
