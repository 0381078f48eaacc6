"""What `distill eval` measures: a function and a line in METRICS each. All tables and pages go by that line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data_gen.curriculum import is_correct
from data_gen.records import Record


@dataclass
class Answered:
    """What metrics are computed from."""

    records: Sequence[Record]
    answers: Sequence[str]
    """The model's own, greedy ones"""
    teacher_answers: Sequence[str] | None
    """None when no teacher was named"""
    bits: float
    """-log2 of the likelihood of the records' answers and their ends"""
    characters: int
    """Of the records' answers"""


@dataclass(frozen=True)
class Metric:
    """A number about a model, and how it is shown."""

    of: Callable[[Answered], float | None]
    """None where it cannot be told"""
    title: str
    """In a terminal"""
    words: tuple[str, str]
    """In a report, in Chinese and in English"""
    form: str = ".1%"
    falls: bool = False
    """Lower is better, and too low where a tokenizer lacks characters"""

    def say(self, value: float | None) -> str:
        """In a terminal."""
        return "-" if value is None else format(value, self.form)


def exact_match(said: Answered) -> float:
    """Share of rows whose answer is the row's, outer space, a closing full stop and full-width forms aside."""
    return _alike([record.output for record in said.records], said.answers)


def bits_per_character(said: Answered) -> float:
    """Compares models with different tokenizers, as long as nothing is lost."""
    return said.bits / said.characters


def teacher_agreement(said: Answered) -> float | None:
    """Share of rows on which the answer is the teacher's, right or wrong."""
    return None if said.teacher_answers is None else _alike(said.teacher_answers, said.answers)


def _alike(wanted: Sequence[str], found: Sequence[str]) -> float:
    return sum(is_correct(a, b) for a, b in zip(wanted, found, strict=True)) / len(found)


METRICS = {
    "exact_match": Metric(exact_match, "exact match", ("完全匹配 exact match ↑", "exact match ↑")),
    "bits_per_character": Metric(
        bits_per_character,
        "bits/char",
        ("每字比特 bits/char ↓", "bits/char ↓"),
        ".3f",
        falls=True,
    ),
    "teacher_agreement": Metric(teacher_agreement, "agreement", ("与教师一致 agreement ↑", "teacher agreement ↑")),
}
