"""Where each row of a journal begins, by the hash of its request: 40 bytes a row, whatever the answers' length."""

from __future__ import annotations

import hashlib
from array import array


class Places:
    """Where each row begins, by its hash: an open-addressing table of two flat arrays, half of it empty at most."""

    def __init__(self) -> None:
        self._clear(1 << 10)

    def _clear(self, size: int) -> None:
        self._marks, self._starts = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))
        self._size, self._count = size, 0

    def __len__(self) -> int:
        return self._count

    def _slot(self, mark: int) -> int:
        at = mark % self._size
        while self._marks[at] not in (0, mark):
            at = (at + 1) % self._size
        return at

    def get(self, key: str) -> int | None:
        """Where the row of that hash begins."""
        mark = _mark(key)
        at = self._slot(mark)
        return self._starts[at] if self._marks[at] == mark else None

    def put(self, key: str, start: int) -> None:
        """Remember, or move, a row."""
        self._put(_mark(key), start)
        if 2 * self._count > self._size:
            marks, starts = self._marks, self._starts
            self._clear(4 * self._size)
            for mark, old in zip(marks, starts, strict=True):
                if mark:
                    self._put(mark, old)

    def _put(self, mark: int, start: int) -> None:
        at = self._slot(mark)
        self._count += self._marks[at] == 0
        self._marks[at], self._starts[at] = mark, start


def _mark(key: str) -> int:
    """64 bits that stand for a hash in the table, never 0."""
    try:
        return int(key[:16], 16) or 1
    except ValueError:
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") or 1
