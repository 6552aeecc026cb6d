"""What a training will take before it begins: days, traffic, disk and cost, and how far more workers help.

The model. A worker computes a step of F frames in c = max(6 P F / flops, F / (frames that its cores read)) seconds. To
that comes what the step exchanges over a link of B bytes of payload/s each way and a worker, a message taking L seconds
besides; P is the number of weights, N that of workers:

    all-reduce (ddp)   ring: 2 (N-1)/N gP bytes, g a gradient's (4; bf16: 2), and 2 (N-1) L; hidden behind the backward
                       pass, two thirds of c
    PowerSGD, rank r   three ring all-reduces, one after the other: vectors, P and Q; of M matrices n x 4n, as LSTMs
                       have, with a bias each, n = sqrt(P / 4M): 4 M n (4 + 4r + r) bytes; not hidden
    gtc                ring all-gather: (N-1) messages of 9/8 d P b/8 bytes (density d, b bits a word, an eighth of
                       padding) and (N-1) L; and the hook's own work: P / encode rate + d P / code rate
                       + N d P / decode rate; not hidden
    bmuf               a ring all-reduce of 4P bytes each `sync_every` steps; post-local SGD is the same
    gtc+bmuf           gtc within a group over the group's link; bmuf across the groups over the slow one

B is PAYLOAD of the link's rate: what is left of an Ethernet frame of 1,514 bytes without headers. L was fitted where
real gloo processes exchanged a step of the student of 24 M weights over links of 1 Gbit/s, 2 and 4 hosts, and is
GLOO_MESSAGE_S; with it the model is within 13 % of all that was measured at 100 Mbit/s (benchmarks/network.csv and
fit.py; a unit test checks it). At 1 Gbit/s GTC's messages of 43 KB were 7 ms (4 hosts) and 0.6 ms (2) where it says 3
and 1: there it is two cores' attention that four processes wait for.

Speed-up is N c / (time of a step): samples a second against one worker, at the same samples. What exchanging less often
or less exactly costs in accuracy is not in it, and neither are CPU stages (GMM, alignment, lattices, decoding). Links
are taken as not shared; a switch that is will be slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FRAMES_PER_HOUR = 3600 * 1000 // 30
PAYLOAD = 1448 / 1514
GLOO_MESSAGE_S = 6.6e-4
"""Of gloo between hosts that share two cores; others are as fast as their processors and networks."""
_PADDING = 9 / 8


@dataclass(frozen=True)
class Costs:
    """Unit costs of one GPU, its cores, disk and links. What is measured where is said in `ASSUMPTIONS`."""

    flops: float = 53e12
    label_flops: float = 127e12
    cores: int = 16
    feed_rate: float = 15e3
    encode_rate: float = 165e9
    code_rate: float = 376e6
    decode_rate: float = 425e6
    density: float = 1e-3
    bits_per_word: float = 12.9
    bytes_per_frame: float = 50.0
    audio_bytes_per_hour: float = 60e6
    link_bytes_s: float = 1.25e9
    delay_s: float = 5e-5
    group_link_bytes_s: float = 100e9
    group_delay_s: float = 1e-5
    gpu_hour: float = 2.0


ASSUMPTIONS: Mapping[str, str] = {
    "flops": "operations/s of a GPU in LSTM training: measured, H100, 5 x 768, bfloat16, 64 rows of 32 frames; --flops",
    "label_flops": "the same of a bidirectional network's forward pass, 64 rows of 400 frames: measured",
    "cores": "of the processor, for each GPU: assumed; --cores",
    "feed_rate": "30 ms frames/s that a core reads as FLAC and makes features of: measured, AMD Zen 4, no augmentation",
    "encode_rate": "weights/s of GTC's encoder: measured, H100",
    "code_rate": "words/s of compressing GTC's messages: measured, one core",
    "decode_rate": "words/s of decompressing them, on one core, and adding them, on a H100: measured apart",
    "density": "share of weights that GTC sends: [train.dist.gtc] density",
    "bits_per_word": "of GTC's messages without padding: measured, on gradients of rows and columns of unlike scales",
    "bytes_per_frame": "of a stored posterior, top 20, packed: exact; the store's code made 29 of it for AN4's teacher",
    "audio_bytes_per_hour": "16 kHz, 16 bits, FLAC at about half: assumed",
    "link_bytes_s": "a worker's network link, of which 96 % are payload: --link-gbps",
    "delay_s": "of a message on it: assumed; gloo between hosts that shared two cores took 6.6e-4, fitted; --delay-us",
    "group_link_bytes_s": "between GPUs of a machine: assumed",
    "group_delay_s": "of a message there: assumed",
    "gpu_hour": "price, in the currency you pay in: --gpu-hour",
}


@dataclass(frozen=True)
class Work:
    """What is trained, and how. parameters by network; hours; passes over the data; frames of a step and worker.

    gradient_bytes: of a weight, for ddp. matrices, rank: for PowerSGD.
    """

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
    gradient_bytes: int = 4
    matrices: int = 11
    rank: int = 2


def ring_all_reduce_s(size: float, workers: int, link: float, delay: float) -> float:
    """Seconds of an all-reduce of `size` bytes."""
    return 2 * (workers - 1) * (size / workers / link + delay)


def ring_all_gather_s(size: float, workers: int, link: float, delay: float) -> float:
    """Seconds of an all-gather to which everyone brings `size` bytes."""
    return (workers - 1) * (size / link + delay)


def exchange_s(method: str, workers: int, parameters: float, work: Work, costs: Costs) -> float:
    """Seconds of what a step exchanges, in the mean over many: messages alone."""
    return _EXCHANGES[method](workers, parameters, work, costs) if workers > 1 else 0.0


def step_s(method: str, workers: int, parameters: float, compute_s: float, work: Work, costs: Costs) -> float:
    """Seconds of a step of "ddp", "powersgd", "gtc", "bmuf" or "gtc+bmuf", in the mean over many."""
    if workers == 1:
        return compute_s
    exchange = exchange_s(method, workers, parameters, work, costs)
    if method == "ddp":
        exchange = max(0.0, exchange - compute_s * 2 / 3)
    if method.startswith("gtc"):
        exchange += _gtc_work_s(workers if method == "gtc" else min(work.group, workers), parameters, costs)
    return compute_s + exchange


def bytes_sent(method: str, workers: int, parameters: float, work: Work, costs: Costs) -> float:
    """By a worker in a step, over the network's links, headers included; in the mean over many."""
    reduced = 2 * (workers - 1) / workers
    groups = max(1, workers // work.group)
    payload = {
        "ddp": reduced * work.gradient_bytes * parameters,
        "powersgd": reduced * sum(_power_sgd_bytes(parameters, work)),
        "gtc": (workers - 1) * _message_bytes(parameters, costs),
        "bmuf": reduced * 4 * parameters / work.sync_every,
        "gtc+bmuf": 2 * (groups - 1) / groups * 4 * parameters / work.sync_every,
    }[method]
    return payload / PAYLOAD


def speed_up(method: str, workers: int, parameters: float, work: Work, costs: Costs) -> float:
    """Samples a second of so many workers against one."""
    compute_s = step_compute_s(parameters, work, costs)
    return workers * compute_s / step_s(method, workers, parameters, compute_s, work, costs)


def step_compute_s(parameters: float, work: Work, costs: Costs) -> float:
    """Of a step of one worker: 6 operations a weight and frame, or reading the frames, whichever takes longer."""
    return max(6 * parameters * work.step_frames / costs.flops, work.step_frames / (costs.feed_rate * costs.cores))


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
    label_s = total / gpus * max(2 * work.teacher / costs.label_flops, 1 / (costs.feed_rate * costs.cores))
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


def _message_bytes(parameters: float, costs: Costs) -> float:
    return _PADDING * costs.density * parameters * costs.bits_per_word / 8


def _power_sgd_bytes(parameters: float, work: Work) -> tuple[float, float, float]:
    """Of vectors, P and Q."""
    columns = 4 * work.matrices * math.sqrt(parameters / (4 * work.matrices))
    return 4 * columns, 4 * work.rank * columns, work.rank * columns


def _gtc_work_s(workers: int, parameters: float, costs: Costs) -> float:
    words = costs.density * parameters
    return parameters / costs.encode_rate + words / costs.code_rate + workers * words / costs.decode_rate


def _reduce_s(size: float, workers: int, costs: Costs) -> float:
    return ring_all_reduce_s(size, workers, PAYLOAD * costs.link_bytes_s, costs.delay_s)


def _ddp(workers: int, parameters: float, work: Work, costs: Costs) -> float:
    return _reduce_s(work.gradient_bytes * parameters, workers, costs)


def _powersgd(workers: int, parameters: float, work: Work, costs: Costs) -> float:
    return sum(_reduce_s(size, workers, costs) for size in _power_sgd_bytes(parameters, work))


def _gtc(workers: int, parameters: float, work: Work, costs: Costs) -> float:
    message = _message_bytes(parameters, costs)
    return ring_all_gather_s(message, workers, PAYLOAD * costs.link_bytes_s, costs.delay_s)


def _bmuf(workers: int, parameters: float, work: Work, costs: Costs) -> float:
    return _reduce_s(4 * parameters, workers, costs) / work.sync_every


def _two_tiers(workers: int, parameters: float, work: Work, costs: Costs) -> float:
    group, message = min(work.group, workers), _message_bytes(parameters, costs)
    inner = ring_all_gather_s(message, group, costs.group_link_bytes_s, costs.group_delay_s)
    return inner + _bmuf(workers // group, parameters, work, costs)


_EXCHANGES: Mapping[str, Callable[[int, float, Work, Costs], float]] = {
    "ddp": _ddp,
    "powersgd": _powersgd,
    "gtc": _gtc,
    "bmuf": _bmuf,
    "gtc+bmuf": _two_tiers,
}
METHODS = tuple(_EXCHANGES)
