"""Rows in token ids on all sides, and the batches that are made of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from distill.align import Aligner
from distill.batches import Batch, Lesson, Tokens, gather_places, gather_tokens
from distill.encoding import Side
from distill.plans import RowPlan


@dataclass
class TaughtRows:
    """The rows as one teacher reads them."""

    by: int
    """Which teacher of the model's"""
    side: Side
    pad: int
    shares: np.ndarray
    """(rows): the teacher's share in each; 0 where it is not asked"""
    aligner: Aligner | None = None
    """Where the vocabularies differ"""
    plans: dict[int, RowPlan] = field(default_factory=dict)
    """Of every row it is asked about, where the vocabularies differ"""
    places: dict[int, np.ndarray] = field(default_factory=dict)
    """Of the same rows, where features are compared; empty without features"""

    def lesson(self, rows: list[int], student: Tokens, width: int | None) -> Lesson | None:
        """What it is asked about these rows, which lie in `student`; None when that is nothing."""
        which = torch.from_numpy(np.flatnonzero(self.shares[rows]))
        if not len(which):
            return None
        mine = [rows[n] for n in which.tolist()]
        teacher = gather_tokens(self.side, mine, self.pad, width)
        at = student.of(which) if len(mine) < len(rows) else None
        shares = torch.from_numpy(self.shares[mine]).float()
        return Lesson(
            by=self.by,
            rows=mine,
            teacher=teacher,
            labels=student.labels if at is None else student.labels[at],
            counts=student.counts[which],
            plan=self.aligner.batch([self.plans[r] for r in mine]) if self.aligner is not None else None,
            places=gather_places([self.places[r] for r in mine], student.starts[which], teacher.starts)
            if self.places
            else None,
            at=at,
            shares=None if bool((shares == 1).all()) else shares,
        )


class EncodedRows:
    """A set of rows on all sides; `rows[(indices, step_tokens)]` is a Batch."""

    def __init__(self, student: Side, pad: int, taught: list[TaughtRows], width: int | None = None) -> None:
        self.student, self.pad, self.taught, self.width = student, pad, taught, width

    def __len__(self) -> int:
        return len(self.student.start) - 1

    def __getitem__(self, wanted: tuple[list[int], float]) -> Batch:
        rows, step_tokens = wanted
        return self.batch(rows, step_tokens, self.width)

    def batch(self, rows: list[int], step_tokens: float, width: int | None) -> Batch:
        """These rows, a row a line, or packed into lines of `width` tokens, on each side into as many as it takes."""
        student = gather_tokens(self.student, rows, self.pad, width)
        lessons = [each.lesson(rows, student, width) for each in self.taught]
        return Batch(
            student=student,
            lessons=[lesson for lesson in lessons if lesson is not None],
            step_tokens=step_tokens,
            characters=int(self.student.characters[rows].sum()),
            rows=rows,
        )

    def short_ones(self) -> list[int]:
        """Three of the shortest rows of every teacher: to try models on."""
        shortest = np.argsort(self.student.lengths, kind="stable")
        taught = [shortest[each.shares[shortest] > 0] for each in self.taught]
        return [row for rows in taught or [shortest] for row in np.resize(rows[:3], 3).tolist()]
