"""Sharing out a number of rows: over sources by weight, over strata by their size or evenly.

Every way of sharing out here is monotone: a larger total never takes a row from anybody. So a smaller sample is part of
a larger one also when it is drawn in shares, which rounding to largest remainders does not give (Alabama's paradox).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, lcm
from typing import Any

from data_gen.fields import reach
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
    import heapq
    from fractions import Fraction

    heap = [(-Fraction(2 * size, 2 * part + 1), n) for n, (size, part) in enumerate(zip(sizes, parts, strict=True))]
    heapq.heapify(heap)
    for _ in range(total - sum(parts)):
        _, n = heap[0]
        parts[n] += 1
        heapq.heapreplace(heap, (-Fraction(2 * sizes[n], 2 * parts[n] + 1), n))
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


def field_of(row: Any, name: str) -> str | None:
    """A row's value of a field as text, `meta.family` and `tags.0` reaching inside; None where it has none."""
    inner, last = reach(row, name) if isinstance(row, dict) else ({}, name)
    value = inner.get(last)
    return value if isinstance(value, str) or value is None else str(value)
