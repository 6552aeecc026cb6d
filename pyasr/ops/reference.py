"""Slow, obvious twins of the kernels: the same signatures and results, written to be read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from pyasr.base.errors import DataError
from pyasr.ops.gtc import NonFiniteError
from pyasr.ops.lattice import Lattice, LatticePosteriors
from pyasr.ops.streaming import LayerWeights, LinearWeights
from pyasr.ops.topk import packed_row_bytes
from pyasr.ops.viterbi import AlignmentGraph, ViterbiResult


def viterbi_align(
    graphs: Sequence[AlignmentGraph],
    loglikes: Sequence[np.ndarray],
    tid_to_pdf: np.ndarray,
    acoustic_scale: float = 1.0,
    beam: float = math.inf,
    num_threads: int = 1,
) -> list[ViterbiResult]:
    """Twin of `pyasr.ops.viterbi.viterbi_align`; num_threads is ignored."""
    return [
        _align_one(graph, matrix, tid_to_pdf[graph.arc_tid], acoustic_scale, beam)
        for graph, matrix in zip(graphs, loglikes, strict=True)
    ]


def _align_one(
    graph: AlignmentGraph, loglikes: np.ndarray, columns: np.ndarray, acoustic_scale: float, beam: float
) -> ViterbiResult:
    num_states, num_frames = len(graph.final_cost), len(loglikes)
    cost = [math.inf] * num_states
    cost[0] = 0.0
    back: list[list[tuple[int, int]]] = []  # per frame and state: (source state, arc)
    for t in range(num_frames):
        limit = min(cost) + beam
        new_cost, entered_by = [math.inf] * num_states, [(-1, -1)] * num_states
        for state in range(num_states):
            if cost[state] == math.inf or cost[state] > limit:
                continue
            for arc in range(graph.arc_begin[state], graph.arc_begin[state + 1]):
                loglike = float(loglikes[t, columns[arc]])
                if math.isnan(loglike) or loglike == math.inf:
                    raise ValueError(f"log-likelihood of frame {t}, column {columns[arc]} is {loglike}")
                total = cost[state] + float(graph.arc_cost[arc]) - acoustic_scale * loglike
                if total < new_cost[graph.arc_dst[arc]]:
                    new_cost[graph.arc_dst[arc]] = total
                    entered_by[graph.arc_dst[arc]] = (state, arc)
        cost = new_cost
        back.append(entered_by)
    limit = min(cost) + beam
    totals = [c + float(f) if c <= limit else math.inf for c, f in zip(cost, graph.final_cost)]
    best = min(range(num_states), key=totals.__getitem__)
    if totals[best] == math.inf:
        return ViterbiResult(np.empty(0, np.int32), math.inf, False)
    arcs, state = [], best
    for entered_by in reversed(back):
        state, arc = entered_by[state]
        arcs.append(arc)
    return ViterbiResult(np.array(arcs[::-1], np.int32), totals[best], True)


def accumulate_stats(
    features: np.ndarray,
    keys: np.ndarray,
    num_keys: int,
    weights: np.ndarray | None = None,
    num_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twin of `pyasr.ops.stats.accumulate_stats`; num_threads is ignored."""
    count = np.zeros(num_keys)
    total, squares = np.zeros((num_keys, features.shape[1])), np.zeros((num_keys, features.shape[1]))
    for t, key in enumerate(keys):
        if not -1 <= key < num_keys:
            raise ValueError(f"key of frame {t} is {key}, outside [-1, {num_keys})")
        if key < 0:
            continue
        weight = 1.0 if weights is None else float(weights[t])
        frame = features[t].astype(np.float64)
        if not (math.isfinite(weight) and np.isfinite(frame).all()):
            raise ValueError(f"frame {t} or its weight is not finite")
        count[key] += weight
        total[key] += weight * frame
        squares[key] += weight * frame**2
    return count, total, squares


def pack_topk(logits: torch.Tensor, k: int = 20, num_threads: int | None = None) -> torch.Tensor:
    """Twin of `pyasr.ops.topk.pack_topk` in float64; num_threads is ignored."""
    num_rows, num_senones = logits.shape
    packed = np.zeros((num_rows, packed_row_bytes(k, num_senones)), np.uint8)
    for row, x in enumerate(logits.double().numpy()):
        if not (x < math.inf).all() or (x == -math.inf).all():
            raise ValueError(f"row {row}: logits that are NaN or +inf, or all -inf")
        packed[row] = _pack_row(x, k)
    return torch.from_numpy(packed)


def _pack_row(x: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-x, kind="stable")  # of equal logits the lower id comes first
    p = np.exp(x - x.max())
    tail_byte = topk_tail_byte(p[order[k:]].sum() / p.sum())
    bits = _id_bits(len(x))
    ids = sum(int(senone) << (bits * i) for i, senone in enumerate(order[:k]))
    gap_bytes, carry = [], 0.0
    for left, right in zip(order[: k - 1], order[1:k]):
        gap = (x[left] - x[right] if x[right] < x[left] else 0.0) + carry
        code = min(range(256), key=lambda d: abs(gap - TOPK_GAPS[d])) if gap < TOPK_GAPS[-1] else 255
        carry = gap - TOPK_GAPS[code] if code < 255 else 0.0
        gap_bytes.append(code)
    return np.frombuffer(ids.to_bytes((k * bits + 7) // 8, "little") + bytes([tail_byte, *gap_bytes]), np.uint8)


def topk_tail_byte(tail: float) -> int:
    """The code of a tail's mass: sqrt(t) / (sqrt(t) + sqrt(1 - t)) in 256 even steps."""
    a, b = math.sqrt(tail), math.sqrt(1 - tail)
    return min(255, math.floor(256 * a / (a + b)))


def unpack_topk(
    packed: torch.Tensor, k: int, num_senones: int, num_threads: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Twin of `pyasr.ops.topk.unpack_topk`; num_threads is ignored."""
    bits = _id_bits(num_senones)
    ids, logp = np.zeros((len(packed), k), np.int32), np.zeros((len(packed), k), np.float32)
    for row, data in enumerate(packed.numpy()):
        number = int.from_bytes(data[:-k].tobytes(), "little")
        ids[row] = _packed_ids(data, k, num_senones)
        if number >> (bits * k) or ids[row].max() >= num_senones or len(set(ids[row])) < k:
            raise DataError(f"row {row}: ids that cannot be")
        tail_byte, *gap_bytes = (int(byte) for byte in data[-k:])
        v = 2 * tail_byte + 1
        tail = v**2 / (v**2 + (512 - v) ** 2)
        gaps = np.cumsum([0.0] + [TOPK_GAPS[code] for code in gap_bytes])
        logp[row] = math.log1p(-tail) - math.log(math.fsum(np.exp(-gaps))) - gaps
    return torch.from_numpy(ids), torch.from_numpy(logp)


def summarise_topk(packed: torch.Tensor, k: int, num_senones: int) -> tuple[float, float, float]:
    """Twin of `pyasr.ops.topk.summarise_topk`."""
    p = unpack_topk(packed, k, num_senones)[1].double().exp()
    tail = 1 - p.sum(1, keepdim=True)
    classes = torch.cat([p, tail], dim=1)
    rows = torch.stack([p[:, 0], -(classes * classes.log()).sum(1), 1 - tail[:, 0]])
    return tuple((rows.sum(1) / max(1, len(packed))).tolist())


def encode_rows(packed: np.ndarray, k: int, num_senones: int) -> bytes:
    """Twin of `pyasr.ops.row_block.encode_rows`."""
    places, values, new_ids = bytearray(), bytearray(), []
    recent: list[int] = []
    for row, data in enumerate(packed):
        for i, senone in enumerate(_packed_ids(data, k, num_senones)):
            if senone >= num_senones:
                raise DataError(f"row {row}: senone id {senone} of {num_senones}")
            if senone in recent[i:]:
                found = recent.index(senone, i)
                places.append(found - i)
                del recent[found]
            else:
                places.append(255)
                new_ids.append(senone)
            recent.insert(i, senone)
            del recent[128:]
        values += data[-k:].tobytes()
    return bytes(places + values) + bytes(i % 256 for i in new_ids) + bytes(i // 256 for i in new_ids)


def decode_rows(coded: bytes, num_rows: int, k: int, num_senones: int, out: np.ndarray) -> None:
    """Twin of `pyasr.ops.row_block.decode_rows`."""
    cells = num_rows * k
    places, values, rest = coded[:cells], coded[cells : 2 * cells], coded[2 * cells :]
    num_new = len(rest) // 2
    if len(values) < cells or len(rest) % 2 or num_new > cells or len(out) > num_rows:
        raise DataError(f"{len(coded)} bytes for {num_rows} rows")
    new_ids = iter([low + 256 * high for low, high in zip(rest[:num_new], rest[num_new:])])
    recent: list[int] = []
    bits = _id_bits(num_senones)
    for row in range(len(out)):
        for i, place in enumerate(places[row * k : (row + 1) * k]):
            if place != 255 and i + place >= len(recent):
                raise DataError(f"row {row}: place {i + place} in a list of {len(recent)}")
            senone = next(new_ids, num_senones) if place == 255 else recent.pop(i + place)
            if senone >= num_senones:
                raise DataError(f"row {row}: an id that cannot be, or none left")
            recent.insert(i, senone)
            del recent[128:]
        ids = sum(senone << (bits * i) for i, senone in enumerate(recent[:k]))
        out[row, :-k] = np.frombuffer(ids.to_bytes((k * bits + 7) // 8, "little"), np.uint8)
        out[row, -k:] = np.frombuffer(values[row * k : (row + 1) * k], np.uint8)
    if len(out) == num_rows and next(new_ids, None) is not None:
        raise DataError("new ids are left over")


def _packed_ids(row: np.ndarray, k: int, num_senones: int) -> list[int]:
    number, bits = int.from_bytes(row[:-k].tobytes(), "little"), _id_bits(num_senones)
    return [(number >> (bits * i)) % 2**bits for i in range(k)]


TOPK_GAPS = [-4 * math.log((256 - d) / 256) for d in range(256)]


def _id_bits(num_senones: int) -> int:
    return max(12, (num_senones - 1).bit_length())


def gtc_encode(
    grad: torch.Tensor,
    residual: torch.Tensor,
    tau: float,
    out: torch.Tensor | None = None,
    num_threads: int | None = None,
) -> tuple[torch.Tensor, int]:
    """Twin of `pyasr.ops.gtc.gtc_encode`; num_threads is ignored."""
    kept, tau = residual.numpy(), np.float32(tau)
    with np.errstate(over="ignore", invalid="ignore"):
        total = kept + grad.numpy()
    finite = np.isfinite(total)
    kept[finite] = total[finite]
    if not finite.all():
        raise NonFiniteError(f"element {np.flatnonzero(~finite)[0]}")
    sent = np.flatnonzero(np.abs(total) > tau)
    if out is not None and len(sent) > len(out):
        raise ValueError(f"out has room for {len(out)} words, {len(sent)} are needed")
    kept[sent] -= np.copysign(tau, total[sent])
    words = torch.from_numpy((sent << 1 | (total[sent] > 0)).astype(np.int32))
    if out is not None:
        words = out[: len(words)].copy_(words)
    return words, len(words)


def gtc_decode_add(
    words: torch.Tensor | Sequence[torch.Tensor],
    tau: float,
    out: torch.Tensor,
    count: int | Sequence[int] | None = None,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> None:
    """Twin of `pyasr.ops.gtc.gtc_decode_add`; num_threads is ignored."""
    messages, counts = ([words], [count]) if isinstance(words, torch.Tensor) else (words, count or [None] * len(words))
    messages = [message.tolist()[:size] for message, size in zip(messages, counts, strict=True)]
    for message in messages:
        _check_gtc_words(message, len(out))
    step = np.float32(float(np.float32(tau)) * scale)
    for message in messages:
        for word in message:
            out.numpy()[word >> 1] += step if word & 1 else -step


def gtc_compress(words: torch.Tensor, n: int) -> torch.Tensor:
    """Twin of `pyasr.ops.gtc.gtc_compress`."""
    values = words.tolist()
    _check_gtc_words(values, n)
    k = _rice_parameter(n, len(values))
    low, quotients, before = "", "", -1
    for word in values:
        gap, before = (word >> 1) - before - 1, word >> 1
        low += _bits(gap % 2**k * 2 + word % 2, k + 1)
        quotients += "0" * (gap >> k) + "1"
    header = n.to_bytes(4, "little") + len(values).to_bytes(4, "little") + bytes([k])
    return torch.from_numpy(np.frombuffer(header + _bytes(low) + _bytes(quotients), np.uint8).copy())


def gtc_decompress(data: torch.Tensor) -> torch.Tensor:
    """Twin of `pyasr.ops.gtc.gtc_decompress`: reads what may be a message, and compares it with what would be."""
    raw = data.numpy().tobytes()
    n, count, k = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:8], "little"), raw[8] if len(raw) > 8 else 99
    low_bytes = (count * (k + 1) + 7) // 8
    if n > 2**30 or k != _rice_parameter(n, count) or len(raw) < 9 + low_bytes:
        raise DataError("sizes that cannot be")
    low = "".join(_bits(byte, 8) for byte in raw[9 : 9 + low_bytes])
    *quotients, rest = "".join(_bits(byte, 8) for byte in raw[9 + low_bytes :]).split("1")
    if len(quotients) != count or len(rest) > 7:
        raise DataError("quotients that cannot be")
    words, before = [], -1
    for i, quotient in enumerate(quotients):
        field = int(low[i * (k + 1) : (i + 1) * (k + 1)][::-1], 2)
        before += 1 + (len(quotient) << k) + (field >> 1)
        words.append(before << 1 | field & 1)
    _check_gtc_words(words, n)
    result = torch.tensor(words, dtype=torch.int32)
    if gtc_compress(result, n).numpy().tobytes() != raw:
        raise DataError("bits that cannot be")
    return result


def _check_gtc_words(words: list[int], n: int) -> None:
    indices = [word >> 1 for word in words]
    if indices != sorted(set(indices)) or not all(0 <= index < n for index in indices):
        raise DataError("indices that do not ascend or are out of range")


def _rice_parameter(n: int, count: int) -> int:
    return next(k for k in range(64) if count == 0 or (count << k) * 10000 >= n * 4812)


def _bits(value: int, width: int) -> str:
    """Lowest bit first."""
    return format(value, f"0{width}b")[::-1] if width else ""


def _bytes(bits: str) -> bytes:
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def lattice_forward_backward(
    lattices: Sequence[Lattice],
    loglikes: Sequence[np.ndarray],
    arc_values: Sequence[np.ndarray],
    acoustic_scale: float,
    num_threads: int = 1,
) -> list[LatticePosteriors]:
    """Twin of `pyasr.ops.lattice.lattice_forward_backward`, from all paths one by one; num_threads is ignored."""
    return [
        _lattice_from_its_paths(lattice, matrix.astype(np.float64), values.astype(np.float64), acoustic_scale)
        for lattice, matrix, values in zip(lattices, loglikes, arc_values, strict=True)
    ]


def _lattice_from_its_paths(
    lattice: Lattice, loglikes: np.ndarray, values: np.ndarray, acoustic_scale: float
) -> LatticePosteriors:
    num_arcs = len(lattice.arc_src)
    takes_frame = lattice.arc_senone >= 0
    arc_scores = -lattice.arc_cost.astype(np.float64)
    times, senones = lattice.arc_time[takes_frame], lattice.arc_senone[takes_frame]
    arc_scores[takes_frame] += acoustic_scale * loglikes[times, senones]
    paths = lattice_paths(lattice)
    ends = [int(lattice.arc_dst[path[-1]]) for path in paths]
    scores = np.array([math.fsum(arc_scores[path]) - float(lattice.final_cost[end]) for path, end in zip(paths, ends)])
    log_total = scores.max() + math.log(math.fsum(np.exp(scores - scores.max())))
    probabilities = np.exp(scores - log_total)
    path_values = np.array([math.fsum(values[path]) for path in paths])
    expected = math.fsum(probabilities * path_values)
    posteriors, arc_gradient = np.zeros(num_arcs), np.zeros(num_arcs)
    for path, probability, value in zip(paths, probabilities, path_values):
        posteriors[path] += probability
        arc_gradient[path] += probability * (value - expected)
    sums: dict[tuple[int, int], float] = {}
    for arc in np.flatnonzero(takes_frame):
        pair = int(lattice.arc_time[arc]), int(lattice.arc_senone[arc])
        sums[pair] = sums.get(pair, 0.0) + arc_gradient[arc]
    frame, senone = np.array(list(sums), np.int32).reshape(-1, 2).T
    return LatticePosteriors(log_total, posteriors, expected, frame, senone, np.array(list(sums.values())))


def lattice_paths(lattice: Lattice) -> list[list[int]]:
    """The arcs of each path from the start to a final state."""
    paths = []

    def extend(state: int, path: list[int]) -> None:
        if lattice.final_cost[state] < math.inf:
            paths.append(path)
        for arc in np.flatnonzero(lattice.arc_src == state):
            extend(int(lattice.arc_dst[arc]), [*path, int(arc)])

    extend(0, [])
    return paths


def lstm_recurrence(
    projected: Sequence[np.ndarray],
    weight_hh: Sequence[np.ndarray],
    h_0: np.ndarray,
    c_0: np.ndarray,
    lengths: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twin of `pyasr.ops.lstm.lstm_recurrence` on arrays, in float64 and forward only."""
    frames, batch, _ = projected[0].shape
    directions, _, units = h_0.shape
    output = np.zeros((frames, batch, directions * units))
    h_n, c_n = h_0.astype(np.float64), c_0.astype(np.float64)
    for d, (gates, weight) in enumerate(zip(projected, weight_hh)):
        for n, length in enumerate(lengths):
            h, c = h_n[d, n], c_n[d, n]
            for t in range(length) if d == 0 else reversed(range(length)):
                i, f, g, o = np.split(gates[t, n].astype(np.float64) + weight.astype(np.float64) @ h, 4)
                c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
                h = _sigmoid(o) * np.tanh(c)
                output[t, n, d * units : (d + 1) * units] = h
            h_n[d, n], c_n[d, n] = h, c
    return output, h_n, c_n


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def streaming_step(
    layers: Sequence[LayerWeights],
    output: LinearWeights | None,
    precision: str,
    x: np.ndarray,
    hidden: np.ndarray,
    cell: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twin of `pyasr.ops.streaming.PackedLSTM.step`: result (N, T, S), new hidden outputs and cells (layers, N, H).

    float64, but for what is defined in float32: the state between frames, and the rounding to bf16 and int8.
    """
    hidden, cell = hidden.copy(), cell.copy()
    y = []
    for t in range(x.shape[1]):
        below = x[:, t]
        for i, layer in enumerate(layers):
            gates = streaming_product(layer.weight_ih, below, precision)
            gates = gates + streaming_product(layer.weight_hh, hidden[i], precision)
            for bias in (layer.bias_ih, layer.bias_hh):
                gates = gates if bias is None else gates + bias.detach().double().numpy()
            into, forget, candidate, out = np.split(gates, 4, axis=1)
            cell[i] = _sigmoid(forget) * cell[i] + _sigmoid(into) * np.tanh(candidate)
            hidden[i] = _sigmoid(out) * np.tanh(cell[i].astype(np.float64))
            below = hidden[i]
        if output is None:
            y.append(below.copy())
            continue
        logits = streaming_product(output.weight, below, precision)
        logits = logits if output.bias is None else logits + output.bias.detach().double().numpy()
        logits -= logits.max(axis=1, keepdims=True)
        y.append((logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32))
    return np.stack(y, axis=1), hidden, cell


def streaming_product(weight: torch.Tensor, x: np.ndarray, precision: str) -> np.ndarray:
    """x (N, K) float32 times the transpose of weight (M, K), in the precision of the weights: float64 (N, M)."""
    if precision == "fp32":
        return x.astype(np.float64) @ weight.detach().double().numpy().T
    if precision == "bf16":
        return x.astype(np.float64) @ weight.detach().bfloat16().double().numpy().T
    w, w_scale = _rounded(weight.detach().numpy())
    x, x_scale = _rounded(x)
    return (x @ w.T) * (x_scale * w_scale.T).astype(np.float64)


def _rounded(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row as integers (int64) of at most 127 in magnitude, and what a 1 stands for: float32 (rows, 1)."""
    levels = np.float32(127)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    largest[largest < 1e-30] = 0
    with np.errstate(divide="ignore"):
        inverse = np.where(largest > 0, levels / largest, np.float32(0))
    return np.rint(rows * inverse).astype(np.int64), largest / levels


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(x / 2)
