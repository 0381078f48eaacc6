"""What a teacher's outcome cannot mean, because the student has ended a token: it would have written the bytes of both
tokens in another way. Part of the tables of a pair (distill.vocabulary_sets), which grow as new paths are met."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distill.ragged import Ragged

if TYPE_CHECKING:
    from distill.vocabulary_sets import Path, VocabularySets


class Impossible:
    """Of one ordered pair of tokenizers: what cannot follow after a student entry."""

    def __init__(self, sets: VocabularySets) -> None:
        self.sets, self.student = sets, sets.student
        self._never: dict[int, frozenset[int]] = {}
        self._tokens: dict[tuple[Path, int], np.ndarray] = {}
        self.stopped = Ragged(1)
        """Places among the followers of a path that cannot come after a student entry"""
        self.never = Ragged(1)
        """Teacher ids that cannot come at all after a student entry"""
        self.never_numbers = np.full(len(self.student.entries), -1, np.int64)
        """(student vocab): number of each entry in `never`; -1 until it is known"""

    def never_after(self, previous: int) -> frozenset[int]:
        """Student entries that cannot follow `previous`: the student writes the bytes of both in another way.

        After Latin letters only entries that make one entry together with it are looked for.
        """
        if previous not in self._never:
            entries, beginning = self.student.entries, self.sets.student_beginning
            left = entries[previous] or b""
            pairs: set[int] = set()
            for k in range(len(left) if self.student.family != "wordpiece" else 0):
                if k and (left.isascii() or left[k] & 0xC0 == 0x80):  # only whole characters
                    continue
                tails = {b[len(left) - k :] for b, _ in beginning(left[k:])} - {b""}
                pairs |= {u for tail in tails for b, u in beginning(tail) if b == tail or not left.isascii()}
            found = sorted(pairs)
            written = self.sets.encode_bytes(self.student, [left + (entries[u] or b"") for u in found])
            self._never[previous] = frozenset(u for u, ids in zip(found, written, strict=True) if ids != [previous, u])
        return self._never[previous]

    def tokens(self, path: Path, previous: int) -> np.ndarray:
        """Teacher entries after `path` of whose sets a part could not be said after entry `previous`; sorted."""
        if previous < 0:
            return np.zeros(0, dtype=np.int64)
        if (path, previous) not in self._tokens:
            never = self.never_after(previous)
            if path:
                tokens = self.sets.children(path).tokens[self.children(path, previous)[0]]
            else:
                tokens = np.unique(np.array([v for u in never for v in self._outcomes_of(u)], dtype=np.int64))
            self._tokens[path, previous] = tokens
        return self._tokens[path, previous]

    def children(self, path: Path, previous: int) -> tuple[np.ndarray, bool]:
        """The same as places in `sets.children(path)`, and whether its rest could not be said."""
        children, never = self.sets.children(path), self.never_after(previous)
        if not never:
            return np.zeros(0, dtype=np.int64), False
        low, high, extra = children.sets.low, children.sets.high, children.sets.extra
        places = sorted(p for u in never for p in self._places.get(u, ()))
        hit = np.searchsorted(places, low, "left") < np.searchsorted(places, high, "left")
        return np.flatnonzero(hit | np.isin(extra, list(never))), children.rest in never

    @cached_property
    def _places(self) -> dict[int, list[int]]:
        """Student entry -> where it stands in the sorted order."""
        places: dict[int, list[int]] = {}
        for place, u in enumerate(self.sets.order.tolist()):
            places.setdefault(u, []).append(place)
        return places

    @cached_property
    def _extras(self) -> dict[int, list[int]]:
        """Student entry -> teacher ids in whose set it is the one entry more."""
        found: dict[int, list[int]] = {}
        for v, u in enumerate(self.sets.single_paths.extra.tolist()):
            if u >= 0:
                found.setdefault(u, []).append(v)
        return found

    def _outcomes_of(self, u: int) -> list[int]:
        """Teacher ids in whose sets a student entry is."""
        return [self.sets.keys[p][0] for p in self._places.get(u, ())] + self._extras.get(u, [])

    def know(self, previous: int) -> None:
        """Have a number in `never` for a student entry."""
        if previous >= 0 and self.never_numbers[previous] < 0:
            tokens = self.tokens((), previous)
            self.never_numbers[previous] = self.never.number(previous, lambda: tokens[:, None])

    def stopped_number(self, path: Path, previous: int) -> int:
        """Of what cannot follow a path after a student entry, in `stopped`."""
        key = path, previous
        return self.stopped.number(key, lambda: self.children(path, previous)[0][:, None])
