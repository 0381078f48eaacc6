"""Targets on sets of student entries, as flat sparse rows: what a batch's teacher comes down to for the student.

A plan (distill.plans) says which outcomes of which teacher position count for which student token. Here it meets the
teacher's probabilities (distill.reading), which move onto sets. What falls below the floor or has no set is the tail:
the class of all student entries that are in no set of the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distill.plan_batches import PlanBatch
from distill.plans import NO_REST
from distill.ragged import members_of
from distill.reading import Tables, TeacherRows

LEAST = 1e-6
"""A row whose teacher says, up to this mass, only what cannot come has no target"""
NOTHING = 1e-30
"""A row inside a teacher token has no target when the teacher holds what was said for less likely than this"""
LARGE = 128
"""Sets with more members, over all rows, than 1 in LARGE of (rows, student vocab) are summed by a matrix product"""
MOST = 256
"""Large sets at most"""


@dataclass
class Targets:
    """Masses on sets of student entries; rows are student tokens, ascending in every list."""

    single_row: Tensor
    """(singles): sets of one entry; the same entry may stand in a row several times"""
    single: Tensor
    single_mass: Tensor
    row: Tensor
    """(sets): sets of some entries, each once a row"""
    low: Tensor
    high: Tensor
    extra: Tensor
    mass: Tensor
    large_row: Tensor
    """(large): sets that many rows have and that have many entries, each once a row"""
    large: Tensor
    """Which of `members` it is"""
    large_mass: Tensor
    members: Tensor
    """(large sets, student vocab): 1 where an entry is a member"""
    tail: Tensor
    """(rows): mass of all entries that are in no set of the row"""
    total: Tensor
    """(rows): all mass of a row, 1 or, without a target, 0"""
    scale: Tensor | None = None
    """(rows): factor of each row's loss; None: 1"""
    spaces: Tensor | None = None
    """(rows) bool: rows that weigh by how little white space the student expects; None: none does"""


@dataclass
class Placed:
    """Masses on sets: of which row, and the set's kind (distill.reading.Tables)."""

    row: Tensor
    kind: Tensor
    """-1: the empty set"""
    mass: Tensor
    sets: Tensor
    """(sets, 3): what kinds from `student_size` on count"""


@torch.no_grad()
def build_targets(
    teacher: TeacherRows, plan: PlanBatch, tables: Tables, rows: int, *, confidence: bool = False
) -> Targets:
    """Move what a teacher says onto the student's sets, `rows` student tokens; `confidence` weighs each row by the
    teacher's largest probability."""
    placed, total = placed_masses(teacher, plan, tables, rows)
    if len(plan.spaces):
        placed, total = _with_spaces(placed, total, plan.spaces)
    targets = collect_targets(placed, total, tables)
    if confidence:
        assert teacher.largest is not None
        targets.scale = torch.zeros_like(total)
        targets.scale[plan.targeted[:, 0]] = teacher.largest[plan.targeted[:, 1]]
        targets.scale[plan.spaces[:, 0]] = targets.scale[plan.spaces[:, 1]]
    if len(plan.spaces):
        targets.spaces = torch.zeros_like(total, dtype=torch.bool)
        targets.spaces[plan.spaces[:, 0]] = True
    return targets


def _with_spaces(placed: Placed, total: Tensor, spaces: Tensor) -> tuple[Placed, Tensor]:
    """White space that the teacher cannot see: if none came here, what it expects after it should."""
    row, like = (column.contiguous() for column in spaces.unbind(-1))
    order = _ascending(placed.row)
    ends = placed.row[order]
    first, last = torch.searchsorted(ends, like), torch.searchsorted(ends, like, right=True)
    of, nth = members_of(last - first)
    from_ = order[first[of] + nth]
    more = Placed(row[of], placed.kind[from_], placed.mass[from_], placed.sets)
    return _join(placed, more), total.index_put((row,), total[like])


@torch.no_grad()
def placed_masses(teacher: TeacherRows, plan: PlanBatch, tables: Tables, rows: int) -> tuple[Placed, Tensor]:
    """Masses on sets in any order, and all mass of each row, (rows,): 1, or 0 without a target."""
    asked = plan.split_asked(teacher.asked)
    banned = asked["banned"].double()
    possible = (1 - teacher.silent.double()).index_add_(0, plan.banned[:, 0], -banned)  # (plain rows): what can come
    share = torch.where(possible > LEAST, 1 / possible.clamp_min(LEAST), 0.0)
    listed, total = _listed(plan, asked, share, tables, rows)
    total[plan.rows] = (possible > LEAST).double()
    plain = Placed(
        plan.rows[teacher.place], tables.kind[teacher.token], teacher.mass * share.float()[teacher.place], tables.sets
    )
    return _join(plain, listed), total.float()


def _listed(
    plan: PlanBatch, asked: dict[str, Tensor], share: Tensor, tables: Tables, rows: int
) -> tuple[Placed, Tensor]:
    """Outcomes that a plan lists one by one, along realised paths and inside teacher tokens; all of a row's, (rows,).

    Those of a plain row are a `share` (plain rows) of what can come there, those of any other row are all that can.
    """
    row, place, _, realised, rest = plan.prefixes.unbind(-1)
    said = asked["steps"].new_zeros(len(row)).index_add_(0, plan.steps[:, 0], asked["steps"].clamp_min(NOTHING).log())
    said = said.exp()  # (prefixes)
    n, _, low, high, extra = plan.follow.unbind(-1)
    step = asked["follow"]
    named = (asked["realised"] * (realised >= 0)).double().index_add_(0, n, step.double())
    left = said * (1 - named).clamp_min(0).float()
    kind, sets = tables.kinds(low, high, extra)
    child, last, inside = (kind >= 0).nonzero().squeeze(-1), (rest != NO_REST).nonzero().squeeze(-1), plan.inside
    n = n[child]
    row = torch.cat([row[n], row[last], inside[:, 0]])
    place = torch.cat([place[n], place[last], torch.full_like(inside[:, 0], -1)])
    mass = torch.cat([said[n] * step[child], left[last], asked["inside"]])
    whole = _sums(rows, row, mass)
    shares = torch.cat([share, share.new_ones(1)])[place]  # the last one for "no plain row"
    known = whole > NOTHING
    alone = torch.where(known, 1 / whole.clamp_min(NOTHING), 0.0)
    mass = (mass * torch.where(place >= 0, shares, alone[row])).float()
    found = Placed(row, torch.cat([kind[child], rest[last], inside[:, 3]]), mass, sets)
    return found, known.double()


@torch.no_grad()
def collect_targets(placed: Placed, total: Tensor, tables: Tables, tail: Tensor | None = None) -> Targets:
    """Masses on sets as the loss wants them; the tail is what is left of the total, or given."""
    rows, size = len(total), tables.student_size
    there = placed.mass > 0
    one = (there & (placed.kind >= 0) & (placed.kind < size)).nonzero().squeeze(-1)
    one = one[_ascending(placed.row[one])]
    many = (there & (placed.kind >= size)).nonzero().squeeze(-1)
    row, entry, mass = placed.row[one], placed.kind[one], placed.mass[one]
    several = placed.row[many], placed.kind[many] - size, placed.mass[many]
    if tail is None:
        left = total - _sums(rows, row, mass) - _sums(rows, several[0], several[2])
        if (left < 0).any():  # by a rounding or so
            share = (total / (total - left.clamp_max(0)).clamp_min(LEAST)).float()
            mass, several = mass * share[row], (several[0], several[1], several[2] * share[several[0]])
        tail = left.clamp_min_(0).float()
    (few_row, few, few_mass), (large_row, large, large_mass), members = _split(*several, placed.sets, tables, rows)
    low, high, extra = few.unbind(-1)
    return Targets(
        row, entry, mass, few_row, low, high, extra, few_mass, large_row, large, large_mass, members, tail, total
    )


def _ascending(numbers: Tensor) -> Tensor:
    """The order that sorts them. Nearly sorted ones cost next to nothing on a processor."""
    if numbers.device.type == "cpu":
        return torch.from_numpy(np.argsort(numbers.numpy(), kind="stable"))
    return numbers.argsort(stable=True)


def _sums(rows: int, row: Tensor, mass: Tensor) -> Tensor:
    """All masses of each row, (rows,); in float64, for there may be many and small ones."""
    return mass.new_zeros(rows, dtype=torch.float64).index_add_(0, row, mass.double())


def _join(some: Placed, more: Placed) -> Placed:
    """Both; the sets of the second begin with those of the first."""
    row, kind, mass = (torch.cat([getattr(p, name) for p in (some, more)]) for name in ("row", "kind", "mass"))
    return Placed(row, kind, mass, more.sets)


def _split(
    row: Tensor, which: Tensor, mass: Tensor, sets: Tensor, tables: Tables, rows: int
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor], Tensor]:
    """The same set of a row once, with all its mass, rows ascending: small ones, as row, set (.., 3) and mass; large
    ones, as row, which of the members and mass; members."""
    keys, back = torch.unique(row * max(len(sets), 1) + which, return_inverse=True)
    mass = mass.new_zeros(len(keys)).index_add_(0, back, mass)
    row, which = keys // max(len(sets), 1), keys % max(len(sets), 1)
    work = torch.bincount(which, minlength=len(sets)) * (sets[:, 1] - sets[:, 0] + 1)
    chosen = work.topk(min(len(sets), MOST)).indices
    chosen = chosen[work[chosen] * LARGE > rows * tables.student_size]
    members = mass.new_zeros(len(chosen), tables.student_size)
    for n, (low, high, extra) in enumerate(sets[chosen].tolist()):
        members[n, tables.order[low:high]] = 1.0
        if extra >= 0:
            members[n, extra] = 1.0
    number = torch.full_like(work, -1)
    number[chosen] = torch.arange(len(chosen), device=row.device)
    number = number[which]
    small, large = (number < 0).nonzero().squeeze(-1), (number >= 0).nonzero().squeeze(-1)
    return (row[small], sets[which[small]], mass[small]), (row[large], number[large], mass[large]), members
