"""Seeded samples of rows from files of any size.

Every row has a rank that follows from its number and the seed alone (data_gen.ranks); the rows of lowest rank are the
sample, in the order they stand in. So a sample depends on the order of the rows, on the seed and on how many are asked
for, and on nothing else: JSON lines, a JSON array or a gzipped CSV of the same rows give the same sample. A smaller
sample is part of a larger one with the same seed. Which rows are drawn is found first; then they are read and written,
one at a time, so memory holds numbers, not rows. JSON lines are indexed (data_gen.line_index): what is not drawn is
not even parsed.

    sample_rows(["webtext"], "out.jsonl", rows=10_000, seed=1, where=["star>=3"], convert=True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from data_gen.choice import Wanted, check_readable, check_where, choose, too_few
from data_gen.columns import lacking
from data_gen.heldout import OneQuestion, is_heldout
from data_gen.inputs import open_inputs
from data_gen.line_index import NoIndex
from data_gen.outputs import Together, Write, check_output, refuse_inputs
from data_gen.pools import Engine, Pool, local
from data_gen.progress import Progress
from data_gen.ranks import Order
from data_gen.records import DataError
from data_gen.registry import GENERATED_ROWS, locate, raw_rows, tell_replaced
from data_gen.rows import Tally
from data_gen.shards import TELL_EVERY, Measure, Seen
from data_gen.source_yaml import Source
from data_gen.strata import SHARES, apportion, even
from data_gen.where import parse_all


@dataclass
class Taken:
    """What became of the rows of one source."""

    source: Source
    rows_in: int
    taken: int
    dropped: dict[str, int] = field(default_factory=dict)
    """Why -> how many of the rows that came up were left out; those that are missing from the sum were not drawn"""


@dataclass
class Summary:
    """What `sample_rows` wrote."""

    taken: list[Taken]
    rows: int
    heldout: int
    as_records: bool
    tally: Tally


@dataclass
class Options:
    """How rows are drawn and written; see `sample_rows`."""

    rows: int | None = None
    seed: int = 0
    weights: Sequence[float] | None = None
    where: Sequence[str] = ()
    convert: bool = False
    heldout: float = 0.0
    heldout_out: str | Path | None = None
    allow_fewer: bool = False
    force: bool = False
    columns: Mapping[str, str] | None = None
    data_dir: str | Path | None = None
    on_error: str = "stop"
    by: str = ""
    shares: str = "proportional"
    budget: int | None = None
    measure: Measure | None = None
    unit: str = "characters"
    engine: Engine = local
    index: bool = True
    beside: Callable[[Summary, Together], object] | None = None
    """Writes what belongs beside the rows, such as their manifest, before they take their names"""


def sample_rows(inputs: Sequence[str], out: str | Path, **options: Any) -> Summary:
    """Draw rows of sources, files, folders or patterns into a JSONL file; `rows=None` takes all.

    Rows come out as they are, JSON lines byte for byte, rows of arrays and tables as one JSON object a line; as Records
    where `convert` asks for these or columns are mapped, and where files are of unlike forms. `weights` shares
    out `rows` over the inputs, `by` draws from every value of a field in proportion (or, with `shares="even"`, the same
    of each). `budget` goes on until the next row would exceed that many characters (or what `measure` counts).
    `heldout` puts about that share of the rows drawn into `heldout_out`; rows that ask the same land on the same side,
    in every sample with this seed.
    """
    o = Options(**options)
    outs = [Path(out), *([Path(o.heldout_out)] if o.heldout_out else [])]
    _check_options(inputs, outs, o)
    parse_all(o.where)  # a wrong filter is found before any file is opened
    sources = open_inputs(inputs, o.columns, o.data_dir)
    read = [locate(source, file, o.data_dir) for source in sources for file in source.files]
    for out in outs:
        refuse_inputs(out, filter(Path.exists, read))
    tell_replaced(sources)
    if o.columns and len(sources) > 1:
        _check_columns(inputs, sources, o)
    made = all(source.generated for source in sources) and not (o.where or o.by or o.budget)
    with Progress("sample", total=(o.rows or GENERATED_ROWS) if made else None, unit="rows read") as bar:
        try:
            return _sample(sources, outs, o, bar)
        except NoIndex:  # something is odd in a file: row by row it is told what, and where
            o.index = False
            bar.advance(-bar.done)
            return _sample(sources, outs, o, bar)


def _check_options(inputs: Sequence[str], outs: Sequence[Path], o: Options) -> None:
    if o.rows is not None and o.rows < 1:
        raise DataError(f"--rows must be at least 1, found {o.rows}")
    if o.budget is not None and o.budget < 1:
        raise DataError(f"--{o.unit} must be at least 1, found {o.budget}")
    if o.budget is not None and (o.rows is not None or o.weights or o.by):
        raise DataError(f"--{o.unit} decides how many rows there are: give no --rows, --weights or --by beside it")
    if o.weights and len(o.weights) != len(inputs):
        raise DataError(f"{len(o.weights)} weights for {len(inputs)} sources; give one weight for each")
    if o.weights and o.rows is None:
        raise DataError("--weights share out a number of rows: give --rows, too")
    if o.by and o.rows is None:
        raise DataError("--by shares out a number of rows: give --rows, too")
    if o.shares not in SHARES:
        raise DataError(f"--shares is {' or '.join(SHARES)}, found {o.shares!r}")
    if o.shares != "proportional" and not o.by:
        raise DataError(f"--shares {o.shares} is how --by shares out rows: give --by, too")
    if not 0 <= o.heldout < 1:
        raise DataError(f"--heldout is a share from 0 to below 1, found {o.heldout:g}")
    if bool(o.heldout) != (len(outs) == 2):
        raise DataError("--heldout (a share such as 0.1) and --heldout-out (a file) go together")
    for out in outs:
        check_output(out, o.force)
    if len({out.absolute() for out in outs}) < len(outs):
        raise DataError(f"--out and --heldout-out are the same file, {outs[0]}")


def _check_columns(inputs: Sequence[str], sources: Sequence[Source], o: Options) -> None:
    """DataError when the columns of one input are not those of another."""
    for name, source in zip(inputs, sources, strict=True):
        first = next(raw_rows(source, o.data_dir, Tally(o.on_error)), None)
        missing = lacking(first.value, o.columns or {}) if first else []
        if missing:
            raise DataError(
                f"--columns holds for all inputs, and {name} has no column {missing[0]!r}; "
                f"'distill datasets add {name} --id NAME --columns ..' gives it columns of its own"
            )


@dataclass
class _Drawn:
    """One input with the rows that were drawn from it."""

    pool: Pool
    numbers: Sequence[int] | None
    """None is every row, filtered as they are written"""
    rows: int | None
    """How many of every row at the most"""
    taken: int = 0


def _asks_for_records(source: Source, o: Options) -> bool:
    """Whether Records are asked for, or made on the spot."""
    return bool(o.convert or source.columns or source.generated)


def _sample(sources: Sequence[Source], outs: Sequence[Path], o: Options, bar: Progress) -> Summary:
    if o.weights:
        parts: list[int | None] = [*apportion(o.rows or 0, o.weights)]
    else:
        parts = [None] * len(sources) if o.rows is None else [*even(o.rows, len(sources))]
    if o.rows is None and o.budget is None:  # what is made on the spot has no end
        parts = [GENERATED_ROWS if source.generated else None for source in sources]
    budgets = [None] * len(sources) if o.budget is None else [*even(o.budget, len(sources))]
    pools = [_pool(*each, o, bar) for each in zip(sources, parts, budgets, strict=True)]
    forms = {form for pool in pools for form in pool.forms()}
    as_records = any(_asks_for_records(source, o) for source in sources) or len(forms) > 1
    each = zip(pools, parts, budgets, strict=True)
    drawn = [_Drawn(pool, _draw(pool, part, budget, o, as_records), part) for pool, part, budget in each]
    with Together() as files:
        held = _write(drawn, [files.open(out) for out in outs], o, as_records)
        for one in drawn:
            one.pool.check_unchanged()
        taken = [_taken(one) for one in drawn]
        if not any(one.taken for one in taken) and any(one.dropped for one in taken) and not o.allow_fewer:
            left = [f"{n:,} of {one.source.id} left out: {why}" for one in taken for why, n in one.dropped.items()]
            raise DataError(f"no row passes ({'; '.join(left)}); --allow-fewer writes a file without rows")
        tally = Tally(o.on_error)
        for one in drawn:
            tally.add(one.pool.looked.tally)
        summary = Summary(taken, sum(one.taken for one in taken) - held, held, as_records, tally)
        if o.beside is not None:
            o.beside(summary, files)
    return summary


def _pool(source: Source, part: int | None, budget: int | None, o: Options, bar: Progress) -> Pool:
    return Pool(
        source,
        o.data_dir,
        on_error=o.on_error,
        engine=o.engine,
        # To take every row of a file there is no need to know first where each begins.
        index=o.index and not (part is None and budget is None),
        seed=o.seed,
        limit=GENERATED_ROWS + 200 * (part or 0),
        advance=bar.advance,
    )


def _draw(pool: Pool, part: int | None, budget: int | None, o: Options, as_records: bool) -> Sequence[int] | None:
    """The numbers of the rows to write; of those that are to be records, where some are none, of records only."""
    faulty = o.on_error == "skip" or any(file.unreadable for file in pool.source.files)
    what = {"where": tuple(o.where), "as_record": as_records and faulty}
    wanted = Wanted(part, o.by, o.shares, budget, o.measure, o.unit, o.allow_fewer)
    return choose(pool, Order(o.seed), wanted, what)


def _taken(one: _Drawn) -> Taken:
    looked = one.pool.looked
    return Taken(one.pool.source, max(one.pool.count, looked.rows), one.taken, dict(looked.dropped))


def _write(drawn: Iterable[_Drawn], writes: Sequence[Write], o: Options, as_records: bool) -> int:
    """Write what was drawn; how many rows of it are held out."""
    if len(writes) == 1:
        for block in _blocks(drawn, o, as_records):
            writes[0](block)
        return 0
    held = 0
    for one in drawn:
        questions = OneQuestion()
        for seen in _seen(one, o, as_records, asked=True):
            questions.note(seen.asked)
            out = is_heldout(seen.asked, o.seed, o.heldout)
            held += out
            writes[out](seen.line + b"\n")
        questions.told(one.pool.source.id)
    return held


def _blocks(drawn: Iterable[_Drawn], o: Options, as_records: bool) -> Iterator[bytes]:
    for one in drawn:
        if one.numbers is not None and not as_records and one.pool.indexed and o.engine is local:
            one.taken = len(one.numbers)
            yield from one.pool.blocks(one.numbers)
        else:
            yield from (seen.line + b"\n" for seen in _seen(one, o, as_records))


def _seen(one: _Drawn, o: Options, as_records: bool, asked: bool = False) -> Iterator[Seen]:
    """What was drawn from one input."""
    where = tuple(o.where) if one.numbers is None else ()
    one.taken = 0
    found = one.pool.look(one.numbers, one.numbers is None, where=where, as_record=as_records, asked=asked)
    for seen in islice(found, one.rows) if one.numbers is None else found:
        one.taken += 1
        if one.taken % TELL_EVERY == 0:
            one.pool.advance(0, f"{one.pool.source.id}: {one.taken:,} written")
        yield seen
    if where:
        check_where(one.pool)
    if one.numbers is None and not o.allow_fewer:
        check_readable(one.pool, one.taken)
        if one.rows is not None and one.taken < one.rows:
            raise too_few(one.pool, one.taken, one.rows)
