"""A source as rows with numbers: how many there are, which of them pass, and the lines of those that are drawn.

A pool splits its work into tasks of one file and some thousand rows each and gives them to an engine: `local` does one
after the other in this process, `data_gen.ray_engine` spreads them over a cluster. Everything that decides which rows
are taken happens here, in the order of the rows' ranks, so both give the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_gen.converters import Converter
from data_gen.line_index import open_index
from data_gen.provenance import changed, stamp
from data_gen.ranks import Order
from data_gen.records import DataError
from data_gen.registry import GENERATED_ROWS, NoForm, raw_rows
from data_gen.rows import Tally
from data_gen.shards import Looked, Seen, Task, count_rows, look, shards_of
from data_gen.source_yaml import Source
from data_gen.where import parse_all

Engine = Callable[[Callable[[Any], Iterator[Any]], Sequence[Any]], Iterator[Any]]
"""Does a function for every task and yields what they yield, in the order of the tasks"""
ROWS_A_TASK = 1 << 13


def local(do: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[Any]:
    """The engine of one process."""
    for task in tasks:
        yield from do(task)


class Pool:
    """The rows of a source."""

    def __init__(
        self,
        source: Source,
        data_dir: str | Path | None = None,
        *,
        on_error: str = "stop",
        engine: Engine = local,
        index: bool = True,
        seed: int = 0,
        limit: int = GENERATED_ROWS,
        advance: Callable[..., None] = lambda n, note=None: None,
    ) -> None:
        self.source, self.advance = source, advance
        self.engine = local if source.generated else engine
        self.shards = shards_of(source, data_dir, on_error, index, seed, limit)
        self.looked = Looked(tally=Tally(on_error))
        """What was found by all tasks"""
        self.count = -1
        """How many rows there are; -1 until `number` has counted them"""
        self._counted = self._looked = False
        """Rows were read to count them, or to look at them: read again, they are no news for `advance`"""
        self._stamps = {} if source.generated else {shard.path: stamp(shard.path) for shard in self.shards}

    @property
    def indexed(self) -> bool:
        """Whether any row can be read without the others."""
        return all(shard.indexed for shard in self.shards)

    def forms(self) -> set[Converter | None]:
        """What makes records of its rows: by the first row of each file; None where no row can be read.

        Where one file is of no known form, no records can be made of it, and what the others are does not matter.
        """
        firsts = (
            next(raw_rows(shard.source, tally=Tally(shard.on_error), seed=shard.seed), None) for shard in self.shards
        )
        found: list[Converter | None] = [first.convert for first in firsts if first is not None]
        return next(({form} for form in found if isinstance(form, NoForm)), {*found} or {None})

    def number(self) -> int:
        """Count the rows, once."""
        if self.count >= 0:
            return self.count
        starts, count, told = [], 0, 0
        news = not self.indexed  # others are gone through in no time
        for found in self.engine(count_rows, self.shards):
            if isinstance(found, int):
                told += found
                self.advance(found)
                continue
            self.advance((found.rows - told) * news)
            told = 0
            starts.append(count)
            count += found.rows
            self.looked.tally.add(found.tally)
        self.shards = [replace(shard, start=start) for shard, start in zip(self.shards, starts, strict=True)]
        self.count, self._counted = count, news
        return count

    def look(self, numbers: Sequence[int] | None, count: bool = True, **what: Any) -> Iterator[Seen]:
        """Rows that pass, in order. `count` adds what did not to `looked`; rows looked at without it are no news."""
        news = not (self._counted or (self._looked and not count))
        self._looked = self._looked or count
        told = 0
        try:
            for found in self._found(numbers, count, what):
                if isinstance(found, Seen):
                    yield found
                    continue
                rows = found if isinstance(found, int) else found.rows - told
                told = told + rows if isinstance(found, int) or self.source.generated else 0
                self.advance(rows * news)
                if isinstance(found, Looked) and count and not self.source.generated:
                    if self.count >= 0:  # those that cannot be parsed were counted by `number`
                        found.tally = found.tally.parsed or Tally()
                    self.looked.add(found)
        finally:
            if self.source.generated and count:  # it has no end: it was left
                self.advance(self.looked.rows - told)

    def _found(self, numbers: Sequence[int] | None, count: bool, what: dict[str, Any]) -> Iterator[Any]:
        if self.source.generated and count:
            self.looked = Looked(where=parse_all(what.get("where", ())), tally=Tally(self.looked.tally.on_error))
            return look(Task(self.shards[0], numbers, **what, looked=self.looked))
        return self.engine(look, self._tasks(numbers, what))

    def _tasks(self, numbers: Sequence[int] | None, what: dict[str, Any]) -> list[Task]:
        if numbers is None:
            return [Task(shard, None, **what) for shard in self.shards]
        tasks, at = [], 0
        for n, shard in enumerate(self.shards):
            last = n + 1 == len(self.shards)
            end = len(numbers) if last else bisect_left(numbers, self.shards[n + 1].start, at)
            step = ROWS_A_TASK if shard.indexed else max(end - at, 1)  # others are read from their beginning
            tasks += [Task(shard, numbers[i : min(i + step, end)], **what) for i in range(at, end, step)]
            at = end
        return tasks

    def blocks(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Lines just as they stand, with their newlines, many at a time. For indexed pools, in this process."""
        at = 0
        for n, shard in enumerate(self.shards):
            last = n + 1 == len(self.shards)
            end = len(numbers) if last else bisect_left(numbers, self.shards[n + 1].start, at)
            own = numbers[at:end] if not shard.start else [number - shard.start for number in numbers[at:end]]
            for i in range(0, len(own), ROWS_A_TASK):
                some = own[i : i + ROWS_A_TASK]
                yield from open_index(shard.path).blocks(some)
                self.advance(len(some) * (not self._looked))
            at = end

    def check_unchanged(self) -> None:
        """DataError when a file is no longer what it was: what was counted and what was read may be two things."""
        for path, before in self._stamps.items():
            if not path.is_file() or stamp(path) != before:
                raise DataError(changed(path))

    def waves(self, order: Order, first: int) -> Iterator[Sequence[int]]:
        """All rows in the order of their ranks, wave after wave; within a wave by number."""
        count = self.number()
        done: set[int] = set()
        size = min(max(first, 1), count)
        while True:
            found = order.lowest(count, size)
            yield [number for number in found if number not in done] if done else found
            if size == count:
                return
            # Every wave of a file without an index is a pass over all of it, so there should be few.
            done, size = set(found), min(count, size * (2 if self.indexed else 8))
