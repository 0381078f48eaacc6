"""The order of the draw: golden values, uniform, nested, and the same whether found at once or row by row."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.ranks import BLOCK, Order, mix64


def test_ranks_are_what_they_were() -> None:
    """Golden: samples of past versions must come again."""
    assert mix64(0, 0) == 0xA706DD2F4D197E6F
    assert mix64(1, 42) == mix64(1, 42) != mix64(1, 43)
    assert mix64(2**64 - 1, -1) < 2**64
    assert Order(42).first_bytes(8).hex() == GOLDEN_BYTES
    assert Order(0).rank(0) >> 64 == Order(0).first_bytes(1)[0]
    assert list(Order(42).lowest(1_500_000, 5)) == GOLDEN_ROWS


GOLDEN_BYTES = "0e9a4f97dd453d79"
GOLDEN_ROWS = [301426, 349022, 591894, 965177, 1284757]


@pytest.mark.parametrize(("n", "k"), [(50, 10), (300, 6)])
def test_every_row_is_as_likely_as_any_other(n: int, k: int) -> None:
    """Chi-square of how often each row is drawn, over 4,000 seeds; and of pairs of neighbours."""
    counts, pairs, seeds = [0] * n, 0, 4_000
    for seed in range(seeds):
        chosen = Order(seed).lowest(n, k)
        for number in chosen:
            counts[number] += 1
        pairs += sum(b - a == 1 for a, b in pairwise(chosen))
    expected = seeds * k / n
    # Without replacement the statistic is (1 - k/n) n/(n - 1) times a chi-square of n - 1 degrees.
    mean, deviation = (1 - k / n) * n, (1 - k / n) * n / (n - 1) * (2 * (n - 1)) ** 0.5
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    assert abs(chi_square - mean) < 4 * deviation
    # n - 1 pairs of neighbours, each with probability k/n * (k - 1)/(n - 1).
    each = seeds * k * (k - 1) / n
    assert abs(pairs - each) < 4 * each**0.5


def test_large_files_are_drawn_from_evenly() -> None:
    """Across the blocks of SHAKE-128, and across the last, partial one."""
    n, counts = 3 * BLOCK + 1000, [0, 0, 0, 0]
    for seed in range(5):
        for number in Order(seed).lowest(n, n // 10):
            counts[number // BLOCK] += 1
    for found, rows in zip(counts, (BLOCK, BLOCK, BLOCK, 1000), strict=True):
        expected = 5 * rows / 10
        assert abs(found - expected) < 4 * (expected * 0.9) ** 0.5


@given(n=st.integers(1, 400), small=st.integers(0, 400), more=st.integers(0, 400), seed=st.integers())
def test_samples_are_nested_ordered_and_of_lowest_rank(n: int, small: int, more: int, seed: int) -> None:
    order = Order(seed)
    few, many = list(order.lowest(n, small)), list(order.lowest(n, small + more))
    assert few == sorted(sorted(range(n), key=Order(seed).rank)[:small])
    assert few == order.lowest_of(range(n), small)
    assert set(few) <= set(many)
    assert len(few) == min(small, n)


def test_blocks_do_not_show() -> None:
    n = BLOCK + 70
    order = Order(7)
    assert order.first_bytes(n) == bytes(order.rank(number) >> 64 for number in range(n))
    assert order.first_bytes(BLOCK) == order.first_bytes(n)[:BLOCK]
    for k in (1, 100, BLOCK, n - 1):
        chosen = order.lowest(n, k)
        assert len(chosen) == k
        assert max(map(order.rank, chosen)) < min(order.rank(i) for i in set(range(n)) - set(chosen))


def test_seeds_give_other_samples() -> None:
    samples = {tuple(Order(seed).lowest(1000, 10)) for seed in (-1, 0, 1, 2**64, 2**70)}
    assert len(samples) == 5


@pytest.mark.parametrize("k", [0, 1, 37, 5_000, 19_999, 20_000, 20_001])
def test_the_lowest_of_many_are_the_lowest_of_all_sorted(k: int) -> None:
    order = Order(11)
    numbers = range(5, 100_005, 5)
    assert order.lowest_of(numbers, k) == sorted(sorted(numbers, key=Order(11).rank)[:k])
