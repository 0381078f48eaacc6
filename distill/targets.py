"""Targets on sets of student entries, as flat sparse rows: what a batch's teacher comes down to for the student.

A plan (distill.plans) says which outcomes of which teacher position count for which student token. Here it meets the
teacher's probabilities: `dense_rows` reads them off logits that exist a few positions at a time, keeping the outcomes
above a floor and the ones that plans ask for by name; `build_targets` moves them onto sets. What falls below the floor
or has no set is the tail: the class of all student entries that are in no set of the row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from distill.errors import DistillError
from distill.plan_batches import PlanBatch
from distill.plans import NO_REST

LEAST = 1e-6
"""A row whose teacher says, up to this mass, only what cannot come has no target"""


@dataclass
class TeacherRows:
    """What a teacher says at the positions of a batch, as far as targets need it.

    Entries are the outcomes at plain positions but for silent ones and those that the plan says to be spent or banned.
    """

    source: Tensor
    """(entries): its positions, in any order"""
    token: Tensor
    """(entries): teacher ids"""
    mass: Tensor
    """(entries): their probabilities"""
    asked: Tensor
    """(pairs): the probability of each of `plan.asked()`, however small"""
    silent: Tensor
    """(positions): mass of entries without bytes, such as spaces where they do not count"""
    largest: Tensor
    """(positions): the largest probability"""


@dataclass
class Tables:
    """A pair of vocabularies as tensors; S(v) of a teacher id v is `order[low:high]` and `extra` (-1: none)."""

    low: Tensor
    """(teacher vocab)"""
    high: Tensor
    extra: Tensor
    silent: Tensor
    """(teacher vocab) bool: entries without bytes, where white space does not count"""
    order: Tensor
    """(sorted entries): student ids in the order that makes sets ranges; some stand in it twice"""
    student_silent: Tensor
    """(silent entries): student ids without bytes"""
    student_size: int
    """Student entries"""

    def to(self, device: object) -> Tables:
        """A copy on a device; itself where it is already there."""
        if self.low.device == device:
            return self
        tensors = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "student_size"}
        return replace(self, **tensors)


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


RareOutcomes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(positions, what is below the floor there) -> position, id and mass of what stands for it"""
LARGE = 128
"""Sets with more members, over all rows, than 1 in LARGE of (rows, student vocab) are summed by a matrix product"""
MOST = 256
"""Large sets at most"""


@torch.no_grad()
def dense_rows(
    logits: Callable[[slice], Tensor],
    positions: int,
    plan: PlanBatch,
    tables: Tables,
    floor: float,
    at_once: int,
    rare: RareOutcomes | None = None,
) -> TeacherRows:
    """Read a teacher's probabilities off `logits(slice)`, (positions of the slice, at least vocab), a part at a time.

    Outcomes of at most `floor` are left to the tail, unless the plan asks for them or `rare` takes them up.
    """
    vocabulary, asked = len(tables.low), plan.asked()
    plain = torch.zeros(positions, dtype=torch.bool, device=asked.device)
    plain[plan.sources] = True
    masses = torch.empty(len(asked), device=asked.device)
    by_source = asked[:, 0].argsort()
    away = torch.cat([plan.spent, plan.banned])  # listed elsewhere, or cannot come
    away = torch.stack([plan.sources[away[:, 0]], away[:, 1]], 1)
    away = away[away[:, 0].argsort()]
    bounds = torch.searchsorted(
        asked[by_source, 0].contiguous(), torch.arange(0, positions + at_once, at_once).to(asked)
    )
    found, silent, largest = [], [], []
    hidden = tables.silent.nonzero().squeeze(-1)
    for n, start in enumerate(range(0, positions, at_once)):
        here = torch.tensor([start, start + at_once], device=asked.device)
        p = torch.softmax(logits(slice(start, start + at_once))[:, :vocabulary].float(), -1)
        these = by_source[bounds[n] : bounds[n + 1]]
        masses[these] = p[asked[these, 0] - start, asked[these, 1]]
        silent.append(p[:, hidden].sum(-1))
        largest.append(p.amax(-1))
        p[:, hidden] = 0.0
        gone = away[slice(*torch.searchsorted(away[:, 0].contiguous(), here).tolist())]
        p[gone[:, 0] - start, gone[:, 1]] = 0.0
        rows = plain[start : start + at_once].nonzero().squeeze(-1)
        p = p[rows]
        at = _above(p, floor)
        row = at // vocabulary
        found.append((rows[row] + start, at - row * vocabulary, p.view(-1)[at]))
        if rare is not None:
            found.append(rare(rows + start, p.masked_fill_(p > floor, 0.0)))
    tops = torch.cat(largest)
    if not torch.isfinite(tops).all():  # no outcome of such a position is above the floor: it would say nothing
        raise DistillError("the teacher's logits are not finite: load it in full precision (dtype: fp32)")
    source, token, mass = (torch.cat(column) for column in zip(*found, strict=True))
    return TeacherRows(source, token, mass, masses, torch.cat(silent), tops)


def _above(p: Tensor, floor: float) -> Tensor:
    """Flat places of the numbers above the floor; on a processor numpy finds them three times as fast."""
    if p.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(p.numpy() > np.float32(floor)))
    return (p > floor).view(-1).nonzero().squeeze(-1)


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
    order = placed.row.argsort()
    ends = placed.row[order]
    first, last = torch.searchsorted(ends, like), torch.searchsorted(ends, like, right=True)
    of = torch.repeat_interleave(last - first)
    nth = torch.arange(len(of), device=of.device) - ((last - first).cumsum(0) - (last - first))[of]
    more = placed.select(order[first[of] + nth])
    more.row, more.place = row[of], torch.full_like(more.place, -1)
    return _join(placed, more), total.index_put((row,), total[like])


@torch.no_grad()
def placed_masses(teacher: TeacherRows, plan: PlanBatch, tables: Tables, rows: int) -> tuple[Placed, Tensor]:
    """Masses on sets, none of them empty, in any order; and all mass of each row, (rows,): 1, or 0 without a target."""
    asked = plan.split_asked(teacher.asked)
    plain, possible = _plain(teacher, plan, tables, asked["banned"])
    listed = _listed(plan, asked)
    whole = _sums(rows, listed).clamp_min_(1e-12)
    possible = torch.cat([possible, possible.new_ones(1)])  # the last one for "no plain row"
    listed.mass = (listed.mass / torch.where(listed.place >= 0, possible[listed.place], whole[listed.row])).float()
    every = _join(plain, listed)
    every = every.select((every.mass > 0) & torch.where(every.place >= 0, possible[every.place] > LEAST, True))
    total = _sums(rows, every).clamp_max_(1)
    total[plan.rows] = (possible[:-1] > LEAST).double()
    return every.select(every.sizes > 0), total.float()


@torch.no_grad()
def collect_targets(placed: Placed, total: Tensor, tables: Tables, tail: Tensor | None = None) -> Targets:
    """Masses on sets as the loss wants them; the tail is what is left of the total, or given."""
    rows = len(total)
    if tail is None:
        tail = (total - _sums(rows, placed)).clamp_min_(0).float()
    one = placed.select(placed.sizes == 1)
    one = one.select(one.row.argsort())
    some, kind, large, members = _split(placed.select(placed.sizes > 1), tables, rows)
    entry = torch.where(one.extra >= 0, one.extra, tables.order[one.low.clamp_max(len(tables.order) - 1)])
    return Targets(
        one.row, entry, one.mass, some.row, some.low, some.high, some.extra, some.mass,
        large.row, kind, large.mass, members, tail, total,
    )  # fmt: skip


@dataclass
class Placed:
    """Masses on sets: of which row, its index among the plain ones (-1: it is none), and the set."""

    row: Tensor
    place: Tensor
    low: Tensor
    high: Tensor
    extra: Tensor
    mass: Tensor

    @property
    def sizes(self) -> Tensor:
        """Members of each set."""
        return self.high - self.low + (self.extra >= 0)

    def select(self, which: Tensor) -> Placed:
        """Some of them, or all in another order."""
        return Placed(*(column[which] for column in _columns(self)))


def _sums(rows: int, sets: Placed) -> Tensor:
    """All masses of each row, (rows); in float64, for there may be many and small ones."""
    return sets.mass.new_zeros(rows, dtype=torch.float64).index_add_(0, sets.row, sets.mass.double())


def _columns(sets: Placed) -> list[Tensor]:
    return [getattr(sets, f.name) for f in fields(sets)]


def _join(*parts: Placed) -> Placed:
    return Placed(*(torch.cat(column) for column in zip(*map(_columns, parts), strict=True)))


def _plain(teacher: TeacherRows, plan: PlanBatch, tables: Tables, banned: Tensor) -> tuple[Placed, Tensor]:
    """Outcomes of plain rows but for those shared out elsewhere; the mass of what can come at each, (plain rows)."""
    place = torch.full_like(teacher.silent, -1, dtype=torch.int64)
    place[plan.sources] = torch.arange(len(plan.sources), device=place.device)
    n, token, mass = place[teacher.source], teacher.token, teacher.mass
    possible = (1 - teacher.silent[plan.sources].double()).index_add_(0, plan.banned[:, 0], -banned.double())
    mass = (mass / possible[n].clamp_min(1e-12)).float()
    return Placed(plan.rows[n], n, tables.low[token], tables.high[token], tables.extra[token], mass), possible


def _listed(plan: PlanBatch, asked: dict[str, Tensor]) -> Placed:
    """Outcomes that a plan lists one by one: along realised paths and inside teacher tokens."""
    row, place, _, realised, rest = plan.prefixes.unbind(-1)
    said = asked["steps"].new_zeros(len(row)).index_add_(0, plan.steps[:, 0], asked["steps"].clamp_min(1e-30).log())
    said = said.exp()  # (prefixes)
    n, _, low, high, extra = plan.follow.unbind(-1)
    step = asked["follow"]
    named = (asked["realised"] * (realised >= 0)).double().index_add_(0, n, step.double())
    left = said * (1 - named).clamp_min(0).float()
    none = torch.zeros_like(rest)
    children = Placed(row[n], place[n], low, high, extra, said[n] * step)
    rests = Placed(row, place, none, none, rest, left).select(rest != NO_REST)
    row, _, _, member = plan.inside.unbind(-1)
    none = torch.zeros_like(row)
    inside = Placed(row, none - 1, none, none, member, asked["inside"])
    return _join(children.select(children.sizes > 0), rests, inside)


def _split(sets: Placed, tables: Tables, rows: int) -> tuple[Placed, Tensor, Placed, Tensor]:
    """The same set of a row once, with all its mass, rows ascending: small ones; which large ones; these; members."""
    size = max(len(tables.order), tables.student_size) + 1
    kinds, kind = torch.unique((sets.low * size + sets.high) * size + sets.extra + 1, return_inverse=True)
    count = len(kinds)
    keys, back = torch.unique(sets.row * max(count, 1) + kind, return_inverse=True)
    first = torch.empty_like(keys).scatter_(0, back, torch.arange(len(back), device=back.device))
    mass = sets.mass.new_zeros(len(keys)).index_add_(0, back, sets.mass)
    sets, kind = sets.select(first), kind[first]
    sets.mass = mass
    low, high, extra = kinds // size**2, kinds // size % size, kinds % size - 1
    work = torch.bincount(kind, minlength=count) * (high - low + 1)
    chosen = work.topk(min(count, MOST)).indices
    chosen = chosen[work[chosen] * LARGE > rows * tables.student_size]
    members = sets.mass.new_zeros(len(chosen), tables.student_size)
    for n, (a, b, e) in enumerate(
        zip(low[chosen].tolist(), high[chosen].tolist(), extra[chosen].tolist(), strict=True)
    ):
        members[n, tables.order[a:b]] = 1.0
        if e >= 0:
            members[n, e] = 1.0
    which = torch.full_like(low, -1)
    which[chosen] = torch.arange(len(chosen), device=low.device)
    which = which[kind]
    return sets.select(which < 0), which[which >= 0], sets.select(which >= 0), members
