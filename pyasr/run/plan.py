"""What a training will take before it begins: days, traffic, disk and cost, and how far more workers help.

The model. A worker computes a step of F frames in c = F / (frames per second) seconds. To that comes what the step
exchanges over a link of B bytes/s each way and a worker, a message taking L seconds to arrive; P is the number of
weights, N that of workers:

    all-reduce (ddp)   ring: 2 (N-1)/N 4P bytes and 2 (N-1) L; hidden behind the backward pass, two thirds of c
    PowerSGD, rank r   two ring all-reduces, together of r (m + n) weights an m x n matrix, here of M square ones:
                       8 r sqrt(P M) bytes; not hidden: the second needs the first
    gtc                ring all-gather: (N-1) messages of d P b/8 bytes (density d, b bits a word) and (N-1) L; and the
                       hook's own work: P / encode rate + N d P / decode rate; not hidden
    bmuf               a ring all-reduce of 4P bytes each `sync_every` steps
    gtc+bmuf           gtc within a group over the group's link; bmuf across the groups over the slow one

Speed-up is N c / (time of a step): samples a second against one worker, at the same samples. What exchanging less often
or less exactly costs in accuracy is not in it. Links are taken as not shared; a switch that is will be slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FRAMES_PER_HOUR = 3600 * 1000 // 30


@dataclass(frozen=True)
class Costs:
    """Unit costs of one GPU and its disk and links. What is measured where is said in `ASSUMPTIONS`.

    flops: reached in training, matrix products of LSTMs included. encode_rate, decode_rate: weights/s and words/s.
    """

    flops: float = 20e12
    encode_rate: float = 20e9
    decode_rate: float = 1e9
    density: float = 1e-3
    bits_per_word: float = 12.5
    bytes_per_frame: float = 50.0
    audio_bytes_per_hour: float = 60e6
    link_bytes_s: float = 1.25e9
    delay_s: float = 5e-5
    group_link_bytes_s: float = 100e9
    group_delay_s: float = 1e-5
    gpu_hour: float = 2.0


ASSUMPTIONS: Mapping[str, str] = {
    "flops": "floating-point operations/s of a GPU in LSTM training: assumed, not measured here; --flops",
    "encode_rate": "weights/s of GTC's encoder: assumed, a fifth of a GPU's memory bandwidth at 12 bytes a weight",
    "decode_rate": "words/s of decompressing and adding GTC messages: assumed",
    "density": "share of weights that GTC sends: [train.dist.gtc] density",
    "bits_per_word": "of GTC's code at density 1e-3: derived, within 2 % of what the code makes",
    "bytes_per_frame": "of a stored posterior, top 20: derived",
    "audio_bytes_per_hour": "16 kHz, 16 bits, FLAC at about half: assumed",
    "link_bytes_s": "a worker's network link: --link-gbps",
    "delay_s": "of a message on it: --delay-us",
    "group_link_bytes_s": "between GPUs of a machine: assumed",
    "group_delay_s": "of a message there: assumed",
    "gpu_hour": "price, in the currency you pay in: --gpu-hour",
}


@dataclass(frozen=True)
class Work:
    """What is trained, and how. parameters by network; hours; passes over the data; frames of a step and worker."""

    hours: float
    annotated_hours: float
    teacher: float = 78e6
    student: float = 24e6
    teacher_passes: float = 15.0
    student_passes: float = 1.0
    smbr_passes: float = 3.0
    step_frames: int = 2048
    sync_every: int = 50
    group: int = 8
    matrices: int = 12
    rank: int = 2


def ring_all_reduce_s(size: float, workers: int, link: float, delay: float) -> float:
    """Seconds of an all-reduce of `size` bytes."""
    return 2 * (workers - 1) * (size / workers / link + delay)


def ring_all_gather_s(size: float, workers: int, link: float, delay: float) -> float:
    """Seconds of an all-gather to which everyone brings `size` bytes."""
    return (workers - 1) * (size / link + delay)


def step_s(method: str, workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    """Seconds of a step of "ddp", "powersgd", "gtc", "bmuf" or "gtc+bmuf", in the mean over many."""
    if workers == 1:
        return compute_s
    return compute_s + _METHODS[method](workers, parameters, compute_s, work, costs)


def bytes_sent(method: str, workers: int, parameters: float, work: Work, costs: Costs) -> float:
    """By a worker in a step, over the network's links; in the mean over many."""
    reduced = 2 * (workers - 1) / workers
    message = costs.density * parameters * costs.bits_per_word / 8
    groups = max(1, workers // work.group)
    return {
        "ddp": reduced * 4 * parameters,
        "powersgd": reduced * 8 * work.rank * math.sqrt(parameters * work.matrices),
        "gtc": (workers - 1) * message,
        "bmuf": reduced * 4 * parameters / work.sync_every,
        "gtc+bmuf": 2 * (groups - 1) / groups * 4 * parameters / work.sync_every,
    }[method]


def speed_up(method: str, workers: int, parameters: float, work: Work, costs: Costs) -> float:
    """Samples a second of so many workers against one."""
    compute_s = step_compute_s(parameters, work, costs)
    return workers * compute_s / step_s(method, workers, parameters, compute_s, work, costs)


def step_compute_s(parameters: float, work: Work, costs: Costs) -> float:
    """Of a step of one worker: 6 operations a weight and frame."""
    return 6 * parameters * work.step_frames / costs.flops


@dataclass(frozen=True)
class StagePlan:
    """A stage: GPUs it uses, days, bytes that a worker sends, bytes that it adds to the disk, cost."""

    name: str
    method: str
    gpus: int
    days: float
    sent_bytes: float
    disk_bytes: float
    cost: float


def plan(work: Work, gpus: int, costs: Costs) -> list[StagePlan]:
    """The stages that need GPUs: teacher and sMBR by GTC on up to 16, labels, student by BMUF on all."""
    annotated, total = (hours * FRAMES_PER_HOUR for hours in (work.annotated_hours, work.hours))
    few = min(gpus, 16)
    student_frames = (total + annotated) * work.student_passes
    label_s = 2 * work.teacher * total / costs.flops / gpus
    label_disk = total * costs.bytes_per_frame
    return [
        StagePlan("audio", "-", 0, 0.0, 0.0, (work.hours + work.annotated_hours) * costs.audio_bytes_per_hour, 0.0),
        _training("teacher", "gtc", few, work.teacher, annotated * work.teacher_passes, work, costs),
        StagePlan("label", "-", gpus, label_s / 86400, 0.0, label_disk, label_s / 3600 * gpus * costs.gpu_hour),
        _training("student", "bmuf", gpus, work.student, student_frames, work, costs),
        _training("student_smbr", "gtc", few, work.student, annotated * work.smbr_passes, work, costs),
    ]


def _training(
    name: str, method: str, gpus: int, parameters: float, frames: float, work: Work, costs: Costs
) -> StagePlan:
    steps = frames / (work.step_frames * gpus)
    seconds = steps * step_s(method, gpus, parameters, step_compute_s(parameters, work, costs), work, costs)
    sent = steps * bytes_sent(method, gpus, parameters, work, costs) if gpus > 1 else 0.0
    return StagePlan(name, method, gpus, seconds / 86400, sent, 0.0, seconds / 3600 * gpus * costs.gpu_hour)


def _ddp(workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    exchange = ring_all_reduce_s(4 * parameters, workers, costs.link_bytes_s, costs.delay_s)
    return max(0.0, exchange - compute_s * 2 / 3)


def _powersgd(workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    half = 4 * work.rank * math.sqrt(parameters * work.matrices)
    return 2 * ring_all_reduce_s(half, workers, costs.link_bytes_s, costs.delay_s)


def _gtc_over(link: float, delay: float, workers: int, parameters: float, costs: Costs) -> float:
    words = costs.density * parameters
    own = parameters / costs.encode_rate + workers * words / costs.decode_rate
    return own + ring_all_gather_s(words * costs.bits_per_word / 8, workers, link, delay)


def _gtc(workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    return _gtc_over(costs.link_bytes_s, costs.delay_s, workers, parameters, costs)


def _bmuf(workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    return ring_all_reduce_s(4 * parameters, workers, costs.link_bytes_s, costs.delay_s) / work.sync_every


def _two_tiers(workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    group = min(work.group, workers)
    inner = _gtc_over(costs.group_link_bytes_s, costs.group_delay_s, group, parameters, costs) if group > 1 else 0.0
    return inner + _bmuf(workers // group, parameters, compute_s, work, costs)


_METHODS: Mapping[str, Callable[[int, float, float, Work, Costs], float]] = {
    "ddp": _ddp,
    "powersgd": _powersgd,
    "gtc": _gtc,
    "bmuf": _bmuf,
    "gtc+bmuf": _two_tiers,
}
METHODS = tuple(_METHODS)
