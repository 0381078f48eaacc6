"""Output files of samples and mixes: a name that is free, a temporary name until all is written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data_gen.errors import DataError


def check_output(out: Path, force: bool) -> None:
    """DataError when `out` is not a name for a new JSONL file."""
    if not out.name.lower().endswith((".jsonl", ".json", ".ndjson")):
        raise DataError(f"{out}: JSON lines are written; give it a name that ends in .jsonl")
    if os.path.lexists(out):
        if not stat.S_ISREG(out.stat().st_mode):
            raise DataError(f"{out} exists and is no ordinary file; choose another name")
        if not force:
            raise DataError(f"{out} exists already; choose another name or add --force to replace it")


@contextmanager
def block_writer(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Write blocks of whole lines under a temporary name that becomes `path` at the end; nothing stays on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb", buffering=1 << 16) as file:
            yield file.write
        os.replace(part, path)
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:  # it does not say by itself which file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)
