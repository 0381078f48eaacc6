"""What readers and writers of rows share: the row, the tally of unreadable ones, opening and atomic writing.

What cannot be read goes to a `Tally`: it raises a DataError with file and line, or counts it where the user said
`--on-error skip` or the registry knows how many lines of that file are broken.
"""

from __future__ import annotations

import errno
import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from data_gen.records import DataError

CHUNK = 1 << 18
BOM = b"\xef\xbb\xbf"
NOT_UTF8 = "text that is not UTF-8 (GBK? iconv -f gb18030 -t utf-8 converts)"


class Row(NamedTuple):
    """One row: where it stands, what it says and, for JSON lines, its very bytes."""

    line: int
    value: Any
    raw: bytes | None = None


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

    def bad(self, path: Path, line: int, why: str) -> None:
        """Raise DataError with file and line, or count the row."""
        name = str(path)
        if self.on_error != "skip" and self.counts[name] >= self.allowed.get(name, 0):
            raise DataError(f"{path}, line {line}: {why} (--on-error skip passes over such rows)")
        self.counts[name] += 1
        self.first.setdefault(name, f"line {line}: {why}")

    @property
    def total(self) -> int:
        return self.counts.total()

    def report(self) -> str:
        """One line a file with skipped rows; empty when there are none."""
        return "\n".join(
            f"{name}: {n} unreadable row{'s' * (n > 1)} skipped, the first at {self.first[name]}"
            for name, n in self.counts.items()
        )


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked when they are gzip's."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


@contextmanager
def line_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Write lines under a temporary name that becomes `path` at the end; nothing is left behind on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb", buffering=CHUNK) as file:
            yield lambda line: _write(file, line)
            file.flush()
        os.replace(part, path)
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:  # it does not say by itself which file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _write(file: IO[bytes], line: bytes) -> None:
    file.write(line)
    file.write(b"\n")
