"""Losses against numbers worked out by hand, against the plain formulas in numpy, and against their own slopes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.losses import LOSSES, LossTerm, divergence

P, Q = [0.5, 0.25, 0.25], [0.25, 0.25, 0.5]
LN2 = math.log(2)

GOLDEN = {
    # sum p log(p/q): 0.5 ln 2 + 0 - 0.25 ln 2
    "forward_kl": 0.25 * LN2,
    "reverse_kl": 0.25 * LN2,
    # m = (0.375, 0.25, 0.375): both halves are 0.5 ln(4/3) + 0.25 ln(2/3)
    "jsd": 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3),
    # 0.1 p + 0.9 q = (0.275, 0.25, 0.475)
    "skew_kl": 0.5 * math.log(0.5 / 0.275) + 0.25 * math.log(0.25 / 0.475),
    # 0.9 p + 0.1 q = (0.475, 0.25, 0.275)
    "skew_reverse_kl": 0.25 * math.log(0.25 / 0.475) + 0.5 * math.log(0.5 / 0.275),
    "tvd": 0.25,
}


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(-1)


def _jsd(p: np.ndarray, q: np.ndarray, beta: float = 0.5) -> np.ndarray:
    m = beta * p + (1 - beta) * q
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


DENSE: dict[str, Callable[..., np.ndarray]] = {
    "forward_kl": _kl,
    "reverse_kl": lambda p, q: _kl(q, p),
    "jsd": _jsd,
    "skew_kl": lambda p, q, alpha=0.1: _kl(p, alpha * p + (1 - alpha) * q),
    "skew_reverse_kl": lambda p, q, alpha=0.1: _kl(q, (1 - alpha) * p + alpha * q),
    "tvd": lambda p, q: 0.5 * np.abs(p - q).sum(-1),
}
OPTIONS: list[tuple[str, dict[str, float]]] = [(name, {}) for name in LOSSES] + [
    ("jsd", {"beta": 0.2}), ("jsd", {"beta": 0.9}), ("skew_kl", {"alpha": 0.4}), ("skew_reverse_kl", {"alpha": 0.4}),
]  # fmt: skip


def pair(rows: int = 5, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits in float64."""
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, rows, classes, generator=draw, dtype=torch.float64) * 2)


def test_every_loss_is_held_here() -> None:
    """A new entry of LOSSES needs its own numbers."""
    assert set(LOSSES) == set(GOLDEN) == set(DENSE)


@pytest.mark.parametrize("name", LOSSES)
def test_by_hand(name: str) -> None:
    """Three classes, fractions whose logarithms anyone can check."""
    value = LOSSES[name](torch.tensor([P], dtype=torch.float64).log(), torch.tensor([Q], dtype=torch.float64).log())
    assert value.tolist() == pytest.approx([GOLDEN[name]], abs=1e-12)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_the_plain_formula(name: str, options: dict[str, float]) -> None:
    """Numpy, on probabilities instead of their logarithms."""
    teacher, student = pair()
    p, q = torch.softmax(teacher, -1).numpy(), torch.softmax(student, -1).numpy()
    value = LOSSES[name](torch.log_softmax(teacher, -1), torch.log_softmax(student, -1), **options)
    np.testing.assert_allclose(value.numpy(), DENSE[name](p, q, **options), atol=1e-12)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_gradient(name: str, options: dict[str, float]) -> None:
    """In float64, through the logits of both sides."""
    teacher, student = (z.requires_grad_() for z in pair(3, 5, seed=1))

    def value(t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return LOSSES[name](torch.log_softmax(t, -1), torch.log_softmax(s, -1), **options)

    assert torch.autograd.gradcheck(value, (teacher, student))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_slope_of_forward_kl(temperature: float) -> None:
    """With the T^2 it is T (q - p): of the same size at every temperature."""
    teacher, student = (z.float() for z in pair(seed=2))
    student.requires_grad_()
    divergence(LossTerm("forward_kl", temperature=temperature), teacher, student).sum().backward()
    p, q = torch.softmax(teacher / temperature, -1), torch.softmax(student / temperature, -1)
    torch.testing.assert_close(student.grad, temperature * (q - p))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_divides_both_and_its_square_multiplies(name: str, temperature: float) -> None:
    """Once, for every loss alike."""
    teacher, student = (z.float() for z in pair(seed=3))
    value = divergence(LossTerm(name, temperature=temperature), teacher, student)
    p, q = (torch.softmax(z.double() / temperature, -1).numpy() for z in (teacher, student))
    np.testing.assert_allclose(value.numpy(), temperature**2 * DENSE[name](p, q), rtol=1e-4, atol=1e-5)
