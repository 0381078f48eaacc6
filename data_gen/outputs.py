"""Output files of samples and mixes: a name that is free, a temporary name until all is written.

Files that belong together (rows, held-out rows, their manifest) take their names together, when the last of them is
whole: rows without their manifest would stand in the way of the same command.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from data_gen.errors import DataError

BUFFER = 1 << 16
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, a quota and `ulimit -f` say"""
Write = Callable[[bytes], object]


def check_output(out: Path, force: bool) -> None:
    """DataError when `out` is not a name for a new JSONL file."""
    if not out.name.lower().endswith((".jsonl", ".json", ".ndjson")):
        raise DataError(f"{out}: JSON lines are written; give it a name that ends in .jsonl")
    if os.path.lexists(out):
        if not out.exists():
            raise DataError(f"{out} is a link that leads nowhere; choose another name")
        if not stat.S_ISREG(out.stat().st_mode):
            raise DataError(f"{out} exists and is no ordinary file; choose another name")
        if not force:
            raise DataError(f"{out} exists already; choose another name or add --force to replace it")


def refuse_inputs(out: Path, read: Iterable[Path]) -> None:
    """DataError when an output is one of the files that it is made of, whatever name that is given by."""
    if out.exists() and any(out.samefile(path) for path in read):
        raise DataError(
            f"{out} is one of the files that are read; --force is for results: give the output another name"
        )


def part_of(path: Path) -> Path:
    """The temporary name of a file."""
    return path.with_name(path.name + ".part")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of writing `path` name it: a full disk does not say which file, others say the temporary name."""
    try:
        yield
    except OSError as error:
        if (error.filename is None and error.errno in FULL) or str(error.filename) == str(part_of(path)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


class Together:
    """Files that come to be together, or not at all.

    with Together() as files:
        write = files.open(path)        # write(b"..") goes to path.part
        ..
        files.part(path)                # path.part, with all that was written so far

    At the end each takes its name. On an error nothing is left of any of them; files that stood there before stay.
    """

    def __init__(self) -> None:
        self._files: dict[Path, IO[bytes]] = {}
        self._locks: list[int] = []
        self._folders: list[Path] = []
        """Those that were made for them, the innermost first"""

    def __enter__(self) -> Together:
        return self

    def open(self, path: Path) -> Write:
        """Begin a file; what writes to it."""
        self._folders[:0] = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            file = self._files[path] = _own_part(path)
            self._locks.append(os.dup(file.fileno()))  # holds the lock until the file has its name

        def write(data: bytes) -> None:
            try:
                file.write(data)
            except OSError as error:
                with naming(path):
                    raise error

        return write

    def part(self, path: Path) -> Path:
        """Where a file lies until the end, all that was written to it on the disk."""
        with naming(path):
            self._files[path].flush()
        return part_of(path)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        left, placed = dict(self._files), list[Path]()
        try:
            if kind is None:
                for path, file in self._files.items():
                    with naming(path):
                        file.close()
                for path in self._files:
                    new = not os.path.lexists(path)
                    with naming(path):
                        os.replace(part_of(path), path)
                    del left[path]
                    placed += [path] * new
                placed.clear()
        finally:
            for path, file in left.items():
                with suppress(OSError):  # it says a second time what was said before
                    file.close()
                part_of(path).unlink(missing_ok=True)
            for path in placed:
                path.unlink(missing_ok=True)
            if left:
                for folder in self._folders:
                    with suppress(OSError):  # there is something in it
                        folder.rmdir()
            for lock in self._locks:
                os.close(lock)


def _own_part(path: Path) -> IO[bytes]:
    """The temporary file of `path`, empty and locked. Two runs that write to one would leave a torn file behind."""
    while True:
        file = part_of(path).open("ab", buffering=BUFFER)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise DataError(f"{path} is being written by another run; wait for that, or choose another name") from None
        except OSError:  # a file system without locks
            pass
        if _is_at(file, part_of(path)):
            if os.fstat(file.fileno()).st_size:  # what a killed run has left
                file.truncate(0)
            return file
        file.close()  # it took its name while the lock was waited for


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def block_writer(path: Path) -> Iterator[Write]:
    """Write blocks of bytes under a temporary name that becomes `path` at the end; nothing stays on an error."""
    with Together() as files:
        yield files.open(path)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with block_writer(path) as write:
        write(text.encode())
