"""What a batch's targets hold, read off the real `Targets` object: sums of rows, and sets as sets."""

from __future__ import annotations

from collections import defaultdict

from torch import Tensor

from distill.align import Aligner
from distill.plan_batches import PlanBatch
from distill.reading import Tables
from distill.targets import Targets


def moved(aligner: Aligner, teacher_logits: Tensor, plan: PlanBatch, rows: int) -> Targets:
    """The targets of `rows` student tokens."""
    read = aligner.read(lambda part: teacher_logits[part], len(teacher_logits), plan)
    return aligner.targets(read, plan, rows)


def row_sums(targets: Targets) -> Tensor:
    """All masses of each row and its tail, added up in float64, (rows,)."""
    total = targets.tail.double().clone()
    for row, mass in (
        (targets.single_row, targets.single_mass), (targets.row, targets.mass), (targets.large_row, targets.large_mass),
    ):  # fmt: skip
        total.index_add_(0, row, mass.double())
    return total


def off_one(targets: Targets) -> float:
    """The largest |sum - 1| of the rows that have a target; the others hold nothing at all."""
    sums, there = row_sums(targets), targets.total > 0
    assert not sums[~there].any()
    return float((sums[there] - 1).abs().max()) if there.any() else 0.0


def listed(targets: Targets, tables: Tables, least: float = 0.0) -> list[dict[frozenset[int], float]]:
    """Each row's masses above `least` by set of student entries; a set that is known by two names is one here."""
    found: list[dict[frozenset[int], float]] = [defaultdict(float) for _ in range(len(targets.total))]
    order = tables.order.tolist()
    there = targets.single_mass > least
    for row, entry, mass in zip(
        *(t[there].tolist() for t in (targets.single_row, targets.single, targets.single_mass)), strict=True
    ):
        found[row][frozenset([entry])] += mass
    there = targets.mass > least
    sets = targets.row, targets.low, targets.high, targets.extra, targets.mass
    for row, low, high, extra, mass in zip(*(t[there].tolist() for t in sets), strict=True):
        found[row][frozenset([*order[low:high], *([extra] if extra >= 0 else [])])] += mass
    members = [frozenset(one.nonzero().squeeze(-1).tolist()) for one in targets.members]
    there = targets.large_mass > least
    for row, large, mass in zip(
        *(t[there].tolist() for t in (targets.large_row, targets.large, targets.large_mass)), strict=True
    ):
        found[row][members[large]] += mass
    return found
