"""Draws are right on average, depend on seed and record alone, and the likeliest are what topk says."""

from __future__ import annotations

import numpy as np
import torch

from distill.draws import Kept, Rare, draw, drawn, likeliest, moved_draws, moved_likeliest, uniforms
from distill.reading import Tables
from distill.targets import Placed

KEYS, COUNTS = [7, 2**64 - 1, 12], [3, 0, 2]


def dense(kept: Kept, vocabulary: int) -> np.ndarray:
    """(positions, vocabulary): weights, put back."""
    table = np.zeros((len(kept.entries), vocabulary))
    table[np.repeat(np.arange(len(kept.entries)), kept.entries), kept.ids] = kept.weights
    return table


def test_uniforms_do_not_depend_on_the_batch() -> None:
    together = uniforms(5, KEYS, COUNTS, 4)
    apart = np.concatenate([uniforms(5, [k], [n], 4) for k, n in zip(KEYS, COUNTS, strict=True)])
    assert (together == apart).all()
    assert (np.diff(together) >= 0).all()
    assert not (together == uniforms(6, KEYS, COUNTS, 4)).any()
    assert not (together == uniforms(5, KEYS, COUNTS, 4, purpose=1)).any()


def test_what_cannot_be_is_never_drawn() -> None:
    p = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    u = torch.tensor([[0.0, 0.25, 0.5, 1 - 1e-16]] * 2, dtype=torch.float64)
    assert draw(p, u).tolist() == [[1, 1, 3, 3], [2, 2, 2, 2]]


def test_counts_are_the_distribution_on_average() -> None:
    torch.manual_seed(0)
    p = torch.softmax(torch.randn(3, 40) * 2, -1)
    u = torch.from_numpy(uniforms(0, range(1000), [3] * 1000, 50))  # 1000 times the 3 positions
    kept = drawn(p.repeat(1000, 1), u)
    table = dense(kept, 40).reshape(1000, 3, 40) / 50
    assert np.allclose(table.sum(-1), 1)
    assert kept.entropy is not None
    np.testing.assert_allclose(kept.entropy[:3], -(p * p.log()).sum(-1), rtol=1e-5)
    error = np.abs(table.mean(0) - p.numpy()) / np.sqrt(p.numpy() * (1 - p.numpy()) / 50_000)
    assert error.max() < 4.5
    assert error.mean() < 1.0  # 0.8 is expected of a normal distribution
    starts = np.cumsum(kept.entries) - kept.entries
    falls = np.diff(kept.weights) <= 0
    assert falls[np.setdiff1d(np.arange(len(falls)), starts[1:] - 1)].all(), "the heaviest first"


def test_likeliest() -> None:
    p = torch.softmax(torch.randn(5, 30, generator=torch.Generator().manual_seed(1)), -1)
    kept = likeliest(p, 8)
    assert kept.entries.tolist() == [8] * 5
    top = p.topk(8)
    assert kept.ids.reshape(5, 8).tolist() == top.indices.tolist()
    assert kept.tail is not None
    np.testing.assert_allclose(kept.weights.reshape(5, 8).sum(-1) + kept.tail, 1, rtol=1e-6)
    assert likeliest(p, 99).entries.tolist() == [30] * 5


NONE = torch.zeros(0, dtype=torch.int64)
TABLES = Tables(NONE, NONE.bool(), NONE.view(0, 3), torch.tensor([4, 2, 0, 1, 3]), NONE, 6)
# Row 0: entry 5 twice, the set {2, 0} and entry 3; a fifth has no place. Row 1: no target.
# Row 2: the set {1, 3, 5} alone.
PLACED = Placed(
    row=torch.tensor([2, 0, 0, 0, 0, 0]), kind=torch.tensor([7, 5, 6, 3, 5, -1]),
    mass=torch.tensor([1.0, 0.1, 0.3, 0.25, 0.15, 0.2]), sets=torch.tensor([[1, 3, -1], [3, 5, 5]]),
)  # fmt: skip
TOTAL = torch.tensor([1.0, 0.0, 1.0])


def test_moved_likeliest() -> None:
    kept = moved_likeliest(PLACED, TABLES, TOTAL, 2)
    assert kept.entries.tolist() == [2, 0, 1]
    assert kept.ids[0] == -1
    assert set(kept.ids.tolist()) <= {-1, 5, 3}
    assert kept.sets is not None
    assert kept.sets.tolist() == [[1, 3, -1], [3, 5, 5]]
    assert kept.tail is not None
    np.testing.assert_allclose(kept.tail, [0.45, 0.0, 0.0], atol=1e-6)
    whole = moved_likeliest(PLACED, TABLES, TOTAL, 9)
    np.testing.assert_allclose(sorted(whole.weights[:3]), [0.25, 0.25, 0.3], rtol=1e-6)


def test_moved_draws_are_right_on_average() -> None:
    """And draws that hit mass without a place are left out, not given to others."""
    sums, draws = {(5,): 0.0, (3,): 0.0, (1, 3, -1): 0.0}, 50
    for seed in range(400):
        kept = moved_draws(PLACED, TABLES, TOTAL, uniforms(seed, [1], [3], draws))
        assert kept.entries[1:].tolist() == [0, 1]
        assert kept.weights[-1] == draws
        assert kept.entropy is not None
        np.testing.assert_allclose(kept.entropy, [-sum(m * np.log(m) for m in (0.25, 0.25, 0.3)), 0, 0], atol=1e-6)
        assert kept.sets is not None
        sets = iter(kept.sets.tolist())
        for n, weight in zip(kept.ids[: kept.entries[0]], kept.weights, strict=False):
            sums[tuple(next(sets)) if n < 0 else (int(n),)] += weight
    means = [total / 400 / draws for total in sums.values()]
    for mean, p in zip(means, [0.25, 0.25, 0.3], strict=True):
        assert abs(mean - p) < 4 * np.sqrt(p * (1 - p) / 400 / draws)


def test_rare_outcomes_keep_their_mass() -> None:
    p = torch.tensor([[0.0, 1e-6, 3e-6, 0.0], [0.0, 0.0, 0.0, 2e-6]])
    rare = Rare(torch.from_numpy(uniforms(0, [1, 2], [4, 1], 100)))
    position, token, mass = rare(torch.tensor([1, 4]), p)
    assert sorted(set(position.tolist())) == [0, 1]
    assert set(zip(position.tolist(), token.tolist(), strict=True)) == {(0, 1), (0, 2), (1, 3)}
    first = position == 0
    torch.testing.assert_close(mass[first].sum(), p[0].sum())
    share = float(mass[first & (token == 2)].sum() / p[0].sum())
    assert abs(share - 0.75) < 0.2
