"""The likelihood of sets of student entries, with its gradient in closed form.

With q = softmax(z), a target of masses m on sets S of entries, and the tail t on everything that is in no set,

    loss = sum m log(m / Q(S)) + t log(t / Q(tail)),   Q(S) = sum of q over S,
    d loss / d z_u = q_u (sum m + t - sum over S holding u of m / Q(S) - [u in the tail] t / Q(tail)).

It is the Kullback-Leibler divergence between what teacher and student can both say: never negative, zero for the right
student, and plain forward KL where every set has one entry. Small sets are summed member by member; large ones, which
many rows have, by a product with their members.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill.ragged import members_of
from distill.reading import Tables
from distill.targets import Targets

AT_ONCE_CPU = 2**18
"""Numbers of one matrix that are worked on at a time: what stays in a processor's cache"""
AT_ONCE_GPU = 2**27


@torch.no_grad()
def set_gradient(targets: Targets, tables: Tables, first: int, logits: Tensor, out: Tensor) -> Tensor:
    """The loss of each row, (rows,), for `logits` (rows, vocab) of the student tokens from `first` on.

    `out` (rows, vocab) takes the gradient; it may be the logits' own memory.
    """
    size = AT_ONCE_CPU if logits.device.type == "cpu" else AT_ONCE_GPU
    step = max(size // logits.shape[-1], 1)
    edges = torch.arange(first, first + len(logits) + step, step, device=logits.device).clamp_max_(first + len(logits))
    singles, sets, large = (
        torch.searchsorted(rows, edges).tolist() for rows in (targets.single_row, targets.row, targets.large_row)
    )
    values = logits.new_empty(len(logits))
    for n, start in enumerate(range(0, len(logits), step)):
        spans = (slice(ends[n], ends[n + 1]) for ends in (singles, sets, large))
        part = _Part(targets, first + start, *spans)
        rows = slice(start, min(start + step, len(logits)))
        values[rows] = part.work(tables, logits[rows], out[rows])
    return values


class _Part:
    """A few rows of the targets."""

    def __init__(self, targets: Targets, first: int, singles: slice, sets: slice, large: slice) -> None:
        self.targets, self.first = targets, first
        self.row, self.entry = targets.single_row[singles] - first, targets.single[singles]
        self.single_mass = targets.single_mass[singles]
        self.set_row, self.mass = targets.row[sets] - first, targets.mass[sets]
        self.low, self.high, self.extra = targets.low[sets], targets.high[sets], targets.extra[sets]
        self.large_row, self.large = targets.large_row[large] - first, targets.large[large]
        self.large_mass = targets.large_mass[large]

    def work(self, tables: Tables, logits: Tensor, out: Tensor) -> Tensor:
        """Value of each row; the gradient goes to `out`."""
        rows = slice(self.first, self.first + len(logits))
        with_silent = logits.logsumexp(-1) if self.targets.spaces is not None else None
        if len(tables.student_silent):  # what the teacher never says is left to the text
            logits = logits.index_fill(-1, tables.student_silent, -torch.inf)
        whole = logits.logsumexp(-1, keepdim=True)
        scale = self._scale(rows, None if with_silent is None else whole[:, 0] - with_silent)
        tail, total = self.targets.tail[rows], self.targets.total[rows]
        flat = self.row * logits.shape[-1] + self.entry
        named = logits.reshape(-1)[flat] - whole[self.row, 0]  # (singles): log q
        q = torch.sub(logits, whole, out=out).exp_()
        moved = torch.zeros_like(q)  # (rows, vocab): mass on single entries
        moved.view(-1).index_add_(0, flat, self.single_mass)
        joined = moved.view(-1)[flat]  # several teacher entries may leave the same student entry
        value = tail.new_zeros(len(tail)).index_add_(0, self.row, self.single_mass * (joined.log() - named))
        factor = self._sets(tables, q, value)  # (rows, vocab): sum of m / Q over larger sets, or None
        unsaid = moved == 0
        if factor is not None:
            unsaid &= factor == 0
        left = (q * unsaid).sum(-1)
        asked = (tail > 0) & (left > 0)  # where no entry is left there is nobody to ask for the tail
        pull = torch.where(asked, tail / left, 0.0)
        value += torch.where(asked, torch.xlogy(tail, pull), 0.0)
        total = torch.where(asked, total, total - tail)
        slope = torch.where(unsaid, (total - pull)[:, None], total[:, None])
        if factor is not None:
            slope -= factor
        q.mul_(slope).sub_(moved)
        if scale is not None:
            value *= scale
            q.mul_(scale[:, None])
        return value

    def _scale(self, rows: slice, log_heard: Tensor | None) -> Tensor | None:
        """Factor of each row; `log_heard` (rows): how much the student expects anything but white space."""
        scale = None if self.targets.scale is None else self.targets.scale[rows]
        if log_heard is None or self.targets.spaces is None:
            return scale
        heard = torch.where(self.targets.spaces[rows], log_heard.exp(), 1.0)
        return heard if scale is None else heard * scale

    def _sets(self, tables: Tables, q: Tensor, value: Tensor) -> Tensor | None:
        """Adds the larger sets' part to `value`; their part of the gradient, (rows, vocab)."""
        if not len(self.set_row) and not len(self.large_row):
            return None
        factor = torch.zeros_like(q)
        if len(self.large_row):
            self._product(q, value, factor)
        if len(self.set_row):
            self._one_by_one(tables, q, value, factor)
        return factor

    def _product(self, q: Tensor, value: Tensor, factor: Tensor) -> None:
        """Large sets, all rows at once."""
        members = self.targets.members  # (large sets, entries)
        width = members.shape[1]
        mass = q.new_zeros(len(q), len(members))
        mass.index_put_((self.large_row, self.large), self.large_mass)
        ratio = mass / (q[:, :width] @ members.t()).clamp_min_(1e-30)
        value += torch.xlogy(mass, ratio).sum(-1)
        factor[:, :width].addmm_(ratio, members)

    def _one_by_one(self, tables: Tables, q: Tensor, value: Tensor, factor: Tensor) -> None:
        """Small sets, member by member."""
        of, nth = members_of(self.high - self.low)  # (members): the set of each, and its place there
        at = self.set_row[of] * q.shape[-1] + tables.order[self.low[of] + nth]
        inside = torch.where(self.extra >= 0, q[self.set_row, self.extra.clamp_min(0)], 0.0)
        inside = inside.index_add_(0, of, q.view(-1)[at]).clamp_min_(1e-30)
        ratio = self.mass / inside
        value.index_add_(0, self.set_row, torch.xlogy(self.mass, ratio))
        factor.view(-1).index_add_(0, at, ratio[of])
        more = self.extra >= 0
        factor.index_put_((self.set_row[more], self.extra[more]), ratio[more], accumulate=True)
