"""Batches: who is in, what predicts what, and the same again after a stop."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distill.batches import Batch, BatchPlan, Lesson, gather_tokens
from distill.encoding import Side

LENGTHS = np.random.default_rng(0).integers(3, 40, 103)
SUPERVISED = np.minimum(LENGTHS - 1, np.random.default_rng(1).integers(1, 30, 103))


def plan(size: int = 8, seed: int | None = 0, **more: Any) -> BatchPlan:
    return BatchPlan(LENGTHS, SUPERVISED, size, seed=seed, **more)


def side() -> Side:
    """Three rows of 4, 2 and 6 tokens; two spans in the last."""
    supervised = [0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1]
    return Side(np.arange(100, 112, dtype=np.int32), np.array(supervised, dtype=bool), np.zeros(12, np.int32),
                np.zeros(12, np.int32), np.array([0, 4, 6, 12]), np.array([2, 1, 3]))  # fmt: skip


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [1]])
def test_a_position_predicts_the_token_after_it(rows: list[int]) -> None:
    """Against a plain loop over rows and tokens."""
    whole = side()
    tokens = gather_tokens(whole, rows, pad_id=7)
    width = max(whole.lengths[rows])
    labels, positions = [], []
    for n, r in enumerate(rows):
        ids, supervised = whole.ids[whole.row(r)], whole.supervised[whole.row(r)]
        assert tokens.ids[n].tolist() == ids.tolist() + [7] * (width - len(ids))
        assert tokens.mask[n].tolist() == [1] * len(ids) + [0] * (width - len(ids))
        for t in range(len(ids) - 1):
            if supervised[t + 1]:
                positions.append(n * width + t)
                labels.append(int(ids[t + 1]))
    assert tokens.positions.tolist() == positions
    assert tokens.labels.tolist() == labels
    flat = tokens.ids.reshape(-1)
    assert (flat[tokens.positions + 1] == tokens.labels).all()
    assert tokens.mask.reshape(-1)[tokens.positions].all()


@pytest.mark.parametrize("seed", [0, 5, None])
@pytest.mark.parametrize("size", [1, 8, 200])
def test_every_row_once_an_epoch(seed: int | None, size: int) -> None:
    """Whatever the batch size."""
    sampler = plan(size, seed)
    for _ in range(2):
        batches = [rows for rows, _ in sampler]
        assert sorted(itertools.chain(*batches)) == list(range(103))
        assert len(batches) == len(sampler)
        assert max(map(len, batches)) <= size


def test_order_is_a_function_of_seed_and_epoch() -> None:
    """The same again; another epoch and another seed are others."""
    first, again, other = plan(), plan(), plan(seed=1)
    one, two = list(first), list(first)
    assert (one, two) == (list(again), list(again))
    assert one != two
    assert one != list(other)
    still = plan(seed=None)
    assert list(still) == list(still)


def test_little_is_padding() -> None:
    """Rows of about one length share a batch."""
    padded = sum(len(rows) * max(LENGTHS[rows]) for rows, _ in plan(8))
    assert padded < 1.15 * LENGTHS.sum()
    alone = np.random.default_rng(0).permutation(103)
    shuffled = sum(max(LENGTHS[alone[i : i + 8]]) * len(alone[i : i + 8]) for i in range(0, 103, 8))
    assert padded < 0.8 * shuffled


@pytest.mark.parametrize("stop", [0, 1, 6, 12, 13, 20])
def test_goes_on_in_the_middle(stop: int) -> None:
    """A new sampler with the saved state gives what the old one would have given."""
    whole = plan()
    expected = [*whole, *whole]
    sampler = plan()
    taken = list(itertools.islice(sampler, min(stop, len(sampler))))
    if stop > len(sampler):
        taken += list(itertools.islice(sampler, stop - len(sampler)))
    state = sampler.state_dict()
    resumed = plan()
    resumed.load_state_dict(state)
    rest = list(resumed)
    if len(taken) + len(rest) < len(expected):
        rest += list(resumed)
    assert taken + rest == expected


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("limit", [1.0, 4, 0.7])
def test_tokens_of_the_whole_step(accumulate: int, world: int, limit: float) -> None:
    """Each batch knows the supervised tokens of its optimizer step, over ranks and accumulated batches, also of the
    last step of an epoch that trainer.limit_train_batches cuts short."""
    plans = [plan(accumulate=accumulate, world=world, rank=rank, limit=limit) for rank in range(world)]
    most = len(plans[0])
    for _ in range(2):
        ranks = [list(each) for each in plans]
        assert {len(rank) for rank in ranks} == {limit if isinstance(limit, int) else int(limit * most)}
        for start in range(0, len(ranks[0]), accumulate):
            group = [batch for rank in ranks for batch in rank[start : start + accumulate]]
            expected = sum(int(SUPERVISED[rows].sum()) for rows, _ in group)
            assert {tokens for _, tokens in group} == {float(expected)}


def test_ranks_share_the_rows() -> None:
    """None twice; what is left out is less than a round of batches."""
    ranks = [[r for rows, _ in plan(world=3, rank=rank) for r in rows] for rank in range(3)]
    together = list(itertools.chain(*ranks))
    assert len(together) == len(set(together))
    assert len(together) >= 103 - 2 * 8


@pytest.mark.parametrize("world", [2, 3, 20])
def test_ranks_validate_every_row_once(world: int) -> None:
    """Equally many batches each; what fills the last round up says that it does not count."""
    ranks = [list(plan(seed=None, world=world, rank=rank)) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    counted = [r for rank in ranks for rows, tokens in rank if tokens for r in rows]
    assert sorted(counted) == list(range(103))
    assert all(rows for rank in ranks for rows, _ in rank)


def test_validation_begins_at_the_beginning() -> None:
    """Even after it was cut short."""
    sampler = plan(seed=None)
    first = next(iter(sampler))
    assert next(iter(sampler)) == first


def test_moves_to_a_device() -> None:
    """With all it holds; what is not there stays away."""
    tokens = gather_tokens(side(), [0, 2], 0)
    batch = Batch(tokens, [], 5.0, 3, [0, 2])
    moved = batch.to("meta")
    assert moved.student.ids.device.type == "meta"
    assert (moved.lessons, moved.step_tokens, moved.rows) == ([], 5.0, [0, 2])
    lesson = Lesson(0, [0, 2], tokens, tokens.labels, tokens.counts, shares=torch.ones(2))
    (there,) = replace(batch, lessons=[lesson]).to(torch.device("meta")).lessons
    assert (there.by, there.rows, there.plan, there.places, there.at) == (0, [0, 2], None, None, None)
    assert there.shares is not None
    assert {t.device.type for t in (there.teacher.ids, there.labels, there.counts, there.shares)} == {"meta"}


def test_the_supervised_tokens_of_some_rows() -> None:
    """Counted over the whole batch, row by row."""
    tokens = gather_tokens(side(), [0, 2, 1], 0)
    counts = tokens.counts.tolist()
    ends = np.cumsum(counts).tolist()
    expected = [*range(ends[0]), *range(ends[1], ends[2])]
    assert tokens.of(torch.tensor([0, 2])).tolist() == expected
    assert tokens.of(torch.tensor([1])).tolist() == list(range(ends[0], ends[1]))
