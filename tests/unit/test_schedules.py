"""The learning rate: warm-up, peak, floor."""

from __future__ import annotations

import itertools

import pytest

from distill.errors import DistillError
from distill.schedules import SCHEDULES, learning_rate_factor


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_then_down_to_the_floor(name: str) -> None:
    """A straight line up to 1, then never up again."""
    factors = [learning_rate_factor(name, step, 10, 100, 0.1) for step in range(120)]
    assert factors[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert factors[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert factors[100:] == pytest.approx([1.0 if name == "constant" else 0.1] * 20)


def test_half_way() -> None:
    """Both slopes are at their middle there."""
    for name in ("linear", "cosine"):
        assert learning_rate_factor(name, 55, 10, 100) == pytest.approx(0.5)
        assert learning_rate_factor(name, 55, 10, 100, 0.2) == pytest.approx(0.6)
    assert learning_rate_factor("cosine", 32, 10, 98) == pytest.approx(0.8535533905932737)  # a quarter of the way


def test_shorter_than_the_warm_up() -> None:
    """No division by zero."""
    assert [learning_rate_factor("cosine", step, 50, 3) for step in range(3)] == pytest.approx([0.02, 0.04, 0.06])
    assert learning_rate_factor("linear", 0, 0, 0) == 1.0


def test_unknown() -> None:
    """A sentence."""
    with pytest.raises(DistillError, match=r"unknown schedule 'cosin' \(did you mean 'cosine'\?\)"):
        learning_rate_factor("cosin", 0, 0, 1)
