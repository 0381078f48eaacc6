"""One source after the other: the rows that a mix takes of each, and what is left out and why.

Rows come up in the order of their ranks. Each is converted, cleaned and filtered, then compared with what was taken
before it, of this source and of those before; the first ones that pass are taken, as many as are wanted, and written in
the order they stand in. Looking at rows one by one is the engine's work (data_gen.pools), comparing is done here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from data_gen.choice import UNREADABLE, check_readable, check_where, first_wave, too_few
from data_gen.cleaning import Cleaner
from data_gen.contamination import Contamination, Hit
from data_gen.heldout import asked_in
from data_gen.mix_recipe import Mix
from data_gen.near_duplicates import NearDuplicates, sketch_of
from data_gen.pools import Pool, local
from data_gen.ranks import Order
from data_gen.records import Record, content_id
from data_gen.shards import Seen
from data_gen.source_yaml import Source


class Marks(NamedTuple):
    """What is to be known of a record before it is compared."""

    hit: Hit | None
    sketch: bytes
    """For near duplicates; b"" where they are not looked for"""


@dataclass(frozen=True)
class Marker:
    """Finds the marks of records where these are read. Plain values, so it can be sent to another machine."""

    near: bool
    files: tuple[str, ...] = ()
    """Evaluation files, below `folder`"""
    digests: tuple[str, ...] = ()
    """Theirs: a worker that outlives a change of the files must not go on with what it has read"""
    folder: str = ""

    def __call__(self, record: Record) -> Marks:
        hit = _contamination(self).hit(record) if self.files else None
        return Marks(hit, sketch_of(record) if self.near and hit is None else b"")


@lru_cache(maxsize=1)
def _contamination(marker: Marker) -> Contamination:
    return Contamination(marker.files, marker.folder)


@dataclass
class Memory:
    """What was taken so far, for comparing."""

    mix: Mix
    evaluation: Contamination | None = None
    evaluation_digests: tuple[str, ...] = ()
    digests: set[str] = field(default_factory=set)
    near: NearDuplicates | None = None

    def __post_init__(self) -> None:
        if self.mix.dedup == "near":
            self.near = NearDuplicates(self.mix.near_threshold)

    def why_not(self, seen: Seen) -> tuple[str, Hit | None]:
        """Why a row is left out, "" when it is taken and remembered."""
        if self.mix.dedup != "none" and seen.digest in self.digests:
            return "duplicate", None
        record = Record.from_dict(orjson.loads(seen.line)) if self.evaluation or self.near else None
        marks: Marks | None = seen.marks
        hit = marks.hit if marks else self.evaluation.hit(record) if self.evaluation and record else None
        if hit is not None:
            return "in an evaluation file", hit
        if self.near is not None and record is not None:
            if self.near.seen(record, marks.sketch if marks else b""):
                return "near duplicate", None
            self.near.add(record)
        if self.mix.dedup != "none":
            self.digests.add(seen.digest)
        return "", None

    def marker(self) -> Marker | None:
        """What finds the marks of records on other machines; None when there is nothing to be found."""
        if self.evaluation is None and self.near is None:
            return None
        files = tuple(self.evaluation.files) if self.evaluation else ()
        return Marker(self.near is not None, files, self.evaluation_digests, str(Path.cwd()))

    def remember(self, lines: Iterable[bytes]) -> None:
        """Count lines of an earlier build as taken."""
        for line in lines:
            record = Record.from_dict(orjson.loads(line))
            self.digests.add(content_id(record))
            if self.near is not None:
                self.near.add(record)


@dataclass
class Part:
    """What became of one source's rows."""

    name: str
    source: Source
    rows_in: int = 0
    taken: int = 0
    heldout: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    removed: list[dict[str, Any]] = field(default_factory=list)
    """What decontamination removed, for the report"""


def cleaner_of(mix: Mix, source: Source) -> Cleaner:
    """What a recipe does to the records of a source."""
    return Cleaner(
        mix.nfkc, mix.simplified, mix.drop_empty, dict(mix.filters), tuple(mix.licences), source.licence.expression
    )


def take(
    mix: Mix, name: str, pool: Pool, memory: Memory, wanted: int | None, allow_fewer: bool
) -> tuple[Part, Iterator[bytes]]:
    """A source's part and its lines, which fill the part in as they are gone through."""
    part = Part(name, pool.source)
    cleaner = cleaner_of(mix, pool.source)
    what: dict[str, Any] = {"where": tuple(mix.sources[name].where), "as_record": True, "clean": cleaner}
    if pool.engine is not local:  # here it is quicker to look at those alone that are no duplicates
        what["mark"] = memory.marker()
    nothing = Cleaner(drop_empty=False, licence=cleaner.licence)
    drops = bool(what["where"]) or cleaner != nothing or mix.dedup != "none" or memory.evaluation is not None

    def lines() -> Iterator[bytes]:
        if wanted is None:
            found = _accepted(pool.look(None, **what), memory, part)
        elif pool.source.generated:  # has no end: the first rows are as good as any
            found = islice(_accepted(pool.look(None, **what), memory, part), wanted)
        else:
            found = iter(_lowest(pool, Order(mix.seed), wanted, what, memory, part, drops))
        for seen in found:
            part.taken += 1
            yield seen.line
        check_where(pool)
        part.rows_in = max(pool.count, pool.looked.rows)
        part.dropped += pool.looked.dropped
        if wanted is None and not allow_fewer:
            check_readable(pool, part.taken + part.dropped.total())
        if pool.looked.tally.total:
            part.dropped[UNREADABLE] += pool.looked.tally.total
        if wanted is not None and part.taken < wanted and not allow_fewer:
            raise too_few(pool, part.taken, wanted, dropped=part.dropped)

    return part, lines()


def _lowest(
    pool: Pool, order: Order, wanted: int, what: dict[str, Any], memory: Memory, part: Part, drops: bool
) -> list[Seen]:
    taken: list[Seen] = []
    for numbers in pool.waves(order, first_wave(wanted) if drops else wanted):
        rows = list(pool.look(numbers, **what))
        rows.sort(key=lambda seen: order.rank(seen.number))
        taken += islice(_accepted(rows, memory, part), wanted - len(taken))
        if len(taken) == wanted:
            break
    return sorted(taken)


def _accepted(rows: Iterable[Seen], memory: Memory, part: Part) -> Iterator[Seen]:
    for seen in rows:
        why, hit = memory.why_not(seen)
        if why:
            part.dropped[why] += 1
            if hit is not None:
                part.removed.append(_report(part.name, seen, hit))
            continue
        yield seen


def _report(name: str, seen: Seen, hit: Hit) -> dict[str, Any]:
    record = Record.from_dict(orjson.loads(seen.line))
    asked = f"{record.instruction}\n{record.input}".strip()
    return {
        "part": name,
        "id": record.id,
        "asked": asked[:200],
        "shared": hit.gram,
        "evaluation": hit.file,
        "row": hit.row,
    }


def asked_of(line: bytes) -> int:
    """What a row of a mix asks, as 64 bits."""
    row = orjson.loads(line)
    said = [row["instruction"], row["input"], row["system"], row["history"]]
    return asked_in(said, row["output"], row["meta"].get("image"))
