"""The teacher's signals of rows already seen, kept in memory: from the second epoch on the teacher need not run.

A frozen teacher says the same about the same row every time. What is kept is its hidden states at the row's supervised
positions, and those of single layers where they are compared: `width` numbers a token and layer, on the teacher's
device. That is 8 KB a token for a 7B teacher in bf16 (width 4096), 1 KB for a width of 256 in fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distill.batches import Lesson
from teachers.base import DenseSignal


class KeptSignals:
    """`kept(lesson, ask)`: from memory when every row is there, else `ask(lesson)`, which is then kept."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Tensor, dict[int, Tensor]]] = {}
        self.like: DenseSignal | None = None

    def __call__(self, lesson: Lesson, ask: Callable[[Lesson], DenseSignal]) -> DenseSignal:
        """The signal, either way the same."""
        if self.like is None or not all(row in self.rows for row in lesson.rows):
            self._keep(lesson, ask(lesson))
        assert self.like is not None
        found = [self.rows[row] for row in lesson.rows]
        layers = {n: torch.cat([layers[n] for _, layers in found]) for n in self.like.layers}
        hidden = torch.cat([hidden for hidden, _ in found])  # (tokens, width)
        return DenseSignal(self.like.vocab_id, hidden, self.like.weight, self.like.bias, layers)

    def _keep(self, lesson: Lesson, signal: DenseSignal) -> None:
        counts = lesson.teacher.counts.tolist()
        places = lesson.places.at[:, 0] if lesson.places else lesson.teacher.counts[:0]
        placed = torch.bincount(places, minlength=len(lesson.rows)).tolist()
        hidden = signal.hidden.split(counts)
        layers = {n: h.split(placed) for n, h in signal.layers.items()}
        for n, row in enumerate(lesson.rows):
            # Copies: a slice would keep the whole batch's tensor alive.
            self.rows[row] = hidden[n].clone(), {k: parts[n].clone() for k, parts in layers.items()}
        self.like = DenseSignal(signal.vocab_id, signal.hidden[:0], signal.weight, signal.bias, dict.fromkeys(layers))  # type: ignore[arg-type]
