"""Losses between two vocabularies: each is a function and a line in ACROSS; recipes name it.

A function is given a term of the recipe, the aligner of the two tokenizers, what the teacher said of a lesson, the
lesson, the student's final hidden states at its supervised positions, (positions, width), and its output embedding. It
makes of them a target on sets of the student's entries, or a part of distill.fused.TwoVocabularies. What else it takes
are the loss's own options, numbers above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from distill.align import Aligner
from distill.baselines import boundary_kl, uld
from distill.batches import Lesson
from distill.fused import Part, teacher_logits
from distill.losses import LossTerm, number
from distill.spans import span_loss
from distill.targets import Targets
from teachers.base import DenseSignal


def on_sets(
    term: LossTerm, aligner: Aligner, signal: DenseSignal, lesson: Lesson, hidden: Any = None, head: Any = None
) -> Targets:
    """Forward KL as the likelihood of sets of entries: all that the teacher says, and no more (distill.align)."""
    temperature = number(term.teacher_temperature)

    def logits(part: Tensor) -> Tensor:
        found = teacher_logits(signal, part)  # (part, teacher vocab)
        return found if temperature == 1 else found / temperature

    rows = aligner.read(logits, len(signal.hidden), lesson.plan, confidence=term.confidence)
    return aligner.targets(rows, lesson.plan, len(lesson.labels), confidence=term.confidence)


ACROSS: dict[str, Callable[..., Targets | Part]] = {
    "forward_kl": on_sets,
    "alm": span_loss,
    "boundary_kl": boundary_kl,
    "uld": uld,
}
