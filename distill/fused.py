"""Losses from hidden states and an output embedding, without ever holding (tokens, vocabulary).

Positions are taken a few hundred at a time: their logits are formed, an objective turns them into the losses' values
and, in the same memory, into the gradient, and that is multiplied back onto hidden states and output embedding before
the next positions follow. So the gradient exists when the forward pass ends (as in Liger, 2410.10989), the teacher's
logits live as shortly as the student's, and the peak is a chunk of logits, whatever the batch.

An objective is a callable `(rows, logits) -> values`: `rows` a slice of positions, `logits` (positions, vocab) in
float32 or better, which it overwrites with the gradient of the weighted sum; `values` (terms, positions).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from distill.errors import DistillError
from distill.gradients import mixed_gradient
from distill.losses import LossTerm, number
from distill.reading import Tables
from distill.set_loss import set_gradient
from distill.sharding import whole
from distill.targets import Targets
from teachers.base import DenseSignal

Objective = Callable[[slice, Tensor], Tensor]
Part = Callable[[slice, Tensor, Tensor], Tensor]
"""One term of an objective: `(rows, logits, out) -> values`, (positions). `out` takes the gradient, without the term's
weight; it may be the logits' own memory"""
AT_ONCE_CPU = 2**23
"""Logits that exist at a time: 32 MB of float32. Each part reads the whole output embedding, so fewer are faster"""
MOST_CPU = 160
"""Positions at a time at most: a matrix product gains nothing by more"""
AT_ONCE_GPU = 2**27


def fused_losses(
    hidden: Tensor, head: Any, objective: Objective, weights: Sequence[float], at_once: int | None = None
) -> tuple[Tensor, Tensor]:
    """The weighted sum, with a gradient, and each term's sum over positions, (terms,), without its weight or gradient.

    `hidden` (positions, width); `head` is the output embedding, a Linear or one that wears LoRA; `objective` as above,
    asked about every slice of positions once; `weights` of its terms. `at_once` logits exist at a time, by default as
    many as are fastest on the device.
    """
    weight, bias = head_parameters(head)
    if at_once is None:
        at_once = min(AT_ONCE_CPU, MOST_CPU * len(weight)) if hidden.device.type == "cpu" else AT_ONCE_GPU
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight, bias = hidden.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    with torch.autocast(hidden.device.type, enabled=False):
        total, sums = _Fused.apply(hidden, weight, bias, objective, list(weights), at_once)
    return total, sums


def head_parameters(head: Any) -> tuple[Tensor, Tensor | None]:
    """Weight (vocab, width) and bias of an output embedding; low-rank adapters are added in, with their gradients.

    Both are whole tensors, also where the parameters lie in parts on several devices.
    """
    plain = getattr(head, "base_layer", head)
    weight, bias = whole(plain.weight), getattr(plain, "bias", None)
    for name in head.active_adapters if hasattr(head, "lora_A") and not head.merged else []:
        if name in head.lora_A:
            _check_adapter(head, name)
            weight = weight + whole(head.get_delta_weight(name)).to(weight.dtype)
    return weight, None if bias is None else whole(bias, 1)


def _check_adapter(head: Any, name: str) -> None:
    """DistillError for what is more than a matrix added to the head's."""
    more = {
        "DoRA": head.use_dora.get(name),
        "dropout": head.training and getattr(head.lora_dropout[name], "p", 0),
        "a bias": head.lora_bias.get(name),
    }
    for what, there in more.items():
        if there:
            raise DistillError(f"a LoRA adapter of the output embedding with {what} cannot be trained; leave it out")


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        objective: Objective,
        weights: list[float],
        at_once: int,
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[:3]
        by_hidden = torch.empty_like(hidden) if wanted[0] else None
        wide = torch.promote_types(weight.dtype, torch.float32)
        filled = len(hidden) and hidden.dtype == wide  # by the first part
        by_weight = (torch.empty_like if filled else torch.zeros_like)(weight, dtype=wide) if wanted[1] else None
        by_bias = torch.zeros_like(bias, dtype=wide) if wanted[2] and bias is not None else None
        step = max(at_once // len(weight), 1)
        sums = torch.zeros(len(weights), dtype=wide, device=hidden.device)
        for start in range(0, len(hidden), step):
            rows = slice(start, min(start + step, len(hidden)))
            logits = functional.linear(hidden[rows], weight, bias).to(wide)
            sums += objective(rows, logits).sum(-1)
            slope = logits.to(hidden.dtype)
            if by_hidden is not None:
                torch.mm(slope, weight, out=by_hidden[rows])
            if by_weight is not None and by_weight.dtype == slope.dtype:
                by_weight.addmm_(slope.t(), hidden[rows], beta=int(start > 0))
            elif by_weight is not None:
                by_weight += slope.t() @ hidden[rows]
            if by_bias is not None:
                by_bias += logits.sum(0)
        ctx.save_for_backward(by_hidden, by_weight, by_bias)
        ctx.kinds = weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(sums)
        return (sums * sums.new_tensor(weights)).sum(), sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias = ctx.saved_tensors
        kinds = (None, *ctx.kinds)
        same = by.device.type == "cpu" and float(by) == 1  # a copy of the weight's gradient is most of the memory
        grads = [None if g is None else (g if same else g * by).to(k or g.dtype) for g, k in
                 zip((by_hidden, by_weight, by_bias), kinds, strict=True)]  # fmt: skip
        return (*grads, None, None, None)


@dataclass
class OneVocabulary:
    """Any terms between a teacher and a student of the same vocabulary, or on the text alone."""

    terms: Sequence[LossTerm]
    labels: Tensor
    """(positions)"""
    signal: DenseSignal | None = None

    def __call__(self, rows: slice, logits: Tensor) -> Tensor:
        if self.signal is None:
            return mixed_gradient(self.terms, None, logits, self.labels[rows], out=logits)[0]
        theirs = teacher_logits(self.signal, rows)
        width = min(theirs.shape[-1], logits.shape[-1])  # checkpoints may be padded
        if logits.shape[-1] == width:
            return mixed_gradient(self.terms, theirs[:, :width], logits, self.labels[rows], out=logits)[0]
        values = logits.new_empty(len(self.terms), len(logits))
        text = [n for n, term in enumerate(self.terms) if term.name == "ce"]
        other = [n for n, term in enumerate(self.terms) if term.name != "ce"]
        known = logits[:, :width].contiguous()
        values[other], slope = mixed_gradient([self.terms[n] for n in other], theirs, known, self.labels[rows])
        values[text], _ = mixed_gradient([self.terms[n] for n in text], None, logits, self.labels[rows], out=logits)
        logits[:, :width] += slope
        return values


@dataclass
class TwoVocabularies:
    """The text, and a teacher's distribution moved onto sets of the student's entries."""

    terms: Sequence[LossTerm]
    labels: Tensor
    """(positions)"""
    targets: Sequence[Targets | Part | None]
    """Of each term; None for the text"""
    tables: Tables

    def __call__(self, rows: slice, logits: Tensor) -> Tensor:
        values = logits.new_empty(len(self.terms), len(logits))
        total: Tensor | None = None
        last = len(self.terms) - 1
        for n, (term, targets) in enumerate(zip(self.terms, self.targets, strict=True)):
            out = logits if n == last else torch.empty_like(logits)
            if targets is None:
                values[n] = mixed_gradient([term], None, logits, self.labels[rows], out=out)[0]
            else:
                if isinstance(targets, Targets):
                    values[n] = set_gradient(targets, self.tables, rows.start, logits, out)
                else:
                    values[n] = targets(rows, logits, out)
                out.mul_(number(term.weight))
            total = out if total is None else out.add_(total)
        return values


def teacher_logits(signal: DenseSignal, rows: slice | Tensor) -> Tensor:
    """Of a part of a signal's positions, (positions, vocab), in the precision of the teacher's weights."""
    with torch.autocast(signal.hidden.device.type, enabled=False):
        return functional.linear(signal.hidden[rows], signal.weight, signal.bias)
