"""The native LSTM in torch.nn.LSTM's place: same weights, calls and results."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from pyasr.base.errors import ConfigError
from pyasr.nn import LSTM
from pyasr.nn.lstm import CPU_HAS_BF16

KINDS = [(1, False), (2, True), (3, False)]


def both(layers=2, bidirectional=True, seed=0, **options):
    torch.manual_seed(seed)
    ours = LSTM(5, 12, layers, bidirectional, backend="native", **options)
    theirs = torch.nn.LSTM(5, 12, layers, batch_first=True, bidirectional=bidirectional)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_same(ours, theirs):
    """Results of any nesting."""
    if isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=3e-6)
    elif ours is not None:
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            assert_same(a, b)


def loss(results):
    output, (h, c) = results
    return (output.data if isinstance(output, PackedSequence) else output).square().sum() + h.sum() + c.square().sum()


def assert_same_calls(ours, theirs, *arguments):
    results, expected = ours(*arguments), theirs(*arguments)
    assert type(results[0]) is type(expected[0])
    assert_same(results, expected)
    loss(results).backward()
    loss(expected).backward()
    for name, parameter in ours.named_parameters():
        assert_same(parameter.grad, dict(theirs.named_parameters())[name].grad)


@pytest.mark.parametrize("layers, bidirectional", KINDS)
def test_calls_are_torchs(layers, bidirectional):
    ours, theirs = both(layers, bidirectional)
    frames = torch.randn(3, 7, 5)
    state = tuple(torch.randn(layers * (1 + bidirectional), 3, 12) for _ in range(2))
    assert_same_calls(ours, theirs, frames)
    assert_same_calls(ours, theirs, frames, state)
    assert_same_calls(ours, theirs, frames[0])
    assert_same_calls(ours, theirs, frames[0], tuple(s[:, 0] for s in state))
    assert_same_calls(ours, theirs, frames.transpose(0, 1).contiguous().transpose(0, 1))


@pytest.mark.parametrize("layers, bidirectional", KINDS)
def test_packed_sequences_are_torchs(layers, bidirectional):
    ours, theirs = both(layers, bidirectional)
    sequences = [torch.randn(t, 5) for t in (3, 7, 1, 7)]
    state = tuple(torch.randn(layers * (1 + bidirectional), 4, 12) for _ in range(2))
    packed = pack_sequence(sequences, enforce_sorted=False)
    assert_same_calls(ours, theirs, packed)
    assert_same_calls(ours, theirs, packed, state)
    assert_same_calls(ours, theirs, pack_sequence(sorted(sequences, key=len, reverse=True)))


@pytest.mark.parametrize("layers, bidirectional", KINDS)
def test_padded_is_packing(layers, bidirectional):
    ours, theirs = both(layers, bidirectional)
    lengths = torch.tensor([4, 9, 1])
    frames = torch.randn(3, 9, 5)
    frames[0, 4:] = torch.nan
    frames.requires_grad_()
    output = ours.padded(frames, lengths)
    output.square().sum().backward()
    gradient, frames.grad = frames.grad, None
    packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    expected.square().sum().backward()
    assert_same(output, expected)
    assert_same(gradient, frames.grad)
    for name, parameter in ours.named_parameters():
        assert_same(parameter.grad, dict(theirs.named_parameters())[name].grad)


def test_gradients_of_input_and_state_are_torchs():
    ours, theirs = both()
    grads = []
    for lstm in (ours, theirs):
        torch.manual_seed(1)
        inputs = [torch.randn(*shape, requires_grad=True) for shape in ((2, 4, 5), (4, 2, 12), (4, 2, 12))]
        loss(lstm(inputs[0], tuple(inputs[1:]))).backward()
        grads.append([x.grad for x in inputs])
    assert_same(*grads)


def test_frozen_weights_and_outputs_that_nobody_uses():
    ours, theirs = both()
    for lstm in (ours, theirs):
        lstm.weight_hh_l0.requires_grad_(False)
        lstm.bias_ih_l1.requires_grad_(False)
        lstm(torch.ones(2, 4, 5))[1][1].sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert_same(a.grad, b.grad)
    with torch.no_grad():
        assert not ours(torch.ones(2, 4, 5))[0].requires_grad


def test_dropout_is_between_layers_and_follows_the_seed():
    ours, theirs = both(dropout=0.5)
    frames, lengths = torch.randn(2, 6, 5), torch.tensor([6, 3])
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(ours.padded(frames, lengths))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    ours.eval()
    assert_same(ours(frames), theirs(frames))


def test_training_step_has_the_same_bits_each_time_and_on_any_number_of_threads():
    number = torch.get_num_threads()
    gradients = []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            ours, _ = both()
            loss(ours(torch.ones(3, 6, 5))).backward()
            gradients.append([p.grad for p in ours.parameters()])
    finally:
        torch.set_num_threads(number)
    for others in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], others))


def test_which_backend():
    frames = torch.randn(2, 4, 5)
    ours, theirs = both()
    for lstm, frames_ in ((ours.double(), frames.double()), (ours.float(), frames.double())):
        with pytest.raises(TypeError, match="native LSTM is for float32"):
            lstm(frames_)
    auto = LSTM(5, 12, 2, True)
    auto.load_state_dict(theirs.state_dict())
    assert torch.equal(auto(frames)[0], ours(frames)[0])
    assert_same(auto.double()(frames.double()), theirs.double()(frames.double()))
    with pytest.raises(ConfigError, match="cudnn"):
        LSTM(5, 12, 1, backend="cudnn")


@pytest.mark.skipif(not CPU_HAS_BF16, reason="this processor has no bf16 instructions")
@pytest.mark.parametrize("layers, bidirectional", KINDS)
def test_under_autocast_errors_are_at_most_twice_torchs(layers, bidirectional):
    torch.manual_seed(3)
    ours = LSTM(24, 33, layers, bidirectional, backend="native")
    theirs, exact = (torch.nn.LSTM(24, 33, layers, batch_first=True, bidirectional=bidirectional) for _ in range(2))
    frames = torch.randn(4, 40, 24)
    weight = torch.randn(4, 40, 33 * (1 + bidirectional))
    values = []
    for lstm, bf16 in ((ours, True), (theirs, True), (exact.double(), False)):
        lstm.load_state_dict(ours.state_dict())
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = lstm(frames.to(next(lstm.parameters()).dtype))[0]
        (output.double() * weight).sum().backward()
        values.append([output.detach().double(), *(parameter.grad.double() for parameter in lstm.parameters())])
    for our, their, truth in zip(*values):
        assert (our - truth).norm() <= 2 * (their - truth).norm()
    assert (values[0][0] - values[2][0]).abs().max() > 1e-5  # bf16 was at work


def test_without_bf16_instructions_autocast_changes_nothing(monkeypatch):
    monkeypatch.setattr("pyasr.nn.lstm.CPU_HAS_BF16", False)
    ours, _ = both()
    frames = torch.randn(2, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ours(frames)[0]
    assert torch.equal(inside, ours(frames)[0])


def test_where_autocast_does_not_work_what_it_has_rounded_is_taken(monkeypatch):
    monkeypatch.setattr("pyasr.nn.lstm.CPU_HAS_BF16", False)
    lstm = LSTM(5, 12, 2, True, backend="torch")
    frames, lengths, state = torch.randn(2, 4, 5).bfloat16(), torch.tensor([4, 2]), torch.randn(2, 4, 2, 12).bfloat16()
    packed = torch.nn.utils.rnn.pack_padded_sequence(frames, lengths, batch_first=True)

    def results(of):
        return [lstm(of(frames), tuple(of(state)))[0], lstm.padded(of(frames), lengths)[0], lstm(of(packed))[0].data]

    with torch.autocast("cpu", torch.bfloat16):
        found = results(lambda x: x)
    for a, b in zip(found, results(lambda x: x.to(torch.float32))):
        assert torch.equal(a, b)


def test_autocast_to_float16_is_left_to_torch():
    ours, _ = both()
    with torch.autocast("cpu", torch.float16), pytest.raises(TypeError, match=r"under autocast to torch\.float16"):
        ours(torch.randn(2, 4, 5))


def test_bad_calls_fail_as_torchs_do():
    ours, theirs = both()
    calls = [
        (torch.randn(2, 4, 6),),
        (torch.randn(2, 3, 4, 5),),
        (torch.randn(2, 4, 5), (torch.randn(4, 3, 12), torch.randn(4, 3, 12))),
        (torch.randn(4, 5), (torch.randn(4, 2, 12), torch.randn(4, 2, 12))),
    ]
    for call in calls:
        for lstm in (ours, theirs):
            with pytest.raises((RuntimeError, ValueError)):
                lstm(*call)


def test_auto_leaves_large_batches_without_a_gradient_to_torch():
    torch.manual_seed(0)
    ours, theirs = LSTM(5, 12, 2), torch.nn.LSTM(5, 12, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    few, many = torch.randn(2, 7, 5), torch.randn(8, 7, 5)
    with torch.no_grad():
        assert torch.equal(ours(many)[0], theirs(many)[0])
        assert not torch.equal(ours(few)[0], theirs(few)[0])  # the same but for the last bits
        assert_same(ours(few), theirs(few))
    assert not torch.equal(ours(many)[0], theirs(many)[0])
    assert_same_calls(ours, theirs, many)


@pytest.mark.parametrize("whole", [True, False])
def test_compiled(whole):
    """torch.compile steps around LSTMs, whoever wrote them, unless it is told not to."""
    ours, _ = both()
    frames = torch.randn(2, 4, 5)
    expected = ours(frames)
    loss(expected).backward()
    gradients = [p.grad.clone() for p in ours.parameters()]
    ours.zero_grad()
    with torch._dynamo.config.patch(allow_rnn=whole):
        results = torch.compile(ours, backend="aot_eager", fullgraph=whole)(frames)
    loss(results).backward()
    assert_same(results, expected)
    assert_same([p.grad for p in ours.parameters()], gradients)
