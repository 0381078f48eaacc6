"""Which rows go into which batch, and what a batch holds.

The order of an epoch is a pure function of (seed, epoch): rows are shuffled, grouped with others of about their length
so that little is padding, and the batches shuffled again. A sampler that has stopped in the middle goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.encoding import Side

WINDOW_BATCHES = 64


@dataclass
class Tokens:
    """One side of a batch, padded on the right."""

    ids: Tensor
    """(rows, length)"""
    mask: Tensor
    """(rows, length), 1 where there is a token"""
    positions: Tensor
    """(tokens): flat index into rows x length of the position that predicts each supervised token"""
    labels: Tensor
    """(tokens): the supervised tokens"""

    def to(self, device: Any) -> Tokens:
        """A copy on a device."""
        return Tokens(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass
class Places:
    """Pairs of positions at which student and teacher have said the same text."""

    student: Tensor
    """(places): flat index into the student's rows x length"""
    teacher: Tensor
    """(places): the same on the teacher's side"""

    def to(self, device: Any) -> Places:
        """A copy on a device."""
        return Places(self.student.to(device), self.teacher.to(device))


@dataclass
class Batch:
    """What a training step sees."""

    student: Tokens
    teacher: Tokens | None
    """The same rows in the teacher's vocabulary; None without a teacher"""
    plan: Any
    """How the teacher's positions lie over the student's (distill.align.PlanBatch); None in one vocabulary"""
    step_tokens: float
    """Supervised tokens of the whole optimizer step this batch is a part of"""
    characters: int
    """Characters of the supervised text"""
    rows: list[int]
    """Which rows of the data set these are"""
    places: Places | None = None
    """Where both sides have said the same text, prompts included; None when no features are compared"""

    def to(self, device: Any) -> Batch:
        """A copy on a device."""
        moved = {
            n: v.to(device) for n in ("student", "teacher", "plan", "places") if (v := getattr(self, n)) is not None
        }
        return replace(self, **moved)


def gather_tokens(side: Side, rows: list[int], pad_id: int) -> Tokens:
    """Pad these rows of a side into one rectangle and list its supervised positions, row by row."""
    slices = [side.row(r) for r in rows]
    length = max(s.stop - s.start for s in slices)
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    supervised = np.zeros((len(rows), length), dtype=bool)
    for n, s in enumerate(slices):
        width = s.stop - s.start
        ids[n, :width] = side.ids[s]
        mask[n, :width] = 1
        supervised[n, :width] = side.supervised[s]
    at = np.flatnonzero(supervised.reshape(-1))
    return Tokens(
        torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(at - 1), torch.from_numpy(ids.reshape(-1)[at])
    )


def shared_places(student: Side, teacher: Side, answers: np.ndarray | None, row: int, prompts: bool) -> np.ndarray:
    """(places, 2): token of the row on both sides after which both have said the same text.

    `answers` (pairs, 2) are the supervised tokens that start together, counted within the row; None: all do. Their
    places are the ones before them. `prompts`: both sides have the same text around the answers.
    """
    ours, theirs = student.row(row), teacher.row(row)
    at = [np.flatnonzero(side.supervised[part]) for side, part in ((student, ours), (teacher, theirs))]
    pairs = np.stack(at, 1) if answers is None else np.stack([at[0][answers[:, 0]], at[1][answers[:, 1]]], 1)
    found = pairs - 1
    if prompts:
        ends = student.prompt_ends[ours], teacher.prompt_ends[theirs]
        _, left, right = np.intersect1d(*ends, return_indices=True)
        here = ends[0][left] > 0
        found = np.concatenate([np.stack([left[here], right[here]], 1), found])
    return found


def gather_places(places: list[np.ndarray], student: Tokens, teacher: Tokens) -> Places:
    """The places of a batch's rows in its padded rectangles."""
    lengths = np.array([student.ids.shape[1], teacher.ids.shape[1]])
    flat = torch.from_numpy(np.concatenate([pairs + n * lengths for n, pairs in enumerate(places)]))
    return Places(flat[:, 0].contiguous(), flat[:, 1].contiguous())


class BatchPlan:
    """Sampler of `(rows, supervised tokens of the optimizer step)`; one pass is one epoch.

    `accumulate` batches make one optimizer step. With several ranks each takes every world-th batch, and all take
    equally many.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        supervised: np.ndarray,
        batch_size: int,
        *,
        seed: int | None,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.lengths, self.supervised, self.batch_size = lengths, supervised, batch_size
        self.seed, self.accumulate, self.rank, self.world = seed, accumulate, rank, world
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return max(-(-len(self.lengths) // self.batch_size) // self.world, 1)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch; without a seed the rows by length, always the same."""
        if self.seed is None:
            by_length = np.argsort(self.lengths, kind="stable")
            return [by_length[i : i + self.batch_size] for i in range(0, len(by_length), self.batch_size)]
        rng = np.random.default_rng([self.seed, epoch])
        rows = rng.permutation(len(self.lengths))
        window = self.batch_size * WINDOW_BATCHES
        batches = []
        for i in range(0, len(rows), window):
            part = rows[i : i + window]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[j : j + self.batch_size] for j in range(0, len(part), self.batch_size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def __iter__(self) -> Iterator[tuple[list[int], float]]:
        if self.position >= len(self):  # the loader need not ask for the end of an epoch it has counted out
            self.epoch, self.position = self.epoch + 1, 0
        elif self.seed is None:  # validation may have been cut short; it always starts at the beginning
            self.position = 0
        batches = self.order(self.epoch)
        group = self.accumulate * self.world
        tokens = [int(self.supervised[b].sum()) for b in batches]
        while self.position < len(self):
            at = self.position * self.world + self.rank
            self.position += 1
            first = (at // group) * group
            last = min(first + group, len(self) * self.world)
            yield batches[at % len(batches)].tolist(), float(max(sum(tokens[first:last]), 1))

    def state_dict(self) -> dict[str, int]:
        """Where the sampler stands."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a saved place."""
        self.epoch, self.position = state["epoch"], state["position"]
