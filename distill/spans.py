"""Likelihoods of spans: stretches of the text that both sides, each in its own tokens, end together (ALM, 2503.20083).

A span's log-likelihood is the sum over its tokens, so student and teacher are compared without a common vocabulary and
without a place where their tokens start together. The slope of a whole span must be known before any of its positions:
a first pass over the head reads the log-likelihood of the labels, a chunk at a time and without a gradient; then the
gradient at a position is that of cross-entropy times its span's slope.

Where one side's token after a span would have been one with the token before it, the two likelihoods differ a little
even between two that know the language: the tokens say more than the bytes. The sum over an answer does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distill.align import Aligner
from distill.batches import Lesson
from distill.fused import AT_ONCE_CPU, AT_ONCE_GPU, head_parameters, teacher_logits
from distill.gradients import ce
from distill.losses import LossTerm, number
from distill.partial import alm_gradient
from distill.plan_batches import PlanBatch
from teachers.base import DenseSignal


@dataclass
class SpanLoss:
    """Values and slopes of every position's span; a part of distill.fused.TwoVocabularies."""

    labels: Tensor
    """(positions)"""
    values: Tensor
    """(positions): those of a span, shared out evenly over its tokens"""
    slopes: Tensor
    """(positions): in the log-likelihood of the position's label; 0 outside of spans"""
    silent: Tensor
    """Student entries without bytes: what the teacher never says is left to the text"""

    def __call__(self, rows: slice, logits: Tensor, out: Tensor) -> Tensor:
        ce(self.labels[rows], torch.log_softmax(_without(logits, self.silent), -1), out=out)
        out.mul_(-self.slopes[rows, None])
        return self.values[rows]


@torch.no_grad()
def span_loss(
    term: LossTerm,
    aligner: Aligner,
    signal: DenseSignal,
    lesson: Lesson,
    hidden: Tensor,
    head: Any,
    *,
    tau: float = 100,
) -> SpanLoss:
    """The loss of a lesson's spans, times tau: so a weight means much the same at any tau.

    `hidden` (positions, width) are the student's final states, `head` its output embedding.
    """
    tables = aligner.on(lesson.plan)
    weight, bias = head_parameters(head)
    temperature = number(term.teacher_temperature)
    silent = tables.silent.nonzero().squeeze(-1)
    ours = label_logs(
        lambda rows: _without(functional.linear(hidden[rows], weight, bias).float(), tables.student_silent),
        lesson.labels, len(weight),
    )  # fmt: skip
    theirs = label_logs(
        lambda rows: _without(teacher_logits(signal, rows).float() / temperature, silent),
        lesson.teacher.labels, len(signal.weight),
    )  # fmt: skip
    values, slopes = span_slopes(theirs, ours, lesson.plan, tau)
    return SpanLoss(lesson.labels, values, slopes, tables.student_silent)


def span_slopes(teacher: Tensor, student: Tensor, plan: PlanBatch, tau: float) -> tuple[Tensor, Tensor]:
    """Values and slopes, (student positions), from the log-likelihoods of both sides' labels."""
    spans = int(plan.student_span.max()) + 1 if len(plan.student_span) else 0
    values, slopes = alm_gradient(
        span_sums(teacher, plan.teacher_span, spans), span_sums(student, plan.student_span, spans), tau
    )
    inside = plan.student_span >= 0
    at = plan.student_span[inside]
    sizes = torch.bincount(at, minlength=spans)
    found = student.new_zeros(2, len(student))
    found[:, inside] = tau * torch.stack([values[at] / sizes[at], slopes[at]])
    return found[0], found[1]


def label_logs(logits: Callable[[slice], Tensor], labels: Tensor, vocabulary: int) -> Tensor:
    """Log-likelihood of each label, (positions), from `logits(slice)`, which exist a chunk at a time."""
    step = max((AT_ONCE_CPU if labels.device.type == "cpu" else AT_ONCE_GPU) // vocabulary, 1)
    found = [torch.zeros(0, device=labels.device)]
    for start in range(0, len(labels), step):
        rows = slice(start, min(start + step, len(labels)))
        part = logits(rows)
        found.append(part.gather(-1, labels[rows, None]).squeeze(-1) - part.logsumexp(-1))
    return torch.cat(found)


def span_sums(logs: Tensor, span: Tensor, spans: int) -> Tensor:
    """Sum over each span's tokens, (spans)."""
    inside = span >= 0
    return logs.new_zeros(spans).index_add_(0, span[inside], logs[inside])


def _without(logits: Tensor, silent: Tensor) -> Tensor:
    return logits.index_fill(-1, silent, -torch.inf) if len(silent) else logits
