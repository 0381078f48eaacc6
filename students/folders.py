"""Folders appear whole or not at all: written under a name that is nobody else's, then renamed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from students.errors import StudentError


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Where to write; at the end it takes the name of `folder`, and the place of what is there.

    A failure leaves nothing behind. What a killed writer has left beside `folder` goes at the next try: the names of
    `beside` are given to nothing else, so that a user's own folder.part or folder.old stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part, old = beside(folder)
    lock = _take(part, folder)
    try:
        yield part
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        try:
            os.replace(part, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def _take(part: Path, folder: Path) -> int:
    """Make `part`, or empty what a killed writer has left; locked, for two in one would leave a torn folder behind."""
    try:
        part.mkdir(exist_ok=True)
        lock = os.open(part, os.O_RDONLY)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None  # the name that the user knows
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StudentError(f"{folder} is being written by another run; wait for that, or give another name") from None
    except OSError:  # a file system without locks
        pass
    for left in part.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return lock


def beside(folder: Path) -> tuple[Path, Path]:
    """(what is being written, what is being replaced)."""
    return folder.with_name(f".{folder.name}.minituo-part"), folder.with_name(f".{folder.name}.minituo-old")
