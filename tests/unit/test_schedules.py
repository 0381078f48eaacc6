"""The learning rate: warm-up, peak, floor."""

from __future__ import annotations

import itertools

import pytest

from distill.errors import DistillError
from distill.schedules import SCHEDULES, Ramp, ends, learning_rate_factor, value_at


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


def test_a_number_stays() -> None:
    """Whatever the step."""
    assert [value_at(0.3, step, 10) for step in (0, 5, 9)] == [0.3] * 3
    assert ends(0.3) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("ramp", "values"),
    [
        (Ramp(1.0, 0.2), [1.0, 0.8, 0.6, 0.4, 0.2]),
        (Ramp(0.2, 1.0), [0.2, 0.4, 0.6, 0.8, 1.0]),
        (Ramp(1.0, 0.0, "cosine"), [1.0, 0.8535533905932737, 0.5, 0.1464466094067262, 0.0]),
        (Ramp(1.0, 0.0, "constant"), [1.0] * 5),
        (Ramp(4.0, 1.0, until=0.5), [4.0, 2.5, 1.0, 1.0, 1.0]),
    ],
)
def test_from_the_first_step_to_the_last(ramp: Ramp, values: list[float]) -> None:
    """Five steps; beyond them it stays."""
    assert [value_at(ramp, step, 5) for step in range(5)] == pytest.approx(values)
    assert value_at(ramp, 50, 5) == pytest.approx(values[-1])
    assert ends(ramp) == (ramp.start, ramp.end)


def test_a_run_of_one_step() -> None:
    """Where it starts; no division by zero."""
    assert value_at(Ramp(1.0, 0.0), 0, 1) == 1.0
    assert value_at(Ramp(1.0, 0.0), 0, 0) == 1.0
