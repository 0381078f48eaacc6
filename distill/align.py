"""Moves a teacher's distribution onto a student's vocabulary, on the bytes, when their tokenizers differ.

For every supervised student token there is a target: masses on *sets* of student entries (distill.vocabulary_sets).

1. Where student and teacher start a token together, teacher outcome v gives its mass to the set S(v).
2. Where the student's token reaches past the teacher's realised one (the teacher is finer), the mass of that outcome is
   shared out by the teacher's next step, and so on to the end of the student's token.
3. Inside a teacher token (the student is finer), the teacher's distribution is conditioned on the bytes already said.
4. In 1 and 3 outcomes that the student, whose token has ended here, would have written otherwise are left out.
5. EOS answers EOS. Mass that is in no set is one more class: the student entries that are in no set either.
6. White space that one side swallows is neither asked of that side nor expected of the other.

The loss is the Kullback-Leibler divergence between what both can say, sum m log(m / Q(S)) with Q(S) the student's mass
on a set: it never punishes the right student, and with one-member sets it is plain forward KL. What depends on the
texts alone, the plan, is made once a row; a step only gathers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from distill.encoding import Side
from distill.plans import NO_REST, PlanBatch, RowPlan, join_plans, lay_row
from distill.vocabulary_sets import Sets, VocabularySets
from students.tokenizers import ByteView

EOS_BYTE = b"\xff"
"""Stands for EOS in the bytes of a row; no UTF-8 text holds it"""
ROWS_AT_ONCE = 256


class Aligner:
    """Plans and losses for one ordered pair of tokenizers."""

    def __init__(self, teacher: ByteView, student: ByteView) -> None:
        self.sets = VocabularySets(teacher, student)
        one = self.sets.single_paths
        sizes = one.sizes
        self.single = torch.from_numpy(np.flatnonzero(sizes == 1))
        self.order = torch.from_numpy(self.sets.order)
        self.member = _members(torch.from_numpy(one.low), torch.from_numpy(one.extra), self.order)[self.single]
        self.several = torch.from_numpy(np.flatnonzero(sizes > 1))
        self.several_sets = _as_tensor(one)[self.several]
        self.silent = torch.tensor(_silent(self.sets.teacher_bytes, teacher), dtype=torch.int64)
        self.student_silent = torch.tensor(_silent(self.sets.student_bytes, student), dtype=torch.int64)
        nowhere = sizes == 0
        nowhere[self.silent.numpy()] = False
        self.nowhere = torch.from_numpy(np.flatnonzero(nowhere))
        covered = np.zeros(len(student.entries), dtype=bool)
        covered[self.sets.order] = True
        covered[one.extra[one.extra >= 0]] = True
        covered[self.student_silent.numpy()] = True
        self.uncovered = torch.from_numpy(~covered)

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

    def loss(self, teacher_logits: Tensor, student_logits: Tensor, plan: PlanBatch) -> Tensor:
        """Sum over supervised tokens of KL between what both can say.

        `teacher_logits` (teacher tokens, teacher vocab), `student_logits` (student tokens, student vocab).
        """
        teacher = torch.softmax(teacher_logits[:, : len(self.sets.teacher_bytes)].detach().float(), -1)
        student_logits = student_logits.float()
        if len(self.student_silent):  # what the teacher never says is left to the text
            student_logits = student_logits.index_fill(-1, self.student_silent.to(student_logits.device), -torch.inf)
        student = torch.log_softmax(student_logits, -1)
        possible = self._possible(teacher, plan)
        listed = self._listed(teacher, plan)
        whole = teacher.new_zeros(len(student)).index_add_(0, listed.row, listed.mass)
        whole = torch.where(listed.place >= 0, possible[listed.place], whole[listed.row])
        listed.mass = listed.mass / whole.clamp_min(1e-12)
        total = self._several(student, listed) + self._few(student, listed)
        for start in range(0, len(plan.rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            total = total + self._plain(teacher, student, plan, part, possible, listed)
        return total

    def _possible(self, teacher: Tensor, plan: PlanBatch) -> Tensor:
        """Mass of what can come at each plain row: no white space, when that does not count, and nothing banned."""
        silent = teacher[:, self.silent.to(teacher.device)].sum(-1)[plan.sources]
        n, token = plan.banned.unbind(-1)
        gone = torch.zeros_like(silent).index_add_(0, n, teacher[plan.sources[n], token])
        return torch.cat([1 - silent - gone, silent.new_ones(1)])  # the last one for "no plain row"

    def _listed(self, teacher: Tensor, plan: PlanBatch) -> _Listed:
        """Outcomes that are listed one by one, with their masses: along realised paths and inside teacher tokens."""
        row, place, following, realised, rest = plan.prefixes.unbind(-1)
        n, source, token = plan.steps.unbind(-1)
        said = teacher.new_zeros(len(row)).index_add_(0, n, teacher[source, token].clamp_min(1e-30).log())
        said = said.exp()  # (prefixes)
        n, token, low, high, extra = plan.follow.unbind(-1)
        step = teacher[following[n], token]
        named = torch.zeros_like(said).index_add_(0, n, step)
        named = named + teacher[following, realised.clamp_min(0)] * (realised >= 0)
        left = said * (1 - named).clamp_min(0)
        children = _Listed(row[n], place[n], low, high, extra, said[n] * step).select(high - low + (extra >= 0) > 0)
        none = torch.zeros_like(rest)
        rests = _Listed(row, place, none, none, rest, left).select(rest != NO_REST)
        row, source, token, member = plan.inside.unbind(-1)
        none = torch.zeros_like(row)
        inside = _Listed(row, none - 1, none, none, member, teacher[source, token])
        return _Listed(*(torch.cat(column) for column in zip(*map(_columns, (children, rests, inside)), strict=True)))

    def _several(self, student: Tensor, listed: _Listed) -> Tensor:
        """Listed sets of several entries."""
        some = listed.select(listed.sizes > 1)
        if not len(some.row):
            return student.new_zeros(())
        touched, back = torch.unique(some.row, return_inverse=True)
        sums, q = self._sums(student[touched])
        inside = sums[back, some.high] - sums[back, some.low]
        inside = inside + q[back, some.extra.clamp_min(0)] * (some.extra >= 0)
        return _divergence(some.mass, inside.clamp_min(1e-30).log().float())

    def _few(self, student: Tensor, listed: _Listed) -> Tensor:
        """Listed single entries, and outcomes without any, of rows that are not plain."""
        some = listed.select((listed.place < 0) & (listed.sizes == 1))
        at = some.row * student.shape[-1] + _members(some.low, some.extra, self.order.to(some.low.device))
        # Several teacher entries may leave the same student entry: join them before taking logarithms.
        joined, back = torch.unique(at, return_inverse=True)
        mass = some.mass.new_zeros(len(joined)).index_add_(0, back, some.mass)
        total = _divergence(mass, student.reshape(-1)[joined])
        lost = listed.select((listed.place < 0) & (listed.sizes == 0))
        if not len(lost.row) or not bool(self.uncovered.any()):
            return total
        rows, back = torch.unique(lost.row, return_inverse=True)
        mass = lost.mass.new_zeros(len(rows)).index_add_(0, back, lost.mass)
        return total + _divergence(mass, self._log_uncovered(student[rows]))

    def _log_uncovered(self, log_q: Tensor) -> Tensor:
        """Log of the mass on entries that are in no set, (rows)."""
        unnamed = log_q[:, : len(self.uncovered)]
        return unnamed.masked_fill(~self.uncovered.to(log_q.device), -torch.inf).logsumexp(-1)

    def _plain(
        self, teacher: Tensor, student: Tensor, plan: PlanBatch, part: slice, possible: Tensor, listed: _Listed
    ) -> Tensor:
        """Rows that start with a teacher token: the sets of all its outcomes, joined with what is listed for them."""
        log_q = student[plan.rows[part]]  # (rows, student vocab)
        device, end = log_q.device, part.start + len(log_q)
        mass = teacher[plan.sources[part]]  # (rows, teacher vocab)
        mass[:, self.silent.to(device)] = 0.0
        for table in (plan.spent, plan.banned):
            n, token = table[(table[:, 0] >= part.start) & (table[:, 0] < end)].unbind(-1)
            mass[n - part.start, token] = 0.0
        mass = mass / possible[part.start : end, None].clamp_min(1e-12)
        moved = torch.zeros_like(log_q).index_add_(1, self.member.to(device), mass[:, self.single.to(device)])
        here = listed.select((listed.place >= part.start) & (listed.place < end) & (listed.sizes < 2))
        member = _members(here.low, here.extra, self.order.to(device))
        named = here.sizes == 1
        moved.index_put_((here.place[named] - part.start, member[named]), here.mass[named], accumulate=True)
        total = _divergence(moved, log_q)
        if len(self.several):
            q_set = self._log_mass(log_q, self.several_sets.to(device))
            total = total + _divergence(mass[:, self.several.to(device)], q_set)
        if bool(self.uncovered.any()):
            left = mass[:, self.nowhere.to(device)].sum(-1)
            left = left.index_add(0, here.place[~named] - part.start, here.mass[~named])
            total = total + _divergence(left, self._log_uncovered(log_q))
        return total

    def _log_mass(self, log_q: Tensor, sets: Tensor) -> Tensor:
        """log Q(S) of sets `(sets, 3)` for every row, (rows, sets).

        Prefix sums are in float64: differences of float32 ones lose small sets.
        """
        sums, q = self._sums(log_q)
        low, high, extra = sets.unbind(-1)
        inside = sums[:, high] - sums[:, low] + q[:, extra.clamp_min(0)] * (extra >= 0)
        return inside.clamp_min(1e-30).log().float()

    def _sums(self, log_q: Tensor) -> tuple[Tensor, Tensor]:
        """Prefix sums of the sorted probabilities, (rows, entries + 1), and the probabilities."""
        q = log_q.double().exp()
        return torch.nn.functional.pad(q[:, self.order.to(q.device)].cumsum(-1), (1, 0)), q


@dataclass
class _Listed:
    """Masses on sets of student entries: of which row, its index among the plain ones (-1: it is none), and the set."""

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

    def select(self, which: Tensor) -> _Listed:
        """Some of them."""
        return _Listed(*(column[which] for column in _columns(self)))


def _columns(listed: _Listed) -> list[Tensor]:
    return [getattr(listed, f.name) for f in fields(listed)]


def _divergence(mass: Tensor, log_q: Tensor) -> Tensor:
    """sum m (log m - log Q), with 0 log 0 = 0 and no gradient through the teacher."""
    mass = mass.detach()
    return (torch.xlogy(mass, mass) - mass * log_q.masked_fill(mass == 0, 0.0)).sum()


def _as_tensor(sets: Sets) -> Tensor:
    return torch.from_numpy(np.stack([sets.low, sets.high, sets.extra], 1))


def _members(low: Tensor, extra: Tensor, order: Tensor) -> Tensor:
    """The one entry of each one-member set."""
    return torch.where(extra >= 0, extra, order[low.clamp_max(len(order) - 1)])


def _silent(entries: Sequence[bytes | None], view: ByteView) -> list[int]:
    """Entries that have no bytes when white space does not count."""
    return [v for v, b in enumerate(entries) if b == b"" and view.entries[v] and v != view.eos_id]
