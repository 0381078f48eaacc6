"""The journal: every answer that was paid for, on disk before it counts.

One JSON object a line, appended by one write each, so that a kill at any byte leaves whole rows and at most one torn
tail, which the next opening cuts off. Rows are found by the hash of everything that decides the answer; what is held
in memory is 24 to 48 bytes a row, whatever the answers' length. The file is locked while it is open: two runs never
write one journal.

    jq -r '[.name, .usage.completion_tokens, .text] | @tsv' out.jsonl.journal
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson

from data_gen.places import Places
from data_gen.records import DataError
from teachers.base import Completion, Request

SYNC_ROWS = 512
SYNC_SECONDS = 1.0
"""What a power cut may cost at most; a killed process loses nothing. A process that waits for the disk also dies late,
and what arrives meanwhile is paid for: so not more often"""
READ_BYTES = 1 << 13
"""Most rows are read back in one go"""
NEEDED = {"key", "text", "usage", "model"}
WRITTEN = {"name": "", "finish_reason": "stop", "attempts": 1, "seconds": 0.0, "time": ""}
"""What else stands in a row, where nobody has made it shorter"""


def request_hash(model: str, request: Request, *, local: bool, settings: Mapping[str, Any] | None = None) -> str:
    """32 hex digits over what decides the answer: model, what the model reads, and the parameters.

    `settings` are the teacher's own parameters that go with every request.
    """
    reads = request.prompt if local and request.prompt is not None else request.messages
    deciding: list[Any] = [
        model,
        reads,
        request.max_tokens,
        request.temperature,
        request.top_p,
        request.seed,
        request.stop,
    ]
    if settings:
        deciding.append(dict(settings))
    return hashlib.blake2b(orjson.dumps(deciding, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


class Journal:
    """`with Journal(path) as journal: journal.append(hash, completion); journal.get(hash)`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.repaired = 0
        """Bytes of a torn tail that were cut off on opening"""
        self.paid: dict[float, Counter[str]] = {}
        """Tokens of all answers, {share of the full price: {kind: tokens}}"""
        self._mutex = threading.Lock()
        self._begin: Callable[[], None] | None = None
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._lock()
            self._where, self._end = self._index()
        except BaseException:
            os.close(self._file)
            raise
        self._unsynced, self._synced_at = 0, time.monotonic()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{self.path} is in use by another run; wait for its end, or give this one another output"
            ) from None

    def _index(self) -> tuple[Places, int]:
        """Where each row stands, and where the file ends once a torn tail is cut off."""
        where = Places()
        offset = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self.repaired = len(line)
                    os.ftruncate(self._file, offset)
                    break
                try:
                    row = orjson.loads(line)
                    if not row.keys() >= NEEDED:
                        raise KeyError
                    where.put(row["key"], offset)
                    self._pay(row)
                except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                    raise DataError(
                        f"{self.path}, line {number} is damaged; delete that line (or 'distill generate --compact -o "
                        f"{str(self.path).removesuffix('.journal')}' does), its request will be asked again"
                    ) from None
                offset += len(line)
        return where, offset

    def _pay(self, row: Mapping[str, Any]) -> None:
        self.paid.setdefault(row.get("price_factor", 1.0), Counter()).update(row.get("usage") or {})

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str) -> bool:
        return self._where.get(key) is not None

    def append(self, key: str, completion: Completion) -> dict[str, Any]:
        """Write an answer; when this returns, it survives the process. Gives the row."""
        row = self.write(key, completion)
        self.sync_when_due()
        return row

    def write(self, key: str, completion: Completion) -> dict[str, Any]:
        """The same, from any thread, and without ever waiting for the disk: somebody else calls `sync_when_due`."""
        row = {
            "key": key,
            "name": completion.key,
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "model": completion.model,
            "usage": completion.usage,
            "attempts": completion.attempts,
            "seconds": completion.seconds,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if completion.logprobs is not None:
            row["logprobs"] = completion.logprobs
        if completion.price_factor != 1.0:
            row["price_factor"] = completion.price_factor
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        with self._mutex:
            self._renew()
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, self._end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._where.put(key, self._end)
            self._end += written
            self._pay(row)
            self._unsynced += 1
        return row

    def sync_when_due(self) -> None:
        """Hand what was written to the disk, many rows at a time."""
        now = time.monotonic()
        if self._unsynced >= SYNC_ROWS or (self._unsynced and now - self._synced_at >= SYNC_SECONDS):
            self._unsynced, self._synced_at = 0, now
            os.fdatasync(self._file)

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of that hash, read back from the file."""
        with self._mutex:
            start = self._where.get(key)
        if start is None:
            return None
        line = os.pread(self._file, READ_BYTES, start)
        while b"\n" not in line and start + len(line) < self._end:
            line += os.pread(self._file, READ_BYTES, start + len(line))
        row = orjson.loads(line[: line.index(b"\n")])
        if row["key"] != key:
            return None
        return row if row.keys() >= WRITTEN.keys() else WRITTEN | row

    def start_again(self, first: Callable[[], None] = lambda: None) -> None:
        """Be empty; what it held is in the file until there is something new, and then beside it as `.old`, for it was
        paid for. `first` is done at that moment."""
        self._where, self._begin = Places(), first
        self.paid.clear()

    @property
    def holds_back(self) -> bool:
        """It starts again with the next row; until then its file is as it was."""
        return self._begin is not None

    def renew(self) -> None:
        """Start again now, if that is still to be done."""
        with self._mutex:
            self._renew()

    def _renew(self) -> None:
        if self._begin is None:
            return
        if self._end:
            shutil.copyfile(self.path, old_name(self.path))
        self._begin()
        os.ftruncate(self._file, 0)
        self._begin, self._end = None, 0

    def close(self) -> None:
        """Sync, unlock and close."""
        with self._mutex:
            if self._file >= 0:
                if self._unsynced:
                    os.fdatasync(self._file)
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def old_name(path: Path) -> Path:
    """A name that is free for what stood here: `.old`, `.old2`, ..."""
    names = (path.with_name(f"{path.name}.old{n if n > 1 else ''}") for n in count(1))
    return next(name for name in names if not os.path.lexists(name))


def completion_of(row: dict[str, Any], key: str) -> Completion:
    """The completion that a row keeps, carrying the key of today's request."""
    return Completion(
        key,
        row["text"],
        row["finish_reason"],
        model=row["model"],
        usage=row["usage"],
        attempts=row["attempts"],
        seconds=row["seconds"],
        logprobs=row.get("logprobs"),
        price_factor=row.get("price_factor", 1.0),
    )


def compact(path: str | Path) -> tuple[int, int]:
    """Rewrite a journal with one row a request, the last one, and without lines that are damaged.

    Returns (rows kept, lines dropped). The file is exchanged at once, so a kill leaves the old one or the new one.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    where = Places()
    lines = 0
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{path} is in use by a run; wait for its end") from None
        for start, _, key in _whole_rows(file):
            where.put(key, start)
        try:
            with part.open("wb") as kept:
                for start, line, key in _whole_rows(file):
                    if where.get(key) == start:
                        kept.write(line)
                kept.flush()
                os.fsync(kept.fileno())
            file.seek(0)
            lines = sum(1 for _ in file)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return len(where), lines - len(where)


def _whole_rows(file: BinaryIO) -> Iterator[tuple[int, bytes, str]]:
    """(offset, line, hash) of the lines that are rows."""
    file.seek(0)
    start = 0
    for line in file:
        try:
            row = orjson.loads(line)
            if line.endswith(b"\n") and row.keys() >= NEEDED:
                yield start, line, row["key"]
        except (orjson.JSONDecodeError, AttributeError):
            pass
        start += len(line)
