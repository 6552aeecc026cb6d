"""Losses over frames: to hard targets, and to posteriors of a teacher, the stored k best or all."""

from __future__ import annotations

from typing import Literal

import torch

Tail = Literal["class", "renormalise"]


def hard_cross_entropy(logits: torch.Tensor, senones: torch.Tensor) -> torch.Tensor:
    """- log s(senone), natural log, of each frame. logits (F, S), senones int64 (F,) -> float32 (F,)."""
    return torch.nn.functional.cross_entropy(logits.float(), senones, reduction="none")


def stored_cross_entropy(
    logits: torch.Tensor,
    ids: torch.Tensor,
    logp: torch.Tensor,
    tail: Tail = "class",
    temperature: float = 1.0,
) -> torch.Tensor:
    """Cross-entropy of each frame to a teacher's k best posteriors: float32 (F,).

    logits: (F, S) of the student. ids: int64 (F, k), distinct in a row. logp: float32 (F, k), log-probabilities
    p_1 .. p_k that the teacher normalised over all S; they sum to less than 1. With s = softmax(logits):

        class        - sum_i p_i log s_i - p_0 log s_0   where p_0 = 1 - sum_i p_i and s_0 = 1 - sum_i s_i
                     all that was not kept is one class, for teacher and student alike
        renormalise  - sum_i q_i log r_i                 where q = p / sum_i p_i and r = s / sum_i s_i
                     what was not kept is left out, for teacher and student alike

    Both are proper: they are least where the student's k (+ 1) probabilities are the teacher's. As k goes to
    S both become the dense - sum p log s. temperature T: both sides' distributions over the k (+ 1) are taken
    to the power 1 / T and normalised again (Hinton et al. 2015); the gradient shrinks by about T squared, which
    is for the learning rate to make up.
    """
    logits, logp = logits.float(), logp.float()
    student = logits.gather(1, ids)
    if tail == "class":
        rest = logits.scatter(1, ids, -torch.inf)
        if ids.shape[1] < logits.shape[1]:
            student = torch.cat([student, rest.logsumexp(dim=1, keepdim=True)], dim=1)
            tail_p = (-torch.expm1(logp.logsumexp(dim=1, keepdim=True))).clamp_min(_MIN_TAIL)
            logp = torch.cat([logp, tail_p.log()], dim=1)
    elif tail != "renormalise":
        raise ValueError(f"tail {tail!r}: 'class' or 'renormalise'")
    # Scores of a student need no normaliser of their own: log_softmax over the k (+ 1) gives it.
    target = torch.softmax(logp / temperature, dim=1)
    return -(target * torch.log_softmax(student / temperature, dim=1)).sum(dim=1)


def dense_cross_entropy(logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """- sum p log s of each frame over all senones: float32 (F,). Both logits: (F, S), divided by the temperature.

    What `stored_cross_entropy` becomes as k goes to S.
    """
    target = torch.softmax(teacher_logits.float() / temperature, dim=1)
    return -(target * torch.log_softmax(logits.float() / temperature, dim=1)).sum(dim=1)


_MIN_TAIL = 1e-7  # a rounded sum may reach 1
