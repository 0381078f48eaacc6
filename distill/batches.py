"""Which rows go into which batch, and what a batch holds.

The order of an epoch is a pure function of (seed, epoch): rows are shuffled, grouped with others of about their length
so that little is padding, and the batches shuffled again; or they are packed into rectangles (distill.packing), and
these shuffled. A sampler that has stopped in the middle goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.encoding import Side
from distill.errors import DistillError
from distill.packing import lay, pack

WINDOW_BATCHES = 64
DIFFERS = {
    "rows": "the run was stopped with {before} usable rows of data.train, now there are {now}: give it the same files",
    "data": "data.train is not what it was when the run was stopped, in rows or their order: give it the same files",
    "world": "the run was stopped on {before} device(s), now there are {now}: give --trainer.devices {before}",
    "accumulate": "the run was stopped with trainer.accumulate_grad_batches {before}, now it is {now}: give the same",
}
"""What a place in an epoch depends on beside the recipe"""


@dataclass
class Tokens:
    """One side of a batch, in one rectangle: a row a line, filled up on the right, or, packed, several rows a line."""

    ids: Tensor
    """(lines, length)"""
    mask: Tensor
    """(lines, length), 1 where there is a token"""
    positions: Tensor
    """(tokens): flat index into lines x length of the position that predicts each supervised token, row by row"""
    labels: Tensor
    """(tokens): the supervised tokens"""
    starts: Tensor
    """(rows): flat index of each row's first token"""
    counts: Tensor
    """(rows): supervised tokens of each row"""
    position_ids: Tensor | None = None
    """(lines, length): place of each token in its row, where lines hold several; None where a line is a row"""

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with. Without a mask transformers tells packed rows apart by their positions."""
        if self.position_ids is not None:
            return {"input_ids": self.ids, "position_ids": self.position_ids}
        return {"input_ids": self.ids, "attention_mask": self.mask}

    def of(self, rows: Tensor) -> Tensor:
        """Which of the supervised tokens belong to some rows (ascending)."""
        asked = torch.zeros(len(self.counts), dtype=torch.bool).index_fill_(0, rows, True)
        return asked.repeat_interleave(self.counts).nonzero().squeeze(-1)

    def to(self, device: Any) -> Tokens:
        """A copy on a device."""
        return _moved(self, device)


@dataclass
class Places:
    """Pairs of positions at which student and teacher have said the same text."""

    student: Tensor
    """(places): flat index into the student's lines x length"""
    teacher: Tensor
    """(places): the same on the teacher's side"""
    at: Tensor
    """(places, 2): which row of the batch, and the student's token in it"""

    def to(self, device: Any) -> Places:
        """A copy on a device."""
        return _moved(self, device)


@dataclass
class Lesson:
    """The rows of a batch about which one teacher is asked."""

    by: int
    """Which teacher of the model's"""
    rows: list[int]
    """Which rows of the data set these are"""
    teacher: Tokens
    """The rows in the teacher's vocabulary"""
    labels: Tensor
    """(tokens): the student's supervised tokens of these rows"""
    counts: Tensor
    """(rows): how many of them each row has"""
    plan: Any = None
    """How the teacher's positions lie over the student's (distill.align.PlanBatch); None in one vocabulary"""
    places: Places | None = None
    """Where both sides have said the same text, prompts included; None when no features are compared"""
    at: Tensor | None = None
    """(tokens): which of the batch's supervised tokens are these rows'; None: all"""
    shares: Tensor | None = None
    """(rows): the teacher's share in each; None: it is the only one"""

    @property
    def whole(self) -> bool:
        """Whether the teacher is asked about every row, and nobody else is."""
        return self.at is None and self.shares is None

    def token_shares(self) -> Tensor | None:
        """(tokens): the teacher's share in each supervised token."""
        return None if self.shares is None else self.shares.repeat_interleave(self.counts)

    def to(self, device: Any) -> Lesson:
        """A copy on a device."""
        return _moved(self, device)


@dataclass
class Batch:
    """What a training step sees."""

    student: Tokens
    lessons: list[Lesson]
    """Who is asked about which rows"""
    step_tokens: float
    """Supervised tokens of the whole optimizer step this batch is a part of"""
    characters: int
    """Characters of the supervised text"""
    rows: list[int]
    """Which rows of the data set these are"""
    trial: tuple[Batch, Batch] | None = None
    """With the first packed batch: a few rows packed and apart, which the models must see alike"""

    def to(self, device: Any) -> Batch:
        """A copy on a device."""
        return replace(self, student=self.student.to(device), lessons=[each.to(device) for each in self.lessons])


def _moved(held: Any, device: Any) -> Any:
    there = {f.name: value.to(device) for f in fields(held) if hasattr(value := getattr(held, f.name), "to")}
    return replace(held, **there)


def gather_tokens(side: Side, rows: list[int], pad_id: int, width: int | None = None) -> Tokens:
    """Lay these rows of a side into one rectangle and list its supervised positions, row by row.

    `width`: pack them into lines of about so many tokens, of the longest row where that is longer.
    """
    slices = [side.row(r) for r in rows]
    lengths = np.array([s.stop - s.start for s in slices], dtype=np.int64)
    lines, length = len(rows), int(lengths.max())
    starts = np.arange(lines, dtype=np.int64) * length
    if width is not None:
        starts, lines, length = lay(lengths, max(width, length))
    ids = np.full(lines * length, pad_id, dtype=np.int64)
    mask, places = np.zeros_like(ids), np.zeros_like(ids)
    supervised = []
    for start, size, s in zip(starts.tolist(), lengths.tolist(), slices, strict=True):
        here = slice(start, start + size)
        ids[here], mask[here], places[here] = side.ids[s], 1, np.arange(size)
        supervised.append(start + np.flatnonzero(side.supervised[s]))
    at = np.concatenate(supervised)
    shape = (lines, length)
    return Tokens(
        ids=torch.from_numpy(ids.reshape(shape)),
        mask=torch.from_numpy(mask.reshape(shape)),
        positions=torch.from_numpy(at - 1),
        labels=torch.from_numpy(ids[at]),
        starts=torch.from_numpy(starts),
        counts=torch.tensor([len(part) for part in supervised]),
        # A place that holds nothing has position 0, so it is a row of its own.
        position_ids=torch.from_numpy(places.reshape(shape)) if width is not None else None,
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


def gather_places(places: list[np.ndarray], student: Tensor, teacher: Tensor) -> Places:
    """The places of some rows, whose first tokens are at `student` and `teacher` (rows) of the rectangles."""
    pairs = torch.from_numpy(np.concatenate(places))
    row = torch.repeat_interleave(torch.tensor([len(part) for part in places]))
    ours, theirs = pairs[:, 0], pairs[:, 1]
    return Places(student[row] + ours, teacher[row] + theirs, torch.stack([row, ours], 1))


class BatchPlan:
    """Sampler of `(rows, supervised tokens of the optimizer step)`; one pass is one epoch.

    A batch is `batch_size` rows or, with a `width`, the rows that fill `batch_size` lines of so many tokens, line by
    line. `accumulate` batches make one optimizer step. With several ranks each takes every world-th batch, and all
    take equally many: training leaves the few that do not go round for this epoch, validation (without a seed) fills
    the round up with batches that are not to be counted, which say so by 0 tokens. An epoch ends after `limit` batches,
    or after that share of them, as trainer.limit_train_batches counts. `data` names the rows and their order: a place
    among other rows is nobody's.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        supervised: np.ndarray,
        batch_size: int,
        *,
        seed: int | None,
        width: int | None = None,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        limit: float = 1.0,
        data: str = "",
    ) -> None:
        self.lengths, self.supervised, self.batch_size = lengths, supervised, batch_size
        self.seed, self.accumulate, self.rank, self.world = seed, accumulate, rank, world
        self.width = None if width is None else max(width, int(lengths.max(initial=1)))
        self.lines = len(lengths) if self.width is None else len(pack(lengths, self.width))
        """Of all batches together, the same in every epoch"""
        self.taken = min(limit, len(self)) if isinstance(limit, int) else int(limit * len(self))
        """Batches of an epoch that are asked for"""
        self.epoch = self.position = 0
        self._among = {"rows": len(lengths), "data": data, "world": world, "accumulate": accumulate}

    def __len__(self) -> int:
        batches = -(-self.lines // self.batch_size)
        return -(-batches // self.world) if self.seed is None else max(batches // self.world, 1)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch; without a seed always the same, the rows by length or packed."""
        rng = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        rows = np.arange(len(self.lengths)) if rng is None else rng.permutation(len(self.lengths))
        if self.width is not None:
            lines = [rows[line] for line in pack(self.lengths[rows], self.width)]
            if rng is not None:
                lines = [lines[i] for i in rng.permutation(len(lines))]
            return [np.concatenate(lines[i : i + self.batch_size]) for i in range(0, len(lines), self.batch_size)]
        window = len(rows) if rng is None else self.batch_size * WINDOW_BATCHES
        batches = []
        for i in range(0, len(rows), window):
            part = rows[i : i + window]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[j : j + self.batch_size] for j in range(0, len(part), self.batch_size)]
        return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]

    def filled(self) -> float:
        """The share of the next epoch's batches that is tokens; the rest fills them up."""
        places = 0
        for rows in self.order(self.epoch):
            lengths = self.lengths[rows]
            lines, length = (len(rows), lengths.max()) if self.width is None else lay(lengths, self.width)[1:]
            places += lines * int(length)
        return float(self.lengths.sum() / places)

    def __iter__(self) -> Iterator[tuple[list[int], float]]:
        if self.position >= self.taken:  # the loader need not ask for the end of an epoch it has counted out
            self.epoch, self.position = self.epoch + 1, 0
        elif self.seed is None:  # validation may have been cut short; it always starts at the beginning
            self.position = 0
        batches = self.order(self.epoch)
        group = self.accumulate * self.world
        tokens = [int(self.supervised[b].sum()) for b in batches]
        while self.position < self.taken:
            at = self.position * self.world + self.rank
            self.position += 1
            first = (at // group) * group
            last = min(first + group, self.taken * self.world)
            if self.seed is None and at >= len(batches):
                yield batches[-1].tolist(), 0.0
                continue
            yield batches[at % len(batches)].tolist(), float(max(sum(tokens[first:last]), 1))

    def state_dict(self) -> dict[str, Any]:
        """Where the sampler stands, and among what."""
        return {"epoch": self.epoch, "position": self.position, **self._among}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved place; DistillError where it would be another one."""
        for name, now in self._among.items():
            before = state.get(name, now)  # checkpoints of old say where alone
            if before != now:
                raise DistillError(f"{DIFFERS[name].format(before=before, now=now)}, or begin another run in another "
                                   "--trainer.default_root_dir")  # fmt: skip
        self.epoch, self.position = state["epoch"], state["position"]
