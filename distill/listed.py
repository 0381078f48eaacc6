"""Losses between a student and a teacher of which some entries a position are known, over one vocabulary.

What was drawn is a target of counts: cross-entropy and forward KL are linear in it, so one softmax serves both. What
was cut to the likeliest has one class more, the rest: over these few classes every divergence is what it is over a
vocabulary, and its slope in the logits is that of the class, shared out inside the rest by the student's own belief.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from distill.gradients import Rows, row_gradient
from distill.losses import LossTerm, number
from distill.ragged import members_of

AT_ONCE_CPU = 2**18
"""Numbers of one matrix that are worked on at a time"""
AT_ONCE_GPU = 2**26
LEAST = 2.0**-24
"""A mass that 16 bits round to nothing is still this much, so that no divergence is infinite"""


@dataclass
class ListedTeacher:
    """Some entries a position, flat, rows ascending."""

    row: Tensor
    """(entries): the position of each"""
    ids: Tensor
    mass: Tensor
    tail: Tensor
    """(positions): the mass of all other entries"""
    draws: bool
    """Counts of draws: the tail is no class"""

    def part(self, first: int, last: int) -> ListedTeacher:
        """That of some positions."""
        a, b = torch.searchsorted(self.row, torch.tensor([first, last], device=self.row.device)).tolist()
        return ListedTeacher(
            self.row[a:b] - first, self.ids[a:b], self.mass[a:b], self.tail[first:last], self.draws
        )  # fmt: skip

    def padded(self) -> tuple[Tensor, Tensor]:
        """ids (positions, k), -1 where there is none, and masses."""
        counts = torch.bincount(self.row, minlength=len(self.tail))
        _, nth = members_of(counts)
        shape = len(self.tail), int(counts.max()) if len(counts) else 0
        ids, mass = self.ids.new_full(shape, -1), self.mass.new_zeros(shape)
        ids[self.row, nth], mass[self.row, nth] = self.ids, self.mass
        return ids, mass


@dataclass
class OneVocabularyListed:
    """An objective of distill.fused."""

    terms: Sequence[LossTerm]
    labels: Tensor
    """(positions)"""
    teacher: ListedTeacher

    def __call__(self, rows: slice, logits: Tensor) -> Tensor:
        size = AT_ONCE_CPU if logits.device.type == "cpu" else AT_ONCE_GPU
        step = max(size // logits.shape[-1], 1)
        values = logits.new_zeros(len(self.terms), len(logits))
        for start in range(0, len(logits), step):
            span = slice(start, min(start + step, len(logits)))
            first, last = rows.start + span.start, rows.start + span.stop
            part, labels = self.teacher.part(first, last), self.labels[first:last]
            logits[span] = self._work(part, labels, logits[span], values[:, span])
        return values

    def _work(self, teacher: ListedTeacher, labels: Tensor, logits: Tensor, values: Tensor) -> Tensor:
        linear = [n for n, t in enumerate(self.terms) if t.name == "ce" or (teacher.draws and t.name == "forward_kl")]
        by_temperature: dict[float, list[int]] = {}
        for n in linear:
            temperature = 1.0 if self.terms[n].name == "ce" else number(self.terms[n].temperature)
            by_temperature.setdefault(temperature, []).append(n)
        total = torch.zeros_like(logits) if not by_temperature else None
        for temperature, these in by_temperature.items():
            slope = _linear([self.terms[n] for n in these], teacher, labels, logits, temperature, values, these)
            total = slope if total is None else total.add_(slope)
        assert total is not None
        for n, term in enumerate(self.terms):
            if n not in linear:
                values[n], slope = divergence_gradient(term, teacher, logits)
                total.add_(slope, alpha=number(term.weight))
        return total


def _linear(
    terms: Sequence[LossTerm],
    teacher: ListedTeacher,
    labels: Tensor,
    logits: Tensor,
    temperature: float,
    values: Tensor,
    into: Sequence[int],
) -> Tensor:
    """The weighted slope of cross-entropy and of forward KL to draws, which share a softmax; fills `values`."""
    z = logits if temperature == 1 else logits / temperature
    whole = z.logsumexp(-1)  # (positions)
    drawn = teacher.tail.new_zeros(len(z)).index_add_(0, teacher.row, teacher.mass)
    flat = teacher.row * z.shape[-1] + teacher.ids
    weight = torch.zeros_like(whole)
    pulls: list[tuple[Tensor, Tensor]] = []
    for n, term in zip(into, terms, strict=True):
        by = number(term.weight) * temperature  # the square of the temperature, and its inverse from the chain rule
        if term.name == "ce":
            at = torch.arange(len(z), device=z.device) * z.shape[-1] + labels
            values[n] = whole - z.reshape(-1)[at]
            weight += by
            pulls.append((at, torch.full_like(whole, by)))
        else:
            log_q = z.reshape(-1)[flat] - whole[teacher.row]
            gap = torch.xlogy(teacher.mass, teacher.mass) - teacher.mass * log_q
            values[n] = torch.zeros_like(whole).index_add_(0, teacher.row, gap) * temperature**2
            weight += by * drawn
            pulls.append((flat, by * teacher.mass))
    slope = torch.sub(z, whole[:, None]).exp_().mul_(weight[:, None])
    for at, by_entry in pulls:
        slope.view(-1).index_add_(0, at, by_entry.to(slope.dtype), alpha=-1)
    return slope


@torch.no_grad()
def divergence_gradient(term: LossTerm, teacher: ListedTeacher, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Value a position and slope in the logits, without the weight, of any divergence over the known entries and the
    class of the rest; 0 where nothing is known."""
    temperature, vocabulary = number(term.temperature), logits.shape[-1]
    ids, mass = teacher.padded()
    there, known = ids >= 0, (ids >= 0).any(-1)
    z = logits if temperature == 1 else logits / temperature
    at = torch.where(there, ids, vocabulary)  # fillers go into a column that is cut off
    rest = functional.pad(z, (0, 1), value=-math.inf).scatter_(-1, at, -math.inf)
    of_rest = rest.logsumexp(-1, keepdim=True)
    listed = z.gather(-1, ids.clamp_min(0)).masked_fill(~there, -math.inf)
    student = torch.log_softmax(torch.cat([listed, of_rest], -1), -1)  # (positions, k + 1)
    log_p = torch.cat([mass, teacher.tail[:, None]], -1).clamp_min(LEAST).log()
    gone = torch.cat([~there, of_rest == -math.inf], -1)
    log_p = torch.log_softmax(log_p.masked_fill(gone, -math.inf), -1)
    log_p = torch.where(known[:, None], log_p, student)
    value, slope = row_gradient(term.name)(Rows(log_p, student), **term.options)
    scale = temperature**2 * known
    if term.confidence:
        scale = scale * log_p[:, :-1].amax(-1).exp()
    slope = slope * (scale / temperature)[:, None]
    spread = torch.sub(rest, of_rest).exp_().nan_to_num_(nan=0.0)
    spread.mul_(slope[:, -1:])
    spread.scatter_(-1, at, slope[:, :-1])
    return value * scale, spread[:, :vocabulary]
