"""What a plan needs of a teacher, read off its logits a few positions at a time.

Where a student token starts together with a teacher token, at the plain places, all outcomes above a floor count;
elsewhere only those that a plan asks for by name. So the plain places come first, and nothing else is searched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from distill.errors import DistillError
from distill.plan_batches import PlanBatch

MOST = 4096
"""Outcomes of a position that are listed at most where there is a floor; what others have is left to the tail"""


@dataclass
class TeacherRows:
    """What a teacher says at the positions of a batch, as far as targets need it.

    Entries are the outcomes at plain places but for silent ones and those that the plan says to be spent or banned.
    """

    place: Tensor
    """(entries): index into `plan.rows`, in any order"""
    token: Tensor
    """(entries): teacher ids"""
    mass: Tensor
    """(entries): their probabilities"""
    asked: Tensor
    """(pairs): the probability of each of `plan.asked()`, however small"""
    silent: Tensor
    """(plain rows): mass of entries without bytes, such as spaces where they do not count"""
    largest: Tensor | None = None
    """(positions): the largest probability, where somebody wants to know"""


@dataclass
class Tables:
    """A pair of vocabularies as tensors. A set of student entries is known by its *kind*: an entry where that is its
    only member, `student_size + n` for the nth of `sets`, -1 where it is empty."""

    kind: Tensor
    """(teacher vocab): of S(v)"""
    silent: Tensor
    """(teacher vocab) bool: entries without bytes, where white space does not count"""
    sets: Tensor
    """(sets, 3): low, high, extra: the entries `order[low:high]` and one more (-1: none); ascending"""
    order: Tensor
    """(sorted entries): student ids in the order that makes sets ranges; some stand in it twice"""
    student_silent: Tensor
    """(silent entries): student ids without bytes"""
    student_size: int
    """Student entries"""

    def to(self, device: object) -> Tables:
        """A copy on a device; itself where it is already there."""
        if self.order.device == device:
            return self
        tensors = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "student_size"}
        return replace(self, **tensors)

    def kinds(self, low: Tensor, high: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """The kinds of any sets, and what these count from `student_size` on: `sets` and, after them, new ones."""
        only = torch.where(high - low == 1, torch.cat([self.order, self.order.new_full((1,), -1)])[low], -1)
        kind = torch.where(high == low, extra, torch.where(extra < 0, only, -1))
        many = ((high - low + (extra >= 0)) > 1).nonzero().squeeze(-1)
        size = max(len(self.order), self.student_size) + 1
        keys, known = ((((a * size + b) * size) + c + 1) for a, b, c in (
            (low[many], high[many], extra[many]), self.sets.unbind(-1)
        ))  # fmt: skip
        at = torch.searchsorted(known, keys)
        new = (torch.cat([known, known.new_full((1,), -1)])[at] != keys).nonzero().squeeze(-1)
        more, nth = torch.unique(keys[new], return_inverse=True)
        at[new] = len(known) + nth
        kind[many] = self.student_size + at
        named = torch.stack([more // size**2, more // size % size, more % size - 1], 1)
        return kind, torch.cat([self.sets, named])


def pair_tables(
    low: np.ndarray, high: np.ndarray, extra: np.ndarray, silent: np.ndarray, order: np.ndarray,
    student_silent: np.ndarray, student_size: int,
) -> Tables:  # fmt: skip
    """Of a pair whose set S(v) is `order[low:high]` and `extra` (-1: none); silent entries have none."""
    columns = [torch.from_numpy(np.where(silent, none, c)) for c, none in ((low, 0), (high, 0), (extra, -1))]
    empty = torch.zeros(0, dtype=torch.int64)
    tables = Tables(
        empty, torch.from_numpy(silent), empty.view(0, 3), torch.from_numpy(order), torch.from_numpy(student_silent),
        student_size,
    )  # fmt: skip
    tables.kind, tables.sets = tables.kinds(*columns)
    return tables


RareOutcomes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(positions, what is not listed there) -> the nth of them, id and mass of what stands for it"""


@torch.no_grad()
def dense_rows(
    logits: Callable[[Tensor], Tensor],
    positions: int,
    plan: PlanBatch,
    tables: Tables,
    floor: float,
    at_once: int,
    *,
    rare: RareOutcomes | None = None,
    confidence: bool = False,
) -> TeacherRows:
    """Read a teacher's probabilities off `logits(positions)`, (some positions, at least vocab), `at_once` at a time.

    Outcomes of at most `floor` and, where there is one, those beyond the likeliest MOST are left to the tail, unless
    the plan asks for them or `rare` takes them up.
    """
    asked, plain, vocabulary = plan.asked(), len(plan.sources), len(tables.kind)
    order = torch.cat([plan.sources, _others(plan.sources, positions)])
    place = torch.empty_like(order).index_copy_(0, order, torch.arange(positions, device=order.device))
    masses, largest = (torch.empty(n, device=order.device, dtype=torch.float32) for n in (len(asked), positions))
    wanted = _Sorted(place[asked[:, 0]], positions)
    away = torch.cat([plan.spent, plan.banned])  # listed elsewhere, or cannot come
    gone = _Sorted(away[:, 0], positions)
    hidden = tables.silent.nonzero().squeeze(-1)
    found = [(order.new_empty(0), order.new_empty(0), masses.new_empty(0))]
    silent, sound = masses.new_empty(plain), []
    for start, stop in _stretches(0, plain, at_once) + _stretches(plain, positions, at_once):
        p = probabilities(logits(order[start:stop]), vocabulary)
        sound.append(p[:, 0])  # a number that is none makes the whole row so
        if confidence:
            largest[order[start:stop]] = p.amax(-1)
        these = wanted.within(start, stop)
        masses[these] = p[place[asked[these, 0]] - start, asked[these, 1]]
        if start >= plain:
            continue
        silent[start:stop] = p[:, hidden].sum(-1)
        p[:, hidden] = 0.0
        these = gone.within(start, stop)
        p[away[these, 0] - start, away[these, 1]] = 0.0
        row, token, mass = _likeliest(p, *_above(p, floor)) if floor else _above(p, floor)
        found.append((row + start, token, mass))
        if rare is not None:
            p[row, token] = 0.0
            row, token, mass = rare(order[start:stop], p)
            found.append((row + start, token, mass))
    if not torch.isfinite(torch.cat(sound)).all():  # no outcome of such a position is above the floor
        raise DistillError("the teacher's logits are not finite: load it in full precision (dtype: fp32)")
    row, token, mass = (torch.cat(column) for column in zip(*found, strict=True))
    return TeacherRows(row, token, mass, masses, silent, largest if confidence else None)


def probabilities(logits: Tensor, vocabulary: int) -> Tensor:
    """(positions, vocab): of the entries there are; a head may be padded to more."""
    return torch.softmax(logits[:, :vocabulary].float(), -1)


def _others(some: Tensor, count: int) -> Tensor:
    """What of 0 to count - 1 is not among some."""
    left = torch.ones(count, dtype=torch.bool, device=some.device)
    left[some] = False
    return left.nonzero().squeeze(-1)


def _stretches(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    return [(at, min(at + size, stop)) for at in range(start, stop, size)]


class _Sorted:
    """Which of some numbers below `count` lie in a stretch."""

    def __init__(self, numbers: Tensor, count: int) -> None:
        self.order = numbers.argsort()
        edges = torch.arange(count + 1, device=numbers.device)
        self.starts = torch.searchsorted(numbers[self.order], edges).tolist()

    def within(self, start: int, stop: int) -> Tensor:
        """Their indices."""
        return self.order[self.starts[start] : self.starts[stop]]


def _likeliest(p: Tensor, row: Tensor, token: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At most MOST outcomes of each row of `p`: a teacher that expects nothing in particular would list them all."""
    crowded = torch.bincount(row, minlength=len(p)) > MOST
    if not crowded.any():
        return row, token, mass
    few = (~crowded[row]).nonzero().squeeze(-1)
    rows = crowded.nonzero().squeeze(-1)
    mass_of, token_of = p[rows].topk(MOST, -1)
    return (
        torch.cat([row[few], rows.repeat_interleave(MOST)]),
        torch.cat([token[few], token_of.flatten()]),
        torch.cat([mass[few], mass_of.flatten()]),
    )


def _above(p: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of the numbers above the floor; on a processor numpy finds them several times as fast."""
    if p.device.type != "cpu":
        row, token = (p > floor).nonzero().unbind(-1)
        return row, token, p[row, token]
    rows, vocabulary = p.shape
    above = np.zeros(-(-p.numel() // 8) * 8, dtype=bool)
    np.greater(p.numpy().reshape(-1), np.float32(floor), out=above[: p.numel()])
    eights = np.flatnonzero(above.view(np.uint64))  # most words of eight hold none
    inside = np.flatnonzero(above.reshape(-1, 8)[eights])
    at = eights[inside >> 3] * 8 + (inside & 7)
    starts = np.arange(rows + 1) * vocabulary
    of = np.repeat(np.arange(rows), np.diff(np.searchsorted(at, starts)))
    flat = torch.from_numpy(at)
    return torch.from_numpy(of), torch.from_numpy(at - starts[of]), p.view(-1)[flat]
