"""Sparse targets and spans: against the dense formulas they stand for, and at their edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses import forward_kl
from distill.partial import alm, alm_gradient, listed_kl, listed_kl_gradient

Target = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def logs(rows: int = 5, vocab: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of both sides in float64."""
    draw = torch.Generator().manual_seed(seed)
    p, q = torch.log_softmax(torch.randn(2, rows, vocab, generator=draw, dtype=torch.float64) * 2, -1)
    return p, q


def ragged(p: torch.Tensor) -> Target:
    """Row n lists its entries n, n + 2, n + 4, ... below 3 n: none in the first, filled up with -1."""
    ids = torch.full((len(p), 8), -1)
    for n in range(len(p)):
        listed = torch.arange(n, 3 * n, 2)
        ids[n, 8 - len(listed) :] = listed  # fillers in front
    mass = p.exp().gather(-1, ids.clamp_min(0)) * (ids >= 0)
    return ids, mass, 1 - mass.sum(-1)


def joined(logs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The distribution over the listed entries and one class for the rest, one row."""
    probabilities = logs.exp()
    listed = ids[ids >= 0]
    return torch.cat([probabilities[listed], 1 - probabilities[listed].sum()[None]]).log()


def test_a_ragged_target() -> None:
    """Row by row: forward KL between the two joined distributions."""
    p, q = logs()
    ids, mass, tail = ragged(p)
    expected = [forward_kl(joined(p[n], ids[n]), joined(q[n], ids[n])) for n in range(len(p))]
    torch.testing.assert_close(listed_kl(ids, mass, tail, q), torch.stack(expected))
    assert listed_kl(ids, mass, tail, p).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["tail", "samples", "all"])
def test_slope(kind: str, dtype: torch.dtype) -> None:
    """As autograd has it: with a class for the rest, without one, with nothing left for it."""
    p, logits = (side.to(dtype) for side in logs(seed=1))
    ids, mass, tail = ragged(p)
    if kind == "samples":
        ids = torch.cat([ids, torch.full((5, 1), 11)], -1)
        mass = torch.cat([mass, tail[:, None]], -1)
        tail = torch.zeros_like(tail)
    elif kind == "all":
        ids = torch.arange(12).flip(0).expand(5, 12)
        mass, tail = p.exp().gather(-1, ids), torch.zeros_like(tail)
    logits = (logits * 1.5).requires_grad_()
    value = listed_kl(ids, mass, tail, torch.log_softmax(logits, -1))
    (slope,) = torch.autograd.grad(value.sum(), logits)
    closed_value, closed_slope = listed_kl_gradient(ids, mass, tail, torch.log_softmax(logits.detach(), -1))
    torch.testing.assert_close(closed_value, value.detach())
    torch.testing.assert_close(closed_slope, slope, rtol=1e-5, atol=1e-6)
    assert closed_slope.sum(-1).abs().max() < 1e-6


def test_a_student_that_has_nothing_left_for_the_rest() -> None:
    """The listed entries hold all that float32 can tell: still a slope out of it, no NaN."""
    student = torch.log_softmax(torch.tensor([[0.0, 0.0, -200.0, -201.0]]), -1)
    ids, mass, tail = torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.25]]), torch.tensor([0.25])
    value, slope = listed_kl_gradient(ids, mass, tail, student)
    assert 40 < value.item() < 60
    torch.testing.assert_close(slope[0, :2], torch.tensor([0.0, 0.25]))
    assert slope[0, 2:].sum().item() == pytest.approx(-0.25)
    assert slope[0, 2] < slope[0, 3] < 0


SPANS = st.lists(st.floats(-80, 0), min_size=3, max_size=3)


@given(SPANS, SPANS, st.sampled_from([1.0, 10.0, 100.0]))
@settings(max_examples=50, deadline=None)
def test_spans(first: list[float], second: list[float], tau: float) -> None:
    """At least 0, zero when equal; its slope as autograd has it."""
    teacher = torch.tensor(first, dtype=torch.float64)
    student = torch.tensor(second, dtype=torch.float64, requires_grad=True)
    value = alm(teacher, student, tau)
    assert value.min().item() >= -1e-12
    assert alm(teacher, teacher, tau).abs().max().item() < 1e-12
    (slope,) = torch.autograd.grad(value.sum(), student)
    closed_value, closed_slope = alm_gradient(teacher, student.detach(), tau)
    torch.testing.assert_close(closed_value, value.detach())
    torch.testing.assert_close(closed_slope, slope, rtol=1e-6, atol=1e-9)


def test_gradient_of_spans() -> None:
    """In float64."""
    teacher = torch.tensor([-0.5, -3.0, -20.0], dtype=torch.float64)
    student = torch.tensor([-2.0, -3.0, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: alm(teacher, b, 10.0), student)


def test_spans_at_the_edges() -> None:
    """Certain on both sides, or impossible for the teacher: numbers; certain where the teacher is not: pushed back."""
    teacher = torch.tensor([0.0, -math.inf, -5.0])
    student = torch.tensor([0.0, -4.0, -1e-6])
    value, slope = alm_gradient(teacher, student)
    assert torch.isfinite(value).all()
    assert value[0] == 0
    assert torch.isfinite(slope).all()
    assert slope[0] == 0
    assert slope[1] > 0
    assert slope[2] > 0
