"""The batches of bench_kd_step.py: the same rows as they come, by length and packed, in turn."""

from __future__ import annotations

import numpy as np
from torch.utils.data import DataLoader

from distill.batches import Batch, BatchPlan
from distill.data import EncodedRows, InstructionData
from distill.module import Distiller

LENGTH, ROWS, LINES = 256, 8, 3
"""Tokens of a line, rows of a batch, lines of a packed one"""


class Turns(InstructionData):
    """Batches of each kind in turn: rows as they come, by length, packed."""

    kinds: tuple[str, ...] = ("same", "plain", "packed")

    def train_dataloader(self) -> DataLoader:
        """Of as many rounds as the shortest kind has."""
        rows = self.rows["train"]
        side = rows.student
        order = np.random.default_rng(self.seed).permutation(len(rows))
        counts = side.supervised_counts

        def sampler(lines: int, width: int | None) -> list[tuple[list[int], float]]:
            return list(BatchPlan(side.lengths, counts, lines, seed=self.seed, width=width))

        same = [order[i : i + ROWS].tolist() for i in range(0, len(order) - ROWS + 1, ROWS)]
        wanted = {
            "same": [(some, float(counts[some].sum())) for some in same],
            "plain": sampler(ROWS, None),
            "packed": sampler(LINES, LENGTH),
        }
        rounds = zip(*(wanted[kind] for kind in self.kinds), strict=False)
        flat = [(kind, *asked) for one in rounds for kind, asked in zip(self.kinds, one, strict=True)]
        return DataLoader(_Turns(rows), sampler=flat, batch_size=None)  # type: ignore[arg-type]


class _Turns:
    """Rows by the kind of batch they are wanted in."""

    def __init__(self, rows: EncodedRows) -> None:
        self.rows = rows

    def __getitem__(self, wanted: tuple[str, list[int], float]) -> Batch:
        kind, rows, tokens = wanted
        return self.rows.batch(rows, tokens, LENGTH if kind == "packed" else None)


class NoTrainer:
    """What the data module asks of a Trainer before training."""

    def __init__(self, model: Distiller) -> None:
        self.lightning_module = model
        self.accumulate_grad_batches, self.world_size, self.global_rank = 1, 1, 0
