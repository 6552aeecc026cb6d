"""Blocks of packed rows: the kernel writes the bytes of its twin, gives rows back, and refuses what cannot be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyasr.base.errors import DataError
from pyasr.ops import pack_topk, reference
from pyasr.ops.row_block import decode_rows, encode_rows
from pyasr.ops.topk import packed_row_bytes


def rows_of(num_rows, num_senones, k, seed=0, drift=0.4):
    """Packed rows of logits that wander, so that neighbours share most of their best senones."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(num_rows, num_senones, generator=generator)
    logits = 3 * torch.randn(1, num_senones, generator=generator) + drift * steps.cumsum(0)
    return pack_topk(logits, k).numpy()


SIZES = [(1, 1), (1, 300), (5, 5), (20, 97), (20, 300), (20, 4097), (33, 1025), (64, 65535)]


@pytest.mark.parametrize("k, num_senones", SIZES)
@pytest.mark.parametrize("num_rows", [0, 1, 2, 40])
def test_like_the_twin_and_back(k, num_senones, num_rows):
    packed = rows_of(num_rows, num_senones, k)
    coded = encode_rows(packed, k, num_senones)
    assert coded == reference.encode_rows(packed, k, num_senones)
    for stop in {0, num_rows // 3, num_rows}:
        for decode in (decode_rows, reference.decode_rows):
            out = np.empty((stop, packed.shape[1]), np.uint8)
            decode(coded, num_rows, k, num_senones, out)
            np.testing.assert_array_equal(out, packed[:stop])


def test_ids_that_fall_off_the_list_and_come_back():
    """600 rows whose ids walk over 400 senones in a circle: the list of 128 forgets each before it returns."""
    logits = torch.zeros(600, 400)
    for row in range(600):
        logits[row, (torch.arange(20) + 7 * row) % 400] = torch.arange(20, 0, -1.0)
    packed = pack_topk(logits, 20).numpy()
    coded = encode_rows(packed, 20, 400)
    assert coded == reference.encode_rows(packed, 20, 400) and len(coded) > 2 * 600 * 20 + 2 * 600 * 6
    out = np.empty_like(packed)
    decode_rows(coded, 600, 20, 400, out)
    np.testing.assert_array_equal(out, packed)


def test_neighbours_that_share_ids_cost_little():
    still = np.repeat(rows_of(1, 300, 20), 100, axis=0)
    assert encode_rows(still, 20, 300)[20:2000] == bytes(1980)  # the first row's ids are new, all others come first


def test_rows_that_lie_apart():
    packed = rows_of(30, 300, 20)
    wide = np.concatenate([packed, packed], axis=1)[:, :50]
    assert encode_rows(wide, 20, 300) == encode_rows(packed, 20, 300)
    assert encode_rows(packed[::3], 20, 300) == encode_rows(packed[::3].copy(), 20, 300)


def test_wrong_arguments_are_refused():
    packed = rows_of(3, 300, 20)
    with pytest.raises(ValueError, match="another length"):
        encode_rows(packed, 19, 300)
    with pytest.raises(DataError, match=r"row 0: senone id \d+ of 30"):
        encode_rows(packed, 20, 30)
    coded = encode_rows(packed, 20, 300)
    out = np.empty_like(packed)
    for num_rows, message in ((2, "bytes of new ids|new ids are left"), (300, "300 rows take more"), (-1, "asked for")):
        with pytest.raises(DataError, match=message):
            decode_rows(coded, num_rows, 20, 300, out[: max(0, num_rows)])
    with pytest.raises(DataError, match="3 rows of 2 are asked for"):
        decode_rows(coded, 2, 20, 300, out)
    for short in (coded[:-1], coded[:-2], coded[:100], b""):
        with pytest.raises(DataError):
            decode_rows(short, 3, 20, 300, out)
    out.flags.writeable = False
    with pytest.raises(DataError, match="read-only"):
        decode_rows(coded, 3, 20, 300, out)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_the_bytes_kernel_and_twin_agree(data):
    k, num_senones = data.draw(st.sampled_from([(1, 1), (2, 9), (5, 300), (20, 300), (3, 60000)]))
    num_rows = data.draw(st.integers(0, 8))
    if data.draw(st.booleans()):
        coded = data.draw(st.binary(max_size=4 * k * num_rows + 8))
    else:
        coded = bytearray(encode_rows(rows_of(num_rows, num_senones, k, data.draw(st.integers(0, 9))), k, num_senones))
        for _ in range(data.draw(st.integers(0, 4)) if coded else 0):
            coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.sampled_from([0, 1, 7, 127, 254, 255]))
        coded = bytes(coded)
    stop = data.draw(st.integers(0, num_rows))
    expected, found = (np.zeros((stop, packed_row_bytes(k, num_senones)), np.uint8) for _ in range(2))
    try:
        reference.decode_rows(coded, num_rows, k, num_senones, expected)
    except DataError:
        with pytest.raises(DataError):
            decode_rows(coded, num_rows, k, num_senones, found)
        return
    decode_rows(coded, num_rows, k, num_senones, found)
    np.testing.assert_array_equal(found, expected)

