"""What readers of rows share: the row, the tally of unreadable ones, opening and unpacking.

What cannot be read goes to a `Tally`: it raises a DataError with file and line, or counts it where the user said
`--on-error skip` or the registry knows how many lines of that file are broken. Packed files (gzip, zstd) are unpacked
as they are read, never to the disk, and no further than their size makes believable.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from data_gen.records import DataError

CHUNK = 1 << 18
BOM = b"\xef\xbb\xbf"
NOT_UTF8 = "text that is not UTF-8 (GBK? iconv -f gb18030 -t utf-8 converts)"
ROW_LIMIT = 64 << 20
"""Bytes of one row: a longer one is a missing line end, or meant to fill the memory"""
UNPACKED_LIMIT = 1 << 30
PACKED_RATIO = 200
"""Packed data may unpack to this many times its size; text packs to a fifth of it at the best"""


class Row(NamedTuple):
    """One row: where it stands, what it says and, for JSON lines, its very bytes."""

    line: int
    value: Any
    raw: bytes | None = None
    member: str = ""
    """The member of an archive that it stands in"""


@dataclass
class Tally:
    """What to do with unreadable rows, and how many there were."""

    on_error: str = "stop"
    """"stop" raises, "skip" counts"""
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    """The first complaint about each file"""
    allowed: dict[str, int] = field(default_factory=dict)
    """How many unreadable rows of a file are known and passed over"""
    parsed: Tally | None = None
    """Of these rows those that could be parsed, and make no record"""

    def bad(self, path: Path, line: int, why: str, member: str = "", parsed: bool = False) -> None:
        """Raise DataError with file and line, or count the row. `parsed`: it can be read, but makes no record."""
        name, place = str(path), f"{member and f'member {member}, '}line {line}: {why}"
        if self.on_error != "skip" and self.counts[name] >= self.allowed.get(name, 0):
            raise DataError(f"{path}, {place} (--on-error skip passes over such rows)")
        self.counts[name] += 1
        self.first.setdefault(name, place)
        if parsed:
            self.parsed = self.parsed or Tally("skip")
            self.parsed.bad(path, line, why, member)

    def add(self, other: Tally) -> None:
        """Count what another tally has counted, too."""
        self.counts += other.counts
        for name, place in other.first.items():
            self.first.setdefault(name, place)

    @property
    def total(self) -> int:
        return self.counts.total()

    def report(self) -> str:
        """One line a file with skipped rows; empty when there are none."""
        return "\n".join(
            f"{name}: {n} unreadable row{'s' * (n > 1)} skipped, the first at {self.first[name]}"
            for name, n in self.counts.items()
        )


@dataclass
class Place:
    """What a reader of rows is given: the bytes of a file, or of a member of an archive, and where to complain."""

    path: Path
    tally: Tally
    open: Callable[[], IO[bytes]]
    member: str = ""
    at: str = ""
    """The key of the list of rows, in a JSON file that is one object"""

    def __str__(self) -> str:
        return f"{self.path}, member {self.member}" if self.member else str(self.path)

    def bad(self, line: int, why: str) -> None:
        """A row that cannot be read."""
        self.tally.bad(self.path, line, why, self.member)

    def too_long(self, line: int) -> str:
        """What to say of a line that no row has."""
        return f"{self}, line {line}: longer than {ROW_LIMIT:,} bytes, which is no row"

    def lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """The lines of a file, each no longer than a row may be; without the BOM."""
        number, line = 1, file.readline(ROW_LIMIT).removeprefix(BOM)
        while line:
            if len(line) == ROW_LIMIT and not line.endswith(b"\n"):
                raise DataError(self.too_long(number))
            yield line
            number += 1
            line = file.readline(ROW_LIMIT)


class _Unpacking(io.RawIOBase):
    """Packed bytes as they unpack; a DataError where they are damaged, or more than any text gives."""

    def __init__(self, inner: Any, packed: IO[bytes], limit: int, label: str) -> None:
        self.inner, self.packed, self.limit, self.label, self.done = inner, packed, limit, label, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.inner.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            if getattr(error, "errno", None):  # the disk's, not the data's
                raise
            raise DataError(f"{self.label} is damaged or cut off ({error}); download it again") from None
        self.done += len(data)
        if self.done > self.limit:
            raise DataError(f"{self.label} unpacks to over {self.limit:,} bytes, which no text does; it is not read")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.inner.close()
        self.packed.close()
        super().close()


def unpacked(stream: IO[bytes], size: int, name: str) -> IO[bytes]:
    """A stream's bytes, unpacked when they are gzip's or zstd's. `size`: how many there are before unpacking."""
    small = min(CHUNK, max(size, 1024))  # thousands of small members must not cost a big buffer each
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream, small)  # type: ignore[type-var]
    head = buffered.peek(4)[:4]
    inner: Any
    if head[:2] == b"\x1f\x8b":
        inner = gzip.GzipFile(fileobj=buffered)
    elif head == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        inner = pa.CompressedInputStream(pa.PythonFile(buffered, mode="r"), "zstd")
    elif isinstance(buffered.raw, io.FileIO):
        return buffered
    else:
        inner = buffered  # a member of an archive, whose stream cannot do all that a text reader asks of a file
    limit = max(UNPACKED_LIMIT, PACKED_RATIO * size)
    return io.BufferedReader(_Unpacking(inner, buffered, limit, name), CHUNK if inner is not buffered else small)


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked when they are gzip's or zstd's."""
    return unpacked(path.open("rb", buffering=CHUNK), path.stat().st_size, str(path))
