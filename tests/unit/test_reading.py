"""The numbers by which sets of student entries are known, and the search for outcomes above a floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill import reading
from distill.reading import Tables, _above, _likeliest, pair_tables

ORDER, SIZE = np.array([4, 2, 0, 1, 3, 4, 6]), 7
sets = st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(-1, 6)).map(
    lambda s: (min(s[:2]), max(s[:2]), s[2] if s[2] not in ORDER[min(s[:2]) : max(s[:2])] else -1)
)


def members(tables: Tables, kind: int, named: torch.Tensor) -> list[int]:
    """What a kind stands for, an entry that the order has twice counted twice."""
    if kind < tables.student_size:
        return [kind] if kind >= 0 else []
    low, high, extra = named[kind - tables.student_size].tolist()
    return sorted([*ORDER[low:high].tolist(), *([extra] if extra >= 0 else [])])


def tables_of(pair: list[tuple[int, int, int]], silent: list[int]) -> Tables:
    low, high, extra = (np.array([one[n] for one in pair], dtype=np.int64) for n in range(3))
    return pair_tables(low, high, extra, np.isin(np.arange(len(pair)), silent), ORDER, np.array([5]), SIZE)


@given(st.lists(sets, max_size=8), st.lists(sets, max_size=8), st.sets(st.integers(0, 7)))
def test_a_kind_stands_for_a_set(
    pair: list[tuple[int, int, int]], more: list[tuple[int, int, int]], silent: set[int]
) -> None:
    """Of the pair's own sets and of any that come later; the same set has the same kind, whoever asks."""
    tables = tables_of(pair, sorted(silent))
    asked = torch.tensor(pair + more, dtype=torch.int64).view(-1, 3)
    kinds, named = tables.kinds(*asked.unbind(-1))
    assert torch.equal(named[: len(tables.sets)], tables.sets)
    assert len(named.unique(dim=0)) == len(named)
    for (low, high, extra), kind in zip(pair + more, kinds.tolist(), strict=True):
        expected = sorted([*ORDER[low:high].tolist(), *([extra] if extra >= 0 else [])])
        assert members(tables, kind, named) == expected
    for v, kind in enumerate(tables.kind.tolist()):
        assert kind == (-1 if v in silent else kinds[v])


def test_a_pair_without_any_set() -> None:
    """A store moved where every set has one entry has no order at all."""
    none = np.zeros(0, np.int64)
    tables = pair_tables(none, none, none, none.astype(bool), none, none, 3)
    zero = torch.zeros(2, dtype=torch.int64)
    kinds, named = tables.kinds(zero, zero, torch.tensor([2, -1]))
    assert kinds.tolist() == [2, -1]
    assert named.shape == (0, 3)


@given(st.integers(1, 5), st.integers(1, 37), st.integers(0, 2**20), st.sampled_from([0.0, 0.3, 0.97, 1.0]))
def test_outcomes_above_a_floor(rows: int, vocabulary: int, seed: int, floor: float) -> None:
    """Whatever the number of entries, in order, as a comparison finds them."""
    p = torch.rand(rows, vocabulary, generator=torch.Generator().manual_seed(seed))
    p[0, 0] = floor  # is not above itself
    row, token, mass = _above(p, floor)
    assert torch.equal(torch.stack([row, token], 1), (p > floor).nonzero())
    assert torch.equal(mass, p[p > floor])


def test_a_flat_teacher_lists_no_more_than_the_likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST", 3)
    p = torch.tensor([[0.1, 0.4, 0.1, 0.2, 0.2], [0.0, 0.9, 0.0, 0.0, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]])
    row, token, mass = _likeliest(p, *_above(p, 1e-5))
    assert row.bincount().tolist() == [3, 2, 3]
    assert sorted(token[row == 0].tolist()) == [1, 3, 4]
    assert token[row == 1].tolist() == [1, 4]
    assert torch.equal(mass, p[row, token])
