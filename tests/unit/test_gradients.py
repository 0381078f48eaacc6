"""Gradients in closed form, against autograd of the plain formulas and at the edges of what floats can hold."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from distill import gradients
from distill.gradients import GRADIENTS, ROW_GRADIENTS, mixed_gradient
from distill.losses import LOSSES, LossTerm, number
from tests.plain_losses import divergence

OPTIONS: list[tuple[str, dict[str, float]]] = [(name, {}) for name in ROW_GRADIENTS] + [
    ("jsd", {"beta": 0.1}), ("jsd", {"beta": 0.9}), ("skew_kl", {"alpha": 0.5}), ("skew_reverse_kl", {"alpha": 0.5}),
    ("adaptive_kl", {"mu": 0.9}), ("sparse_kl", {"k": 1}), ("sparse_kl", {"k": 7}),
]  # fmt: skip
EVERYWHERE = ["jsd", "skew_kl", "skew_reverse_kl", "tvd", "uld"]
"""Losses that are finite and continuous whatever either side rules out"""


def pair(rows: int = 6, vocab: int = 40, seed: int = 0, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits of teacher and student in float64."""
    draw = torch.Generator().manual_seed(seed)
    teacher, student = torch.randn(2, rows, vocab, generator=draw, dtype=torch.float64) * scale
    return teacher, student


def by_autograd(
    name: str, teacher: torch.Tensor, student: torch.Tensor, **options: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The plain formula's value and slope, from logits."""
    student = student.detach().requires_grad_()
    value = LOSSES[name](torch.log_softmax(teacher, -1), torch.log_softmax(student, -1), **options)
    return value.detach(), torch.autograd.grad(value.sum(), student)[0]


def closed(
    name: str, teacher: torch.Tensor, student: torch.Tensor, **options: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return GRADIENTS[name](torch.log_softmax(teacher, -1), torch.log_softmax(student, -1), **options)


def test_every_loss_has_one() -> None:
    """A loss without a gradient here cannot be part of the fused step."""
    assert set(GRADIENTS) == {"ce", *LOSSES}


@pytest.mark.parametrize(("name", "options"), OPTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_against_autograd(name: str, options: dict[str, float], dtype: torch.dtype, tolerance: float) -> None:
    """Value and slope of the plain formula in float64."""
    teacher, student = pair(seed=1)
    value, slope = closed(name, teacher.to(dtype), student.to(dtype), **options)
    true_value, true_slope = by_autograd(name, teacher, student, **options)
    assert (value.dtype, slope.dtype) == (dtype, dtype)
    torch.testing.assert_close(value.double(), true_value, rtol=10 * tolerance, atol=10 * tolerance)
    torch.testing.assert_close(slope.double(), true_slope, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["ce", *ROW_GRADIENTS])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("ruled_out", [False, True])
def test_what_is_no_number_is_seen(name: str, wrong: float, ruled_out: bool) -> None:
    """A student whose logits are no numbers has no loss, rather than one of zero."""
    teacher, student = pair(rows=3)
    student[1, 5] = wrong
    if ruled_out:
        teacher[1, 5] = -math.inf
    values, _ = mixed_gradient([LossTerm(name)], teacher, student, torch.tensor([1, 2, 3]))
    assert values[0].isfinite().tolist() == [True, False, True]


@pytest.mark.parametrize("name", ROW_GRADIENTS)
@given(st.lists(st.sampled_from([0.0, 1.0, -2.0, 20.0, -20.0]), min_size=8, max_size=8))
@settings(max_examples=25, deadline=None)
def test_ties(name: str, logits: list[float]) -> None:
    """Equal logits within a side and between the sides, also where a loss has a kink."""
    teacher, student = torch.tensor(logits, dtype=torch.float64).view(2, 1, 4)
    value, slope = closed(name, teacher, student)
    true_value, true_slope = by_autograd(name, teacher, student)
    torch.testing.assert_close(value, true_value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slope, true_slope, rtol=1e-9, atol=1e-12)
    assert abs(slope.sum().item()) < 1e-12  # a softmax does not see a shift of all logits


@pytest.mark.parametrize("name", ROW_GRADIENTS)
def test_no_slope_where_both_agree(name: str) -> None:
    """The right student stays where it is."""
    teacher, _ = pair(seed=2)
    value, slope = closed(name, teacher, teacher.clone())
    assert value.abs().max() < 1e-12
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("name", ROW_GRADIENTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ruled_out_by_both(name: str, dtype: torch.dtype) -> None:
    """Entries with log-probability -inf on both sides are as good as absent."""
    teacher, student = (z.to(dtype) for z in pair(seed=3))
    gone = torch.tensor([0, 7, 39])
    kept = torch.tensor([v for v in range(40) if v not in gone])
    without = closed(name, teacher[:, kept], student[:, kept])
    value, slope = closed(name, teacher.index_fill(-1, gone, -math.inf), student.index_fill(-1, gone, -math.inf))
    torch.testing.assert_close(value, without[0])
    torch.testing.assert_close(slope[:, kept], without[1])
    assert slope[:, gone].abs().max() == 0


@pytest.mark.parametrize("name", ["forward_kl", "sparse_kl", "logit_mse", "logit_cosine", *EVERYWHERE])
def test_teacher_that_is_certain(name: str) -> None:
    """One-hot, with exact zeros: as autograd has it, and all numbers."""
    _, student = pair(seed=4)
    teacher = torch.full_like(student, -math.inf)
    teacher[torch.arange(6), torch.arange(6)] = 0.0
    value, slope = closed(name, teacher, student)
    true_value, true_slope = by_autograd(name, teacher, student)
    assert torch.isfinite(slope).all()
    torch.testing.assert_close(value, true_value)
    torch.testing.assert_close(slope, true_slope)


@pytest.mark.parametrize("name", ["reverse_kl", *EVERYWHERE])
def test_student_that_is_certain(name: str) -> None:
    """Exact zeros of the student are the limit of small numbers."""
    teacher, student = pair(seed=5)
    hard, soft = student.clone(), student.clone()
    hard[:, 3:] = -math.inf
    soft[:, 3:] = -300.0
    value, slope = closed(name, teacher, hard)
    near, near_slope = closed(name, teacher, soft)
    assert torch.isfinite(slope).all()
    torch.testing.assert_close(value, near)
    torch.testing.assert_close(slope, near_slope)


def test_what_is_rightly_infinite() -> None:
    """Forward KL to a student that rules out what the teacher says still has a slope; reverse KL has none."""
    even, half = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]).log()
    value, slope = GRADIENTS["forward_kl"](even, half)
    assert value.item() == math.inf
    assert slope.tolist() == [[0.5, -0.5]]
    value, slope = GRADIENTS["reverse_kl"](half, even)
    assert value.item() == math.inf
    assert not torch.isfinite(slope).any()


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_beyond_what_float32_can_hold(name: str, options: dict[str, float]) -> None:
    """Probabilities down to e^-300 on either side: the values of float64, no NaN."""
    teacher, student = pair(seed=6, scale=60.0)
    value, slope = closed(name, teacher.float(), student.float(), **options)
    true_value, true_slope = closed(name, teacher, student, **options)
    torch.testing.assert_close(value.double(), true_value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope.double(), true_slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["forward_kl", "jsd"])
def test_rows_at_once_have_no_effect(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time, or all."""
    teacher, student = pair(rows=11, seed=7)
    whole = closed(name, teacher, student)
    monkeypatch.setattr(gradients, "AT_ONCE_CPU", 3 * 40)
    for one, other in zip(whole, closed(name, teacher, student), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", GRADIENTS)
def test_out_and_what_is_left_alone(name: str) -> None:
    """Neither side is written to, unless the student's memory is what the gradient is to go into."""
    teacher, student = (torch.log_softmax(z, -1) for z in pair(seed=8))
    first = torch.arange(6) if name == "ce" else teacher
    before = (first.clone(), student.clone())
    value, slope = GRADIENTS[name](first, student)
    assert torch.equal(first, before[0])
    assert torch.equal(student, before[1])
    again, into = GRADIENTS[name](first, student, out=student)
    assert into is student
    assert torch.equal(again, value)
    assert torch.equal(into, slope)


def test_cross_entropy() -> None:
    """Against torch's; a row's gradient sums to zero."""
    _, student = pair(seed=9)
    labels = torch.tensor([0, 39, 5, 5, 1, 2])
    student.requires_grad_()
    true_value = functional.cross_entropy(student, labels, reduction="none")
    (true_slope,) = torch.autograd.grad(true_value.sum(), student)
    value, slope = GRADIENTS["ce"](labels, torch.log_softmax(student, -1))
    torch.testing.assert_close(value, true_value.detach())
    torch.testing.assert_close(slope, true_slope)


MIX = [
    LossTerm("ce", 0.3),
    LossTerm("forward_kl", 0.7, temperature=2.0),
    LossTerm("jsd", 0.5, options={"beta": 0.2}),
    LossTerm("reverse_kl", 0.2, teacher_temperature=1.5),
    LossTerm("skew_kl", 1.1, temperature=2.0),
    LossTerm("tvd", 0.4, confidence=True),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-5)])
def test_a_weighted_sum(dtype: torch.dtype, tolerance: float) -> None:
    """Every term's value, and the slope of their sum, as `divergence` and autograd have them."""
    teacher, student = (z.to(dtype) for z in pair(seed=10))
    labels = torch.tensor([0, 39, 5, 5, 1, 2])
    values, slope = mixed_gradient(MIX, teacher, student, labels)
    student.requires_grad_()
    true_values = torch.stack(
        [
            functional.cross_entropy(student, labels, reduction="none")
            if term.name == "ce"
            else divergence(term, teacher / number(term.teacher_temperature), student)
            for term in MIX
        ]
    )
    weights = torch.tensor([number(term.weight) for term in MIX], dtype=true_values.dtype)
    (true_slope,) = torch.autograd.grad((weights @ true_values).sum(), student)
    torch.testing.assert_close(values, true_values.detach().to(values.dtype), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(slope, true_slope, rtol=tolerance, atol=tolerance)


def test_a_mix_into_the_logits_own_memory() -> None:
    """Same numbers; logits in half precision are widened for the arithmetic, the gradient is stored as they are."""
    teacher, student = (z.bfloat16() for z in pair(seed=11))
    labels = torch.arange(6)
    values, slope = mixed_gradient(MIX, teacher, student, labels)
    wide_values, wide_slope = mixed_gradient(MIX, teacher.float(), student.float(), labels)
    assert values.dtype == torch.float32
    assert torch.equal(values, wide_values)
    assert torch.equal(slope, wide_slope.bfloat16())
    again, into = mixed_gradient(MIX, teacher, student, labels, out=student)
    assert torch.equal(again, values)
    assert into is student
    assert torch.equal(student, slope)


def test_text_alone() -> None:
    """No teacher at all."""
    _, student = pair(seed=12)
    labels = torch.arange(6)
    values, slope = mixed_gradient([LossTerm("ce", 2.0)], None, student, labels)
    value, once = GRADIENTS["ce"](labels, torch.log_softmax(student, -1))
    torch.testing.assert_close(values, value[None])
    torch.testing.assert_close(slope, 2 * once)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_loss_needs_no_closed_form(name: str, options: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another name, which only LOSSES has, it is found by autograd: the same to rounding, term beside term."""
    monkeypatch.setitem(LOSSES, "mine", LOSSES[name])
    teacher, student = pair()
    labels = torch.arange(len(teacher))
    mixed = [
        mixed_gradient([LossTerm("ce", 0.5), LossTerm(called, 0.7, 1.5, options=options)], teacher, student, labels)
        for called in (name, "mine")
    ]
    for closed, found in zip(*mixed, strict=True):
        torch.testing.assert_close(found, closed, rtol=1e-9, atol=1e-12)
