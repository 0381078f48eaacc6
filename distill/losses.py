"""Divergences between a teacher's and a student's distribution at one position: pure functions, one a loss.

Every function takes log-probabilities of both over the same classes, `(tokens, classes)`, and returns a value a token,
`(tokens,)`. p is the teacher, q the student. Temperature and its square are applied once and for every loss alike
(`divergence`), the mean over tokens by the caller.

Adding a loss: one function, one line in LOSSES.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distill.errors import DistillError
from teachers.base import nearest


def forward_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(p || q) = sum p log(p / q) (Hinton et al., 1503.02531)."""
    return (teacher.exp() * _finite(teacher - student, teacher)).sum(-1)


def reverse_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(q || p) = sum q log(q / p) (MiniLLM, 2306.08543)."""
    return forward_kl(student, teacher)


def jsd(teacher: Tensor, student: Tensor, beta: float = 0.5) -> Tensor:
    """beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q (GKD, 2306.13649)."""
    if not 0 < beta < 1:
        raise DistillError(f"jsd needs 0 < beta < 1, got {beta}; use forward_kl or reverse_kl for the ends")
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


LOSSES: dict[str, Callable[..., Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jsd": jsd,
    "skew_kl": skew_kl,
    "skew_reverse_kl": skew_reverse_kl,
    "tvd": tvd,
}


def _mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """log(share exp(first) + (1 - share) exp(second))."""
    if not 0 < share < 1:
        raise DistillError(f"a mixture needs a share between 0 and 1, got {share}; forward_kl mixes nothing")
    return torch.logaddexp(first + math.log(share), second + math.log1p(-share))


def _finite(difference: Tensor, weight_log: Tensor) -> Tensor:
    """Where a weight is exactly zero its term is zero, whatever the other side says (0 log 0 = 0)."""
    return difference.masked_fill(weight_log == -math.inf, 0.0)


@dataclass
class LossTerm:
    """One part of the loss, as a recipe names it."""

    name: str
    """`ce` (the text itself) or a divergence from the teacher: see LOSSES"""
    weight: float = 1.0
    """Factor in the sum"""
    temperature: float = 1.0
    """Divides both logits; the loss is multiplied by its square. 1 when the tokenizers differ"""
    teacher_temperature: float = 1.0
    """Divides the teacher's logits alone, also with unequal tokenizers: above 1, a teacher that is surer of its answers
    than a small student can be says more about the others"""
    options: dict[str, float] = field(default_factory=dict)
    """The loss's own options, such as `alpha` or `beta`"""

    def check(self, *, has_teacher: bool, same_vocabulary: bool) -> None:
        """DistillError when this term cannot be computed in this run."""
        if self.name != "ce" and self.name not in LOSSES:
            raise DistillError(f"unknown loss {self.name!r}{nearest(self.name, ['ce', *LOSSES])}")
        if min(self.temperature, self.teacher_temperature) <= 0 or self.weight < 0:
            raise DistillError(f"loss {self.name}: temperature must be above 0 and weight at least 0")
        options = [] if self.name == "ce" else list(inspect.signature(LOSSES[self.name]).parameters)[2:]
        for option in self.options:
            if option not in options:
                raise DistillError(f"loss {self.name!r} has no option {option!r}{nearest(option, options)}")
        if self.name == "ce":
            return
        self._check_values()
        if not has_teacher:
            raise DistillError(f"loss {self.name!r} needs a teacher: set model.teacher or leave only 'ce'")
        if not same_vocabulary and (self.name != "forward_kl" or self.temperature != 1):
            raise DistillError(
                f"loss {self.name!r} at temperature {self.temperature} needs one vocabulary on both sides; "
                "with unequal tokenizers use forward_kl at temperature 1 (the likelihood of sets of entries)"
            )

    def _check_values(self) -> None:
        """Try the values on two classes, so that a wrong one is found at the start."""
        even = torch.full((1, 2), 0.5).log()
        try:
            LOSSES[self.name](even, even, **self.options)
        except DistillError as error:
            raise DistillError(f"loss {self.name}: {error}") from None


def divergence(term: LossTerm, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """A term's value a token, `(tokens,)`, from logits over one vocabulary, `(tokens, vocab)`; with the T^2."""
    teacher = torch.log_softmax(teacher_logits.float() / term.temperature, -1)
    student = torch.log_softmax(student_logits.float() / term.temperature, -1)
    return LOSSES[term.name](teacher, student, **term.options) * term.temperature**2
