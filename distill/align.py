"""Moves a teacher's distribution onto a student's vocabulary, on the bytes, when their tokenizers differ.

For every supervised student token there is a target: masses on *sets* of student entries (distill.vocabulary_sets).

1. Where student and teacher start a token together, teacher outcome v gives its mass to the set S(v).
2. Where the student's token reaches past the teacher's realised one (the teacher is finer), the mass of that outcome is
   shared out by the teacher's next step, and so on to the end of the student's token.
3. Inside a teacher token (the student is finer), the teacher's distribution is conditioned on the bytes already said.
4. In 1 and 3 outcomes that the student, whose token has ended here, would have written otherwise are left out.
5. EOS answers EOS. Mass that is in no set is one more class: the student entries that are in no set either.
6. White space that one side swallows is neither asked of that side nor expected of the other.

What depends on the texts alone, the plan, is made once a row (distill.plans); a step gathers the teacher's masses for
it (distill.targets) and takes the likelihood of the sets (distill.set_loss).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from distill.encoding import Side
from distill.plan_batches import PlanBatch, join_plans
from distill.plans import RowPlan, lay_row
from distill.reading import RareOutcomes, Tables, TeacherRows, dense_rows, pair_tables
from distill.signal_keys import tokenization
from distill.targets import Targets, build_targets
from distill.vocabulary_sets import VocabularySets
from students.tokenizers import ByteView
from teachers.base import vocabulary_id

EOS_BYTE = b"\xff"
"""Stands for EOS in the bytes of a row; no UTF-8 text holds it"""
FLOOR = 1e-5
"""Outcomes of a teacher that are rarer are left to the tail"""
AT_ONCE = 2**22
"""Teacher logits that exist at a time"""


class Aligner:
    """Plans and targets for one ordered pair of tokenizers."""

    def __init__(self, teacher: ByteView, student: ByteView, floor: float = FLOOR) -> None:
        self.sets, self.floor = pair_sets(teacher, student), floor
        one = self.sets.single_paths
        silent = np.zeros(len(teacher.entries), dtype=bool)
        silent[_silent(self.sets.teacher_bytes, teacher)] = True
        theirs = np.array(_silent(self.sets.student_bytes, student), dtype=np.int64)
        self.tables = pair_tables(one.low, one.high, one.extra, silent, self.sets.order, theirs, len(student.entries))

    def plan(self, answers: Sequence[str], teacher: Side, student: Side, row: int) -> RowPlan:
        """Lay the teacher's tokens of a row over the student's; `answers` are the row's supervised texts."""
        texts = [a.encode("utf-8", "surrogatepass") for a in answers]
        whole = b"".join(t + EOS_BYTE for t in texts)
        to_canonical = self._coordinates(texts, whole)
        ours, theirs = student.row(row), teacher.row(row)
        s_mask, t_mask = student.supervised[ours], teacher.supervised[theirs]
        s_ends, s_ids = to_canonical[student.ends[ours][s_mask]], student.ids[ours][s_mask].astype(np.int64)
        t_ends, t_ids = to_canonical[teacher.ends[theirs][t_mask]], teacher.ids[theirs][t_mask].astype(np.int64)
        canonical = b"".join(self.sets.canonical(t) + EOS_BYTE for t in texts)
        return lay_row(self.sets, s_ends, s_ids, t_ends, t_ids, canonical)

    def _coordinates(self, texts: list[bytes], whole: bytes) -> np.ndarray:
        """Position in the text -> position in its canonical form, `(bytes + 1)`."""
        if not self.sets.squash:
            return np.arange(len(whole) + 1)
        kept: list[int] = []
        for text in texts:
            for char in text.decode("utf-8", "surrogatepass"):
                raw = char.encode("utf-8", "surrogatepass")
                size = len(self.sets.canonical(raw))
                kept += [0] * (len(raw) - 1) + [size] if size != len(raw) else [1] * size
            kept.append(1)
        return np.concatenate([[0], np.cumsum(kept)])

    def batch(self, plans: Sequence[RowPlan]) -> PlanBatch:
        """Join the plans of a batch's rows."""
        return join_plans(self.sets, plans)

    def targets(self, teacher: TeacherRows, plan: PlanBatch, rows: int, *, confidence: bool = False) -> Targets:
        """What a teacher says, on sets of student entries; `rows` supervised student tokens."""
        return build_targets(teacher, plan, self.on(plan), rows, confidence=confidence)

    def read(
        self,
        logits: Callable[[Tensor], Tensor],
        positions: int,
        plan: PlanBatch,
        *,
        rare: RareOutcomes | None = None,
        confidence: bool = False,
    ) -> TeacherRows:
        """What the plan needs of a teacher's logits, formed by `logits(positions)`, (some positions, vocab);
        `confidence` to know the largest probabilities, too."""
        at_once = max(AT_ONCE // len(self.tables.kind), 1)
        return dense_rows(logits, positions, plan, self.on(plan), self.floor, at_once, rare=rare, confidence=confidence)

    def on(self, plan: PlanBatch) -> Tables:
        """The tables on a plan's device."""
        self.tables = self.tables.to(plan.rows.device)
        return self.tables


_pairs: dict[tuple[Any, ...], VocabularySets] = {}
"""Tables of the pairs that were met last: they take seconds, and learn from every text"""
PAIRS = 4


def pair_sets(teacher: ByteView, student: ByteView) -> VocabularySets:
    """The tables of a pair, built once in a process: known by the entries of both and by how each cuts."""
    if not (hasattr(teacher.tokenizer, "backend_tokenizer") and hasattr(student.tokenizer, "backend_tokenizer")):
        return VocabularySets(teacher, student)  # an endpoint's, of which nobody knows how it cuts
    key = *_fingerprints(teacher), *_fingerprints(student)
    if key not in _pairs:
        while len(_pairs) >= PAIRS:
            del _pairs[next(iter(_pairs))]
        _pairs[key] = VocabularySets(teacher, student)
    return _pairs[key]


def _fingerprints(view: ByteView) -> tuple[Any, ...]:
    tokenizer = view.tokenizer
    special = tokenizer.eos_token_id, tokenizer.unk_token_id, tuple(sorted(tokenizer.all_special_ids))
    return vocabulary_id(tokenizer), tokenization(tokenizer), special


def _silent(entries: Sequence[bytes | None], view: ByteView) -> list[int]:
    """Entries that have no bytes when white space does not count."""
    return [v for v, b in enumerate(entries) if b == b"" and view.entries[v] and v != view.eos_id]
