"""Losses to listed entries against plain formulas: dense ones, ones over classes, and means over many draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.draws import Kept, drawn, likeliest, uniforms
from distill.gradients import ROW_GRADIENTS, mixed_gradient
from distill.listed import ListedTeacher, OneVocabularyListed
from distill.losses import LOSSES, LossTerm
from tests.plain_losses import divergence

TOKENS, VOCAB = 9, 30


def logits(seed: int, tokens: int = TOKENS, vocab: int = VOCAB) -> Tensor:
    return 2 * torch.randn(tokens, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def listed(kept: Kept, draws: int | None = None) -> ListedTeacher:
    entries = torch.from_numpy(kept.entries)
    row = torch.repeat_interleave(torch.arange(len(entries)), entries)
    mass = torch.from_numpy(np.asarray(kept.weights, dtype=np.float64)) / (draws or 1)
    tail = torch.zeros(len(entries), dtype=torch.float64) if kept.tail is None else torch.from_numpy(kept.tail)
    return ListedTeacher(row, torch.from_numpy(kept.ids), mass, tail.double(), draws is not None)


def run(terms: list[LossTerm], teacher: ListedTeacher, student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Values and gradient, over two chunks."""
    objective, slope = OneVocabularyListed(terms, labels, teacher), student.clone()
    parts = [objective(rows, slope[rows]) for rows in (slice(0, 4), slice(4, len(student)))]
    return torch.cat(parts, -1), slope


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"sparse_kl"}))
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_everything_listed_is_the_dense_loss(name: str, temperature: float) -> None:
    """With as many entries as the vocabulary has there is no rest; weights, text and temperatures as always."""
    z, y = logits(0), logits(1)
    labels = torch.arange(TOKENS)
    terms = [LossTerm("ce", 0.3), LossTerm(name, 0.7, temperature=temperature, confidence=name == "jsd")]
    p = torch.softmax(z / temperature, -1)
    values, slope = run(terms, listed(likeliest(p, VOCAB)), y, labels)
    if name == "jsd":  # the confidence of what was captured: at its temperature
        terms[1] = LossTerm(name, 0.7, temperature=temperature, confidence=True)
    expected, gradient = mixed_gradient(terms, z, y, labels)
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd", "skew_kl", "tvd", "adaptive_kl"])
def test_the_rest_is_one_class(name: str) -> None:
    """Value and slope are those of the divergence between coarse distributions, by autograd."""
    z, y = logits(2), logits(3).requires_grad_()
    kept = likeliest(torch.softmax(z, -1), 5)
    top = torch.from_numpy(kept.ids).reshape(TOKENS, 5)

    def coarse(side: Tensor) -> Tensor:
        p = torch.softmax(side, -1)
        known = p.gather(-1, top)
        return torch.cat([known, 1 - known.sum(-1, keepdim=True)], -1).log()

    value = LOSSES[name](coarse(z), coarse(y))
    value.sum().backward()
    values, slope = run([LossTerm(name)], listed(kept), y.detach(), torch.zeros(TOKENS, dtype=torch.int64))
    torch.testing.assert_close(values[0], value.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope, y.grad, rtol=1e-5, atol=1e-6)


def test_sparse_kl_is_forward_kl_to_what_is_listed() -> None:
    z, y = logits(4), logits(5)
    expected = divergence(LossTerm("sparse_kl", options={"k": 6}), z, y)
    labels = torch.zeros(TOKENS, dtype=torch.int64)
    values, _ = run([LossTerm("forward_kl")], listed(likeliest(torch.softmax(z, -1), 6)), y, labels)
    torch.testing.assert_close(values[0], expected.to(values.dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("name", ["forward_kl"])
def test_where_nothing_is_known_the_text_alone_counts(name: str, draws: bool) -> None:
    """Rows of unequal numbers of entries beside rows with none; no NaN anywhere."""
    y, labels = logits(6, 4), torch.tensor([1, 2, 3, 4])
    teacher = ListedTeacher(
        torch.tensor([1, 1, 3]), torch.tensor([7, 2, 5]), torch.tensor([0.5, 0.5 if draws else 0.25, 1.0]).double(),
        torch.tensor([0.0, 0.0 if draws else 0.25, 0.0, 0.0]).double(), draws,
    )  # fmt: skip
    terms = [LossTerm("ce", 0.5), LossTerm(name, 2.0)]
    objective, slope = OneVocabularyListed(terms, labels, teacher), y.clone()
    values = objective(slice(0, 4), slope)
    assert values[1, [0, 2]].tolist() == [0, 0]
    assert (values[1, [1, 3]] > 0).all()
    assert torch.isfinite(slope).all()
    text, gradient = mixed_gradient(terms[:1], None, y, labels)
    torch.testing.assert_close(values[0], text[0])
    torch.testing.assert_close(slope[[0, 2]], gradient[[0, 2]])
    torch.testing.assert_close(slope.sum(-1), torch.zeros(4, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(set(ROW_GRADIENTS) - {"uld", "logit_mse", "logit_cosine", "sparse_kl"}))
def test_masses_of_nothing_are_no_infinity(name: str) -> None:
    """A tail that 16 bits rounded away."""
    y = logits(7, 2)
    teacher = ListedTeacher(
        torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.0, 1.0]).double(),
        torch.zeros(2).double(), False,
    )  # fmt: skip
    values, slope = run([LossTerm(name)], teacher, y, torch.tensor([0, 0]))
    assert torch.isfinite(values).all()
    assert torch.isfinite(slope).all()
    assert float(values.max()) < -math.log(2.0**-24) + 1


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_mean_over_draws_is_the_dense_gradient(temperature: float) -> None:
    """800 draws of 20: the mean gradient is within its standard error of the dense one; so is the part of the value
    that depends on the student."""
    z, y, labels = logits(8, 3), logits(9, 3), torch.tensor([0, 1, 2])
    terms = [LossTerm("ce", 0.4), LossTerm("forward_kl", 0.6, temperature=temperature)]
    p, times, draws = torch.softmax(z / temperature, -1), 800, 20
    slopes = []
    for n in range(times):
        kept = drawn(p, torch.from_numpy(uniforms(n, [1], [3], draws)))
        slopes.append(run(terms, listed(kept, draws), y, labels)[1])
    found = torch.stack(slopes)
    _, expected = mixed_gradient(terms, z, y, labels)
    error = found.std(0) / math.sqrt(times)
    off = ((found.mean(0) - expected).abs() / error)[p > 2e-3]  # what is drawn often enough to have an error
    assert len(off) > 20
    assert float(found.std(0).max()) > 0.01
    assert float((found.mean(0) - expected).abs().max()) < 0.01
    assert float(off.max()) < 4.5
    assert float(off.mean()) < 1.1


def test_a_shifted_target_would_be_found() -> None:
    """The same test fails for the likeliest entries made to add up to 1, the usual bias."""
    z, y, labels = logits(8, 3), logits(9, 3), torch.tensor([0, 1, 2])
    kept = likeliest(torch.softmax(z, -1), 5)
    kept.weights, kept.tail = (kept.weights.reshape(3, 5) / kept.weights.reshape(3, 5).sum(-1, keepdims=True)), None
    kept.weights = kept.weights.reshape(-1)
    _, slope = run([LossTerm("forward_kl")], listed(kept, 1), y, labels)
    _, expected = mixed_gradient([LossTerm("forward_kl")], z, y, labels)
    assert float((slope - expected).abs().max()) > 0.03
