"""What divergences always hold to, and the sentences for what cannot be computed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import DistillError
from distill.gradients import GRADIENTS, mixed_gradient
from distill.losses import LOSSES, LossTerm, forward_kl, jsd, reverse_kl, skew_kl, skew_reverse_kl
from distill.schedules import Ramp
from tests.plain_losses import divergence

LOGITS = st.lists(st.floats(-30, 30), min_size=4, max_size=4)


def logs(logits: list[float]) -> torch.Tensor:
    return torch.log_softmax(torch.tensor([logits], dtype=torch.float64), -1)


@pytest.mark.parametrize("name", LOSSES)
@given(LOGITS, LOGITS)
def test_never_negative_and_zero_when_equal(name: str, first: list[float], second: list[float]) -> None:
    """Up to rounding."""
    p, q = logs(first), logs(second)
    assert LOSSES[name](p, q).item() >= -1e-12
    assert abs(LOSSES[name](p, p).item()) < 1e-12


@pytest.mark.parametrize("name", LOSSES)
def test_a_value_a_token(name: str) -> None:
    """`(tokens, classes)` in, `(tokens,)` out; a token's value is its own."""
    draw = torch.Generator().manual_seed(0)
    p, q = (torch.log_softmax(torch.randn(6, 9, generator=draw), -1) for _ in range(2))
    value = LOSSES[name](p, q)
    assert value.shape == (6,)
    torch.testing.assert_close(value[2:4], LOSSES[name](p[2:4], q[2:4]))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(value[order], LOSSES[name](p[order], q[order]))


def test_the_ends_of_jsd() -> None:
    """JSD over its beta becomes forward KL at 0, over 1 - beta reverse KL at 1."""
    p, q = logs([1.0, 0.0, -1.0, 2.0]), logs([0.0, 1.5, 0.5, -1.0])
    small = 1e-6
    assert (jsd(p, q, small) / small).item() == pytest.approx(forward_kl(p, q).item(), rel=1e-4)
    assert (jsd(p, q, 1 - small) / small).item() == pytest.approx(reverse_kl(p, q).item(), rel=1e-4)
    assert jsd(p, q, 0.3).item() == pytest.approx(jsd(q, p, 0.7).item())
    assert jsd(p, q).item() <= math.log(2)


def test_little_skew_is_none() -> None:
    """skew -> KL as alpha -> 0."""
    p, q = logs([1.0, 0.0, -1.0, 2.0]), logs([0.0, 1.5, 0.5, -1.0])
    assert skew_kl(p, q, 1e-9).item() == pytest.approx(forward_kl(p, q).item(), rel=1e-6)
    assert skew_reverse_kl(p, q, 1e-9).item() == pytest.approx(reverse_kl(p, q).item(), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_what_the_teacher_rules_out(name: str) -> None:
    """A teacher's exact zero is 0 log 0 = 0: value and gradient stay numbers (reverse KL is rightly infinite)."""
    teacher = torch.tensor([[0.5, 0.5, 0.0]]).log()
    logits = torch.tensor([[0.3, -0.2, 0.1]], requires_grad=True)
    value = LOSSES[name](teacher, torch.log_softmax(logits, -1)).sum()
    if name in {"reverse_kl", "adaptive_kl"}:
        assert value.item() == math.inf
        return
    value.backward()
    assert math.isfinite(value.item())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_zero_on_both_sides() -> None:
    """Classes that neither side has count nothing."""
    both = torch.tensor([[0.5, 0.5, 0.0]]).log()
    other = torch.tensor([[0.25, 0.75, 0.0]]).log()
    for loss in LOSSES.values():
        torch.testing.assert_close(loss(both, other), loss(both[:, :2], other[:, :2]))


def test_logits_in_half_precision_are_widened() -> None:
    """The logarithms are float32 whatever comes in."""
    draw = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(2, 50, generator=draw).bfloat16() for _ in range(2))
    term, labels = LossTerm("forward_kl"), torch.zeros(2, dtype=torch.long)
    value, _ = mixed_gradient([term], teacher, student, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value[0], divergence(term, teacher.float(), student.float()))


def test_flat_logits_have_no_direction() -> None:
    """An untrained head says the same of every entry: half the squared length of the teacher's direction, no NaN."""
    teacher = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    logits = torch.full((1, 3), 0.2, dtype=torch.float64, requires_grad=True)
    value = divergence(LossTerm("logit_cosine"), teacher, logits)
    assert value.tolist() == pytest.approx([0.5])
    value.sum().backward()
    slope = GRADIENTS["logit_cosine"](torch.log_softmax(teacher, -1), torch.log_softmax(logits.detach(), -1))[1]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(slope, logits.grad, rtol=1e-5, atol=1e-3)  # of a size of hundreds


def test_confidence_weighs_each_token() -> None:
    """By the teacher's largest probability at the term's temperature."""
    teacher = torch.tensor([[math.log(8.0), 0.0, 0.0], [0.0, 0.0, 0.0]])
    student = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    terms = [LossTerm("forward_kl", confidence=c) for c in (False, True)]
    (plain, weighed), _ = mixed_gradient(terms, teacher, student, torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(weighed, plain * torch.tensor([0.8, 1 / 3]))


def test_numbers_that_change_over_the_run() -> None:
    """`at` fixes them; everything else stays, and a term without a step is refused."""
    term = LossTerm("jsd", Ramp(1.0, 0.2), Ramp(4.0, 1.0), Ramp(2.0, 1.0, until=0.5), True, {"beta": 0.3})
    term.check(has_teacher=True, same_vocabulary=True)
    assert term.at(0, 101) == LossTerm("jsd", 1.0, 4.0, 2.0, True, {"beta": 0.3})
    middle = term.at(50, 101)
    assert (middle.weight, middle.temperature, middle.teacher_temperature) == pytest.approx((0.6, 2.5, 1.0))
    assert LossTerm("ce", 0.3).at(7, 9) == LossTerm("ce", 0.3)
    with pytest.raises(TypeError, match=r"before LossTerm.at\(step, total\)"):
        mixed_gradient([term], torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        (LossTerm("tvd", Ramp(1, 0, "cosin")), r"loss tvd: weight.shape: unknown schedule 'cosin' \(did you mean 'cos"),
        (LossTerm("tvd", Ramp(1, 0, until=0.0)), "weight.until is a share of the run, above 0 and at most 1, got 0.0"),
        (LossTerm("tvd", Ramp(1, -1)), "weight at least 0"),
        (LossTerm("tvd", temperature=Ramp(2, 0)), "temperature must be above 0"),
        (LossTerm("tvd", teacher_temperature=Ramp(0, 1)), "temperature must be above 0"),
        (LossTerm("ce", math.nan), "temperature must be above 0 and weight at least 0"),
        (LossTerm("jsd", temperature=math.inf), "temperature must be above 0 and weight at least 0"),
        (LossTerm("ce", confidence=True), "'ce' takes no confidence"),
        (LossTerm("sparse_kl", options={"k": 2.5}), "needs a whole number k of at least 1, got 2.5"),
        (LossTerm("adaptive_kl", options={"mu": 1.0}), "needs 0 < mu < 1, got 1.0"),
        (LossTerm("mine.Own"), r"unknown loss 'mine.Own' \(there are: adaptive_kl, alm, [^)]*forward_kl, jsd"),
        (LossTerm("foward_kl"), r"unknown loss 'foward_kl' \(did you mean 'forward_kl'\?\)"),
        (LossTerm("forward_kl", temperature=0.0), "temperature must be above 0"),
        (LossTerm("forward_kl", weight=-1.0), "weight at least 0"),
        (LossTerm("jsd", options={"beta": 1.0}), "needs 0 < beta < 1, got 1.0"),
        (LossTerm("skew_kl", options={"alpha": 0.0}), "skew_kl: a mixture needs a share between 0 and 1, got 0.0"),
        (LossTerm("skew_kl", options={"alfa": 0.1}), r"no option 'alfa' \(did you mean 'alpha'\?\)"),
        (LossTerm("ce", options={"alpha": 0.1}), "'ce' has no option 'alpha'"),
    ],
)
def test_wrong_terms(term: LossTerm, sentence: str) -> None:
    """One sentence, at the start."""
    with pytest.raises(DistillError, match=sentence):
        term.check(has_teacher=True, same_vocabulary=True)


def test_terms_that_do_not_fit_the_run() -> None:
    """No teacher; two vocabularies."""
    with pytest.raises(DistillError, match="'tvd' needs a teacher"):
        LossTerm("tvd").check(has_teacher=False, same_vocabulary=True)
    for term in (
        LossTerm("jsd"),
        LossTerm("forward_kl", temperature=2.0),
        LossTerm("forward_kl", temperature=Ramp(1.0, 2.0)),
    ):
        with pytest.raises(DistillError, match="use forward_kl at temperature 1"):
            term.check(has_teacher=True, same_vocabulary=False)
    LossTerm("forward_kl", Ramp(1.0, 0.0), confidence=True).check(has_teacher=True, same_vocabulary=False)
    LossTerm("forward_kl").check(has_teacher=True, same_vocabulary=False)
    LossTerm("ce").check(has_teacher=False, same_vocabulary=True)
    for name in LOSSES:
        LossTerm(name, temperature=4.0).check(has_teacher=True, same_vocabulary=True)
