"""Divergences between a teacher's and a student's distribution at one position: pure functions, one a loss.

Every function takes log-probabilities of both over the same classes, `(tokens, classes)`, and returns a value a token,
`(tokens,)`. p is the teacher, q the student. Temperature and its square are applied once and for every loss alike
(distill.gradients, distill.listed), the mean over tokens by the caller.

Adding a loss: one function and one line in LOSSES. Its gradient is found by autograd, a chunk at a time, until somebody
writes it down in closed form (distill.gradients), which is some times faster.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distill.errors import DistillError
from distill.partial import finite, listed_kl
from distill.schedules import Ramp, ends, value_at
from teachers.base import nearest

FLAT = 1e-3
"""Logits are told from flat ones, which have no direction, when their length is above this"""


def forward_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(p || q) = sum p log(p / q) (Hinton et al., 1503.02531)."""
    return (teacher.exp() * finite(teacher - student, teacher)).sum(-1)


def reverse_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(q || p) = sum q log(q / p) (MiniLLM, 2306.08543)."""
    return forward_kl(student, teacher)


def jsd(teacher: Tensor, student: Tensor, beta: float = 0.5) -> Tensor:
    """beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q (GKD, 2306.13649)."""
    if not 0 < beta < 1:
        raise DistillError(f"needs 0 < beta < 1, got {beta}; use forward_kl or reverse_kl for the ends")
    middle = _mix(teacher, student, beta)
    return beta * forward_kl(teacher, middle) + (1 - beta) * forward_kl(student, middle)


def skew_kl(teacher: Tensor, student: Tensor, alpha: float = 0.1) -> Tensor:
    """KL(p || alpha p + (1 - alpha) q) (DistiLLM, 2402.03898)."""
    return forward_kl(teacher, _mix(teacher, student, alpha))


def skew_reverse_kl(teacher: Tensor, student: Tensor, alpha: float = 0.1) -> Tensor:
    """KL(q || (1 - alpha) p + alpha q) (DistiLLM, 2402.03898)."""
    return forward_kl(student, _mix(student, teacher, alpha))


def tvd(teacher: Tensor, student: Tensor) -> Tensor:
    """Total variation distance, half the L1 distance (2307.15190)."""
    return 0.5 * (teacher.exp() - student.exp()).abs().sum(-1)


def adaptive_kl(teacher: Tensor, student: Tensor, mu: float = 0.5) -> Tensor:
    """Forward and reverse KL, each by the share of |p - q| in the head and in the tail of p (AKL, 2404.02657).

    The head are the teacher's likeliest entries up to a total of `mu`, the first one always. The shares are weights:
    no gradient goes through them.
    """
    head = head_share(teacher.detach(), student.detach(), mu)
    return head * forward_kl(teacher, student) + (1 - head) * reverse_kl(teacher, student)


def head_share(teacher: Tensor, student: Tensor, mu: float) -> Tensor:
    """The head's part of sum |p - q|, `(tokens,)`; a half where p = q."""
    if not 0 < mu < 1:
        raise DistillError(f"needs 0 < mu < 1, got {mu}; use forward_kl or reverse_kl for the ends")
    p, q = teacher.exp(), student.exp()
    size = 0
    while True:  # most heads are short: far cheaper than sorting the vocabulary
        size = min(max(4 * size, 64), p.shape[-1])
        top, ids = p.topk(size)
        upto = top.cumsum(-1)
        if size == p.shape[-1] or bool((upto[:, -1] > mu).all()):
            break
    inside = upto <= mu
    inside[:, 0] = True
    head = ((top - q.gather(-1, ids)).abs() * inside).sum(-1)
    whole = (p - q).abs().sum(-1)
    return torch.where(whole > 0, head / whole.clamp_min(torch.finfo(p.dtype).tiny), 0.5).clamp_max(1)


def logit_mse(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean squared difference of centred logits (TextBrewer's kd_mse_loss): the variance of log p - log q.

    Entries that either side rules out have no logit and are left out.
    """
    gap, seen = _seen_difference(teacher, student)
    count = seen.sum(-1, keepdim=True).clamp_min(1)
    return ((gap - gap.sum(-1, keepdim=True) / count) * seen).square().sum(-1) / count.squeeze(-1)


def logit_cosine(teacher: Tensor, student: Tensor) -> Tensor:
    """1 - cosine of the angle between centred logits; written as half the squared distance of unit vectors."""
    seen = (teacher != -math.inf) & (student != -math.inf)
    return 0.5 * (direction(teacher, seen)[0] - direction(student, seen)[0]).square().sum(-1)


def sparse_kl(teacher: Tensor, student: Tensor, k: float = 50) -> Tensor:
    """Forward KL between the teacher's `k` likeliest entries and one class for all the others."""
    return listed_kl(*likeliest(teacher, k), student)


def likeliest(teacher: Tensor, k: float) -> tuple[Tensor, Tensor, Tensor]:
    """The `k` likeliest entries and their probabilities, `(tokens, k)`, and the mass of the others, `(tokens,)`."""
    if k < 1 or k != int(k):
        raise DistillError(f"needs a whole number k of at least 1, got {k}")
    top = teacher.topk(min(int(k), teacher.shape[-1]))
    return top.indices, top.values.exp(), teacher.exp().scatter(-1, top.indices, 0.0).sum(-1)


def uld(teacher: Tensor, student: Tensor) -> Tensor:
    """L1 distance of the sorted probabilities, which asks for no common vocabulary (2402.12030): a baseline."""
    p, q = (side.exp().sort(-1, descending=True).values for side in (teacher, student))
    width = max(p.shape[-1], q.shape[-1])
    p, q = (functional.pad(side, (0, width - side.shape[-1])) for side in (p, q))
    return (p - q).abs().sum(-1)


def confidence(teacher: Tensor) -> Tensor:
    """How sure the teacher is, `(tokens,)` between 0 and 1: its largest probability."""
    return teacher.amax(-1).exp()


LOSSES: dict[str, Callable[..., Tensor]] = {
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


def _seen_difference(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """log p - log q, 0 where either is ruled out; and where neither is."""
    seen = (teacher != -math.inf) & (student != -math.inf)
    return teacher.masked_fill(~seen, 0.0) - student.masked_fill(~seen, 0.0), seen


def direction(logs: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Centred over what is seen and of length 1, and the length that it had, `(tokens, 1)`."""
    logs = logs.masked_fill(~seen, 0.0)
    logs = (logs - logs.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp_min(1)) * seen
    return functional.normalize(logs, dim=-1, eps=FLAT), logs.detach().norm(dim=-1, keepdim=True)


def _mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """log(share exp(first) + (1 - share) exp(second))."""
    if not 0 < share < 1:
        raise DistillError(f"a mixture needs a share between 0 and 1, got {share}; forward_kl mixes nothing")
    return torch.logaddexp(first + math.log(share), second + math.log1p(-share))


@dataclass
class LossTerm:
    """One part of the loss, as a recipe names it."""

    name: str
    """`ce` (the text itself) or a divergence from the teacher: see LOSSES, and distill.across for unequal tokenizers"""
    weight: float | Ramp = 1.0
    """Factor in the sum; a number, or `{start: 1, end: 0.2, shape: cosine}` over the run"""
    temperature: float | Ramp = 1.0
    """Divides both logits; the loss is multiplied by its square. 1 when the tokenizers differ"""
    teacher_temperature: float | Ramp = 1.0
    """Divides the teacher's logits alone, also with unequal tokenizers: above 1, a teacher that is surer of its answers
    than a small student can be says more about the others"""
    confidence: bool = False
    """Weigh each token by the teacher's largest probability there: where the teacher guesses, the text decides"""
    options: dict[str, float] = field(default_factory=dict)
    """The loss's own options, such as `alpha` or `beta`"""

    def at(self, step: int, total: int, share: float = 1.0) -> LossTerm:
        """The same term with the numbers of one optimizer step of a run of `total`, its weight times `share`."""
        return replace(
            self,
            weight=value_at(self.weight, step, total) * share,
            temperature=value_at(self.temperature, step, total),
            teacher_temperature=value_at(self.teacher_temperature, step, total),
        )

    def check(self, *, has_teacher: bool, same_vocabulary: bool) -> None:
        """DistillError when this term cannot be computed in this run."""
        from distill.across import ACROSS  # which is made of losses

        if self.name != "ce" and self.name not in {**LOSSES, **ACROSS}:
            raise DistillError(f"unknown loss {self.name!r}{nearest(self.name, ['ce', *LOSSES, *ACROSS])}")
        for name in ("weight", "temperature", "teacher_temperature"):
            setting = getattr(self, name)
            if isinstance(setting, Ramp):
                setting.check(f"loss {self.name}: {name}")
        heights = [*ends(self.temperature), *ends(self.teacher_temperature)]
        if not (all(0 < x < math.inf for x in heights) and all(0 <= x < math.inf for x in ends(self.weight))):
            raise DistillError(f"loss {self.name}: temperature must be above 0 and weight at least 0")
        options = [*_options(LOSSES.get(self.name), 2), *_options(ACROSS.get(self.name), 6)]
        for option in self.options:
            if option not in options:
                raise DistillError(f"loss {self.name!r} has no option {option!r}{nearest(option, options)}")
        if self.name == "ce":
            if self.confidence:
                raise DistillError("loss 'ce' takes no confidence: it does not ask the teacher")
            return
        self._check_values()
        if not has_teacher:
            raise DistillError(f"loss {self.name!r} needs a teacher: set model.teacher or leave only 'ce'")
        if not same_vocabulary:
            self._check_across(ACROSS)
        elif self.name not in LOSSES:
            raise DistillError(f"loss {self.name!r} is for unequal tokenizers: with one use forward_kl, or another")

    def _check_values(self) -> None:
        """Try the values on two classes, so that a wrong one is found at the start."""
        if self.name not in LOSSES:
            for option, value in self.options.items():
                if not 0 < value < math.inf:
                    raise DistillError(f"loss {self.name}: {option} must be above 0, got {value}")
            return
        even = torch.full((1, 2), 0.5).log()
        try:
            LOSSES[self.name](even, even, **self.options)
        except DistillError as error:
            raise DistillError(f"loss {self.name}: {error}") from None

    def _check_across(self, across: Collection[str]) -> None:
        """What can be asked for between two vocabularies."""
        if self.name not in across or ends(self.temperature) != (1, 1):
            temperature = self.temperature if isinstance(self.temperature, float | int) else ends(self.temperature)
            raise DistillError(
                f"loss {self.name!r} at temperature {temperature} needs one vocabulary on both sides; with unequal "
                "tokenizers use forward_kl at temperature 1 (the likelihood of sets of entries), alm beside it, "
                "or the baselines boundary_kl and uld"
            )
        if self.name == "alm" and self.confidence:
            raise DistillError("loss 'alm' takes no confidence: it looks at whole spans")


def _options(loss: Callable[..., Any] | None, given: int) -> list[str]:
    """The options that a loss has beside the arguments that it is given."""
    return list(inspect.signature(loss).parameters)[given:] if loss else []


def number(setting: float | Ramp) -> float:
    """A setting that is one; TypeError for a ramp whose step is not chosen yet (`LossTerm.at`)."""
    if isinstance(setting, Ramp):
        raise TypeError(f"{setting} has no value before LossTerm.at(step, total)")
    return setting
