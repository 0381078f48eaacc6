"""The plans of a batch's rows, joined: flat tables that a step gathers by, without going through tokens one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from distill.plans import RowPlan
from distill.vocabulary_sets import VocabularySets


@dataclass
class PlanBatch:
    """The plans of a batch, as flat tensors; student tokens are rows, teacher tokens are sources."""

    rows: Tensor
    """The plain rows: all outcomes of a teacher token count"""
    sources: Tensor
    """Their sources"""
    targeted: Tensor
    """(rows with a target, 2): each row, plain or not, and the source in which it starts"""
    spent: Tensor
    """(entries, 2): index into `rows` and the realised teacher id, where that is shared out below"""
    banned: Tensor
    """(entries, 2): index into `rows` and a teacher id that cannot come: the student would have said another token"""
    inside: Tensor
    """(entries, 4): row, source, teacher id, student id: outcomes of conditioned rows"""
    spaces: Tensor
    """(spaces, 2): a row of white space that the teacher cannot see, and the row whose target it borrows"""
    steps: Tensor
    """(steps, 3): prefix, source, teacher id: a prefix's mass is the product over its steps"""
    prefixes: Tensor
    """(prefixes, 5): row, its index in `rows` (-1: not plain), source of the next step, realised next id (-1: all
    count), student id for what is not listed (-1: none, NO_REST: that cannot come)"""
    follow: Tensor
    """(entries, 5): prefix, teacher id, low, high, extra: a set of student entries; an empty one cannot come"""
    shared: Tensor
    """(pairs, 2): rows and sources that start at the same place"""
    student_span: Tensor
    """(student tokens): the span, a stretch of text that both sides end together, of each; -1: none"""
    teacher_span: Tensor
    """(teacher tokens)"""

    def asked(self) -> Tensor:
        """(pairs, 2): positions and ids of the teacher of which the probabilities are needed by name."""
        following, realised = self.prefixes[:, 2], self.prefixes[:, 3]
        return torch.cat([
            torch.stack([self.sources[self.banned[:, 0]], self.banned[:, 1]], 1),
            self.steps[:, 1:],
            torch.stack([following[self.follow[:, 0]], self.follow[:, 1]], 1),
            torch.stack([following, realised.clamp_min(0)], 1),
            self.inside[:, 1:3],
        ])  # fmt: skip

    def split_asked(self, masses: Tensor) -> dict[str, Tensor]:
        """Their probabilities, by the table that asks."""
        tables = {"banned": self.banned, "steps": self.steps, "follow": self.follow, "realised": self.prefixes,
                  "inside": self.inside}  # fmt: skip
        return dict(zip(tables, masses.split([len(t) for t in tables.values()]), strict=True))

    def to(self, device: object) -> PlanBatch:
        """A copy on a device."""
        return PlanBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


class _Joined:
    """The tables of some plans, one after the other, counted over all of them."""

    def __init__(self, plans: Sequence[RowPlan]) -> None:
        self.plans = plans
        self.rows = _starts([len(plan.ids) for plan in plans])
        self.sources = _starts([plan.teacher_tokens for plan in plans])
        self.prefixes = _starts([len(plan.prefixes) for plan in plans])

    def table(self, name: str, *offsets: np.ndarray | None) -> np.ndarray:
        """A table with what its columns count from (plans) added."""
        parts = [getattr(plan, name) for plan in self.plans]
        table = np.concatenate(parts).astype(np.int64)
        of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        for column, offset in enumerate(offsets):
            if offset is not None:
                table[:, column] += offset[of]
        return table

    def column(self, name: str, offset: np.ndarray | None = None) -> np.ndarray:
        """A list, counted in the same way; -1 stays."""
        parts = [getattr(plan, name) for plan in self.plans]
        column = np.concatenate(parts).astype(np.int64)
        if offset is not None:
            column += np.where(column >= 0, np.repeat(offset, [len(part) for part in parts]), 0)
        return column


def join_plans(sets: VocabularySets, plans: Sequence[RowPlan]) -> PlanBatch:
    """Join the plans of a batch's rows."""
    joined = _Joined(plans)
    row0, source0, prefix0 = joined.rows, joined.sources, joined.prefixes
    at, ids, realised = joined.column("teacher_at", source0), joined.column("ids"), joined.column("realised")
    inside = joined.table("inside", row0)
    plain = at >= 0
    plain[joined.column("deep", row0)] = False
    rows = np.flatnonzero(plain)
    place = np.full(len(at), -1)
    place[rows] = np.arange(len(rows))
    targeted = np.flatnonzero(at >= 0)
    shared = at >= 0
    shared[inside[:, 0]] = False
    both = np.flatnonzero(shared)
    spent = joined.table("spent", row0)
    spent[:, 0] = place[spent[:, 0]]
    prefixes = joined.table("prefixes", row0)
    token, said = prefixes[:, 0], prefixes[:, 1]
    span0 = _starts([1 + int(plan.student_span.max(initial=-1)) for plan in plans])
    return PlanBatch(*(torch.from_numpy(np.ascontiguousarray(table)) for table in (
        rows,
        at[rows],
        np.stack([targeted, at[targeted]], 1),
        spent,
        _banned(sets, rows, _previous(ids, row0, sets.student.eos_id), realised),
        _conditioned(sets, inside, at, realised, ids),
        joined.table("spaces", row0, row0),
        joined.table("steps", prefix0, source0),
        np.stack([token, place[token], at[token] + said, prefixes[:, 2], prefixes[:, 3]], 1),
        np.concatenate([_followers(sets, prefixes), joined.table("added", prefix0)]),
        np.stack([both, at[both]], 1),
        joined.column("student_span", span0),
        joined.column("teacher_span", span0),
    )))  # fmt: skip


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.cumsum([0, *counts])[:-1].astype(np.int64)


def _previous(ids: np.ndarray, row0: np.ndarray, eos: int | None) -> np.ndarray:
    """(rows): the student id before each in the same answer; -1: none."""
    previous = np.concatenate([[-1], ids])[: len(ids)]
    previous[row0[row0 < len(ids)]] = -1
    previous[previous == eos] = -1
    return previous


def _banned(sets: VocabularySets, rows: np.ndarray, previous: np.ndarray, realised: np.ndarray) -> np.ndarray:
    """(entries, 2): index into the plain rows, and a teacher id that cannot come after what was said."""
    before = previous[rows]
    never = sets.impossible
    of, _, tokens = never.never.expand(np.where(before >= 0, never.never_numbers[before], -1))
    kept = tokens[:, 0] != realised[rows[of]]
    return np.stack([of[kept], tokens[kept, 0]], 1)


def _conditioned(
    sets: VocabularySets, inside: np.ndarray, at: np.ndarray, realised: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    """(entries, 4): conditioned rows, their sources, outcomes and student ids; the realised one names the realised id,
    or is shared out elsewhere."""
    of, _, entries = sets.conditioned_table.expand(inside[:, 1])
    row = inside[of, 0]
    others = entries[:, 0] != realised[row]
    named = inside[inside[:, 2] == 1, 0]
    row = np.concatenate([row[others], named])
    entries = np.concatenate([entries[others], np.stack([realised[named], ids[named]], 1)])
    return np.concatenate([np.stack([row, at[row]], 1), entries], 1)


def _followers(sets: VocabularySets, prefixes: np.ndarray) -> np.ndarray:
    """(entries, 5): prefix, teacher id and its set: all that may follow but what is told otherwise."""
    number, out, stopped = prefixes[:, 4], prefixes[:, 5], prefixes[:, 6]
    of, place, entries = sets.followers.expand(number)
    first = np.searchsorted(of, np.arange(len(prefixes)))
    stop_of, _, stop = sets.impossible.stopped.expand(stopped)
    entries[first[stop_of] + stop[:, 0], 1:] = 0, 0, -1
    kept = place != out[of]
    return np.concatenate([of[kept, None], entries[kept]], 1)
