"""Losses on less than two whole distributions: a sparse target, and likelihoods of spans; with their slopes.

A sparse target is what a teacher's signal on disk holds of a position, or what an endpoint tells: some entries, their
probabilities, and perhaps the mass of the rest. A span is a stretch of text that both tokenizers end together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SURE = 1e-7
"""A span that is all but certain: nearer to zero its log-likelihood counts as this, without a slope"""


def listed_kl(ids: Tensor, mass: Tensor, tail: Tensor, student: Tensor) -> Tensor:
    """Forward KL to a sparse target: sum m log(m / q) over the listed entries, and the same for the class of the rest.

    `ids`, `mass` (tokens, k), an id of -1 fills a row up; `tail` (tokens,) is the mass on entries that are not listed,
    0 for counts of samples. `student` (tokens, vocab).
    """
    there = ids >= 0
    log_q = student.gather(-1, ids.clamp_min(0)).masked_fill(~there, 0.0)
    mass = mass * there
    listed = student.new_zeros(len(ids), student.shape[-1] + 1, dtype=torch.bool)  # the last one takes the fillers
    listed = listed.scatter(-1, torch.where(there, ids, student.shape[-1]), True)[:, :-1]
    listed = listed & ~listed.all(-1, keepdim=True)  # nothing left: the tail is empty, whatever stands here
    log_rest = student.masked_fill(listed, -math.inf).logsumexp(-1)
    value = (torch.xlogy(mass, mass) - mass * finite(log_q, mass.log())).sum(-1)
    return value + torch.xlogy(tail, tail) - tail * finite(log_rest, tail.log())


@torch.no_grad()
def listed_kl_gradient(ids: Tensor, mass: Tensor, tail: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Its value, and its slope in the student's logits, `(tokens, vocab)`.

    With all masses summing to 1: q - m on listed entries, q (1 - tail / the student's own tail) on the others.
    """
    vocab = student.shape[-1]
    there = ids >= 0
    at = torch.where(there, ids, vocab)  # fillers go into a column that is cut off
    mass = mass * there
    log_q = student.gather(-1, ids.clamp_min(0))
    unlisted = functional.pad(student, (0, 1)).scatter_(-1, at, -math.inf)
    unlisted[:, vocab] = -math.inf
    log_rest = unlisted.logsumexp(-1)
    value = (torch.xlogy(mass, mass) - mass * log_q.masked_fill(mass == 0, 0.0)).sum(-1)
    value += torch.xlogy(tail, tail) - tail * log_rest.masked_fill(tail == 0, 0.0)
    whole = mass.sum(-1) + tail
    slope = torch.softmax(unlisted, -1).masked_fill_((log_rest == -math.inf)[:, None], 0.0)
    slope.mul_((whole * log_rest.exp() - tail)[:, None])
    slope.scatter_(-1, at, log_q.exp() * whole[:, None] - mass)
    return value, slope[:, :vocab]


def alm(teacher: Tensor, student: Tensor, tau: float = 100.0) -> Tensor:
    """KL between two answers to "does this span come next?", both likelihoods to the power 1 / tau (ALM, 2503.20083).

    `teacher` and `student` are log-likelihoods of spans of the text, `(spans,)`: one class against the rest, so a
    value a span. The paper's form less the teacher's entropy, which has no gradient in the student.
    """
    a, b = (side.clamp_max(-SURE) / tau for side in (teacher, student))
    p = a.exp()
    others, others_q = torch.log(-torch.expm1(a)), torch.log(-torch.expm1(b))
    return p * finite(a - b, a) + (1 - p) * (others - others_q)


@torch.no_grad()
def alm_gradient(teacher: Tensor, student: Tensor, tau: float = 100.0) -> tuple[Tensor, Tensor]:
    """Its value, and its slope in the student's log-likelihoods of spans: (Q - P) / (1 - Q) / tau."""
    a, b = (side.clamp_max(-SURE) / tau for side in (teacher, student))
    slope = (b.exp() - a.exp()) / -torch.expm1(b) / tau
    return alm(teacher, student, tau), slope.masked_fill_(student > -SURE, 0.0)


def finite(difference: Tensor, weight_log: Tensor) -> Tensor:
    """Where a weight is exactly zero its term is zero, whatever the other side says (0 log 0 = 0)."""
    return difference.masked_fill(weight_log == -math.inf, 0.0)
