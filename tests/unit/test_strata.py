"""Sharing out rows: the sums are right, the shares are fair, and nobody loses when there is more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.records import DataError
from data_gen.strata import apportion, even, field_of, quotas

WEIGHTS = st.lists(st.integers(1, 100), min_size=1, max_size=8)
SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=9)


@given(total=st.integers(0, 3_000), raw=WEIGHTS)
def test_apportion_adds_up_is_off_by_less_than_one_and_never_takes_back(total: int, raw: list[int]) -> None:
    weights = [part / sum(raw) for part in raw]
    parts = apportion(total, weights)
    assert sum(parts) == total
    assert all(abs(part - total * weight) < 1 + 1e-6 for part, weight in zip(parts, weights, strict=True))
    assert all(more >= part for more, part in zip(apportion(total + 1, weights), parts, strict=True))


def test_the_paradox_of_largest_remainders_does_not_happen() -> None:
    """With remainders the third share of 10 rows is 2, of 11 rows 1."""
    assert [apportion(total, [6 / 14, 6 / 14, 2 / 14])[2] for total in (10, 11)] == [1, 1]


def test_apportion_in_a_blink_for_large_totals() -> None:
    assert apportion(10**12 + 1, [0.7, 0.3]) == [700_000_000_001, 300_000_000_000]


@pytest.mark.parametrize(
    ("weights", "why"),
    [([0.5], "add up to 1, 0.5 is 0.5"), ([1.5, -0.5], "greater than 0"), ([float("nan")], "greater")],
)
def test_wrong_weights(weights: list[float], why: str) -> None:
    with pytest.raises(DataError, match=why):
        apportion(5, weights)


def test_even_and_level() -> None:
    assert even(7, 3) == [3, 2, 2]
    assert quotas(10, [2, 100, 100], "even") == [2, 4, 4]
    assert quotas(11, [2, 100, 100], "even") == [2, 5, 4]
    assert quotas(1000, [2, 3, 4], "even") == [2, 3, 4]


@pytest.mark.parametrize("shares", ["proportional", "even"])
@given(total=st.integers(0, 400), sizes=SIZES.filter(any))
def test_quotas_fit_and_never_shrink(shares: str, total: int, sizes: list[int]) -> None:
    parts = quotas(total, sizes, shares)
    assert sum(parts) == min(total, sum(sizes))
    assert all(part <= size for part, size in zip(parts, sizes, strict=True))
    assert all(more >= part for more, part in zip(quotas(total + 1, sizes, shares), parts, strict=True))


def test_proportional_quotas_are_those_of_sainte_lague() -> None:
    """Against the plain method: one row after another to the largest size / (2 taken + 1)."""
    sizes = [53, 24, 17, 5, 1]
    taken = [0] * 5
    for total in range(1, 101):
        best = max(range(5), key=lambda n: (sizes[n] / (2 * taken[n] + 1), -n))
        taken[best] += 1
        assert quotas(total, sizes) == taken
    many = [1500] * 400
    assert quotas(1000, many) == [3] * 200 + [2] * 200


def test_fields_inside_of_objects() -> None:
    row = {"meta": {"family": "诗"}, "star": 3, "none": None, "tags": ["甲", {"k": 1.5}], "a.b": "点"}
    found = {"meta.family": "诗", "star": "3", "tags.0": "甲", "tags.1.k": "1.5", "a.b": "点"}
    expected = {**found, **dict.fromkeys(("none", "x", "star.x", "tags.2", "tags.x"))}
    assert {name: field_of(row, name) for name in expected} == expected
