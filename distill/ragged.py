"""Rows of any length, one after the other: which row and which place in it each member has; a table of such rows that
grows as new ones are met."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor


def members(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows of so many members each: the row of every member, and its place there; (members)."""
    of = np.repeat(np.arange(len(counts)), counts)
    return of, np.arange(len(of)) - (np.cumsum(counts) - counts)[of]


def members_of(counts: Tensor) -> tuple[Tensor, Tensor]:
    """The same of tensors."""
    of = torch.repeat_interleave(counts)
    return of, torch.arange(len(of), device=of.device) - (counts.cumsum(0) - counts)[of]


class Ragged:
    """Rows known by a key; `expand` reads many of them at once."""

    def __init__(self, columns: int) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._ends = np.zeros(16, np.int64)
        self._flat = np.zeros((256, columns), np.int32)

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, key: Hashable, make: Callable[[], np.ndarray]) -> int:
        """Which row a key has; `make` gives it, (entries, columns), when the key is new."""
        found = self._numbers.get(key)
        return self._add(key, make()) if found is None else found

    def _add(self, key: Hashable, row: np.ndarray) -> int:
        number = len(self._numbers)
        start = int(self._ends[number])
        end = start + len(row)
        if number + 1 >= len(self._ends):
            self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)])
        if end > len(self._flat):
            more = max(end - len(self._flat), len(self._flat))
            self._flat = np.concatenate([self._flat, np.zeros((more, self._flat.shape[1]), np.int32)])
        self._flat[start:end] = row
        self._ends[number + 1] = end
        self._numbers[key] = number
        return number

    def expand(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The entries of some rows (numbers; -1: none), one row after the other: which of `which` each belongs to,
        its place in its row, (entries), and itself, (entries, columns) int64."""
        starts = np.where(which >= 0, self._ends[which], 0)
        counts = np.where(which >= 0, self._ends[which + 1] - starts, 0)
        of, place = members(counts)
        return of, place, self._flat[starts[of] + place].astype(np.int64)
