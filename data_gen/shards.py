"""What is done with the rows of one file: read some or all of them, test them, turn them into lines to be written.

A `Task` is plain values, so that it can be done here or be sent to another machine; `look` does it and yields a `Seen`
for each row that passes and, at the end, one `Looked` that counts those that did not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from data_gen.formats import detect_format
from data_gen.heldout import asked_by, number_of
from data_gen.json_rows import parse_json
from data_gen.line_index import NoIndex, open_index
from data_gen.records import DataError, Record, content_id
from data_gen.registry import RawRow, locate, raw_rows, record_of
from data_gen.rows import Tally
from data_gen.source_yaml import Source, SourceFile
from data_gen.strata import Within, field_of
from data_gen.where import Where, parse_all

TELL_EVERY = 1 << 12
"""Rows"""
Measure = Callable[[Record], int]
Clean = Callable[[Record], tuple[Record, str]]
"""A record as it is to be, and why it is left out ("": it is not)"""
Mark = Callable[[Record], Any]
"""What will be asked about a record when it is compared with others, and takes long to find out"""


@dataclass(frozen=True)
class Shard:
    """One file of a source."""

    source: Source
    """The source with this file alone"""
    path: Path
    on_error: str = "stop"
    indexed: bool = False
    """Its rows are found by number, without reading the others"""
    start: int = 0
    """The number of its first row among those of all files"""
    seed: int = 0
    limit: int | None = None
    """How many rows of a generated source are looked at"""


def shards_of(
    source: Source, data_dir: str | Path | None, on_error: str, index: bool, seed: int, limit: int
) -> list[Shard]:
    """A source's files, each found before any is read."""
    if source.generated:
        return [Shard(source, Path(f"<{source.id}>"), on_error, seed=seed, limit=limit)]
    paths = [locate(source, file, data_dir).absolute() for file in source.files]
    return [
        Shard(
            replace(source, files=[replace(file, path=str(path))]),
            path,
            on_error,
            index and on_error == "stop" and _is_lines(file, path),
        )
        for file, path in zip(source.files, paths, strict=True)
    ]


def _is_lines(file: SourceFile, path: Path) -> bool:
    """Whether a file may be plain lines of JSON; `open_index` looks closer."""
    if file.at or file.unreadable or file.format not in ("auto", "jsonl"):
        return False
    if file.format == "auto" and path.name.lower().endswith(".json"):
        return detect_format(path) == "jsonl"
    return path.name.lower().endswith((".json", ".jsonl", ".ndjson"))


@dataclass(frozen=True)
class Task:
    """Which rows of a shard, and what to do with them."""

    shard: Shard
    numbers: Sequence[int] | None = None
    """Ascending, counted over all files; None is every row"""
    where: tuple[str, ...] = ()
    as_record: bool = False
    """Convert, and write Records; or else the line as it is"""
    lines: bool = True
    """Whether the lines are wanted, or only which rows pass"""
    measure: Measure | None = None
    within: Within | None = None
    stratum: str = ""
    clean: Clean | None = None
    mark: Mark | None = None
    asked: bool = False
    """Whether it matters what a row asks"""
    looked: Looked | None = None
    """Counts here; for a source without an end, which is left before its `Looked` comes"""


class Seen(NamedTuple):
    """A row that passes."""

    number: int
    line: bytes = b""
    digest: str = ""
    """Of what a record says"""
    size: int = 0
    stratum: str | None = None
    marks: Any = None
    """What `mark` says of the record"""
    asked: int = 0
    """64 bits of what it asks"""


@dataclass
class Looked:
    """What became of the rows of a task."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Why -> how many"""
    where: list[Where] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    names: set[str] = field(default_factory=set)
    """The fields of the first rows, for hints"""

    def add(self, other: Looked) -> None:
        """Count what another task saw, too."""
        self.rows += other.rows
        self.dropped += other.dropped
        self.names |= other.names
        self.tally.add(other.tally)
        if not self.where:
            self.where = other.where
        for mine, theirs in zip(self.where, other.where, strict=False):
            mine.seen |= theirs.seen
            mine.names |= theirs.names


def look(task: Task) -> Iterator[Seen | Looked | int]:
    """Do a task; now and then a number says that so many more rows were read."""
    looked = task.looked or Looked(where=parse_all(task.where), tally=Tally(task.shard.on_error))
    records = task.as_record or task.measure is not None
    for row in rows_of(task.shard, task.numbers, looked.tally):
        looked.rows += 1
        if looked.rows % TELL_EVERY == 0:
            yield TELL_EVERY
        if looked.rows <= 3 and isinstance(row.value, dict):
            looked.names.update(map(str, row.value))
        if looked.where and not all(keep(row.value) for keep in looked.where):
            looked.dropped["where"] += 1
            continue
        if task.within is not None and not task.within.may(row.number):
            continue
        record = _record(task.shard, row, looked.tally) if records else None
        if records and record is None:
            continue
        if record is not None and task.clean is not None:
            record, why = task.clean(record)
            if why:
                looked.dropped[why] += 1
                continue
        yield _seen(task, row, record)
    yield looked


def _seen(task: Task, row: RawRow, record: Record | None) -> Seen:
    line = b""
    if task.lines:
        # A source of several files may hold an array beside JSON lines.
        line = _tight(orjson.dumps(record)) if task.as_record else _tight(_plain(row)) if row.raw is None else row.raw
    size = task.measure(record) if task.measure is not None and record is not None else 0
    if task.within is not None:
        task.within.add(row.number, size)
    digest = content_id(record) if task.clean is not None and record is not None else ""
    stratum = field_of(row.value, task.stratum) if task.stratum else None
    marks = task.mark(record) if task.mark and record else None
    return Seen(row.number, line, digest, size, stratum, marks, _asked(row, record, line) if task.asked else 0)


def _asked(row: RawRow, record: Record | None, line: bytes) -> int:
    try:
        return asked_by(record or row.convert(row.value))
    except DataError:  # it is copied as it is, whatever it is
        return number_of([line.decode()])


def _plain(row: RawRow) -> bytes:
    """A row that was no line, as one: what it says and nothing else."""
    try:
        try:
            return orjson.dumps(row.value, default=_text)
        except TypeError:  # a whole number beyond 64 bits, which JSON may hold
            return json.dumps(row.value, default=_text, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        place = f"{row.path}, member {row.member}" if row.member else str(row.path)
        raise DataError(f"{place}, row {row.line}: {error}") from None


def _text(value: Any) -> str:
    """What tables hold and JSON does not: decimals, spans of time."""
    if isinstance(value, bytes):
        raise DataError(
            "a column of bytes, which no JSON holds; name the columns of text, as in --columns output=answer"
        )
    return str(value)


def _tight(line: bytes) -> bytes:
    """The same bytes in no more memory than they need: what orjson gives sits in a buffer of 4 to 8 KiB at least."""
    return memoryview(line).tobytes()


def rows_of(shard: Shard, numbers: Sequence[int] | None, tally: Tally) -> Iterator[RawRow]:
    """Some rows of a shard (ascending numbers) or all of them."""
    if shard.indexed:
        yield from _indexed(shard, numbers)
        return
    wanted = None if numbers is None else iter(numbers)
    following = None if wanted is None else next(wanted, None)
    for row in islice(raw_rows(shard.source, tally=tally, seed=shard.seed), shard.limit):
        number = row.number + shard.start
        if wanted is None:
            yield row._replace(number=number)
        elif number == following:
            yield row._replace(number=number)
            following = next(wanted, None)
            if following is None:
                return


def _indexed(shard: Shard, numbers: Sequence[int] | None) -> Iterator[RawRow]:
    index = open_index(shard.path)
    own = range(len(index)) if numbers is None else [number - shard.start for number in numbers]
    first = next(raw_rows(shard.source))
    for number, line in zip(own, index.lines(own), strict=True):
        try:
            value = parse_json(line)
        except ValueError:
            raise NoIndex from None
        yield first._replace(number=number + shard.start, value=value, raw=line, line=0)


def _record(shard: Shard, row: RawRow, tally: Tally) -> Record | None:
    """A row's record; None when it is none and such rows are passed over."""
    return record_of(row, shard.source, tally, lambda: open_index(shard.path).line_number(row.number - shard.start))


def characters(record: Record) -> int:
    """How much text a record holds."""
    return sum(map(len, texts_of(record)))


def texts_of(record: Record) -> list[str]:
    """All that a record says, in order."""
    turns = [text for turn in record.history for text in turn]
    return [record.system, *turns, record.instruction, record.input, record.output]


def count_rows(shard: Shard) -> Iterator[Looked | int]:
    """How many rows a shard has, those that cannot be read passed over and counted; NoIndex when it is not lines.

    Now and then a number says that so many more were counted.
    """
    looked = Looked(tally=Tally(shard.on_error))
    if shard.indexed:
        looked.rows = len(open_index(shard.path))
    elif shard.limit:
        looked.rows = shard.limit
    else:
        for _ in raw_rows(shard.source, tally=looked.tally):
            looked.rows += 1
            if looked.rows % TELL_EVERY == 0:
                yield TELL_EVERY
    yield looked
