"""Files of rows, read one row at a time whatever their form.

`read_rows(path)` looks at the name and, for `.json`, at the beginning, and yields `Row(line, value, raw)`: JSON lines,
a JSON array, one JSON document, CSV, TSV, Parquet, Arrow, plain text; each may be packed with gzip or zstd, or be a
member of a tar or zip. Nothing is held but the row at hand (and one chunk of a JSON array).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from data_gen.archives import ENDINGS, Reader, archive_kind, archive_rows
from data_gen.columnar import columnar
from data_gen.errors import no_file
from data_gen.json_rows import json_array, json_document, json_lines, writable
from data_gen.records import DataError
from data_gen.rows import BOM, NOT_UTF8, ROW_LIMIT, Place, Row, Tally, open_bytes
from teachers.base import nearest

QUOTE_LINES = 100
"""A broken cell that swallows more lines than these is no torn row, so it is never passed over"""
PACKED = (".gz", ".zst", ".zstd")
NOTICES = ("readme", "license", "licence")
SNIFF = 1 << 16
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def bare_name(name: str) -> str:
    """A file's name in lower case and without the ending of its packing."""
    name = name.lower()
    return next((name.removesuffix(ending) for ending in PACKED if name.endswith(ending)), name)


def is_notice(name: str) -> bool:
    """README, LICENSE and the like: text about the data that it lies beside."""
    stem, _, ending = bare_name(name).partition(".")
    return stem in NOTICES or (stem.startswith(NOTICES) and f".{ending}" not in (*SUFFIXES, ".json"))


def detect_format(path: Path) -> str:
    """The format of a file by its name; a `.json` is looked into, since many hold JSON lines."""
    if kind := archive_kind(path.name):
        return kind
    suffix = Path(bare_name(path.name)).suffix
    if suffix == ".json":
        with open_bytes(path) as file:
            return _json_kind(file.read(SNIFF))
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    raise DataError(unknown_kind(path))


def unknown_kind(path: Path) -> str:
    """What to say of a file that nothing here reads."""
    suffix = Path(bare_name(path.name)).suffix
    if suffix.lower() in SPREADSHEETS:
        return f"{path} is a spreadsheet: save it as CSV UTF-8 (.csv) there"
    return f"{path}: unknown kind of file {suffix!r}{nearest(suffix, [*SUFFIXES, '.json', *ENDINGS])}"


def _json_kind(head: bytes) -> str:
    """Which kind of JSON begins like this: an array, JSON lines, or one object over many lines."""
    head = head.lstrip(BOM + b" \t\r\n")
    if head.startswith(b"["):
        return "json"
    first, newline, _ = head.partition(b"\n")
    first = first.rstrip()
    goes_on = newline and first.startswith(b"{") and first.endswith((b"{", b"[", b",", b":"))
    return "document" if goes_on else "jsonl"


def read_rows(
    path: Path, format: str | None = None, tally: Tally | None = None, *, member: str = "", at: str = ""
) -> Iterator[Row]:
    """Rows of a file, in order. DataError when the file is missing, empty, damaged or of another format.

    `member` names the one file of an archive that is read (`format` is then its format); `at` the key of the list of
    rows in a file that is one JSON object.
    """
    if not path.is_file():
        raise DataError(no_file(path))
    if path.stat().st_size == 0:
        raise DataError(f"{path}, line 1: the file is empty")
    if format not in (None, "auto", *FORMATS):
        raise DataError(f"{path}: unknown format {format!r}{nearest(format or '', FORMATS)}")
    tally = tally or Tally()
    found = False
    for row in _rows(path, None if format == "auto" else format, tally, member, at):
        found = True
        yield row
    if not found and not tally.counts[str(path)]:
        raise DataError(f"{path}, line 1: the file holds no rows")


def _rows(path: Path, format: str | None, tally: Tally, member: str, at: str) -> Iterator[Row]:
    known = archive_kind(path.name) or format or detect_format(path)
    if known in ("tar", "zip"):
        inner = None if format in ("tar", "zip") else format

        def reader_of(name: str, stream: IO[bytes]) -> Reader | None:
            found = _member_reader(name, stream)
            return READERS["json" if at else inner] if found and (inner or at) else found  # type: ignore[index]

        return archive_rows(path, tally, member, at, reader_of)
    return _checked(READERS["json" if at else known], Place(path, tally, lambda: open_bytes(path), at=at))


def _checked(reader: Reader, place: Place) -> Iterator[Row]:
    with place.path.open("rb") as file:
        if file.read(2) in UTF_16:
            raise DataError(f"{place}: UTF-16 text; iconv -f utf-16 -t utf-8 converts")
    return reader(place)


def _member_reader(name: str, stream: IO[bytes]) -> Reader | None:
    """How a member of an archive is read, by its name or its beginning; None when it holds no rows."""
    suffix = Path(bare_name(name)).suffix
    if suffix in SUFFIXES and not is_notice(name):
        return READERS[SUFFIXES[suffix]]
    head = stream.peek(SNIFF)[:SNIFF]  # type: ignore[attr-defined]
    if suffix == ".json" or ("." not in name and head.lstrip(BOM + b" \t\r\n")[:1] in (b"{", b"[")):
        return READERS[_json_kind(head)]
    return None


def _separated(delimiter: str) -> Reader:
    def rows(place: Place) -> Iterator[Row]:
        csv.field_size_limit(ROW_LIMIT)
        with place.open() as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.reader(_text_lines(place, text), delimiter=delimiter, strict=True)
            head = _header(place, reader)
            start = reader.line_num + 1
            while True:
                try:
                    cells = next(reader, None)
                    if cells is None:
                        return
                    if cells and len(cells) != len(head):
                        place.bad(start, f"{len(cells)} cells under {len(head)} column names")
                    elif cells and not writable(cells):
                        place.bad(start, NOT_UTF8)
                    elif cells:
                        yield Row(start, dict(zip(head, cells, strict=True)))
                except csv.Error as error:
                    swallowed = reader.line_num - start
                    if swallowed > QUOTE_LINES:
                        raise DataError(f"{place}, line {start}: a quote opened here is never closed") from None
                    more = (
                        f" (a quote opened here takes in {swallowed} more line{'s' * (swallowed > 1)})"
                        if swallowed > 0
                        else ""
                    )
                    place.bad(start, f"not valid CSV: {error}{more}")
                start = reader.line_num + 1

    return rows


def _text_lines(place: Place, text: IO[str]) -> Iterator[str]:
    """The lines of a text, with any of the usual ends, each no longer than a row may be."""
    number = 1
    while line := text.readline(ROW_LIMIT):
        if len(line) >= ROW_LIMIT and line[-1] not in "\r\n":
            raise DataError(place.too_long(number))
        yield line
        number += 1


def _header(place: Place, reader: Iterator[list[str]]) -> list[str]:
    try:
        head = next(filter(None, reader), [])  # blank lines are no fault
    except csv.Error as error:
        raise DataError(f"{place}, line 1: the column names are not valid CSV: {error}") from None
    # A data frame writes its index as a column without a name.
    names = [name.strip() or f"column_{n}" for n, name in enumerate(head, 1)] if any(head) else head
    if not writable(names):
        raise DataError(f"{place}, line 1: column names that are not UTF-8 (GBK? iconv -f gb18030 -t utf-8 converts)")
    if len(names) == 1 and (mark := next((mark for mark in ";|\t" if mark in names[0]), "")):
        known = "cells are separated by commas (.csv) or tabs (.tsv)"
        raise DataError(f"{place}, line 1: one column, {names[0]!r}: {known}, not {mark!r}")
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"{place}, line 1: the first line must name every column once, found {names}")
    return names


def _plain_text(place: Place) -> Iterator[Row]:
    with place.open() as file:
        for number, line in enumerate(place.lines(file), 1):
            try:
                text = line.decode().rstrip("\r\n")
            except UnicodeDecodeError:
                place.bad(number, NOT_UTF8)
                continue
            if text.strip():
                yield Row(number, {"text": text})


READERS: dict[str, Reader] = {
    "json": json_array,
    "jsonl": json_lines,
    "document": json_document,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "parquet": columnar,
    "arrow": columnar,
    "text": _plain_text,
}
FORMATS = (*READERS, "tar", "zip")
SPREADSHEETS = {".xlsx", ".xls", ".ods", ".et"}
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
}
