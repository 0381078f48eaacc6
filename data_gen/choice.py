"""Which rows of a pool are drawn: the lowest ranks of those that pass, shared out over strata, or up to a budget."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from data_gen.pools import Pool
from data_gen.ranks import Order
from data_gen.records import DataError
from data_gen.shards import Measure, Seen
from data_gen.strata import Within, quotas
from teachers.base import nearest

UNREADABLE = "unreadable"
"""Why rows are missing from a part that are no records"""


@dataclass
class Wanted:
    """What is wanted of one source."""

    rows: int | None
    """None takes all"""
    by: str = ""
    """The field whose values are the strata"""
    shares: str = "proportional"
    budget: int | None = None
    """Of what `measure` counts, instead of a number of rows"""
    measure: Measure | None = None
    unit: str = "characters"
    allow_fewer: bool = False


def choose(pool: Pool, order: Order, wanted: Wanted, what: dict[str, Any]) -> Sequence[int] | None:
    """The numbers of the rows that are drawn, ascending; None when that is every row that passes, or the first of them.

    `what` says which rows pass (`where`, `as_record`). DataError when there are fewer than wanted.
    """
    what = what | {"lines": False}
    if wanted.budget is not None:
        found: Sequence[int] | None = _within(pool, order, wanted, what)
    elif wanted.rows is None:
        return None
    elif wanted.by:
        found = _by_stratum(pool, order, wanted, what)
    elif pool.source.generated:  # has no end: the first rows are as good as any, and come up in one pass
        return None
    elif what["where"] or what["as_record"]:
        found = _lowest(pool, order, wanted.rows, what)
    else:
        found = order.lowest(pool.number(), wanted.rows)
    check_where(pool)
    if wanted.rows is not None and found is not None and len(found) < wanted.rows and not wanted.allow_fewer:
        raise too_few(pool, len(found), wanted.rows)
    return found


def too_few(pool: Pool, found: int, wanted: int, unit: str = "rows", dropped: Counter[str] | None = None) -> DataError:
    """What to say when there are fewer rows, or whatever is counted, than wanted; with what was left out, and why."""
    reasons = (pool.looked.dropped if dropped is None else dropped).most_common(4)
    said = [f"{count:,} left out: {why}" for why, count in reasons if why != UNREADABLE]
    if unreadable := pool.looked.tally.total:
        said.append(f"{unreadable:,} unreadable, the first at {next(iter(pool.looked.tally.first.values()))}")
    out = "; ".join(said)
    if out and not found:
        return DataError(f"{pool.source.id}: none of its rows passes ({out}); {wanted:,} {unit} are wanted")
    return DataError(
        f"{pool.source.id} has {found:,} {unit} to draw from{f' ({out})' if out else ''}, {wanted:,} are wanted; "
        "ask for no more than that or add --allow-fewer"
    )


def check_readable(pool: Pool, taken: int) -> None:
    """DataError when all rows were wanted, and each one was unreadable: an empty file is nobody's sample."""
    tally = pool.looked.tally
    if not taken and tally.total and not pool.looked.dropped.total():
        first = next(iter(tally.first.values()))
        raise DataError(
            f"{pool.source.id}: none of its rows can be read ({tally.total:,} cannot, the first at {first})"
        )


def check_where(pool: Pool) -> None:
    """DataError when no row at all had a field that is filtered by."""
    for keep in pool.looked.where:
        keep.check(pool.source.id)


def first_wave(rows: int) -> int:
    """How many rows to look at first when some of them may not pass."""
    return rows + rows // 8 + 64


def _lowest(pool: Pool, order: Order, rows: int, what: dict[str, Any]) -> list[int]:
    """The passing rows of lowest rank. Waves of rows are tested, lowest ranks first, until enough have passed."""
    passing: list[int] = []
    # Numbers alone are held, so a file that must be read from its beginning is read once.
    for numbers in pool.waves(order, first_wave(rows) if pool.indexed else pool.number()):
        passing += [seen.number for seen in pool.look(numbers, **what)]
        if len(passing) >= rows:
            break
    return order.lowest_of(sorted(passing), rows)


def _within(pool: Pool, order: Order, wanted: Wanted, what: dict[str, Any]) -> list[int]:
    """Rows in the order of their ranks as long as they fit into the budget together."""
    assert wanted.budget is not None
    sized: list[tuple[int, int]] = []
    for seen in _measured(pool, order, wanted, what):
        sized.append((seen.number, seen.size))
    if not pool.source.generated:
        sized.sort(key=lambda one: order.rank(one[0]))
    taken, left = [], wanted.budget
    for number, size in sized:
        left -= size
        if left < 0:
            break
        taken.append(number)
    else:
        check_where(pool)
        if left > 0 and not wanted.allow_fewer:
            raise too_few(pool, wanted.budget - left, wanted.budget, wanted.unit)
    if sized and not taken:
        raise DataError(f"the first row drawn from {pool.source.id} exceeds {wanted.budget:,} {wanted.unit} by itself")
    return sorted(taken)


def _measured(pool: Pool, order: Order, wanted: Wanted, what: dict[str, Any]) -> Iterator[Seen]:
    """Passing rows with their sizes, until they exceed the budget together."""
    total = 0
    if pool.source.generated:
        waves: Iterator[Sequence[int] | None] = iter([None])
    else:
        # A file that must be read from its beginning is read once, but not all of it is measured.
        waves = pool.waves(order, 1024 if pool.indexed else pool.number())
        what["within"] = Within(order, wanted.budget or 0)
    for numbers in waves:
        for seen in pool.look(numbers, measure=wanted.measure, **what):
            total += seen.size
            yield seen
            if total > (wanted.budget or 0) and numbers is None:
                return
        if total > (wanted.budget or 0):
            return


def _by_stratum(pool: Pool, order: Order, wanted: Wanted, what: dict[str, Any]) -> list[int]:
    """Of every value of a field the rows of lowest rank, in proportion or evenly."""
    groups: dict[str, array[int]] = {}
    missing = 0
    pool.number()
    for seen in pool.look(None, stratum=wanted.by, **what):
        if seen.stratum is None:
            missing += 1
        else:
            if seen.stratum not in groups:
                groups[seen.stratum] = array("Q")
            groups[seen.stratum].append(seen.number)
    check_where(pool)
    if not groups and missing:
        hint = nearest(wanted.by, pool.looked.names)
        raise DataError(f"--by: no row of {pool.source.id} has a field {wanted.by!r}{hint}")
    if missing:
        pool.looked.dropped[f"no {wanted.by}"] += missing
    names = sorted(groups)
    parts = quotas(wanted.rows or 0, [len(groups[name]) for name in names], wanted.shares)
    chosen = [order.lowest_of(groups[name], part) for name, part in zip(names, parts, strict=True)]
    return sorted(number for some in chosen for number in some)
