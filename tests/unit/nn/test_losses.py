import pytest
import torch

from pyasr.nn.losses import hard_cross_entropy, stored_cross_entropy

F, S = 7, 13


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(F, S, requires_grad=True)


def teacher(k, spread=2.0):
    """ids and log-probabilities of the k best of a teacher, and its whole distribution."""
    torch.manual_seed(1)
    logp = torch.log_softmax(torch.randn(F, S) * spread, dim=1)
    best = logp.topk(k, dim=1)
    return best.indices, best.values, logp


def test_hard_targets(logits):
    senones = torch.arange(F)
    expected = -torch.log_softmax(logits, dim=1)[torch.arange(F), senones]
    torch.testing.assert_close(hard_cross_entropy(logits, senones), expected)


@pytest.mark.parametrize("tail", ["class", "renormalise"])
def test_all_kept_is_the_dense_loss(logits, tail):
    ids, logp, dense = teacher(S)
    expected = -(dense.exp() * torch.log_softmax(logits, dim=1)).sum(dim=1)
    torch.testing.assert_close(stored_cross_entropy(logits, ids, logp, tail), expected)


@pytest.mark.parametrize("tail", ["class", "renormalise"])
def test_the_dense_loss_is_approached(logits, tail):
    """The more is kept, the nearer the gradient is to that of the dense loss."""
    _, _, dense = teacher(S)
    (exact,) = torch.autograd.grad(-(dense.exp() * torch.log_softmax(logits, dim=1)).sum(), logits)
    distances = []
    for k in (3, 8, 12, 13):
        ids, logp, _ = teacher(k)
        (found,) = torch.autograd.grad(stored_cross_entropy(logits, ids, logp, tail).sum(), logits)
        distances.append(float((found - exact).norm()))
    assert distances == sorted(distances, reverse=True) and distances[-1] < 1e-5


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_formula_with_the_tail_as_a_class(logits, temperature):
    ids, logp, _ = teacher(4)
    s, p = torch.softmax(logits, dim=1).gather(1, ids), logp.exp()
    s, p = (torch.cat([x, 1 - x.sum(1, keepdim=True)], dim=1) ** (1 / temperature) for x in (s, p))
    s, p = s / s.sum(1, keepdim=True), p / p.sum(1, keepdim=True)
    found = stored_cross_entropy(logits, ids, logp, "class", temperature)
    torch.testing.assert_close(found, -(p * s.log()).sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_formula_with_the_tail_left_out(logits, temperature):
    ids, logp, _ = teacher(4)
    q = torch.softmax(logp / temperature, dim=1)
    r = torch.softmax(logits.gather(1, ids) / temperature, dim=1)
    found = stored_cross_entropy(logits, ids, logp, "renormalise", temperature)
    torch.testing.assert_close(found, -(q * r.log()).sum(1))


@pytest.mark.parametrize("tail", ["class", "renormalise"])
def test_it_is_least_where_the_student_is_the_teacher(tail):
    ids, logp, dense = teacher(4)
    student = dense.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stored_cross_entropy(student, ids, logp, tail).sum(), student)
    assert gradient.abs().max() < 1e-6


def test_a_sum_rounded_up_to_one_is_no_trouble(logits):
    ids, logp, _ = teacher(4)
    found = stored_cross_entropy(logits, ids, torch.log_softmax(logp, dim=1) + 1e-7)
    assert torch.isfinite(found).all()


def test_gradients_along_random_directions():
    torch.manual_seed(3)
    ids, logp, _ = teacher(5)
    logits, direction = torch.randn(F, S), torch.randn(F, S)
    for tail in ("class", "renormalise"):
        x = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(stored_cross_entropy(x, ids, logp, tail, 1.5).sum(), x)
        step = 1e-2
        difference = sum(
            sign * float(stored_cross_entropy(logits + sign * step * direction, ids, logp, tail, 1.5).double().sum())
            for sign in (1, -1)
        ) / (2 * step)
        assert difference == pytest.approx(float((gradient * direction).sum()), rel=2e-3)


def test_another_word_for_the_tail(logits):
    ids, logp, _ = teacher(4)
    with pytest.raises(ValueError, match="tail 'drop'"):
        stored_cross_entropy(logits, ids, logp, "drop")
