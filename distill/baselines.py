"""What others do between two tokenizers, to compare with: losses where student and teacher start a token together.

Everywhere else they say nothing. There, `boundary_kl` keeps the mass of entries that are the same string on both sides
and puts all others into one class (as TRL's GOLD and string matching do); `uld` compares sorted probabilities, whatever
they stand for (2402.12030). The loss that is not thrown away at a boundary is forward_kl on sets: distill.align.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from distill.align import EOS_BYTE, Aligner
from distill.batches import Lesson
from distill.fused import teacher_logits
from distill.gradients import GRADIENTS
from distill.losses import LossTerm, confidence, number
from distill.partial import listed_kl_gradient
from students.tokenizers import ByteView
from teachers.base import DenseSignal

Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From log-probabilities, (pairs, teacher vocab) and (pairs, student vocab): value and slope of each pair"""


@dataclass
class SharedStarts:
    """A loss of two distributions at these places alone; a part of distill.fused.TwoVocabularies."""

    loss: Slope
    signal: DenseSignal
    pairs: Tensor
    """(pairs, 2): student and teacher position, the student's ascending"""
    temperature: float
    """Divides the teacher's logits"""
    confidence: bool

    def __call__(self, rows: slice, logits: Tensor, out: Tensor) -> Tensor:
        edges = torch.tensor([rows.start, rows.stop], device=self.pairs.device)
        first, last = torch.searchsorted(self.pairs[:, 0].contiguous(), edges).tolist()
        at, source = self.pairs[first:last].unbind(-1)
        at = at - rows.start
        values = logits.new_zeros(len(logits))
        ours = torch.log_softmax(logits[at], -1)
        theirs = torch.log_softmax(teacher_logits(self.signal, source).to(logits) / self.temperature, -1)
        found, slope = self.loss(theirs, ours)
        if self.confidence:
            sure = confidence(theirs)
            found, slope = found * sure, slope * sure[:, None]
        values[at] = found
        out.zero_()
        out[at] = slope
        return values


def boundary_kl(
    term: LossTerm, aligner: Aligner, signal: DenseSignal, lesson: Lesson, hidden: Any, head: Any
) -> SharedStarts:
    """Forward KL over entries that are the same string on both sides."""
    loss = BoundaryKL(equal_entries(aligner.sets.teacher, aligner.sets.student).to(signal.hidden.device))
    return _shared_starts(loss, term, signal, lesson)


def uld(term: LossTerm, aligner: Aligner, signal: DenseSignal, lesson: Lesson, hidden: Any, head: Any) -> SharedStarts:
    """L1 distance of sorted probabilities."""
    return _shared_starts(GRADIENTS["uld"], term, signal, lesson)


def _shared_starts(loss: Slope, term: LossTerm, signal: DenseSignal, lesson: Lesson) -> SharedStarts:
    return SharedStarts(loss, signal, lesson.plan.shared, number(term.teacher_temperature), term.confidence)


class BoundaryKL:
    """Forward KL over entries that both vocabularies have, and one class for all the rest on either side."""

    def __init__(self, equal: Tensor) -> None:
        self.equal = equal
        """(entries, 2): teacher and student id"""

    def __call__(self, teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
        mass = teacher[:, self.equal[:, 0]].exp()
        tail = (1 - mass.sum(-1)).clamp_min(0)
        return listed_kl_gradient(self.equal[:, 1].expand(len(mass), -1), mass, tail, student)


@lru_cache(maxsize=4)
def equal_entries(teacher: ByteView, student: ByteView) -> Tensor:
    """(entries, 2): ids of the same string, read through both tokenizers' ways of writing it; EOS equals EOS.

    Kinder than comparing names: between SentencePiece and GPT-2's stand-ins for bytes no Chinese one would be equal.
    """
    theirs, ours = _strings(teacher), _strings(student)
    return torch.tensor([(v, ours[b]) for b, v in theirs.items() if b in ours], dtype=torch.int64).reshape(-1, 2)


def _strings(view: ByteView) -> dict[bytes, int]:
    """Bytes of an entry -> its id; pieces inside of words (`##`) and byte entries stand back for whole strings."""
    names = view.tokenizer.convert_ids_to_tokens(list(range(len(view.entries))))
    known = [(b, v) for v, b in enumerate(view.entries) if b and not (names[v] or "").startswith("##")]
    known.sort(key=lambda pair: (names[pair[1]] or "").startswith("<0x"), reverse=True)
    found = dict(known)
    if view.eos_id is not None:
        found[EOS_BYTE] = view.eos_id
    return found
