"""Folders appear whole or not at all: written under a name that is nobody else's, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Where to write; at the end it takes the name of `folder`, and the place of what is there.

    A failure leaves nothing behind. What a killed writer has left beside `folder` goes at the next try: the names of
    `beside` are given to nothing else, so that a user's own folder.part or folder.old stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part, old = beside(folder)
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None  # the name that the user knows
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


def beside(folder: Path) -> tuple[Path, Path]:
    """(what is being written, what is being replaced)."""
    return folder.with_name(f".{folder.name}.minituo-part"), folder.with_name(f".{folder.name}.minituo-old")
