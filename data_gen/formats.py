"""Files of rows, read one row at a time whatever their form.

`read_rows(path)` looks at the name and, for `.json`, at the first character, and yields `Row(line, value, raw)`:
JSON lines, a JSON array, CSV, TSV, Parquet, Arrow, plain text, or a tar.gz with one JSON in each member; each of the
first ones may be gzipped. Nothing is held but the row at hand (and one chunk of a JSON array).
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_gen.json_rows import json_array, json_lines, parse_json, writable
from data_gen.records import DataError
from data_gen.rows import BOM, NOT_UTF8, Row, Tally, open_bytes
from teachers.base import nearest

MEMBER_LIMIT = 64 << 20
"""Bytes a single member of an archive may unpack to"""
QUOTE_LINES = 100
"""A broken cell that swallows more lines than these is no torn row, so it is never passed over"""


def detect_format(path: Path) -> str:
    """The format of a file by its name; a `.json` is looked into, since many hold JSON lines."""
    name = path.name.lower()
    if name.endswith((".tar.gz", ".tgz", ".tar")):
        return "tar"
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix == ".json":
        with open_bytes(path) as file:
            return "json" if file.read(4096).lstrip(BOM + b" \t\r\n").startswith(b"[") else "jsonl"
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    raise DataError(f"{path}: unknown kind of file {suffix!r}{nearest(suffix, [*SUFFIXES, '.json', '.tar.gz'])}")


def read_rows(path: Path, format: str | None = None, tally: Tally | None = None) -> Iterator[Row]:
    """Rows of a file, in order. DataError when the file is missing, empty, damaged or of another format."""
    if not path.is_file():
        raise DataError(f"{path} is a folder; name the file in it" if path.is_dir() else f"no file {path}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}, line 1: the file is empty")
    if format not in (None, "auto", *FORMATS):
        raise DataError(f"{path}: unknown format {format!r}{nearest(format or '', FORMATS)}")
    found = False
    tally = tally or Tally()
    try:
        known = detect_format(path) if format is None or format == "auto" else format
        for row in FORMATS[known](path, tally):
            found = True
            yield row
    except (gzip.BadGzipFile, tarfile.ReadError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut off ({error}); download it again") from None
    if not found and not tally.counts[str(path)]:
        raise DataError(f"{path}, line 1: the file holds no rows")


def _separated(delimiter: str) -> Callable[[Path, Tally], Iterator[Row]]:
    def rows(path: Path, tally: Tally) -> Iterator[Row]:
        csv.field_size_limit(sys.maxsize)
        with open_bytes(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            head = _header(path, next(reader, []))
            start = reader.line_num + 1
            while True:
                try:
                    cells = next(reader, None)
                    if cells is None:
                        return
                    if cells and len(cells) != len(head):
                        tally.bad(path, start, f"{len(cells)} cells under {len(head)} column names")
                    elif cells and not writable(cells):
                        tally.bad(path, start, NOT_UTF8)
                    elif cells:
                        yield Row(start, dict(zip(head, cells, strict=True)))
                except csv.Error as error:
                    if reader.line_num - start > QUOTE_LINES:
                        raise DataError(f"{path}, line {start}: a quote opened here is never closed") from None
                    tally.bad(path, start, f"not valid CSV: {error}")
                start = reader.line_num + 1

    return rows


def _header(path: Path, head: list[str]) -> list[str]:
    names = [name.strip() for name in head]
    if not writable(names):
        raise DataError(f"{path}, line 1: column names that are not UTF-8 (GBK? iconv -f gb18030 -t utf-8 converts)")
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"{path}, line 1: the first line must name every column once, found {names}")
    return names


def _plain_text(path: Path, tally: Tally) -> Iterator[Row]:
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            try:
                text = (line.removeprefix(BOM) if number == 1 else line).decode().rstrip("\r\n")
            except UnicodeDecodeError:
                tally.bad(path, number, NOT_UTF8)
                continue
            if text.strip():
                yield Row(number, {"text": text})


def _columnar(path: Path, tally: Tally) -> Iterator[Row]:
    """Parquet, or Arrow as a file or as a stream (what `datasets` caches)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = itertools.count(1)
    with open_bytes(path) as file:
        whole = pa.BufferReader(file.read()) if isinstance(file, gzip.GzipFile) else pa.memory_map(str(path))
    try:
        if whole.read(4) == b"PAR1":
            batches: Any = pq.ParquetFile(whole).iter_batches(batch_size=1024)
        else:
            batches = _arrow_batches(whole)
        for batch in batches:
            for value in batch.to_pylist():
                yield Row(next(numbers), value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not readable as Parquet or Arrow: {error}") from None


def _arrow_batches(whole: Any) -> Iterator[Any]:
    import pyarrow as pa

    whole.seek(0)
    if whole.read(6) == b"ARROW1":
        whole.seek(0)
        table = pa.ipc.open_file(whole)
        return (table.get_batch(n) for n in range(table.num_record_batches))
    whole.seek(0)
    return iter(pa.ipc.open_stream(whole))


def _archive(path: Path, tally: Tally) -> Iterator[Row]:
    """JSON members of a tar, one row each, in the archive's order. Nothing is ever unpacked to the disk."""
    number = 0
    with tarfile.open(path, mode="r|*") as archive:
        for member in archive:
            name = Path(member.name).name
            if not member.isreg() or not name.endswith(".json") or name.startswith("._"):
                continue
            number += 1
            if member.size > MEMBER_LIMIT:
                raise DataError(f"{path}: member {member.name} is {member.size:,} bytes, more than {MEMBER_LIMIT:,}")
            file = archive.extractfile(member)
            try:
                value = parse_json(file.read().removeprefix(BOM) if file else b"")
            except ValueError as error:
                tally.bad(path, number, f"member {member.name}: {error}")
                continue
            if isinstance(value, dict | list):
                yield Row(number, value)
            else:
                tally.bad(path, number, f"member {member.name}: expected a JSON object")


FORMATS: dict[str, Callable[[Path, Tally], Iterator[Row]]] = {
    "json": json_array,
    "jsonl": json_lines,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "parquet": _columnar,
    "arrow": _columnar,
    "text": _plain_text,
    "tar": _archive,
}
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
}
