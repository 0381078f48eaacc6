"""Files appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_gen.outputs import block_writer
from distill.errors import DistillError


def check_own(path: Path, beginning: bytes) -> None:
    """DistillError for a file that is there and does not begin as one of ours does: it is not written over."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        found = file.read(len(beginning))
    if found.lower() != beginning.lower():
        raise DistillError(f"{path} exists and was not written by this command; give another name")


def write_whole(path: Path, content: str | bytes) -> None:
    """As data sets are written: under a temporary name, locked, then renamed; a failure leaves nothing behind."""
    with block_writer(path) as write:
        write(content.encode() if isinstance(content, str) else content)


@contextmanager
def run_alone(folder: Path) -> Iterator[None]:
    """A run folder for this process; DistillError while another one trains there."""
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DistillError(
                f"another 'distill fit' is training in {folder}: wait for its end, or give another "
                "--trainer.default_root_dir"
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            with suppress(OSError):  # there is something in it
                folder.rmdir()
    finally:
        os.close(held)
