"""Kept signals are the teacher's own, and the teacher is asked once a row."""

from __future__ import annotations

from collections.abc import Callable

import torch

from distill.batches import Lesson, Places, Tokens
from distill.kept_signals import KeptSignals
from teachers.base import DenseSignal

COUNTS = {0: 2, 1: 0, 2: 3, 3: 1}
PLACES = {0: 4, 1: 1, 2: 0, 3: 5}


def batch(rows: list[int]) -> Lesson:
    """Rows of length 5 with COUNTS supervised positions each, and PLACES where features are compared."""
    positions, places = (
        torch.tensor([5 * n + k for n, row in enumerate(rows) for k in range(counts[row])], dtype=torch.long)
        for counts in (COUNTS, PLACES)
    )
    starts, at = 5 * torch.arange(len(rows)), torch.stack([places // 5, places % 5], 1)
    tokens = Tokens(
        torch.zeros(len(rows), 5, dtype=torch.long), torch.ones(len(rows), 5), positions, positions, starts,
        torch.tensor([COUNTS[row] for row in rows]),
    )  # fmt: skip
    return Lesson(0, rows, tokens, tokens.labels, tokens.counts, None, Places(places, places, at))


def ask(asked: list[list[int]]) -> Callable[[Lesson], DenseSignal]:
    """A teacher whose hidden state tells row and position."""

    def answer(wanted: Lesson) -> DenseSignal:
        asked.append(wanted.rows)
        hidden = torch.tensor([[10.0 * row + k] for row in wanted.rows for k in range(COUNTS[row])])
        layer = torch.tensor([[-10.0 * row - k] for row in wanted.rows for k in range(PLACES[row])])
        return DenseSignal("v", hidden, torch.ones(3, 1), None, {2: layer})

    return answer


def test_the_same_from_memory_in_any_order() -> None:
    """Other groupings of the same rows get the same states; nobody is asked again."""
    kept, asked = KeptSignals(), list[list[int]]()
    teacher = ask(asked)
    for rows in ([0, 1], [2, 3]):
        kept(batch(rows), teacher)
    again = kept(batch([3, 1, 0, 2]), teacher)
    assert asked == [[0, 1], [2, 3]]
    fresh = teacher(batch([3, 1, 0, 2]))
    torch.testing.assert_close(again.hidden, fresh.hidden)
    torch.testing.assert_close(again.layers[2], fresh.layers[2])
    assert again.weight is not None
    assert again.vocab_id == "v"


def test_a_new_row_asks_for_the_whole_batch() -> None:
    """Half-known batches are asked as one."""
    kept, asked = KeptSignals(), list[list[int]]()
    kept(batch([0]), ask(asked))
    kept(batch([0, 2]), ask(asked))
    assert asked == [[0], [0, 2]]
