"""Seeded samples of rows from files of any size, in one pass.

Every row gets a 64-bit number mixed from its place and the seed; the rows with the smallest numbers are the sample, in
the order they stand in. So a sample depends on the order of the rows, on the seed and on how many are asked for, and on
nothing else: JSON lines, a JSON array or a gzipped CSV of the same rows give the same sample. A smaller sample is part
of a larger one with the same seed. No more is held in memory than the sample itself.

    sample_rows(["webtext"], "out.jsonl", rows=10_000, seed=1, where=["star>=3"], convert=True)
"""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import orjson

from data_gen.progress import Progress
from data_gen.records import DataError, Record
from data_gen.registry import GENERATED_ROWS, RawRow, get_source, raw_rows, records_of
from data_gen.rows import Tally, line_writer
from data_gen.source_yaml import Source
from data_gen.where import Where, parse_all

T = TypeVar("T")
MASK = (1 << 64) - 1
HELDOUT_STREAM = 0x68656C646F7574
"""Xored into the seed, so that what is held out does not depend on what was drawn"""


def mix64(number: int, seed: int) -> int:
    """64 well-mixed bits of a number and a seed (two rounds of splitmix64)."""
    return _splitmix((_splitmix(seed) + number) & MASK)


def _splitmix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def draw(
    rows: Iterable[tuple[int, T]], k: int | None, seed: int, pack: Callable[[T], Any] = lambda row: row
) -> Iterator[tuple[int, Any]]:
    """The `k` of the numbered rows with the smallest mixed numbers, in their order; `None`: all of them, streamed.

    Only rows that may end up in the sample are packed into what is held (and yielded) of them.
    """
    if k is None:
        yield from ((number, pack(row)) for number, row in rows)
        return
    heap: list[tuple[int, int, Any]] = []  # (-mixed number, row number, packed row), the largest mixed number on top
    for number, row in rows:
        rank = -mix64(number, seed)
        if len(heap) < k:
            heapq.heappush(heap, (rank, number, pack(row)))
        elif heap and rank > heap[0][0]:
            heapq.heapreplace(heap, (rank, number, pack(row)))
    heap.sort(key=lambda entry: entry[1])
    yield from ((number, row) for _, number, row in heap)


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in the ratio of the weights that add up to `total` (largest remainders). They must add up to 1."""
    if any(not weight > 0 for weight in weights):
        raise DataError(f"weights must be greater than 0, found {', '.join(map(str, weights))}")
    if abs(sum(weights) - 1) > 1e-6:
        raise DataError(f"weights must add up to 1, {' + '.join(map(str, weights))} is {sum(weights):g}")
    exact = [total * weight for weight in weights]
    parts = [math.floor(part + 1e-9) for part in exact]
    by_remainder = sorted(range(len(parts)), key=lambda n: (parts[n] - exact[n], n))
    for n in by_remainder[: total - sum(parts)]:
        parts[n] += 1
    return parts


def dump(record: Record) -> bytes:
    """A record's line of JSONL."""
    return orjson.dumps(record)


@dataclass
class Taken:
    """What is wanted of one source, and what became of its rows."""

    source: Source
    wanted: int | None
    """None takes all"""
    where: Sequence[Where] = ()
    rows_in: int = 0
    taken: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Why -> how many: "where", "empty", "duplicate"; the others were not drawn"""

    def drop(self, why: str) -> None:
        """Count a row that is left out."""
        self.dropped[why] = self.dropped.get(why, 0) + 1

    def passing(self, rows: Iterable[RawRow], bar: Progress) -> Iterator[RawRow]:
        """The rows that pass the filters, all of them counted."""
        for row in rows:
            self.rows_in += 1
            bar.advance()
            if all(keep(row.value) for keep in self.where):
                yield row
            else:
                self.drop("where")


def taken_rows(
    taken: Taken,
    rows: Iterator[RawRow],
    make: Callable[[Iterator[RawRow]], Iterator[tuple[RawRow, T]]],
    pack: Callable[[T], Any],
    seed: int,
    bar: Progress,
    allow_fewer: bool = False,
) -> Iterator[Any]:
    """What is drawn from one source, packed. `make` goes on with the rows that pass the filters, or leaves them out.

    DataError when there are fewer than wanted, unless that is allowed.
    """
    source, wanted = taken.source, taken.wanted
    if source.generated:  # has no end: the first rows are as good as any
        wanted = GENERATED_ROWS if wanted is None else wanted
        rows = islice(rows, GENERATED_ROWS + 200 * wanted)  # a filter that lets nothing pass must end, too
        firsts = islice(make(taken.passing(rows, bar)), wanted)
        drawn: Iterator[tuple[int, Any]] = ((row.number, pack(made)) for row, made in firsts)
    else:
        drawn = draw(((row.number, made) for row, made in make(taken.passing(rows, bar))), wanted, seed, pack)
    for _, packed in drawn:
        taken.taken += 1
        yield packed
    for keep in taken.where:
        keep.check(source.id)
    if wanted is not None and taken.taken < wanted and not allow_fewer:
        raise DataError(
            f"{source.id} has {taken.taken:,} rows to draw from, {wanted:,} are wanted; "
            "ask for no more than that or add --allow-fewer"
        )


@dataclass
class Summary:
    """What `sample_rows` wrote."""

    taken: list[Taken]
    rows: int
    heldout: int
    as_records: bool
    tally: Tally


def sample_rows(
    inputs: Sequence[str],
    out: str | Path,
    *,
    rows: int | None = None,
    seed: int = 0,
    weights: Sequence[float] | None = None,
    where: Sequence[str] = (),
    convert: bool = False,
    heldout: float = 0.0,
    heldout_out: str | Path | None = None,
    allow_fewer: bool = False,
    force: bool = False,
    columns: Mapping[str, str] | None = None,
    data_dir: str | Path | None = None,
    on_error: str = "stop",
) -> Summary:
    """Draw rows of sources or files into a JSONL file; `rows=None` takes all.

    Rows of JSON lines are copied byte for byte unless `convert` (or `columns`) asks for Records; other formats become
    Records, and so do several inputs of unlike forms. `heldout` puts that share of the rows drawn into `heldout_out`;
    rows that ask the same land on the same side.
    """
    outs = [Path(out), *([Path(heldout_out)] if heldout_out else [])]
    _check_options(inputs, outs, rows, weights, heldout, force)
    parse_all(where)  # a wrong filter is found before any file is opened
    tally = Tally(on_error)
    sources = [get_source(name, columns) for name in inputs]
    if weights:
        parts: list[int | None] = [*apportion(rows or 0, weights)]
    else:
        parts = [rows] if len(sources) == 1 else _even(rows, len(sources))
    opened = [_peek(raw_rows(source, data_dir, tally, seed)) for source in sources]
    raw = not (convert or columns) and _alike([first for first, _ in opened])
    taken = [Taken(source, part, parse_all(where)) for source, part in zip(sources, parts, strict=True)]

    def lines(bar: Progress) -> Iterator[bytes]:
        for one, (_, stream) in zip(taken, opened, strict=True):
            if raw:
                yield from taken_rows(one, stream, _as_they_are, _bytes, seed, bar, allow_fewer)
            else:
                yield from taken_rows(one, stream, _maker(one.source, tally), dump, seed, bar, allow_fewer)

    with Progress("sample", unit="rows read") as bar:
        written, held = _write(lines(bar), outs, heldout, seed)
    return Summary(taken, written, held, not raw, tally)


def _even(rows: int | None, n: int) -> list[int | None]:
    return [None] * n if rows is None else [*apportion(rows, [1 / n] * n)]


def _check_options(
    inputs: Sequence[str],
    outs: Sequence[Path],
    rows: int | None,
    weights: Sequence[float] | None,
    heldout: float,
    force: bool,
) -> None:
    if rows is not None and rows < 1:
        raise DataError(f"--rows must be at least 1, found {rows}")
    if weights and len(weights) != len(inputs):
        raise DataError(f"{len(weights)} weights for {len(inputs)} sources; give one weight for each")
    if weights and rows is None:
        raise DataError("--weights share out a number of rows: give --rows, too")
    if not 0 <= heldout < 1:
        raise DataError(f"--heldout is a share from 0 to 1, found {heldout:g}")
    if bool(heldout) != (len(outs) == 2):
        raise DataError("--heldout (a share such as 0.1) and --heldout-out (a file) go together")
    for out in outs:
        check_output(out, force)
    if len({out.absolute() for out in outs}) < len(outs):
        raise DataError(f"--out and --heldout-out are the same file, {outs[0]}")


def check_output(out: Path, force: bool) -> None:
    """DataError when `out` is not a name for a new JSONL file."""
    if not out.name.lower().endswith((".jsonl", ".json", ".ndjson")):
        raise DataError(f"{out}: JSON lines are written; give it a name that ends in .jsonl")
    if os.path.lexists(out):
        if not stat.S_ISREG(out.stat().st_mode):
            raise DataError(f"{out} exists and is no ordinary file; choose another name")
        if not force:
            raise DataError(f"{out} exists already; choose another name or add --force to replace it")


def _peek(rows: Iterator[RawRow]) -> tuple[RawRow | None, Iterator[RawRow]]:
    first = next(rows, None)

    def again() -> Iterator[RawRow]:
        if first is not None:
            yield first
        yield from rows

    return first, again()


def _alike(firsts: Sequence[RawRow | None]) -> bool:
    """Whether rows can be copied as they are: JSON lines everywhere, and of one form."""
    return all(row is not None and row.raw is not None for row in firsts) and len({r.convert for r in firsts if r}) == 1


def _as_they_are(rows: Iterator[RawRow]) -> Iterator[tuple[RawRow, RawRow]]:
    return ((row, row) for row in rows)


def _bytes(row: RawRow) -> bytes:
    # A source of several files may hold an array beside JSON lines.
    return row.raw if row.raw is not None else orjson.dumps(row.value)


def _maker(source: Source, tally: Tally) -> Callable[[Iterator[RawRow]], Iterator[tuple[RawRow, Record]]]:
    return lambda rows: records_of(source, rows, tally)


def _write(lines: Iterator[bytes], outs: Sequence[Path], heldout: float, seed: int) -> tuple[int, int]:
    """Write lines to the first path, or split them over both; how many went to each."""
    if len(outs) == 1:
        written = 0
        with line_writer(outs[0]) as write:
            for written, line in enumerate(lines, 1):  # noqa: B007
                write(line)
        return written, 0
    kept = list(lines)
    # The same question has the same rank, so it never ends up on the other side.
    ranks = [mix64(_question(line), seed ^ HELDOUT_STREAM) for line in kept]
    few = round(heldout * len(kept))
    last = sorted(ranks)[few - 1] if few else -1
    with line_writer(outs[0]) as write, line_writer(outs[1]) as write_heldout:
        for line, rank in zip(kept, ranks, strict=True):
            (write_heldout if rank <= last else write)(line)
    held = sum(rank <= last for rank in ranks)
    return len(kept) - held, held


def _question(line: bytes) -> int:
    """64 bits of what a line asks, or of the whole line where it is of another form."""
    row = orjson.loads(line)
    if isinstance(row, dict) and "instruction" in row:
        line = orjson.dumps([row.get(name) or "" for name in ("instruction", "input", "system", "history")])
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest())
