"""The order in which rows are drawn: a seeded shuffle of row numbers, any part of which can be known without the rest.

Row i's rank is one byte of a SHAKE-128 stream keyed by the seed, then, among equal bytes, 64 mixed bits of i and the
seed. The k rows of lowest rank are a sample of k. The byte decides for nearly every row, and bytes are compared a
million at a time by `bytes.translate`, so drawing 150,000 of 1.5 million rows takes a few hundredths of a second.
Everything here is integer arithmetic that is the same on every machine, and in every version of every library.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

MASK = (1 << 64) - 1
BLOCK = 1 << 16
"""Rows that share one run of SHAKE-128"""
FEW = 1 << 12
"""So many rows are sorted as they are"""


def mix64(number: int, seed: int) -> int:
    """64 well-mixed bits of a number and a seed (two rounds of splitmix64)."""
    return _splitmix((_splitmix(seed) + number) & MASK)


def _splitmix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Order:
    """The ranks of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._block, self._bytes = -1, b""

    def first_bytes(self, n: int) -> bytes:
        """The leading byte of the ranks of rows 0 to n - 1."""
        whole = b"".join(self._stream(block, BLOCK) for block in range(n // BLOCK))
        return whole + self._stream(n // BLOCK, n % BLOCK)

    def _stream(self, block: int, n: int) -> bytes:
        return hashlib.shake_128(b"minituo rows %d/%d" % (self.seed, block)).digest(n)

    def rank(self, number: int) -> int:
        """The whole rank of one row."""
        block, at = divmod(number, BLOCK)
        if block != self._block:
            self._block, self._bytes = block, self._stream(block, BLOCK)
        return self._bytes[at] << 64 | mix64(number, self.seed)

    def lowest(self, n: int, k: int) -> Sequence[int]:
        """The k of the rows 0 to n - 1 that have the lowest ranks, in ascending order of their numbers."""
        if k >= n:
            return range(n)
        if k <= 0:
            return range(0)
        leading = self.first_bytes(n)
        last, chosen = _cut(leading, k)
        ties = [match.start() for match in re.finditer(re.escape(bytes([last])), leading, re.DOTALL)]
        base = _splitmix(self.seed)
        ties.sort(key=lambda number: _splitmix((base + number) & MASK))  # mix64, with half of the work
        mask = bytearray(leading.translate(_up_to(last)))
        for number in ties[k - chosen :]:
            mask[number] = 0
        return [match.start() for match in re.finditer(b"\x01", mask)]

    def lowest_of(self, numbers: Sequence[int], k: int) -> list[int]:
        """The k of some rows, given in ascending order, that have the lowest ranks; ascending."""
        if k >= len(numbers):
            return list(numbers)
        if k <= 0:
            return []
        if len(numbers) < FEW:
            return sorted(sorted(numbers, key=self.rank)[:k])
        plane = self.first_bytes(numbers[-1] + 1)
        leading = bytes(map(plane.__getitem__, numbers))
        last, below = _cut(leading, k)
        ties = [number for number, byte in zip(numbers, leading, strict=True) if byte == last]
        ties.sort(key=lambda number: mix64(number, self.seed))
        drawn = set(ties[: k - below])
        return [n for n, byte in zip(numbers, leading, strict=True) if byte < last or (byte == last and n in drawn)]


def _cut(leading: bytes, k: int) -> tuple[int, int]:
    """The smallest byte v such that at least k bytes are <= v, and how many bytes are < v."""
    value = min(255, k * 256 // len(leading))  # bytes are uniform, so the cut is here or next to it
    upto = leading.translate(_up_to(value)).count(1)
    while upto < k:
        value += 1
        upto += leading.count(value)
    while upto - (here := leading.count(value)) >= k:
        value, upto = value - 1, upto - here
    return value, upto - here


def _up_to(value: int) -> bytes:
    return bytes([1] * (value + 1) + [0] * (255 - value))
