"""Losses on how the tokens of a row stand to each other: they need no projector, whatever the widths.

A relation is a table, token by token, of one layer of one model: similarities of hidden states, attention, similarities
of attention's values. Student and teacher have the same tokens (or the same places in the text), hence tables of the
same size. Every function returns a value a token, `(tokens,)`; tokens of other rows have no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from distill.losses import forward_kl
from distill.ragged import members_of

RELATION_HEADS = 12
"""Values are split into so many heads at most, which must divide both widths (MiniLMv2 takes 12 to 64)"""


class Grid:
    """Tokens laid out row by row, `(rows, longest)`, in the order of the text, and back."""

    def __init__(self, tokens: int, at: Tensor | None, device: torch.device) -> None:
        """`at` (tokens, 2): the row of each token and its position there; None: all in one row, in order."""
        self.tokens = tokens
        order = torch.arange(tokens, device=device)
        if at is None:
            self.index = order[None]  # (rows, longest), `tokens` where there is none
        else:
            order = torch.argsort(at[:, 0] * (at[:, 1].max() + 1 if tokens else 1) + at[:, 1], stable=True)
            counts = at[order, 0].unique_consecutive(return_counts=True)[1]
            row, column = members_of(counts)
            self.index = order.new_full((len(counts), int(counts.max()) if tokens else 0), tokens)
            self.index[row, column] = order
        self.there = self.index < tokens
        """(rows, longest)"""

    def lay(self, features: Tensor) -> Tensor:
        """(tokens, ...) -> (rows, longest, ...), zeros where there is no token."""
        return torch.cat([features, torch.zeros_like(features[:1])])[self.index] if self.tokens else features[None]

    def take(self, values: Tensor) -> Tensor:
        """(rows, longest) -> (tokens,)."""
        return values.new_zeros(self.tokens).index_put((self.index[self.there],), values[self.there])

    def mean(self, tables: Tensor) -> Tensor:
        """(rows, longest, longest) -> (tokens,), the mean over the tokens of the row."""
        count = self.there.sum(-1, keepdim=True).clamp_min(1)
        return self.take((tables * self.there[:, None]).sum(-1) / count)

    def log_softmax(self, logits: Tensor, *, causal: bool) -> Tensor:
        """Over the tokens of the row, up to the token itself if `causal`; logits (rows, heads, longest, longest)."""
        longest = logits.shape[-1]
        allowed = self.there[:, None, :].expand(-1, longest, -1)
        if causal:
            allowed = allowed.tril()
        self_too = torch.eye(longest, dtype=torch.bool, device=logits.device)  # so that no row is empty
        return torch.log_softmax(logits.masked_fill(~(allowed | self_too)[:, None], -math.inf), -1)


def gram(student: Sequence[Tensor], teacher: Sequence[Tensor], grid: Grid) -> Tensor:
    """Squared difference of the cosine similarities between hidden states, to all tokens of the row."""
    ours, theirs = (functional.normalize(grid.lay(side[0]), dim=-1) for side in (student, teacher))
    return grid.mean((ours @ ours.mT - theirs @ theirs.mT).square())


def nst(student: Sequence[Tensor], teacher: Sequence[Tensor], grid: Grid) -> Tensor:
    """Squared maximum mean discrepancy between the two sets of neurons, degree-2 kernel (NST, 1707.01219).

    A neuron is a vector over the tokens of the row, brought to a mean square of 1. With k(x, y) = (x y)^2 the sums over
    pairs of neurons become a sum over pairs of tokens, which is what stands here.
    """
    ours, theirs = (_neurons(side[0], grid) for side in (student, teacher))
    return grid.mean((ours @ ours.mT / ours.shape[-1] - theirs @ theirs.mT / theirs.shape[-1]).square())


def value_relation(student: Sequence[Tensor], teacher: Sequence[Tensor], grid: Grid) -> Tensor:
    """KL between softmax(V V' / sqrt(d)) of teacher and student, attention's values in new heads (MiniLMv2)."""
    widths = [side[0].shape[1:].numel() for side in (student, teacher)]
    heads = max(n for n in range(1, RELATION_HEADS + 1) if all(width % n == 0 for width in widths))
    ours, theirs = (_value_relation(side[0], heads, grid) for side in (student, teacher))
    return grid.take(forward_kl(theirs, ours).mean(1))


def attention_kl(student: Sequence[Tensor], teacher: Sequence[Tensor], grid: Grid) -> Tensor:
    """KL between where teacher and student look, head by head if there are as many, else of the mean over heads."""
    ours, theirs = _attention(student, teacher, grid)
    return grid.take(forward_kl(theirs, ours).mean(1))


def attention_mse(student: Sequence[Tensor], teacher: Sequence[Tensor], grid: Grid) -> Tensor:
    """Squared distance between where teacher and student look; heads as in `attention_kl`."""
    ours, theirs = _attention(student, teacher, grid)
    return grid.take((ours.exp() - theirs.exp()).square().sum(-1).mean(1))


RELATIONS: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor], Grid], Tensor]] = {
    "gram": gram,
    "nst": nst,
    "value_relation": value_relation,
    "attention_kl": attention_kl,
    "attention_mse": attention_mse,
}
PARTS: dict[str, tuple[str, ...]] = {
    "value_relation": ("value",),
    "attention_kl": ("query", "key"),
    "attention_mse": ("query", "key"),
}
"""What of a block's attention a relation is made of; hidden states where nothing is said"""


def _neurons(hidden: Tensor, grid: Grid) -> Tensor:
    """(rows, longest, width), each neuron with a mean square of 1 over its row."""
    laid = grid.lay(hidden)
    count = grid.there.sum(-1).clamp_min(1)[:, None, None]
    return laid / (laid.square().sum(1, keepdim=True) / count).clamp_min(1e-12).sqrt()


def _value_relation(values: Tensor, heads: int, grid: Grid) -> Tensor:
    laid = grid.lay(values.flatten(1)).unflatten(-1, (heads, -1)).transpose(1, 2)  # (rows, heads, longest, d)
    return grid.log_softmax(laid @ laid.mT / math.sqrt(laid.shape[-1]), causal=False)


def _attention(student: Sequence[Tensor], teacher: Sequence[Tensor], grid: Grid) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both sides, (rows, heads, longest, longest)."""
    ours, theirs = (_attention_logs(side[0], side[1], grid) for side in (student, teacher))
    if ours.shape[1] != theirs.shape[1]:
        ours, theirs = (_mean_of_heads(side) for side in (ours, theirs))
    return ours, theirs


def _attention_logs(query: Tensor, key: Tensor, grid: Grid) -> Tensor:
    """Attention among the row's tokens alone. `query` (tokens, heads, d) holds the scale; heads may share keys."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    queries, keys = (grid.lay(side).transpose(1, 2) for side in (query, key))  # (rows, heads, longest, d)
    return grid.log_softmax(queries @ keys.mT, causal=True)


def _mean_of_heads(log_attention: Tensor) -> Tensor:
    mean = log_attention.exp().mean(1, keepdim=True)
    return mean.clamp_min(1e-30).log().masked_fill(log_attention[:, :1] == -math.inf, -math.inf)
