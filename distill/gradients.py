"""Values of losses and their gradients in the student's logits, in closed form, without autograd.

Whoever holds logits for a moment only, a chunk of positions at a time, needs the gradient at once: no graph keeps
(tokens, vocab) alive. `GRADIENTS[name](teacher, student)` takes log-probabilities and returns the value a token and
its gradient; `mixed_gradient` does a whole weighted sum of terms, from logits.

With s = log q the student's log-probabilities and g_k the derivative of a loss in q_k,

    d loss / d z_k = q_k (g_k - sum_j q_j g_j),

whatever z was before the softmax. Each function below says its g. Both sides sum to one over the vocabulary; entries
with probability zero on one side, log-probability -inf, are fine wherever the loss itself is finite.

The work runs over a few rows at a time, so that everything between the logits and the gradient stays in the cache of a
processor: less than half the time of the same steps over whole matrices, and next to no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from distill.losses import FLAT, LOSSES, LossTerm, confidence, direction, head_share, likeliest, number
from distill.partial import listed_kl_gradient

TINY = 1.2e-38
"""The smallest mixture probability that is told from zero: a float32's; both sides have underflowed below"""
LOWEST = -1e4
"""Stands for log 0 where its weight is an exact zero, so that the product is zero and no NaN"""
AT_ONCE_CPU = 2**17
"""Numbers of one matrix that are worked on at a time: half a megabyte of float32. Twice as much does not stay with
the process: glibc gives it back and asks for it anew at every step, which costs as much time as the arithmetic"""
AT_ONCE_GPU = 2**26


class Rows:
    """A few positions: log-probabilities of both sides, `(rows, vocab)`, and their exponentials, made when needed.

    Nobody writes into them: several losses read the same.
    """

    def __init__(self, teacher: Tensor, student: Tensor) -> None:
        self.t, self.s = teacher, student

    @cached_property
    def p(self) -> Tensor:
        """The teacher's probabilities."""
        return self.t.exp()

    @cached_property
    def q(self) -> Tensor:
        """The student's probabilities."""
        return self.s.exp()

    def mixture(self, share: float) -> Tensor:
        """share p + (1 - share) q."""
        return torch.add(self.q * (1 - share), self.p, alpha=share).clamp_min_(TINY)


def forward_kl(rows: Rows) -> tuple[Tensor, Tensor]:
    """g = -p / q."""
    return _log_ratio(rows.t, rows.s).mul_(rows.p).sum(-1), rows.q - rows.p


def reverse_kl(rows: Rows) -> tuple[Tensor, Tensor]:
    """g = log(q / p) + 1."""
    return _through_softmax(rows, _log_ratio(rows.s, rows.t))


def jsd(rows: Rows, beta: float = 0.5) -> tuple[Tensor, Tensor]:
    """g = (1 - beta) log(q / m): what the mixture changes on the teacher's side and on the student's cancels."""
    log_m = rows.mixture(beta).log_()
    ours = torch.sub(rows.s, log_m).clamp_min_(LOWEST)
    theirs = torch.sub(rows.t, log_m, out=log_m).clamp_min_(LOWEST)
    reverse, slope = _through_softmax(rows, ours)
    value = beta * theirs.mul_(rows.p).sum(-1) + (1 - beta) * reverse
    return value, slope.mul_(1 - beta)


def skew_kl(rows: Rows, alpha: float = 0.1) -> tuple[Tensor, Tensor]:
    """g = -(1 - alpha) p / m."""
    m = rows.mixture(alpha)
    pull = torch.div(rows.q, m).mul_(1 - alpha).mul_(rows.p)
    value = torch.sub(rows.t, m.log_(), out=m).clamp_min_(LOWEST).mul_(rows.p).sum(-1)
    return value, torch.addcmul(pull.neg_(), rows.q, -pull.sum(-1, keepdim=True), out=pull)


def skew_reverse_kl(rows: Rows, alpha: float = 0.1) -> tuple[Tensor, Tensor]:
    """g = log(q / m) - alpha q / m + 1."""
    m = rows.mixture(1 - alpha)
    own = torch.div(rows.q, m)
    ratio = torch.sub(rows.s, m.log_(), out=m).clamp_min_(LOWEST)
    ratio.mul_(rows.q)
    value = ratio.sum(-1)
    ratio.sub_(own.mul_(rows.q), alpha=alpha)
    return value, ratio.addcmul_(rows.q, ratio.sum(-1, keepdim=True), value=-1)


def tvd(rows: Rows) -> tuple[Tensor, Tensor]:
    """g = sign(q - p) / 2."""
    gap = rows.q - rows.p
    value = gap.abs().sum(-1).mul_(0.5)
    return value, _through_softmax(rows, gap.sign_().mul_(0.5))[1]


def adaptive_kl(rows: Rows, mu: float = 0.5) -> tuple[Tensor, Tensor]:
    """Of both KLs, by the head's share, which counts as a constant."""
    head = head_share(rows.t, rows.s, mu)
    (forward, slope), (reverse, other) = forward_kl(rows), reverse_kl(rows)
    return head * forward + (1 - head) * reverse, slope.mul_(head[:, None]).add_(other.mul_((1 - head)[:, None]))


def logit_mse(rows: Rows) -> tuple[Tensor, Tensor]:
    """In the logits themselves: -2 / n (d - mean d), d = log p - log q over the n entries that neither rules out."""
    gap = torch.sub(rows.t, rows.s)
    unseen = (rows.t == -math.inf) | (rows.s == -math.inf)  # what is no number at all stays to be seen
    count = (gap.shape[-1] - unseen.sum(-1, keepdim=True)).clamp_min(1).to(gap.dtype)
    gap.masked_fill_(unseen, 0.0)
    gap.sub_(gap.sum(-1, keepdim=True) / count).masked_fill_(unseen, 0.0)
    return gap.square().sum(-1) / count.squeeze(-1), gap.mul_(-2 / count)


def logit_cosine(rows: Rows) -> tuple[Tensor, Tensor]:
    """In the logits themselves: (c v - u) / |b|, u and v the two directions, b the student's logits, c = u v."""
    seen = (rows.t != -math.inf) & (rows.s != -math.inf)
    ours, length = direction(rows.s, seen)
    theirs, _ = direction(rows.t, seen)
    value = 0.5 * (ours - theirs).square().sum(-1)
    turned = (ours * theirs).sum(-1, keepdim=True)
    turned = torch.where(length > FLAT, turned, 1.0)  # flat logits have a slope along themselves too
    return value, ours.mul_(turned).sub_(theirs).div_(length.clamp_min(FLAT))


def sparse_kl(rows: Rows, k: float = 50) -> tuple[Tensor, Tensor]:
    """Of a sparse target, made from the teacher's likeliest entries."""
    return listed_kl_gradient(*likeliest(rows.t, k), rows.s)


def uld(rows: Rows) -> tuple[Tensor, Tensor]:
    """g = sign(q - p's value of the same rank)."""
    ranked, order = rows.q.sort(-1, descending=True)
    theirs = rows.p.sort(-1, descending=True).values
    gap = functional.pad(ranked, (0, max(theirs.shape[-1] - ranked.shape[-1], 0)))
    gap = gap - functional.pad(theirs, (0, gap.shape[-1] - theirs.shape[-1]))
    signs = torch.zeros_like(ranked).scatter_(-1, order, gap[:, : ranked.shape[-1]].sign())
    return gap.abs().sum(-1), _through_softmax(rows, signs)[1]


def by_autograd(loss: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The same of a loss of distill.losses that has no closed form here: right, and some times slower."""

    def gradient(rows: Rows, **options: float) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            logits = rows.s.detach().requires_grad_()
            value = loss(rows.t, torch.log_softmax(logits, -1), **options)
            (slope,) = torch.autograd.grad(value.sum(), logits)
        return value.detach(), slope

    return gradient


ROW_GRADIENTS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jsd": jsd,
    "skew_kl": skew_kl,
    "skew_reverse_kl": skew_reverse_kl,
    "tvd": tvd,
    "adaptive_kl": adaptive_kl,
    "logit_mse": logit_mse,
    "logit_cosine": logit_cosine,
    "sparse_kl": sparse_kl,
    "uld": uld,
}


def row_gradient(name: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """A loss's value and gradient: in closed form where there is one."""
    return ROW_GRADIENTS.get(name) or by_autograd(LOSSES[name])


def _log_ratio(first: Tensor, second: Tensor) -> Tensor:
    """log(first / second), 0 where first is zero, +inf where only second is."""
    ratio = torch.sub(first, second)
    if ratio.device.type == "cpu" and bool(ratio.sum().isfinite()):  # far cheaper than the replacement
        return ratio
    return ratio.masked_fill_(first == -math.inf, 0.0)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits if temperature == 1 else logits / temperature, -1)


def _through_softmax(rows: Rows, slope: Tensor) -> tuple[Tensor, Tensor]:
    """sum q g, `(rows,)`, and q (g - sum q g), into `slope`."""
    slope.mul_(rows.q)
    mean = slope.sum(-1)
    return mean, slope.addcmul_(rows.q, mean[:, None], value=-1)


def _spans(like: Tensor) -> list[slice]:
    """Rows that are worked on together."""
    size = AT_ONCE_CPU if like.device.type == "cpu" else AT_ONCE_GPU
    step = max(size // max(like.shape[-1], 1), 1)
    return [slice(start, start + step) for start in range(0, len(like), step)]


def _by_rows(loss: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The same over any number of positions; `out`, if given, takes the gradient and may be the student's memory."""

    @torch.no_grad()
    def gradient(
        teacher: Tensor, student: Tensor, *, out: Tensor | None = None, **options: float
    ) -> tuple[Tensor, Tensor]:
        value = student.new_empty(len(student))
        out = torch.empty_like(student) if out is None else out
        for span in _spans(student):
            value[span], out[span] = loss(Rows(teacher[span], student[span]), **options)
        return value, out

    gradient.__doc__ = loss.__doc__
    return gradient


@torch.no_grad()
def ce(labels: Tensor, student: Tensor, *, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """-log q(label) and q - 1[label]; `labels` are ids, `(tokens,)`."""
    at = labels[:, None]
    value = -student.gather(-1, at).squeeze(-1)
    out = torch.exp(student, out=out)
    return value, out.scatter_add_(-1, at, out.new_full((1, 1), -1.0).expand(at.shape))


GRADIENTS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "ce": ce,
    **{name: _by_rows(loss) for name, loss in ROW_GRADIENTS.items()},
}


@torch.no_grad()
def mixed_gradient(
    terms: Sequence[LossTerm],
    teacher_logits: Tensor | None,
    student_logits: Tensor,
    labels: Tensor,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Each term's value a token, `(terms, tokens)`, without its weight, and the gradient of the weighted sum.

    From logits over one vocabulary, `(tokens, vocab)`, in any precision: the arithmetic is float32's or better. The
    T^2 of the temperature is in both. `out` takes the gradient, `(tokens, vocab)`; it may be the student's logits
    themselves, which are lost then. `teacher_logits` is None where the text alone teaches.
    """
    wide = torch.promote_types(student_logits.dtype, torch.float32)
    values = torch.empty(len(terms), len(student_logits), dtype=wide, device=student_logits.device)
    out = torch.empty_like(student_logits) if out is None else out
    for span in _spans(student_logits):
        teacher = None if teacher_logits is None else teacher_logits[span].to(wide)
        out[span] = _mix(terms, teacher, student_logits[span].to(wide), labels[span], values[:, span])
    return values, out


def _mix(terms: Sequence[LossTerm], teacher: Tensor | None, student: Tensor, labels: Tensor, values: Tensor) -> Tensor:
    """The gradient of the sum over a few rows; what terms have in common is computed once."""
    total: Tensor | None = None
    at: dict[tuple[float, float], Rows] = {}
    for term, value in zip(terms, values, strict=True):
        weight, T, of_teacher = (number(x) for x in (term.weight, term.temperature, term.teacher_temperature))
        if term.name == "ce":
            T = of_teacher = 1.0
        if (T, of_teacher) not in at:
            log_p = student if teacher is None else _log_softmax(teacher, T * of_teacher)
            at[T, of_teacher] = Rows(log_p, _log_softmax(student, T))
        rows = at[T, of_teacher]
        if term.name == "ce":
            total = rows.q * weight if total is None else total.add_(rows.q, alpha=weight)
            value.copy_(rows.s.gather(-1, labels[:, None]).squeeze(-1)).neg_()
            total[torch.arange(len(total), device=total.device), labels] -= weight
            continue
        value[:], slope = row_gradient(term.name)(rows, **term.options)
        value.mul_(T**2)
        if term.confidence:
            sure = confidence(rows.t)
            value.mul_(sure)
            slope.mul_(sure[:, None])
        total = slope.mul_(weight * T) if total is None else total.add_(slope, alpha=weight * T)
    return torch.zeros_like(student) if total is None else total
