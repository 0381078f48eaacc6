"""Losses on whole logits with autograd's slope: what those that go a chunk at a time are held against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill.align import Aligner
from distill.losses import LOSSES, LossTerm, confidence, number
from distill.plan_batches import PlanBatch
from distill.reading import Tables
from distill.set_loss import set_gradient
from distill.targets import Targets


def divergence(term: LossTerm, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """A term's value a token, `(tokens,)`, from logits over one vocabulary, `(tokens, vocab)`; with the T^2."""
    temperature = number(term.temperature)
    teacher = torch.log_softmax(teacher_logits.float() / temperature, -1)
    student = torch.log_softmax(student_logits.float() / temperature, -1)
    value = LOSSES[term.name](teacher, student, **term.options) * temperature**2
    return value * confidence(teacher) if term.confidence else value


def set_loss(aligner: Aligner, teacher_logits: Tensor, student_logits: Tensor, plan: PlanBatch) -> Tensor:
    """Sum over supervised tokens of KL between what both can say.

    `teacher_logits` (teacher tokens, teacher vocab), `student_logits` (student tokens, student vocab).
    """
    teacher = aligner.read(lambda part: teacher_logits[part].detach(), len(teacher_logits), plan)
    targets = aligner.targets(teacher, plan, len(student_logits))
    value: Tensor = _SetLoss.apply(student_logits, targets, aligner.on(plan))
    return value


class _SetLoss(torch.autograd.Function):
    """The sum over rows, with the gradient of the logits formed at once."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Targets, tables: Tables) -> Tensor:
        gradient = torch.empty_like(logits, dtype=torch.float32)
        values = set_gradient(targets, tables, 0, logits.detach().float(), gradient)
        ctx.save_for_backward(gradient.to(logits.dtype))
        return values.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * by, None, None
