"""The training loop, the only one: systems differ in options and data alone, and in their criterion.

Everything that is drawn is a function of the seed and the position, and the position is in the checkpoint: a
training that is killed and continued makes the same steps, on the CPU bit for bit. With several workers each runs this
loop; what they do together is in `pyasr.dist.workers`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from pyasr.base.artifact import digest, write_jsonl
from pyasr.base.errors import DataError
from pyasr.base.progress import track
from pyasr.base.seeds import rng
from pyasr.dist.workers import SaveClock, Workers
from pyasr.features.augment import AugmentOptions
from pyasr.features.network import NetworkFrontend
from pyasr.features.noise import NoisePool
from pyasr.nn.losses import hard_cross_entropy
from pyasr.nn.model import AcousticModel
from pyasr.train.checkpoint import save_checkpoint
from pyasr.train.criterion import Criterion, FrameCriterion
from pyasr.train.data import Batch, BatchMaker, Source
from pyasr.train.options import PhaseOptions, TrainOptions
from pyasr.train.parts import Checkpoints
from pyasr.train.plan import BatchPlan, batches_of_pass, sub_epoch
from pyasr.train.rate import PlateauRate
from pyasr.train.share import remaining, share

Row = dict[str, Any]
DEV = "dev"


@dataclass(frozen=True)
class TrainingData:
    """sources: "transcribed" and, for a student, "untranscribed". dev: with hard targets. noise: for augmentation."""

    sources: Mapping[str, Source]
    dev: Source
    frontend: NetworkFrontend
    noise: NoisePool | None = None

    def key(self) -> Row:
        """What the data are, for the key of a checkpoint."""
        cuts = {name: [cut.id for cut in source.cuts] for name, source in {**self.sources, DEV: self.dev}.items()}
        noise = None if self.noise is None else [str(clip.path) for clip in self.noise.clips]
        return {"cuts": cuts, "frontend": self.frontend.to_dict(), "noise": noise}


@dataclass
class Position:
    """Where a training is. sub_epoch: within the phase. batch: the next one of the sub-epoch, of each worker.

    done: what other numbers of workers had done of the sub-epoch before, see `pyasr.train.share.remaining`.
    """

    phase: int = 0
    sub_epoch: int = 0
    batch: int = 0
    step: int = 0
    done: list[list[int]] = field(default_factory=list)


@dataclass
class Sums:
    """Of a sub-epoch and this worker: loss and frames by source, gradient norms, seconds, what the criterion counts."""

    loss: dict[str, float] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    clipped: int = 0
    seconds: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, source: str, loss: float, frames: int, counts: Mapping[str, float]) -> None:
        self.loss[source] = self.loss.get(source, 0.0) + loss
        self.frames[source] = self.frames.get(source, 0) + frames
        self._count(counts)

    def _count(self, counts: Mapping[str, float]) -> None:
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + count

    def include(self, other: Sums) -> None:
        """Another worker's."""
        for source, loss in other.loss.items():
            self.add(source, loss, other.frames[source], {})
        self._count(other.counts)
        self.clipped += other.clipped
        self.seconds = max(self.seconds, other.seconds)

    def over_workers(self, workers: Workers) -> Sums:
        """Of all workers."""
        total = Sums()
        for own in workers.gather(vars(self)):
            total.include(Sums(**own))
        return total


class Trainer:
    """Trains `model` in place. work_dir holds the checkpoint, log.jsonl, tensorboard/ and nonfinite/.

    say: told each row of the log, as it is written.
    workers: those that train one model together, each with a model of the same weights; None: this one alone.
    criterion: None: that of frames. With another the model goes on from what it has learnt, is judged before the
    first step (sub-epoch -1 of the log), and stays as it is if nothing is better.
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
        self.model, self.data, self.options, self.seed, self.what, self.say = model, data, options, seed, what, say
        self.model.to(self.device)
        self.work_dir = Path(work_dir)
        # How often it is saved, and by how many processes batches are made, changes no number.
        changes_nothing = {"checkpoint_s", "workers", "threads"}
        made_from = [options.model_dump(exclude=changes_nothing), seed, what, data.key()]
        made_from += [] if criterion is None else [criterion.key()]
        made_from += [] if self.workers.method == "none" else [self.workers.key()]
        self.key = digest(made_from)
        self.criterion = criterion or FrameCriterion(options.loss)
        self.goes_on = criterion is not None
        self.checkpoints = Checkpoints(self.work_dir, self.key, self.workers.comm)
        self.optimiser = self.workers.attach(model, _make_optimiser(model, options))
        self.position, self.sums, self.log = Position(), Sums(), []
        self.rate = PlateauRate(options.optimiser)
        self.best: list[tuple[float, dict[str, torch.Tensor]]] = []
        self.nonfinite = self.left_out = 0

    def run(self) -> list[Row]:
        """Train to the end; the model is then the best (or the mean of the best) by dev loss. Returns the log."""
        self._resume()
        threads_before = torch.get_num_threads()
        # More threads than cores cost more than they bring: they wait for each other, spinning.
        torch.set_num_threads(self.options.threads or max(1, threads_before - self.options.workers))
        try:
            with self._board() as board:
                if self.goes_on and not self.log:
                    self._judge_start(board)
                while self.position.phase < len(self.options.phases):
                    self._run_phase(self.options.phases[self.position.phase], board)
        finally:
            torch.set_num_threads(threads_before)
        self.model.eval()
        return self.log

    def _board(self) -> contextlib.AbstractContextManager[SummaryWriter | None]:
        """Worker 0's curves; the others draw none."""
        if self.workers.rank:
            return contextlib.nullcontext()
        return SummaryWriter(str(self.work_dir / "tensorboard"), purge_step=self.position.step)

    def _judge_start(self, board: SummaryWriter | None) -> None:
        self.position.sub_epoch = -1
        self._judge(board)
        self.position = Position()
        self._save()

    def _judge(self, board: SummaryWriter | None, phase: PhaseOptions | None = None) -> bool:
        """Look at dev, keep the model if it is the best, and write the log; whether the phase has ended."""
        with self.workers.global_model():
            dev = self._look_at_dev()
            value, ended = dev[self.criterion.chosen_by], ""
            self._keep_if_best(value)
        if phase is None:
            self.rate.observe(value)
        else:
            stopped = self.rate.observe(value) and self.position.sub_epoch + 1 >= phase.min_sub_epochs
            if stopped or self.position.sub_epoch + 1 >= phase.max_sub_epochs:
                ended = "dev" if stopped else "max_sub_epochs"
        self._log(board, dev, ended)
        self.sums = Sums()
        return bool(ended)

    def _run_phase(self, phase: PhaseOptions, board: SummaryWriter | None) -> None:
        maker = self._maker(phase.chunk_frames)
        while True:
            self._run_sub_epoch(phase, maker)
            self.workers.end_sub_epoch()
            ended = self._judge(board, phase)
            if ended:
                self._take_best()
                self.position = Position(self.position.phase + 1, step=self.position.step)
                self.rate = PlateauRate(self.options.optimiser)
                self.optimiser = self.workers.attach(self.model, _make_optimiser(self.model, self.options))
            else:
                self.position = Position(self.position.phase, self.position.sub_epoch + 1, step=self.position.step)
            self._save()
            if ended:
                return

    def _run_sub_epoch(self, phase: PhaseOptions, maker: torch.utils.data.Dataset) -> None:
        passes = {name: partial(self._pass, name) for name in self.data.sources}
        plans = self._own_plans(sub_epoch(self.position.sub_epoch, phase, passes))
        what = f"{self.what}: sub-epoch {self.position.sub_epoch + 1} of at most {phase.max_sub_epochs}"
        loader = self._loader(maker, plans[self.position.batch :])
        self.model.train()
        clock = SaveClock(self.workers.comm, self.options.checkpoint_s)
        begun = time.monotonic()
        shown = partial(track, what=what, total=len(plans) - self.position.batch, unit="batch")
        for batch in loader if self.workers.rank else shown(loader):
            self._step(batch)
            self.position.batch += 1
            now = time.monotonic()
            self.sums.seconds += now - begun
            begun = now
            if clock.due():
                self._save()

    def _own_plans(self, plans: list[BatchPlan]) -> list[BatchPlan]:
        """This worker's batches of a sub-epoch."""
        groups, left_out = share(remaining(plans, self.position.done), self.workers.size)
        self.left_out = sum(len(plan.cuts) for plan in left_out)
        if not groups and left_out and not self.position.done:
            raise DataError(
                f"{self.what}: {self.left_out} utterances for {self.workers.size} workers; train with fewer"
            )
        return [group[self.workers.rank] for group in groups]

    def _pass(self, source: str, epoch: int) -> list[BatchPlan]:
        return batches_of_pass(self.data.sources[source].durations_s, self.options.batch_s, self.seed, source, epoch)

    def _maker(self, chunk_frames: int) -> torch.utils.data.Dataset:
        delay = self.options.network.delay_frames
        data = self.data
        options = self.options.augment
        maker = BatchMaker(data.sources, data.frontend, options, data.noise, self.seed, delay, chunk_frames)
        return self.criterion.batches(maker)

    def _loader(self, maker: torch.utils.data.Dataset, plans: list[BatchPlan]) -> torch.utils.data.DataLoader:
        workers = 0 if self.workers.emulated else min(self.options.workers, len(plans))
        return torch.utils.data.DataLoader(maker, batch_size=None, sampler=plans, num_workers=workers)

    def _step(self, batch: Batch) -> None:
        # What dropout draws depends on the step, not on what was drawn before: resume needs no random state.
        drawn_for = [self.position.step, self.workers.rank] if self.workers.rank else [self.position.step]
        torch.manual_seed(int(rng(self.seed, self.what, "dropout", *drawn_for).integers(2**62)))
        options = self.options
        transcribed = batch.source == "transcribed"
        on_device = batch.to(self.device)
        loss, counts = self._loss(on_device)
        mean = loss.mean() * (1.0 if transcribed else options.loss.untranscribed_weight)
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
        names = ("frames", "lengths", "senones", "ids", "logp")
        tensors = {name: getattr(batch, name) for name in names if getattr(batch, name) is not None}
        content = {"cut_ids": list(batch.cut_ids), "source": batch.source, "loss": loss, **tensors}
        save_checkpoint(path, self.key, content)
        if self.nonfinite > self.options.nonfinite_limit:
            raise DataError(
                f"{self.what}: {self.nonfinite} batches with a loss or gradient that is not finite, the limit is"
                f" {self.options.nonfinite_limit}; the last is in {path}: look at its utterances"
                f" ({', '.join(batch.cut_ids[:3])}, ...), or lower the learning rate"
            )

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy in per cent of the frames of dev: phase 0, with noise as drawn for pass 0."""
        augment, data = dev_augment(self.options.augment), self.data
        delay = self.options.network.delay_frames
        maker = BatchMaker({DEV: data.dev}, data.frontend, augment, data.noise, self.seed, delay)
        plans = batches_of_pass(data.dev.durations_s, self.options.batch_s, self.seed, DEV, 0)
        self.model.eval()
        loss, correct, frames = 0.0, 0, 0
        for batch in self._loader(maker, plans[self.workers.rank :: self.workers.size]):
            on_device = batch.to(self.device)
            logits = batch.rows(self.model(on_device.frames, on_device.lengths)).float()
            loss += float(hard_cross_entropy(logits, on_device.senones).sum())
            correct += int((logits.argmax(dim=1) == on_device.senones).sum())
            frames += batch.num_frames
        loss, correct, frames = self.workers.total([loss, correct, frames])
        return loss / frames, 100.0 * correct / frames

    def _look_at_dev(self) -> Row:
        """The same on all workers."""
        loss, accuracy = self.evaluate()
        judged = self.criterion.judge(self.model) if self.workers.rank == 0 else {}
        return {"dev_loss": loss, "dev_accuracy": accuracy, **self.workers.gather(judged)[0]}

    def _keep_if_best(self, value: float) -> None:
        """value: of what the criterion chooses by."""
        if math.isfinite(value) and (len(self.best) < self.options.average or value < self.best[-1][0]):
            weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
            self.best = sorted([*self.best, (value, weights)], key=lambda row: row[0])[: self.options.average]

    def _take_best(self) -> None:
        """Give the model the mean of its best sub-epochs' weights; the best alone if that is better on dev."""
        if not self.best:
            raise DataError(f"{self.what}: the dev loss was never finite; lower the learning rate")
        best = self.best[0][1]
        self.model.load_state_dict(best)
        if len(self.best) > 1:
            mean = {name: torch.stack([w[name] for _, w in self.best]).mean(dim=0) for name in best}
            self.model.load_state_dict(mean)
            value = self._look_at_dev()[self.criterion.chosen_by]
            if value < self.best[0][0]:
                self.best = [(value, mean)]
            else:
                self.model.load_state_dict(best)

    def _log(self, board: SummaryWriter | None, dev: Row, ended: str) -> None:
        position, sums = self.position, self.sums.over_workers(self.workers)
        frames = sum(sums.frames.values())
        row = {
            "phase": position.phase,
            "sub_epoch": position.sub_epoch,
            "step": position.step,
            "lr": self.rate.lr,
            **{f"loss_{source}": loss / sums.frames[source] for source, loss in sorted(sums.loss.items())},
            **{f"frames_{source}": count for source, count in sorted(sums.frames.items())},
            **self.criterion.describe(sums.counts),
            **dev,
            "best": self.best[0][0] == dev[self.criterion.chosen_by] if self.best else False,
            "clipped": sums.clipped,
            "nonfinite": int(self.workers.total([self.nonfinite])[0]),
            "seconds": sums.seconds,
            "frames_per_s": frames / max(sums.seconds, 1e-9),
            "ended": ended,
            **({"left_out": self.left_out, **self.workers.stats()} if self.workers.size > 1 else {}),
        }
        self.log.append(row)
        if board is None:
            return
        for name, value in row.items():
            if isinstance(value, (int, float)) and name not in ("phase", "sub_epoch", "step"):
                board.add_scalar(name, value, position.step)
        write_jsonl(self.work_dir / "log.jsonl", self.log)
        self.say(row)

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "workers": self.workers.state_dict(),
            "position": vars(self.position),
            "sums": vars(self.sums),
            "rate": self.rate.state(),
            "best": [[loss, weights] for loss, weights in self.best],
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
        self.best = [(loss, weights) for loss, weights in state["best"]]
        self.nonfinite, self.log = state["nonfinite"], state["log"]

    def _shared_out(self, states: list[Row]) -> Row:
        """This worker's state from those of another number of workers; worker 0 takes over what is summed up."""
        first, position = states[0], dict(states[0]["position"])
        position["done"] = [*position["done"], [len(states), position["batch"]]]
        position["batch"] = 0
        sums, nonfinite = Sums(), 0
        if self.workers.rank == 0:
            for state in states:
                nonfinite += state["nonfinite"]
                sums.include(Sums(**state["sums"]))
        own = {"position": position, "sums": vars(sums), "nonfinite": nonfinite}
        return {**first, **own, **self.workers.share_out(states)}


def dev_augment(augment: AugmentOptions) -> AugmentOptions:
    """How dev is heard: with the noise of training, but otherwise as it is."""
    return AugmentOptions(noise_p=augment.noise_p, snr_db=augment.snr_db, stack_phase=False)


def _make_optimiser(model: AcousticModel, options: TrainOptions) -> torch.optim.Optimizer:
    chosen = options.optimiser
    if chosen.kind == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay
        )
    return torch.optim.AdamW(model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay, fused=True)
