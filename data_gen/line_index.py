"""Where each row of a JSON-lines file begins, found in one pass in C and kept beside the file.

The index of `big.jsonl` is `.big.jsonl.rows`: one line of JSON that says of which file it is (size, times, a digest of
sixteen pieces spread over the content), then the starts as 64-bit numbers. Another size, time or digest and the file
is gone through again, and so it is when a row that is read does not begin and end as a row. A file that was changed
less than a moment before it was read gets no index: a second change within the same tick of the clock would not show.

Rows are lines that are not blank. A byte order mark, CRLF and a missing last newline are no part of any row.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, repeat
from operator import itemgetter, sub
from pathlib import Path
from typing import IO

from data_gen.errors import DataError

BOM = b"\xef\xbb\xbf"
FORMAT = 1
KEEP_FROM = 1 << 20
"""Smaller files are gone through in no time; they get no index beside them"""
TICK_NS = 50_000_000
"""Changes closer together than this may bear the same time"""
SHORT = 16
"""Shorter lines are looked at: they may be blank"""
SLAB = 1 << 12
"""Lines that are measured together"""
READ_AT_ONCE = 1 << 18
"""Bytes, when a file is gone through"""
AT_ONCE = 256
"""Rows that are read, checked and handed on together, at the most"""

_last: dict[Path, LineIndex] = {}
"""The index that was used last: tasks of one file come one after the other"""


class NoIndex(Exception):
    """The file is not lines of JSON throughout; reading it row by row tells what is wrong, and where."""


class LineIndex:
    """Rows of one file by number. `starts[i]` is where row i begins, `starts[-1]` where the last one ends."""

    def __init__(self, path: Path, starts: array[int], key: dict[str, object], kept: bool) -> None:
        self.path, self.starts, self.key, self.kept = path, starts, key, kept

    def __len__(self) -> int:
        return len(self.starts) - 1

    def blocks(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """The lines of some rows (ascending numbers), as they are, each with a newline, many at a time.

        DataError when the file has changed since it was indexed; NoIndex when a row is none.
        """
        for rows in self.slices(numbers):
            # Nearly always every piece is one line that begins and ends as an object does.
            if all(map(bytes.startswith, rows, repeat(b"{"))) and all(map(bytes.endswith, rows, repeat(b"}\n"))):
                yield b"".join(rows)
            else:
                yield b"".join(self._line(row) + b"\n" for row in rows)

    def lines(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """The same, one by one and without their ends."""
        for rows in self.slices(numbers):
            yield from map(self._line, rows)

    def slices(self, numbers: Sequence[int]) -> Iterator[list[bytes]]:
        """The bytes from the start of each row to that of the next one, `AT_ONCE` at a time."""
        with self.path.open("rb", buffering=0) as file:
            # Where rows are long, fewer at once: about a megabyte.
            step = min(AT_ONCE, max(1, (len(self) << 20) // self.starts[-1]))
            for at in range(0, len(numbers), step):
                some = numbers[at : at + step]
                starts = _picked(self.starts, some)
                lengths = map(sub, _picked(self.starts, [number + 1 for number in some]), starts)
                yield list(map(os.pread, repeat(file.fileno()), lengths, starts))
            self._unchanged(file)

    def line_number(self, number: int) -> int:
        """The line, from 1, on which row `number` stands."""
        left, lines = self.starts[number], 1
        with self.path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(left, 1 << 20))):
                lines, left = lines + chunk.count(b"\n"), left - len(chunk)
        return lines

    def _line(self, piece: bytes) -> bytes:
        line = piece.partition(b"\n")[0].rstrip(b"\r\n")
        if not line.strip().startswith((b"{", b"[")) or not line.rstrip().endswith((b"}", b"]")):
            raise NoIndex
        return line

    def _unchanged(self, file: IO[bytes]) -> None:
        if _key(file) != self.key:
            raise DataError(f"{self.path} was changed while it was read; run it again when nobody writes to it")


def _picked(starts: array[int], numbers: Sequence[int]) -> Sequence[int]:
    """`starts[number]` for each: in one call, which takes a third of the time."""
    return itemgetter(*numbers)(starts) if len(numbers) > 1 else [starts[number] for number in numbers]


def open_index(path: Path, keep: bool = True) -> LineIndex:
    """The index of a file: the one beside it when it is of this very content, or else a new one.

    NoIndex when the file is packed, empty or ends in a line that is no row.
    """
    if not hasattr(os, "pread"):  # Windows
        raise NoIndex
    with path.open("rb") as file:
        key = _key(file)
        found = _last.get(path)
        if found is None or found.key != key:
            found = _load(path, key) if keep else None
        if found is not None:
            _last.clear()
            _last[path] = found
            return found
        before = time.time_ns()
        index = LineIndex(path, _starts(path, file), key, False)
        index._unchanged(file)
    changed = max(os.stat(path).st_mtime_ns, os.stat(path).st_ctime_ns)
    if keep and key["bytes"] >= KEEP_FROM and before - changed > TICK_NS:  # type: ignore[operator]
        index.kept = _store(index)
    _last.clear()
    _last[path] = index
    return index


def index_path(path: Path) -> Path:
    """Where the index of a file is kept."""
    return path.with_name(f".{path.name}.rows")


def _key(file: IO[bytes]) -> dict[str, object]:
    info = os.fstat(file.fileno())
    digest = hashlib.blake2b(digest_size=16)
    for n in range(16):  # a piece at the very start and one at the very end among them
        digest.update(os.pread(file.fileno(), 4096, max(info.st_size - 4096, 0) * n // 15))
    times = {"mtime_ns": info.st_mtime_ns, "ctime_ns": info.st_ctime_ns}
    return {"format": FORMAT, "bytes": info.st_size, **times, "probes": digest.hexdigest()}


def _starts(path: Path, file: IO[bytes]) -> array[int]:
    head = file.read(4096)
    if not head.removeprefix(BOM).lstrip().startswith(b"{"):  # empty, packed, an array
        raise NoIndex
    starts, end = array("Q"), 0
    with path.open("rb", buffering=READ_AT_ONCE) as lines:
        while lengths := list(map(len, islice(lines, SLAB))):
            marks = list(accumulate(lengths, initial=end))
            end = marks.pop()
            if min(lengths) < SHORT:
                marks = [
                    mark for mark, n in zip(marks, lengths, strict=True) if n >= SHORT or not _blank(file, mark, n)
                ]
            starts.fromlist(marks)
    starts.append(end)
    if head.startswith(BOM) and starts[0] == 0:
        starts[0] = 3
    last = os.pread(file.fileno(), starts[-1] - starts[-2], starts[-2])
    if not _is_json(last.rstrip(b"\r\n")):  # torn
        raise NoIndex
    return starts


def _is_json(line: bytes) -> bool:
    try:
        # By what is imported already. An escape may be half a surrogate pair, which this reader lets pass.
        json.loads(line.decode(), parse_constant=int)  # "NaN" is no int
        if b"\\u" not in line:
            return True
    except (ValueError, RecursionError):
        pass
    from data_gen.json_rows import parse_json  # takes more, and costs more to import

    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _blank(file: IO[bytes], at: int, length: int) -> bool:
    return not os.pread(file.fileno(), length, at).removeprefix(BOM).strip()


def _load(path: Path, key: dict[str, object]) -> LineIndex | None:
    """The kept index, when it is of this very file."""
    try:
        with index_path(path).open("rb") as file:
            head = json.loads(file.readline(4096))
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                return None
            if {name: head.get(name) for name in key} != key:
                if any(head.get(name) != key[name] for name in ("bytes", "mtime_ns", "probes")):
                    print(f"{path} has changed since it was indexed: it is indexed again", file=sys.stderr)
                return None
            starts = array("Q")
            starts.fromfile(file, int(head["rows"]) + 1)  # EOFError when it was cut off
    except (OSError, EOFError, ValueError):
        return None
    _little_endian(starts)
    return LineIndex(path, starts, key, True)


def _store(index: LineIndex) -> bool:
    """Keep an index for the next time, where the folder can be written to."""
    place = index_path(index.path)
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(json.dumps(index.key | {"rows": len(index)}).encode() + b"\n")
            _little_endian(index.starts)
            file.write(index.starts)
            _little_endian(index.starts)
        os.replace(part, place)
    except OSError:  # a folder that is read-only, a disk that is full: the next sample takes a little longer
        return False
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def _little_endian(starts: array[int]) -> None:
    if sys.byteorder == "big":
        starts.byteswap()
