"""Moves a teacher's distribution onto a student's vocabulary, on the bytes, when their tokenizers differ.

For every supervised student token there is a target: masses on *sets* of student entries (distill.vocabulary_sets).

1. Where student and teacher start a token together, teacher outcome v gives its mass to the set S(v).
2. Where the student's token reaches past the teacher's realised one (the teacher is finer), the mass of that outcome is
   shared out by the teacher's next step, and so on to the end of the student's token.
3. Inside a teacher token (the student is finer), the teacher's distribution is conditioned on the bytes already said.
4. EOS answers EOS. Mass that is in no set is one more class: the student entries that are in no set either.

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
from distill.vocabulary_sets import Sets, VocabularySets
from students.tokenizers import ByteView

EOS_BYTE = b"\xff"
"""Stands for EOS in the bytes of a row; no UTF-8 text holds it"""
ROWS_AT_ONCE = 256


@dataclass
class RowPlan:
    """How one row's teacher tokens lie over its student tokens; indices count supervised tokens within the row."""

    teacher_at: np.ndarray
    """(student tokens): the teacher token in which each starts; -1: no target"""
    said: list[tuple[int, bytes]]
    """(student token, bytes already said inside its teacher token), where there are any"""
    paths: list[tuple[int, tuple[int, ...]]]
    """(student token, realised teacher ids), where it reaches past its first teacher token"""
    shared: np.ndarray
    """(pairs, 2): student and teacher tokens that start at the same place"""
    teacher_tokens: int


@dataclass
class PlanBatch:
    """The plans of a batch, as flat tensors; student tokens are rows, teacher tokens are sources."""

    rows: Tensor
    """Rows whose one-token sets count: all but the conditioned ones"""
    sources: Tensor
    """Their sources"""
    spent_rows: Tensor
    """Indices into `rows` whose realised outcome is shared out by a path ..."""
    spent_tokens: Tensor
    """... and that outcome's teacher id"""
    inside: Tensor
    """(entries, 4): row, source, teacher id, student id, for conditioned rows"""
    steps: Tensor
    """(steps, 3): prefix, source, teacher id: a prefix's mass is the product over its steps"""
    prefixes: Tensor
    """(prefixes, 4): row, source of the next step, rest's student id (-1: none), realised next id (-1: all count)"""
    follow: Tensor
    """(entries, 5): prefix, teacher id, low, high, extra"""
    shared_student: Tensor
    shared_teacher: Tensor

    def to(self, device: object) -> PlanBatch:
        """A copy on a device."""
        return PlanBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


class Aligner:
    """Plans and losses for one ordered pair of tokenizers."""

    def __init__(self, teacher: ByteView, student: ByteView) -> None:
        self.sets = VocabularySets(teacher, student)
        one = self.sets.single_paths
        sizes = one.sizes
        self.single = torch.from_numpy(np.flatnonzero(sizes == 1))
        member = np.where(one.extra >= 0, one.extra, self.sets.order[np.minimum(one.low, len(self.sets.order) - 1)])
        self.member = torch.from_numpy(member)[self.single]
        self.several = torch.from_numpy(np.flatnonzero(sizes > 1))
        self.several_sets = _as_tensor(one)[self.several]
        self.nowhere = torch.from_numpy(np.flatnonzero(sizes == 0))
        covered = np.zeros(len(student.entries), dtype=bool)
        covered[self.sets.order] = True
        covered[one.extra[one.extra >= 0]] = True
        self.uncovered = torch.from_numpy(~covered)
        self.order = torch.from_numpy(self.sets.order)

    def plan(self, answers: Sequence[str], teacher: Side, student: Side, row: int) -> RowPlan:
        """Lay the teacher's tokens of a row over the student's; `answers` are the row's supervised texts."""
        texts = [a.encode("utf-8", "surrogatepass") for a in answers]
        whole = b"".join(t + EOS_BYTE for t in texts)
        to_canonical = self._coordinates(texts, whole)
        ours, theirs = student.row(row), teacher.row(row)
        s_ends = to_canonical[student.ends[ours][student.supervised[ours]]]
        t_mask = teacher.supervised[theirs]
        t_ends, t_ids = to_canonical[teacher.ends[theirs][t_mask]], teacher.ids[theirs][t_mask]
        canonical = b"".join(self.sets.canonical(t) + EOS_BYTE for t in texts)
        return self._lay(s_ends, t_ends, t_ids, canonical)

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

    @staticmethod
    def _lay(s_ends: np.ndarray, t_ends: np.ndarray, t_ids: np.ndarray, canonical: bytes) -> RowPlan:
        s_starts, t_starts = np.concatenate([[0], s_ends[:-1]]), np.concatenate([[0], t_ends[:-1]])
        first_here = np.searchsorted(t_starts, s_starts, "left")  # also a token without canonical bytes, a space
        around = np.searchsorted(t_ends, s_starts, "right")
        exact = (first_here < len(t_ids)) & (t_starts[np.minimum(first_here, len(t_ids) - 1)] == s_starts)
        at = np.where(exact, first_here, around)
        at[(at >= len(t_ids)) | (s_ends <= s_starts)] = -1
        said, paths = [], []
        for j in np.flatnonzero(at >= 0):
            i = int(at[j])
            if t_starts[i] < s_starts[j]:
                said.append((int(j), canonical[t_starts[i] : s_starts[j]]))
            elif t_ends[i] < s_ends[j]:
                last = int(np.searchsorted(t_ends, s_ends[j], "left"))
                paths.append((int(j), tuple(t_ids[i : last + 1].tolist())))
        both = np.flatnonzero(exact & (at >= 0))
        return RowPlan(at, said, paths, np.stack([both, at[both]], 1), len(t_ids))

    def batch(self, plans: Sequence[RowPlan]) -> PlanBatch:
        """Join the plans of a batch's rows."""
        rows, sources, spent, inside, shared = [], [], [], [], []
        steps: list[tuple[int, int, int]] = []
        prefixes: list[tuple[int, int, int, int]] = []
        follow: list[np.ndarray] = []
        row0 = source0 = count = 0
        for plan in plans:
            conditioned = {j for j, _ in plan.said}
            plain = np.array([j for j in np.flatnonzero(plan.teacher_at >= 0) if j not in conditioned], dtype=np.int64)
            rows.append(row0 + plain)
            sources.append(source0 + plan.teacher_at[plain])
            place = {int(j): count + n for n, j in enumerate(plain)}
            count += len(plain)
            for j, said in plan.said:
                tokens, members = self.sets.conditioned(said)
                columns = np.full(len(tokens), row0 + j), np.full(len(tokens), source0 + plan.teacher_at[j])
                inside.append(np.stack([*columns, tokens, members], 1))
            for j, path in plan.paths:
                spent.append((place[j], path[0]))
                self._share_out(row0 + j, source0 + int(plan.teacher_at[j]), path, steps, prefixes, follow)
            shared.append(plan.shared + np.array([row0, source0]))
            row0, source0 = row0 + len(plan.teacher_at), source0 + plan.teacher_tokens
        pairs, spent_at = _table(shared, 2), _table([np.array(spent, dtype=np.int64).reshape(-1, 2)], 2)
        return PlanBatch(
            torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(sources)),
            spent_at[:, 0], spent_at[:, 1], _table(inside, 4),
            _table([np.array(steps, dtype=np.int64).reshape(-1, 3)], 3),
            _table([np.array(prefixes, dtype=np.int64).reshape(-1, 4)], 4),
            _table(follow, 5), pairs[:, 0], pairs[:, 1],
        )  # fmt: skip

    def _share_out(
        self, row: int, source: int, path: tuple[int, ...], steps: list, prefixes: list, follow: list
    ) -> None:
        """Add the prefixes of a realised path and what may follow each of them."""
        for depth in range(1, len(path)):
            children = self.sets.children(path[:depth])
            n = len(prefixes)
            steps += [(n, source + d, path[d]) for d in range(depth)]
            realised = path[depth] if depth < len(path) - 1 else -1
            prefixes.append((row, source + depth, children.rest, realised))
            keep = children.tokens != realised
            columns = children.tokens, children.sets.low, children.sets.high, children.sets.extra
            follow.append(np.stack([np.full(len(children.tokens), n), *columns], 1)[keep])

    def loss(self, teacher_logits: Tensor, student_logits: Tensor, plan: PlanBatch) -> Tensor:
        """Sum over supervised tokens of KL between what both can say.

        `teacher_logits` (teacher tokens, teacher vocab), `student_logits` (student tokens, student vocab).
        """
        teacher = torch.softmax(teacher_logits[:, : len(self.sets.teacher_bytes)].float(), -1)
        student = torch.log_softmax(student_logits.float(), -1)
        total = student.new_zeros(())
        for start in range(0, len(plan.rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            total = total + self._plain(teacher, student, plan, part)
        return total + self._inside(teacher, student, plan) + self._paths(teacher, student, plan)

    def _plain(self, teacher: Tensor, student: Tensor, plan: PlanBatch, part: slice) -> Tensor:
        """One-token sets."""
        mass = teacher[plan.sources[part]]  # (rows, teacher vocab)
        spent = (plan.spent_rows >= part.start) & (plan.spent_rows < part.start + len(mass))
        mass[plan.spent_rows[spent] - part.start, plan.spent_tokens[spent]] = 0.0
        log_q = student[plan.rows[part]]  # (rows, student vocab)
        device = mass.device
        moved = torch.zeros_like(log_q).index_add_(1, self.member.to(device), mass[:, self.single.to(device)])
        total = _divergence(moved, log_q)
        if len(self.several):
            total = total + _divergence(
                mass[:, self.several.to(device)], self._log_mass(log_q, self.several_sets.to(device))
            )
        left = mass[:, self.nowhere.to(device)].sum(-1)
        if bool(self.uncovered.any()):
            unnamed = log_q[:, : len(self.uncovered)].masked_fill(~self.uncovered.to(device), -torch.inf)
            total = total + _divergence(left, unnamed.logsumexp(-1))
        return total

    def _log_mass(self, log_q: Tensor, sets: Tensor) -> Tensor:
        """log Q(S) of sets `(sets, 3)` for every row, (rows, sets).

        Prefix sums are in float64: differences of float32 ones lose small sets.
        """
        q = log_q.double().exp()
        sums = torch.nn.functional.pad(q[:, self.order.to(q.device)].cumsum(-1), (1, 0))  # (rows, entries + 1)
        low, high, extra = sets.unbind(-1)
        inside = sums[:, high] - sums[:, low] + q[:, extra.clamp_min(0)] * (extra >= 0)
        return inside.clamp_min(1e-30).log().float()

    def _inside(self, teacher: Tensor, student: Tensor, plan: PlanBatch) -> Tensor:
        """Rows inside a teacher token: its distribution, given what has been said of it."""
        rows, sources, tokens, members = plan.inside.unbind(-1)
        mass = teacher[sources, tokens]
        whole = mass.new_zeros(len(student)).index_add_(0, rows, mass)
        known = whole[rows] > 1e-12
        rows, members = rows[known], members[known]
        given = mass[known] / whole[rows]
        # Several teacher entries may leave the same student entry: join them before taking logarithms.
        width = student.shape[-1]
        joined, back = torch.unique(rows * width + members, return_inverse=True)
        total = given.new_zeros(len(joined)).index_add_(0, back, given)
        return _divergence(total, student.reshape(-1)[joined])

    def _paths(self, teacher: Tensor, student: Tensor, plan: PlanBatch) -> Tensor:
        """Rows whose token reaches past the teacher's: the realised outcome's mass, step by step."""
        if not len(plan.prefixes):
            return student.new_zeros(())
        n, source, token = plan.steps.unbind(-1)
        log_said = teacher.new_zeros(len(plan.prefixes)).index_add_(0, n, teacher[source, token].clamp_min(1e-30).log())
        said = log_said.exp()  # (prefixes)
        row, following, rest, realised = plan.prefixes.unbind(-1)
        n, token, low, high, extra = plan.follow.unbind(-1)
        step = teacher[following[n], token]
        named = step.new_zeros(len(said)).index_add_(0, n, step)
        named = named + teacher[following, realised.clamp_min(0)] * (realised >= 0)
        left = said * (1 - named).clamp_min(0)
        touched, back = torch.unique(row, return_inverse=True)
        q = student[touched].double().exp()
        sums = torch.nn.functional.pad(q[:, self.order.to(q.device)].cumsum(-1), (1, 0))
        r = back[n]
        inside = sums[r, high] - sums[r, low] + q[r, extra.clamp_min(0)] * (extra >= 0)
        total = _divergence(said[n] * step, inside.clamp_min(1e-30).log().float())
        known = rest >= 0
        return total + _divergence(left[known], student[row[known], rest[known]])


def _divergence(mass: Tensor, log_q: Tensor) -> Tensor:
    """sum m (log m - log Q), with 0 log 0 = 0 and no gradient through the teacher."""
    mass = mass.detach()
    return (torch.xlogy(mass, mass) - mass * log_q.masked_fill(mass == 0, 0.0)).sum()


def _as_tensor(sets: Sets) -> Tensor:
    return torch.from_numpy(np.stack([sets.low, sets.high, sets.extra], 1))


def _table(parts: Sequence[np.ndarray], columns: int) -> Tensor:
    return torch.from_numpy(np.concatenate([np.zeros((0, columns), np.int64), *parts]).astype(np.int64))
