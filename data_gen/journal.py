"""The journal: every answer that was paid for, on disk before it counts.

One JSON object a line, appended by one write each, so that a kill at any byte leaves whole rows and at most one torn
tail, which the next opening cuts off. Rows are found by the hash of everything that decides the answer. The file is
locked while it is open: two runs never write one journal.

    jq -r '[.name, .usage.completion_tokens, .text] | @tsv' out.jsonl.journal
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from data_gen.records import DataError
from teachers.base import Completion, Request

SYNC_ROWS = 64
SYNC_SECONDS = 1.0
"""What a power cut may cost at most; a killed process loses nothing"""


def request_hash(model: str, request: Request, *, local: bool) -> str:
    """32 hex digits over what decides the answer: model, what the model reads, and the parameters."""
    reads = request.prompt if local and request.prompt is not None else request.messages
    deciding = [model, reads, request.max_tokens, request.temperature, request.top_p, request.seed, request.stop]
    return hashlib.blake2b(orjson.dumps(deciding, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


class Journal:
    """`with Journal(path) as journal: journal.append(hash, completion); journal.get(hash)`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.repaired = 0
        """Bytes of a torn tail that were cut off on opening"""
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

    def _index(self) -> tuple[dict[str, tuple[int, int]], int]:
        """Where each row stands, {hash: (offset, length)}, and where the file ends once a torn tail is cut off."""
        where: dict[str, tuple[int, int]] = {}
        offset = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self.repaired = len(line)
                    os.ftruncate(self._file, offset)
                    break
                try:
                    where[orjson.loads(line)["key"]] = (offset, len(line))
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    raise DataError(
                        f"{self.path}, line {number} is damaged; delete that line, its request will be asked again"
                    ) from None
                offset += len(line)
        return where, offset

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def append(self, key: str, completion: Completion) -> dict[str, Any]:
        """Write an answer; when this returns, it survives the process. Gives the row."""
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
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, self._end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._where[key] = (self._end, written)
        self._end += written
        self._unsynced += 1
        now = time.monotonic()
        if self._unsynced >= SYNC_ROWS or now - self._synced_at >= SYNC_SECONDS:
            self._sync(now)
        return row

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of that hash, read back from the file."""
        if key not in self._where:
            return None
        offset, length = self._where[key]
        return orjson.loads(os.pread(self._file, length, offset))

    def start_again(self) -> None:
        """Empty the journal; what it held stays beside it as `.old`, for it was paid for."""
        if self._end:
            shutil.copyfile(self.path, self.path.with_name(self.path.name + ".old"))
            os.ftruncate(self._file, 0)
        self._where, self._end = {}, 0

    def _sync(self, now: float) -> None:
        os.fdatasync(self._file)
        self._unsynced, self._synced_at = 0, now

    def close(self) -> None:
        """Sync, unlock and close."""
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
    )
