"""Sharing out a number of rows: over sources by weight, over strata by their size or evenly; keeping within a budget.

Every way of sharing out here is monotone: a larger total never takes a row from anybody. So a smaller sample is part of
a larger one also when it is drawn in shares, which rounding to largest remainders does not give (Alabama's paradox).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from math import floor, lcm
from typing import Any

from data_gen.fields import reach
from data_gen.ranks import Order
from data_gen.records import DataError

SHARES = ("proportional", "even")


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in the ratio of the weights that add up to `total`. The weights must add up to 1.

    Each is off its exact share by less than 1, and none shrinks when `total` grows (the quota method of Balinski and
    Young: one row after another goes to whoever is furthest behind, among those that it does not lift above its quota).
    """
    if any(not weight > 0 for weight in weights):
        raise DataError(f"weights must be greater than 0, found {', '.join(map(str, weights))}")
    if abs(sum(weights) - 1) > 1e-6:
        raise DataError(f"weights must add up to 1, {' + '.join(map(str, weights))} is {sum(weights):g}")
    from fractions import Fraction  # here, so that a sample without weights does not wait for it

    exact = [Fraction(weight).limit_denominator(10**6) for weight in weights]
    shares = [share / sum(exact) for share in exact]
    # Wherever all quotas are whole numbers the parts are the quotas, so only what comes after must be stepped through.
    period = lcm(*(share.denominator for share in shares))
    start = total - total % period
    parts = [floor(start * share) for share in shares]
    for given in range(start, total):
        may = [n for n, share in enumerate(shares) if parts[n] < share * (given + 1)]
        parts[max(may, key=lambda n: (shares[n] / (parts[n] + 1), -n))] += 1
    return parts


def even(total: int, n: int) -> list[int]:
    """`total` over `n`, the first ones getting one more."""
    return [total // n + (i < total % n) for i in range(n)]


def quotas(total: int, sizes: Sequence[int], shares: str = "proportional") -> list[int]:
    """How many rows to take of strata of these sizes; never more than a stratum has, `total` together if there are.

    "proportional" is Sainte-Laguë's method; "even" gives all the same until one runs out.
    """
    total = min(total, sum(sizes))
    if shares == "even":
        return _level(total, sizes)
    whole = sum(sizes)
    parts = [max(0, floor(total * size / whole) - len(sizes)) for size in sizes]
    # What is left is at most a few rows a stratum: they go, one by one, to whoever has the largest quotient.
    from fractions import Fraction

    heap = [(-Fraction(2 * size, 2 * part + 1), n) for n, (size, part) in enumerate(zip(sizes, parts, strict=True))]
    heapify(heap)
    for _ in range(total - sum(parts)):
        _, n = heap[0]
        parts[n] += 1
        heapreplace(heap, (-Fraction(2 * sizes[n], 2 * parts[n] + 1), n))
    return parts


def _level(total: int, sizes: Sequence[int]) -> list[int]:
    """Fill all vessels to one level; of the last row a vessel, the first ones get it."""
    low, high = 0, max(sizes, default=0)
    while low < high:  # the highest level that `total` reaches everywhere
        level = (low + high + 1) // 2
        low, high = (level, high) if sum(min(size, level) for size in sizes) <= total else (low, level - 1)
    parts = [min(size, low) for size in sizes]
    for n, size in enumerate(sizes):
        if sum(parts) == total:
            break
        parts[n] += size > low
    return parts


class Within:
    """Which rows may still fit into a budget, of those that come up in any order.

    Rows are taken in the order of their ranks until the next one would exceed it. Sizes only add up, so wherever the
    rows seen so far exceed it no row of a higher rank can be among them: there is no need to measure it.
    """

    def __init__(self, order: Order, budget: int) -> None:
        self.order, self.budget = order, budget
        self._lowest: list[tuple[int, int]] = []
        """Minus rank and size of the rows up to the first that exceeds it, the highest rank on top"""
        self._total = 0

    def may(self, number: int) -> bool:
        """Whether a row has to be measured."""
        return self._total <= self.budget or self.order.rank(number) < -self._lowest[0][0]

    def add(self, number: int, size: int) -> None:
        """A row that was measured."""
        heappush(self._lowest, (-self.order.rank(number), size))
        self._total += size
        while self._total - self._lowest[0][1] > self.budget:
            self._total -= heappop(self._lowest)[1]


def field_of(row: Any, name: str) -> str | None:
    """A row's value of a field as text, `meta.family` and `tags.0` reaching inside; None where it has none."""
    inner, last = reach(row, name) if isinstance(row, dict) else ({}, name)
    value = inner.get(last)
    return value if isinstance(value, str) or value is None else str(value)
