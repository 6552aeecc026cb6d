"""Gradient threshold compression between workers, as a communication hook of DistributedDataParallel.

    state = GTCState(model, tau=1e-3)
    ddp = DistributedDataParallel(model)
    ddp.register_comm_hook(state, gtc_hook)

After N. Strom, "Scalable distributed DNN training using commodity GPU cloud computing" (Interspeech 2015); the
compression itself is `pyasr.ops.gtc`. Each worker adds its own gradient to a residual, one for each parameter and known
by the parameter's name: buckets of DDP come and go, residuals stay. It sends +-tau where the residual is beyond
+-tau; everyone adds up everyone's messages in the order of ranks, so all have the same bits.

Scale: tau is compared with ONE worker's gradient, as its loss gives it, undivided. The result is the MEAN over the
workers, as DDP's own is: a word moves a gradient by tau / N.

For SGD, with or without momentum. Adam divides by a running root mean square of what arrives, and what arrives is
rare spikes of +-tau: it measures the spikes, not the gradient. Gradients are clipped before they go into the residual:
what is in it is owed and is not to be scaled afterwards.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist

from pyasr.dist.comm import Comm, Pending, comm_of
from pyasr.dist.messages import Gatherer, Message, pack, unpack
from pyasr.dist.threshold import Thresholds
from pyasr.ops.gtc import NonFiniteError, gtc_count, gtc_decode_add, gtc_encode

_ENTRY_BYTES = 17
"""Of a tensor in a message without words: its length, the tau it wants, and the code's header."""


@dataclass
class GTCStep:
    """What a step cost. density: words / weights, mean over workers; 1 in warm-up. bytes_out: this worker's buffers;
    bytes_in: the others'. compression: bytes of dense fp32 gradients / bytes_out. Seconds: encode with compress, wait
    for messages, decompress with decode."""

    step: int = 0
    weights: int = 0
    density: float = 0.0
    bytes_out: int = 0
    bytes_in: int = 0
    compression: float = 0.0
    skipped: bool = False
    encode_s: float = 0.0
    wait_s: float = 0.0
    decode_s: float = 0.0


@dataclass
class _Sent:
    """A bucket under way. grads: flat views, which receive the result."""

    names: list[str]
    grads: list[torch.Tensor]
    message: Message | None
    pending: Pending[Any]
    dense: torch.Tensor | None = None


class GTCState:
    """What GTC keeps between steps, for `gtc_hook` or `exchange`.

    model: on its final device; parameters that need a gradient are known by their names.
    tau: fixed; or a function of the step, from 0; or, with `density`, where no worker has a gradient to find it from.
    density: share of weights to send in a step; a number, or a function of the parameter's name. Each worker finds, in
        a sample of what it could send, the tau that would send so many, and the mean of all is the parameter's tau, the
        same on all workers. In the first 16 steps after the warm-up they agree on it before they send, in a round trip
        of its own. Then each tells it with its message every eighth step, and the mean, times a factor that makes up
        for what was sent too much or too little until now, holds from the next step on.
    process_group: None is the default group; a `pyasr.dist.comm.Comm` is taken as well.
    momentum: momentum correction (Lin et al., "Deep gradient compression", 2018): the residual accumulates the
        gradient's running sum m u + g instead of g, so that what is sent late has its momentum; the optimiser then has
        none.
    clip_norm: largest norm of a parameter's gradient, before the residual. A norm over the whole model is not known
        while DDP is still computing; who has it calls `exchange` after clipping.
    clip_residual: residuals stay within +-clip_residual tau. A weight sends tau a step at most; when the gradients are
        larger for long, what is owed grows without bound, and is stale when it is sent. Loses what it cuts.
    decay: the residual is multiplied by it each step, which forgets stale gradients; 1 forgets nothing.
    warmup_steps: the first so many steps exchange plain dense means: early gradients are large and change direction.
    scaler: torch's GradScaler, if one is in use: residuals are kept unscaled, because the scale changes.
    optimizer: warned about if it is of Adam's family.

    A gradient that is not finite on one worker: all workers learn of it with the message and agree to skip. The
    gradients are then zero on all of them (infinite with a scaler, which so learns of it), `last.skipped` is true and
    the step is to be left out; `skipped` counts them. What others would have sent goes back to their residuals; the bad
    bucket adds nothing to its own.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tau: float | Callable[[int], float] = 1e-3,
        process_group: dist.ProcessGroup | Comm | None = None,
        *,
        density: float | Callable[[str], float] | None = None,
        momentum: float = 0.0,
        clip_norm: float | None = None,
        clip_residual: float | None = None,
        decay: float = 1.0,
        warmup_steps: int = 0,
        scaler: torch.amp.GradScaler | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        if not 0 <= momentum < 1 or not 0 < decay <= 1 or warmup_steps < 0:
            raise ValueError(f"momentum {momentum}, decay {decay} or warmup_steps {warmup_steps} cannot be")
        self.comm = comm_of(process_group)
        self.momentum, self.clip_norm, self.clip_residual, self.decay = momentum, clip_norm, clip_residual, decay
        self.warmup_steps, self.scaler = warmup_steps, scaler
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        device = next((p.device for p in parameters.values()), torch.device("cpu"))
        self._gatherer = Gatherer(self.comm, device)
        self._thresholds = Thresholds(parameters, tau, density)
        self.residual = {name: _zeros(parameter) for name, parameter in parameters.items()}
        self.velocity = {name: _zeros(parameter) for name, parameter in parameters.items()} if momentum else {}
        self.step = self.skipped = 0
        self._sent_words = self._sent_of = 0
        self.last = GTCStep()
        self._sent: list[_Sent] = []
        self._now = GTCStep()
        self._waiting: list[tuple[torch.futures.Future, torch.Tensor]] = []
        if optimizer is not None and "betas" in optimizer.defaults:
            warnings.warn(
                f"GTC with {type(optimizer).__name__}: its second moments would measure the spikes of +-tau that arrive"
                " now and then, not the gradient; use SGD, with or without momentum",
                stacklevel=2,
            )

    def exchange(self, gradients: Mapping[str, torch.Tensor], finite: bool | None = None) -> bool:
        """Replace each gradient, by parameter name, by the mean of what the workers send; one round trip,
        two in the first steps with a density.

        finite: whether the gradients are, where that is known, as after clipping their norm. False on any worker: all
        skip, see above, and this returns False; a worker whose gradient is not finite keeps nothing of it.
        """
        self.send(list(gradients), list(gradients.values()), finite)
        return self.finish()

    def send(self, names: Sequence[str], gradients: Sequence[torch.Tensor], finite: bool | None = None) -> None:
        """Begin the exchange of some parameters' gradients; `finish` ends those of a step, and fills them."""
        begun = time.perf_counter()
        grads = [gradient.view(-1) for gradient in gradients]
        sizes = [len(grad) for grad in grads]
        self._now.weights += sum(sizes)
        if self.step < self.warmup_steps:
            flat = torch.cat([grad.float() for grad in grads])
            self._now.bytes_out += 4 * len(flat)
            self._sent.append(_Sent(list(names), grads, None, self.comm.mean(flat), flat))
        else:
            message = self._encode_all(names, grads, finite)
            payload = pack(message, names, sizes, self.step)
            guess = _ENTRY_BYTES * len(names) + sum(sizes) // 500
            before = self._gatherer.bytes_sent
            pending = self._gatherer.begin(" ".join(names), payload, guess)
            self._now.bytes_out += self._gatherer.bytes_sent - before
            self._sent.append(_Sent(list(names), grads, message, pending))
        self._now.encode_s += time.perf_counter() - begun

    def finish(self) -> bool:
        """Wait for what was begun and fill the gradients. False: skipped by all workers."""
        finite = self._finish_dense() if self.step < self.warmup_steps else self._finish_words()
        now, self._now, self._sent = self._now, GTCStep(), []
        now.step, now.skipped = self.step, not finite
        now.bytes_in = now.bytes_out * (self.comm.size - 1)
        now.compression = 4 * now.weights / max(1, now.bytes_out)
        self.last = now
        self.skipped += not finite
        self.step += 1
        self._thresholds.begin(self.step)
        return finite

    @property
    def tau(self) -> Mapping[str, float]:
        """Of each parameter, in the next step."""
        return self._thresholds.tau

    def stats(self) -> dict[str, float]:
        """The last step's numbers; mean_density, of all steps since the warm-up (a step may be far from it); and the
        norm of this worker's residual, which takes a pass over it."""
        norms = [torch.linalg.vector_norm(residual) for residual in self.residual.values()]
        return {
            **asdict(self.last),
            "mean_density": self._sent_words / max(1, self._sent_of),
            "residual_norm": float(torch.linalg.vector_norm(torch.stack(norms))),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a worker needs to go on exactly; each worker has its own."""
        counters = {"step": self.step, "skipped": self.skipped, "capacity": dict(self._gatherer.capacity)}
        counters |= {"sent_words": self._sent_words, "sent_of": self._sent_of}
        kept = {"residual": dict(self.residual), "velocity": dict(self.velocity)}
        return {**counters, **kept, "thresholds": self._thresholds.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """ValueError when it is of another model."""
        for kind, own in (("residual", self.residual), ("velocity", self.velocity)):
            if {n: len(t) for n, t in own.items()} != {n: len(t) for n, t in state[kind].items()}:
                raise ValueError(f"the {kind} of GTC is of another model or of other options")
            for name, tensor in own.items():
                tensor.copy_(state[kind][name])
        self.step, self.skipped = state["step"], state["skipped"]
        self._sent_words, self._sent_of = state["sent_words"], state["sent_of"]
        self._thresholds.load_state_dict(state["thresholds"])
        self._gatherer.capacity = dict(state["capacity"])

    def _encode_all(self, names: Sequence[str], grads: Sequence[torch.Tensor], finite: bool | None) -> Message:
        scale = self.scaler.get_scale() if self.scaler else 1.0
        rows = [grad.float() if scale == 1.0 else grad.float() / scale for grad in grads]
        if finite is None:
            norms = [float(torch.linalg.vector_norm(row)) for row in rows]
            finite = all(map(math.isfinite, norms))
            if self.clip_norm is not None and finite:
                factors = [min(1.0, self.clip_norm / norm) if norm else 1.0 for norm in norms]
                rows = [row if factor == 1.0 else row * factor for row, factor in zip(rows, factors)]
        words: list[torch.Tensor] = []
        wanted = [0.0] * len(rows)
        since_warmup = self.step - self.warmup_steps
        if finite:
            added = [self._accumulated(name, row) for name, row in zip(names, rows)]
            for place, (name, grad) in enumerate(zip(names, added)):
                wanted[place] = self._thresholds.wanted(name, self.residual[name], grad, since_warmup)
        if self._thresholds.at_once(since_warmup):
            self._agree(names, wanted)
            wanted = [0.0] * len(rows)
        if finite:
            try:
                for name, grad in zip(names, added):
                    words.append(self._encode(name, grad))
            except NonFiniteError:  # of a residual that has grown beyond float32
                self._take_back(names, words)
                words, finite = [], False
        return Message(finite, words, wanted)

    def _agree(self, names: Sequence[str], wanted: Sequence[float]) -> None:
        """On the tau of this very step, in a round trip of its own; of a worker whose gradient is bad, zeros."""
        begun = time.perf_counter()
        everyone = torch.stack(self.comm.gather(torch.tensor(wanted)).wait())
        waited = time.perf_counter() - begun
        self._now.wait_s += waited
        self._now.encode_s -= waited  # `send` counts all that it takes
        self._now.bytes_out += 4 * len(wanted)
        for name, asked in zip(names, everyone.T.tolist()):
            self._thresholds.agree(name, asked)

    def _accumulated(self, name: str, grad: torch.Tensor) -> torch.Tensor:
        """What is to be added to the residual, which is made ready for it."""
        if self.decay < 1:
            self.residual[name].mul_(self.decay)
        return self.velocity[name].mul_(self.momentum).add_(grad) if self.momentum else grad

    def _encode(self, name: str, grad: torch.Tensor) -> torch.Tensor:
        residual, tau = self.residual[name], self.tau[name]
        words, count = gtc_encode(grad, residual, tau)
        if self.clip_residual is not None:
            residual.clamp_(-self.clip_residual * tau, self.clip_residual * tau)
        return words[: gtc_count(count)].cpu()

    def _take_back(self, names: Sequence[str], words: Sequence[torch.Tensor]) -> None:
        for name, row in zip(names, words):
            residual = self.residual[name]
            gtc_decode_add(row.to(residual.device), self.tau[name], residual)

    def _finish_dense(self) -> bool:
        begun = time.perf_counter()
        for sent in self._sent:
            sent.pending.wait()
        self._now.wait_s += time.perf_counter() - begun
        self._now.density = 1.0
        finite = all(math.isfinite(float(torch.linalg.vector_norm(sent.dense))) for sent in self._sent)
        for sent in self._sent:
            for grad, mean in zip(sent.grads, sent.dense.split([len(grad) for grad in sent.grads])):
                self._skip(grad) if not finite else grad.copy_(mean)
        return finite

    def _finish_words(self) -> bool:
        received = []
        for sent in self._sent:
            begun, before = time.perf_counter(), self._gatherer.bytes_sent
            data = sent.pending.wait()
            self._now.wait_s += time.perf_counter() - begun
            self._now.bytes_out += self._gatherer.bytes_sent - before
            begun = time.perf_counter()
            sizes = [len(grad) for grad in sent.grads]
            received.append([unpack(part, sent.names, sizes, self.step, rank) for rank, part in enumerate(data)])
            self._now.decode_s += time.perf_counter() - begun
        begun = time.perf_counter()
        finite = all(message.finite for messages in received for message in messages)
        words = 0
        for sent, messages in zip(self._sent, received):
            if not finite:
                self._take_back(sent.names, sent.message.words)
            for place, (name, grad) in enumerate(zip(sent.names, sent.grads)):
                if finite:
                    count = self._decode(name, grad, [message.words[place] for message in messages])
                    of = len(grad) * self.comm.size
                    self._thresholds.adapt(name, of, count, [message.wanted[place] for message in messages])
                    words += count
                else:
                    self._skip(grad)
        all_weights = self._now.weights * self.comm.size
        self._now.density = words / max(1, all_weights)
        self._sent_words, self._sent_of = self._sent_words + words, self._sent_of + all_weights
        self._now.decode_s += time.perf_counter() - begun
        return finite

    def _decode(self, name: str, grad: torch.Tensor, words: Sequence[torch.Tensor]) -> int:
        """Fill a gradient; the number of words that went into it."""
        total = grad.zero_() if grad.dtype == torch.float32 else torch.zeros_like(grad, dtype=torch.float32)
        on_device = [row.to(grad.device) for row in words]
        gtc_decode_add(on_device, self.tau[name], total, scale=1.0 / self.comm.size)
        if self.scaler:
            total.mul_(self.scaler.get_scale())
        if total is not grad:
            grad.copy_(total)
        return sum(map(len, words))

    def _skip(self, grad: torch.Tensor) -> None:
        grad.fill_(math.inf if self.scaler else 0.0)


def gtc_hook(state: GTCState, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """For `DistributedDataParallel.register_comm_hook(state, gtc_hook)`.

    Encoding and sending of a bucket go on while the backward pass computes the next. Messages are decoded with the last
    bucket: only then is it known whether all workers take the step, and a message that is too long for its buffer has
    to be completed in the same order on all workers.
    """
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future(
        devices=[bucket.buffer().device] if bucket.buffer().is_cuda else None
    )
    state.send([state._names[id(parameter)] for parameter in bucket.parameters()], bucket.gradients())
    state._waiting.append((future, bucket.buffer()))
    if bucket.is_last():
        waiting, state._waiting = state._waiting, []
        state.finish()
        for other, buffer in waiting:
            other.set_result(buffer)
    return future


def share_out(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of each worker, from those of all workers of a training with another number of them.

    What the workers owe the model is the mean of their residuals, because a word counts 1 / N. So each new worker gets
    the old workers' sum divided by the old number: the mean stays, whatever the new number, and nothing is lost.
    """
    shared = dict(states[0])
    for kind in ("residual", "velocity"):
        rows = [state[kind] for state in states]
        shared[kind] = {name: torch.stack([row[name] for row in rows]).mean(dim=0) for name in rows[0]}
    return shared


def _zeros(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
