"""Rows of a tar or zip: of every member that is data, or of one of them, in the archive's order.

Members are read where they lie: nothing is ever written, so no name of a member leads anywhere, and links are passed
over. A member is read like a file of its name; `.json` ones, and those without an ending, are looked into.
"""

from __future__ import annotations

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from data_gen.records import DataError
from data_gen.rows import PACKED_RATIO, UNPACKED_LIMIT, Place, Row, Tally, open_bytes, unpacked

Reader = Callable[[Place], Iterator[Row]]
Members = Iterator[tuple[str, Callable[[], IO[bytes]]]]
ENDINGS = {".tar": "tar", ".tgz": "tar", ".tar.gz": "tar", ".tar.zst": "tar", ".tar.bz2": "tar", ".zip": "zip"}
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, RuntimeError),  # what the readers of archives stumble over
)
UNZIPPED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}


def archive_kind(name: str) -> str:
    """ "tar", "zip", or "" for a file that is no archive."""
    return next((kind for ending, kind in ENDINGS.items() if name.lower().endswith(ending)), "")


def archive_rows(
    path: Path, tally: Tally, wanted: str, at: str, reader_of: Callable[[str, IO[bytes]], Reader | None]
) -> Iterator[Row]:
    """Rows of the members; of the one whose name is `wanted` when that is given.

    `reader_of(name, stream)` says how a member is read, or None for what is no data; it may peek into the stream.
    """
    found = False
    try:
        for name, open_it in (_zip if archive_kind(path.name) == "zip" else _tar)(path):
            base = PurePosixPath(name).name
            if base.startswith(".") or "__MACOSX" in name or (wanted and base != PurePosixPath(wanted).name):
                continue
            stream = open_it()
            reader = reader_of(base, stream)
            if reader is not None:
                found = True
                yield from _or_empty(reader, Place(path, tally, lambda stream=stream: stream, name, at))  # type: ignore[misc]
    except DataError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.filename is not None:  # the disk's, not the data's
            raise
        raise DataError(f"{path} is damaged or cut off ({error}); download it again") from None
    if not found:
        raise DataError(f"{path} has no member {wanted!r}" if wanted else f"{path} has no member that holds rows")


def _or_empty(reader: Reader, member: Place) -> Iterator[Row]:
    """A member's rows; one that has neither rows nor faults is a fault itself."""
    before, rows = member.tally.total, 0
    for row in reader(member):
        rows += 1
        yield Row(row.line, row.value, row.raw, member.member)
    if not rows and member.tally.total == before:
        member.bad(1, "the member holds no rows")


def _tar(path: Path) -> Members:
    """Ordinary members as they pass by; each can be opened once, until the next one is asked for."""
    with open_bytes(path) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if member.isreg():
                yield member.name, lambda member=member: _tar_member(archive, member, path)  # type: ignore[misc]


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> IO[bytes]:
    stream = archive.extractfile(member)
    assert stream is not None  # an ordinary member has one
    return unpacked(stream, member.size, f"{path}, member {member.name}")


def _zip(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir() and not stat.S_ISLNK(member.external_attr >> 16):
                yield member.filename, lambda member=member: _zip_member(archive, member, path)  # type: ignore[misc]


def _zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> IO[bytes]:
    name = f"{path}, member {member.filename}"
    if member.flag_bits & 1:
        raise DataError(f"{name} has a password; unpack it first")
    if member.compress_type not in UNZIPPED:
        raise DataError(f"{name} is packed in a way that is not read here; unpack it first")
    if member.file_size > max(UNPACKED_LIMIT, PACKED_RATIO * member.compress_size):
        raise DataError(f"{name} unpacks to {member.file_size:,} bytes, which no text does; it is not read")
    return unpacked(archive.open(member), member.file_size, name)
