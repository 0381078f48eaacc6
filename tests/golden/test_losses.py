"""Losses against numbers worked out by hand, against the plain formulas in numpy, and against their own slopes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.gradients import GRADIENTS, mixed_gradient
from distill.losses import LOSSES, LossTerm, forward_kl, head_share, reverse_kl
from distill.partial import alm, listed_kl

LABELS = torch.zeros(5, dtype=torch.long)
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
    # the head is the first entry, half of sum |p - q|: the mean of two KLs that are equal here
    "adaptive_kl": 0.25 * LN2,
    # log p/q = (1, 0, -1) ln 2
    "logit_mse": 2 / 3 * LN2**2,
    # centred: (2, -1, -1) / 3 ln 2 and (-1, -1, 2) / 3 ln 2, cosine -1/2
    "logit_cosine": 1.5,
    "sparse_kl": 0.25 * LN2,  # all three are listed
    "uld": 0.0,  # the same probabilities in another order
}


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(-1)


def _jsd(p: np.ndarray, q: np.ndarray, beta: float = 0.5) -> np.ndarray:
    m = beta * p + (1 - beta) * q
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


def _adaptive(p: np.ndarray, q: np.ndarray, mu: float = 0.5) -> np.ndarray:
    values = []
    for one, other in zip(p, q, strict=True):
        order = np.argsort(-one)
        head = [k for n, k in enumerate(order) if n == 0 or one[order[: n + 1]].sum() <= mu]
        gap = np.abs(one - other)
        share = gap[head].sum() / gap.sum()
        values.append(share * _kl(one, other) + (1 - share) * _kl(other, one))
    return np.array(values)


def _cosine(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    a, b = (np.log(x) - np.log(x).mean(-1, keepdims=True) for x in (p, q))
    return 1 - (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def _sparse(p: np.ndarray, q: np.ndarray, k: float = 50) -> np.ndarray:
    """The k likeliest as they are, the others joined into one class."""
    order = np.argsort(-p, -1)
    p, q = np.take_along_axis(p, order, -1), np.take_along_axis(q, order, -1)
    joined = [np.append(x[:, : int(k)], x[:, int(k) :].sum(-1, keepdims=True), -1) for x in (p, q)]
    return _kl(*(joined if k < p.shape[-1] else (p, q)))


DENSE: dict[str, Callable[..., np.ndarray]] = {
    "forward_kl": _kl,
    "reverse_kl": lambda p, q: _kl(q, p),
    "jsd": _jsd,
    "skew_kl": lambda p, q, alpha=0.1: _kl(p, alpha * p + (1 - alpha) * q),
    "skew_reverse_kl": lambda p, q, alpha=0.1: _kl(q, (1 - alpha) * p + alpha * q),
    "tvd": lambda p, q: 0.5 * np.abs(p - q).sum(-1),
    "adaptive_kl": _adaptive,
    "logit_mse": lambda p, q: np.log(p / q).var(-1),
    "logit_cosine": _cosine,
    "sparse_kl": _sparse,
    "uld": lambda p, q: np.abs(np.sort(p, -1) - np.sort(q, -1)).sum(-1),
}
OPTIONS: list[tuple[str, dict[str, float]]] = [(name, {}) for name in LOSSES] + [
    ("jsd", {"beta": 0.2}), ("jsd", {"beta": 0.9}), ("skew_kl", {"alpha": 0.4}), ("skew_reverse_kl", {"alpha": 0.4}),
    ("adaptive_kl", {"mu": 0.8}), ("sparse_kl", {"k": 1}), ("sparse_kl", {"k": 3}), ("sparse_kl", {"k": 6}),
]  # fmt: skip


def pair(rows: int = 5, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits in float64."""
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, rows, classes, generator=draw, dtype=torch.float64) * 2)


def test_every_loss_is_held_here() -> None:
    """A new entry of LOSSES needs its own numbers, and its slope in closed form."""
    assert set(LOSSES) == set(GOLDEN) == set(DENSE) == set(GRADIENTS) - {"ce"}


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


@pytest.mark.parametrize(("name", "options"), [pair for pair in OPTIONS if pair[0] != "adaptive_kl"])
def test_gradient(name: str, options: dict[str, float]) -> None:
    """In float64, through the logits of both sides."""
    teacher, student = (z.requires_grad_() for z in pair(3, 5, seed=1))

    def value(t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return LOSSES[name](torch.log_softmax(t, -1), torch.log_softmax(s, -1), **options)

    assert torch.autograd.gradcheck(value, (teacher, student))


def test_gradient_of_adaptive_kl() -> None:
    """That of the two KLs: the shares of head and tail are constants."""
    teacher, student = pair(seed=4)
    p = torch.log_softmax(teacher, -1)
    head = head_share(p, torch.log_softmax(student, -1), 0.5)
    assert 0.1 < head.min() < head.max() < 0.9
    student.requires_grad_()
    q = torch.log_softmax(student, -1)
    (slope,) = torch.autograd.grad(LOSSES["adaptive_kl"](p, q).sum(), student, retain_graph=True)
    apart = head @ forward_kl(p, q) + (1 - head) @ reverse_kl(p, q)
    torch.testing.assert_close(slope, torch.autograd.grad(apart, student)[0])


def test_by_hand_sorted() -> None:
    """(5, 2, 1) / 8 beside (4, 2, 2) / 8, in any order; a vocabulary that is too small is filled up with zeros."""
    p = torch.tensor([P], dtype=torch.float64).log()
    q = torch.tensor([[0.25, 0.125, 0.625]], dtype=torch.float64).log()
    assert LOSSES["uld"](p, q).tolist() == pytest.approx([0.25])
    assert LOSSES["uld"](p, torch.tensor([[0.25, 0.75]], dtype=torch.float64).log()).tolist() == pytest.approx([0.5])


def test_by_hand_sparse() -> None:
    """The likeliest entry and the rest: (1/2, 1/2) beside (1/4, 3/4)."""
    p, q = (torch.tensor([x], dtype=torch.float64) for x in (P, Q))
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert LOSSES["sparse_kl"](p.log(), q.log(), k=1).tolist() == pytest.approx([expected], abs=1e-12)
    listed = listed_kl(
        torch.tensor([[0, -1]]), torch.tensor([[0.5, 0.0]]).double(), torch.tensor([0.5]).double(), q.log()
    )
    assert listed.tolist() == pytest.approx([expected], abs=1e-12)
    # counts of four samples, nothing left over: 3/4 ln(3/4 / 1/4) + 1/4 ln(1/4 / 1/2)
    counts = listed_kl(
        torch.tensor([[0, 2]]), torch.tensor([[0.75, 0.25]]).double(), torch.tensor([0.0]).double(), q.log()
    )
    assert counts.tolist() == pytest.approx([0.75 * math.log(3) + 0.25 * math.log(0.5)], abs=1e-12)


def test_by_hand_spans() -> None:
    """At tau 2 likelihoods 1/4 and 1/16 count as 1/2 and 1/4."""
    teacher, student = torch.tensor([0.25]).double().log(), torch.tensor([1 / 16]).double().log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert alm(teacher, student, tau=2.0).tolist() == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_slope_of_forward_kl(temperature: float) -> None:
    """With the T^2 it is T (q - p): of the same size at every temperature."""
    teacher, student = (z.float() for z in pair(seed=2))
    _, slope = mixed_gradient([LossTerm("forward_kl", temperature=temperature)], teacher, student, LABELS)
    p, q = torch.softmax(teacher / temperature, -1), torch.softmax(student / temperature, -1)
    torch.testing.assert_close(slope, temperature * (q - p))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_divides_both_and_its_square_multiplies(name: str, temperature: float) -> None:
    """Once, for every loss alike."""
    teacher, student = (z.float() for z in pair(seed=3))
    (value,), _ = mixed_gradient([LossTerm(name, temperature=temperature)], teacher, student, LABELS)
    p, q = (torch.softmax(z.double() / temperature, -1).numpy() for z in (teacher, student))
    np.testing.assert_allclose(value.numpy(), temperature**2 * DENSE[name](p, q), rtol=1e-4, atol=1e-5)
