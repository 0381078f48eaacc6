"""What `distill capture` is told, and the records as both sides read them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data_gen.records import Record
from data_gen.templates import get_template
from distill.align import Aligner
from distill.encoding import Side, encode_answered, encode_side
from distill.errors import DistillError
from distill.plans import RowPlan
from distill.signal_keys import record_keys
from students.tokenizers import ByteView


@dataclass
class Settings:
    """What decides a store beside teacher, student and data."""

    method: str = "sampled"
    size: int = 50
    temperature: float = 1.0
    template: str = "qa"
    teacher_template: str | None = None
    """Default the one that the teacher's folder says it was trained with, else the student's"""
    max_length: int = 512
    seed: int = 0
    batch_size: int = 16

    def check(self) -> None:
        """DistillError for what cannot be."""
        if not 1 <= self.size <= 65_535:
            raise DistillError(f"{self.size} entries a token cannot be: give 1 to 65535")
        if not self.temperature > 0:
            raise DistillError(f"the temperature is above 0, not {self.temperature}")
        if self.max_length < 2 or self.batch_size < 1 or self.seed < 0:
            raise DistillError("max-length is 2 at least, batch-size 1, seed 0")


@dataclass
class Data:
    """Records as both sides read them."""

    records: list[Record]
    keys: np.ndarray
    student: Side
    teacher: Side
    plans: list[RowPlan] = field(default_factory=list)
    """Of every record, where the vocabularies differ"""
    dropped: int = 0
    """Records without an answer within the maximum length"""


def encode(
    records: Sequence[Record],
    ours: ByteView,
    theirs: ByteView,
    settings: Settings,
    context: int | None,
    aligner: Aligner | None,
) -> Data:
    """Both sides of the records, each of them once; those without an answer are left out, as training leaves them."""
    template = get_template(settings.template)
    keys = record_keys(records)
    some = sorted(np.unique(keys, return_index=True)[1].tolist())
    records = [records[r] for r in some]
    student, answered = encode_answered(lambda some: encode_side(ours, template, some, settings.max_length), records)
    kept = [records[r] for r in answered]
    if not kept:
        raise DistillError(f"no record has an answer within {settings.max_length} tokens")
    longest = min(4 * settings.max_length, context or sys.maxsize)
    teacher = encode_side(theirs, get_template(settings.teacher_template or settings.template), kept, longest)
    data = Data(kept, record_keys(kept), student, teacher, dropped=len(records) - len(kept))
    if aligner is not None:
        answers = [[text for text, said in template.render(record) if said] for record in kept]
        data.plans = [aligner.plan(answers[r], teacher, student, r) for r in range(len(kept))]
    return data
