"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

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
    """Write under a temporary name, then rename; a failure leaves nothing behind and names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        part.unlink(missing_ok=True)
