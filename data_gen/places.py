"""Tables of 64-bit numbers by 64-bit hashes: 24 to 48 bytes a row, where a dict of texts takes some two hundred.

`Places`: where each row of a journal begins, by the hash of its request, whatever the answers' length. `Ids`: the id
of each row that was kept, by the digest of its task.
"""

from __future__ import annotations

import hashlib
from array import array


class Places:
    """Where each row begins, by its hash: an open-addressing table of two flat arrays, a third of it empty at least."""

    def __init__(self) -> None:
        self._clear(1 << 10)

    def _clear(self, size: int) -> None:
        self._marks, self._starts = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))
        self._size, self._count = size, 0

    def __len__(self) -> int:
        return self._count

    def _slot(self, mark: int) -> int:
        marks, within = self._marks, self._size - 1
        at = mark & within
        while (there := marks[at]) and there != mark:
            at = (at + 1) & within
        return at

    def get(self, key: str) -> int | None:
        """Where the row of that hash begins."""
        return self.of_mark(_mark(key))

    def of_mark(self, mark: int) -> int | None:
        """The same by 64 bits, of which not all are 0."""
        marks, within = self._marks, self._size - 1
        at = mark & within
        while there := marks[at]:
            if there == mark:
                return self._starts[at]
            at = (at + 1) & within
        return None

    def put(self, key: str, start: int) -> None:
        """Remember, or move, a row."""
        self.put_mark(_mark(key), start)

    def put_mark(self, mark: int, start: int, anew: bool = True) -> None:
        """The same by 64 bits, of which not all are 0; what is there stays there unless it is put `anew`."""
        at = self._slot(mark)
        if not self._marks[at]:
            self._count += 1
            self._marks[at] = mark
        elif not anew:
            return
        self._starts[at] = start
        if 3 * self._count > 2 * self._size:
            self._grow()

    def _grow(self) -> None:
        old, count = zip(self._marks, self._starts, strict=True), self._count
        self._clear(2 * self._size)
        marks, starts, within, self._count = self._marks, self._starts, self._size - 1, count
        for mark, start in old:
            if mark:
                at = mark & within
                while marks[at]:
                    at = (at + 1) & within
                marks[at], starts[at] = mark, start


class Ids:
    """A dict of ids by digests of eight bytes, as far as it is needed. Ids of 16 hex digits are kept as a number."""

    def __init__(self) -> None:
        self._numbers = Places()
        self._others: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._numbers) + len(self._others)

    def __contains__(self, digest: object) -> bool:
        mark = int.from_bytes(digest, "big") or 1  # type: ignore[arg-type]
        return self._numbers.of_mark(mark) is not None or digest in self._others

    def __getitem__(self, digest: bytes) -> str:
        number = self._numbers.of_mark(_of_bytes(digest))
        return self._others[digest] if number is None else f"{number:016x}"

    def setdefault(self, digest: bytes, name: str) -> None:
        """Remember an id, unless that digest has one."""
        try:
            number = int(name, 16)
        except ValueError:
            number = -1
        if f"{number:016x}" != name:
            if digest not in self:
                self._others[digest] = name
        elif digest not in self._others:
            self._numbers.put_mark(_of_bytes(digest), number, anew=False)


def _of_bytes(digest: bytes) -> int:
    return int.from_bytes(digest, "big") or 1


def _mark(key: str) -> int:
    """64 bits that stand for a hash in the table, never 0."""
    try:
        return int(key[:16], 16) or 1
    except ValueError:
        return _of_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
