"""The teachers beside a student: which rows each is asked about, what it says, and what the losses make of that.

One teacher is asked about every row. Several have weights, or sources whose rows they are for:

    model:
      teachers:
        - teacher: {class_path: teachers.panda.PandaTeacher, init_args: {path: models/panda-7b}}
          weight: 2
        - teacher: {class_path: teachers.panda.PandaTeacher, init_args: {path: models/qwen-7b}}
          sources: [coig-*, baike]

Each may have a tokenizer of its own. Of a row every teacher that is asked has a share, in proportion to the weights:
the losses against each are added up with it. Rows that nobody is asked about are learnt from their text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.records import Record
from distill.across import ACROSS
from distill.align import Aligner
from distill.batches import Batch, Lesson
from distill.errors import DistillError
from distill.fused import Objective, OneVocabulary, TwoVocabularies
from distill.kept_signals import KeptSignals
from distill.losses import LossTerm
from distill.signal_keys import cut_alike
from students.tokenizers import ByteView
from teachers.base import DenseSignal, SignalTeacher, nearest


@dataclass
class TeacherTerm:
    """One of several teachers, as a recipe names it."""

    teacher: SignalTeacher
    weight: float = 1.0
    """Against the other teachers of the same row"""
    sources: list[str] | None = None
    """It is asked about rows whose `source` is one of these, `*` stands for anything; default: all rows"""


class Tutor:
    """A teacher, as the student meets it."""

    def __init__(self, term: TeacherTerm, student: ByteView, floor: float, keep: bool) -> None:
        if not term.weight > 0:
            raise DistillError(f"model.teachers: a weight is above 0, got {term.weight}")
        self.teacher, self.weight, self.sources = term.teacher, term.weight, term.sources
        self.view = ByteView(term.teacher.tokenizer)
        self.pad = pad_id(term.teacher.tokenizer)
        self.context: int | None = getattr(term.teacher, "context", None)
        self.aligner: Aligner | None = None
        if not cut_alike(term.teacher.tokenizer, student.tokenizer):
            self.aligner = Aligner(self.view, student, floor)
        self._kept = KeptSignals() if keep else None

    def signal(self, lesson: Lesson, layers: list[Any]) -> DenseSignal:
        """What it says at its own supervised positions; its layers where they are compared."""
        return self._kept(lesson, lambda some: self.ask(some, layers)) if self._kept else self.ask(lesson, layers)

    def ask(self, lesson: Lesson, layers: list[Any]) -> DenseSignal:
        """Run it on the lesson's rows."""
        side = lesson.teacher
        places = lesson.places.teacher if lesson.places is not None else None
        packed = {} if side.position_ids is None else {"position_ids": side.position_ids}
        with torch.autocast(side.ids.device.type, enabled=False):  # a teacher runs in the precision it was loaded in
            signal = self.teacher.signal(side.ids, side.mask, side.positions, layers, places, **packed)
        if not torch.isfinite(signal.hidden).all():
            raise DistillError("the teacher's hidden states are not finite: load it in full precision (dtype: fp32)")
        return signal

    def objective(
        self, terms: Sequence[LossTerm], signal: DenseSignal, lesson: Lesson, hidden: Tensor, head: Any
    ) -> Objective:
        """The losses on a lesson's supervised tokens, for distill.fused; `hidden` (tokens, width) are the student's."""
        labels = lesson.labels
        if self.aligner is None:
            return OneVocabulary(terms, labels, signal)
        across = [None if t.name == "ce" else ACROSS[t.name] for t in terms]
        parts = [
            None if make is None else make(term, self.aligner, signal, lesson, hidden, head, **term.options)
            for term, make in zip(terms, across, strict=True)
        ]
        return TwoVocabularies(terms, labels, parts, self.aligner.on(lesson.plan))


def pad_id(tokenizer: Any) -> int:
    """What fills a line up; any entry does, it is masked."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def shares(tutors: Sequence[Tutor], records: Sequence[Record]) -> np.ndarray:
    """(teachers, records): each teacher's share in each row; a row's add up to 1, or are 0 where nobody is asked.

    DistillError for a pattern that no record's source fits.
    """
    names = sorted({record.source for record in records})
    found = np.zeros((len(tutors), len(records)))
    for n, tutor in enumerate(tutors):
        for pattern in tutor.sources or []:
            if not any(fnmatchcase(name, pattern) for name in names):
                hint = nearest(pattern, names)
                raise DistillError(f"model.teachers: no row of data.train has a source {pattern!r}{hint}")
        theirs = {name for name in names if tutor.sources is None or any(fnmatchcase(name, p) for p in tutor.sources)}
        found[n] = [tutor.weight * (record.source in theirs) for record in records]
    return found / np.maximum(found.sum(0), 1e-300)


def batch_objective(
    tutors: Sequence[Tutor],
    terms: Sequence[LossTerm],
    signals: Sequence[DenseSignal] | None,
    batch: Batch,
    hidden: Tensor,
    head: Any,
) -> Objective:
    """All losses on a batch; `signals` holds one for each of its lessons, None: the text alone."""
    labels = batch.student.labels
    if signals is None:
        return OneVocabulary(terms, labels)
    if len(batch.lessons) == 1 and batch.lessons[0].whole:
        (lesson,), (signal,) = batch.lessons, signals
        return tutors[lesson.by].objective(terms, signal, lesson, hidden, head)
    text = [n for n, term in enumerate(terms) if term.name == "ce"]
    other = [n for n, term in enumerate(terms) if term.name != "ce"]
    parts = [Share(OneVocabulary([terms[n] for n in text], labels), text)] if text else []
    for lesson, signal in zip(batch.lessons, signals, strict=True):
        states = hidden if lesson.at is None else hidden[lesson.at]
        inner = tutors[lesson.by].objective([terms[n] for n in other], signal, lesson, states, head)
        parts.append(Share(inner, other, lesson.at, lesson.token_shares()))
    return Several(parts, len(terms))


@dataclass
class Share:
    """An objective on some of the positions, which it counts from 0, and for some of the terms."""

    objective: Objective
    terms: list[int]
    at: Tensor | None = None
    """(its positions), ascending; None: all"""
    by: Tensor | None = None
    """(its positions): a factor for each; None: 1"""


@dataclass
class Several:
    """Objectives added up."""

    parts: Sequence[Share]
    terms: int

    def __call__(self, rows: slice, logits: Tensor) -> Tensor:
        values, total = logits.new_zeros(self.terms, len(logits)), torch.zeros_like(logits)
        for part in self.parts:
            mine, at = rows, torch.arange(len(logits), device=logits.device)
            if part.at is not None:
                first, last = torch.searchsorted(part.at, torch.tensor([rows.start, rows.stop]).to(at)).tolist()
                mine, at = slice(first, last), part.at[first:last] - rows.start
            if not len(at) or not part.terms:
                continue
            work = logits[at]  # a copy, in which the gradient is formed
            found = part.objective(mine, work)
            if part.by is not None:
                found, work = found * part.by[mine], work.mul_(part.by[mine, None])
            values[torch.tensor(part.terms)[:, None].to(at), at] += found
            total[at] += work
        logits.copy_(total)
        return values
