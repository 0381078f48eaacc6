"""The registry of data sets: one YAML a source, here in `data_gen/sources/` and in the user's `./sources/`.

A source says where its files come from, which form their rows have and under which licence they stand. Its files are
looked for at `<source id>/<file name>` in `--data-dir`, or else in `./data` and then in $MINITUO_DATA, packed or inside
of the archive they come in, too; a missing file's error says what to fetch and where to put it. A bare path
(`./my.json`) is a source as well.

    for record in open_source("alpaca-zh"): ...
    for record in open_source("./my.csv", columns={"instruction": "title", "output": "answer"}): ...
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from glob import escape
from itertools import chain, count, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from data_gen.archives import ENDINGS
from data_gen.columns import from_columns
from data_gen.converters import CONVERTERS, Converter, guess
from data_gen.errors import no_file
from data_gen.formats import PACKED, SUFFIXES, bare_name, read_rows, unknown_kind
from data_gen.records import DataError, Record
from data_gen.rows import Tally
from data_gen.source_yaml import Licence, Source, SourceFile, load_source
from teachers.base import nearest

SHIPPED = Path(__file__).parent / "sources"
GENERATED_ROWS = 10_000
"""How many rows a generated source has when nobody says"""


@dataclass(frozen=True)
class NoForm:
    """In a converter's place where rows are of no known form: they can be copied, but no records come of them."""

    why: str = field(compare=False)
    columns: frozenset[str]

    def __call__(self, row: Any) -> Record:
        """DataError that says what to do."""
        raise DataError(self.why)


class RawRow(NamedTuple):
    """A row of a source: its number over all files, what it says, its bytes (JSON lines only), where it stands."""

    number: int
    value: Any
    raw: bytes | None
    path: Path
    line: int
    convert: Converter
    member: str = ""


def load_registry() -> dict[str, Source]:
    """All sources by id; the user's `./sources/*.yaml` win over those that ship. DataError names a wrong file."""
    found: dict[str, Source] = {}
    for folder in (SHIPPED, Path("sources")):
        mine: dict[str, Source] = {}
        for path in sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml")):
            source = load_source(path)
            if source.id in mine:
                raise DataError(f"{path}: id {source.id!r} is also that of {mine[source.id].yaml}")
            mine[source.id] = source
        found |= mine
    return found


def tell_replaced(sources: Iterable[Source]) -> None:
    """Say on stderr which of these are the user's in place of one that ships: form and licence may be others."""
    for source in sources:
        yours = source.yaml and Path(source.yaml).parent != SHIPPED
        if yours and (SHIPPED / f"{source.id}.yaml").is_file():
            print(f"note: {source.id!r} is what {source.yaml} says, not the source that ships", file=sys.stderr)


def inside(source: Source, known: Iterable[str]) -> tuple[list[str], list[str]]:
    """What a source contains: those of the `known` sources, and the sets that models are scored on."""
    ids = set(known)
    return [name for name in source.contains if name in ids], [name for name in source.contains if name not in ids]


def get_source(id_or_path: str, columns: Mapping[str, str] | None = None, path: str = "") -> Source:
    """The source of that id, or one made of a path. `path` and `columns` replace what the registry says."""
    if "/" in id_or_path or _is_data_name(id_or_path):
        source = _path_source(path or id_or_path)
    else:
        known = load_registry()
        if id_or_path in known:
            source = known[id_or_path]
        elif not path:
            raise DataError(no_source(id_or_path, known))
        else:
            source = _path_source(path)
            source.id = id_or_path
        if path:
            source.files = [SourceFile(name=Path(path).name, path=str(Path(path).expanduser().absolute()))]
            source.generated = False
    if columns:
        source.columns, source.converter = dict(columns), "columns"
        for file in source.files:
            file.converter = ""
        from_columns(source.columns)
    return source


def no_source(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is no source's: what else has it, or which source has nearly it."""
    if (Path(__file__).parent / "mix_recipes" / f"{name}.yaml").is_file():
        return f"no source {name!r}, that is a mix: distill sample --mix {name} -o {name}.jsonl"
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return f"{name} is no data set; if it is a mix's recipe: distill sample --mix {shlex.quote(name)} -o OUT.jsonl"
    if Path(name).is_file() and not _is_data_name(name):
        return unknown_kind(Path(name))
    if "/" in name or _is_data_name(name):
        return f"no source {name!r}; to make one of a file: distill datasets add {shlex.quote(name)} --id NAME"
    beside = sorted(path.name for path in Path().glob(f"{escape(name)}.*") if _is_data_name(path.name))
    return f"no source {name!r}{nearest(name, known)}; a file is named as ./{beside[0] if beside else name}"


def _is_data_name(name: str) -> bool:
    return bare_name(name).endswith((*SUFFIXES, ".json", *ENDINGS))


def _path_source(path: str) -> Source:
    file = SourceFile(name=Path(path).name, path=str(Path(path).expanduser()))
    licence = Licence("LicenseRef-unclear", "the user's own file; nothing is known about its licence")
    return Source(id=Path(path).name, title=path, licence=licence, converter="auto", files=[file])


def locate(source: Source, file: SourceFile, data_dir: str | Path | None = None) -> Path:
    """Where a source's file is on this machine; DataError says what to fetch and where to put it."""
    if file.path:
        base = Path(source.yaml).absolute().parent.parent if source.yaml else Path()
        path = base / Path(file.path).expanduser()
        if not path.is_file():
            raise DataError(no_file(path))
        return path
    roots = data_roots(data_dir)
    names = [file.name, *(file.name + ending for ending in PACKED), *([file.archive] if file.archive else [])]
    for root in roots:
        for name in names:
            if (root / source.id / name).is_file():
                return root / source.id / name
    fetch = f"'distill datasets fetch {source.id}' does, or: " if source.address(file) else ""
    whole = f" ({file.archive} may stay as it is)" if file.archive else ""
    raise DataError(
        f"source {source.id!r} needs {file.name}: {fetch}{how_to_get(source, file)}, and put it at "
        f"{roots[0] / source.id / file.name}{whole} (or name another folder with --data-dir or $MINITUO_DATA)"
    )


def data_roots(data_dir: str | Path | None = None) -> list[Path]:
    """The folders that raw files are looked for in."""
    if data_dir:
        return [Path(data_dir)]
    other = os.environ.get("MINITUO_DATA")
    return [Path("data"), *([Path(other)] if other else [])]


def how_to_get(source: Source, file: SourceFile) -> str:
    """Where to download a file, in words."""
    if address := source.address(file):
        return f"download {address}"
    return (source.get or f"get {file.archive or file.name}") + (f" ({source.home})" if source.home else "")


def raw_rows(
    source: Source, data_dir: str | Path | None = None, tally: Tally | None = None, seed: int = 0
) -> Iterator[RawRow]:
    """All rows of a source, file after file; a generated source never ends."""
    tally = tally or Tally()
    if source.generated:
        return _generated(source, seed)
    # All files are found before the first one is read: nobody waits for an hour to learn that the last one is missing.
    paths = [locate(source, file, data_dir) for file in source.files]
    return _file_rows(source, paths, tally)


def _file_rows(source: Source, paths: list[Path], tally: Tally) -> Iterator[RawRow]:
    numbers = count()
    for file, path in zip(source.files, paths, strict=True):
        if file.unreadable:
            tally.allowed[str(path)] = file.unreadable
        member = file.name if file.archive and path.name == Path(file.archive).name else ""
        rows = read_rows(path, file.format, tally, member=member, at=file.at)
        known: Converter | None = None
        for _, rows_of_one in groupby(
            rows, key=attrgetter("member")
        ):  # each member of an archive has a form of its own
            first = next(rows_of_one)
            try:
                convert = known = _converter(file.converter or source.converter, source.columns, first.value, path)
            except DataError as error:
                place = f"{path}, member {first.member}" if first.member else str(path)
                nothing = NoForm(f"{place}, line {first.line}: {error}", frozenset(map(str, first.value)))
                convert = known or nothing  # a stray member among those that are read has rows that are no records
            for row in chain([first], rows_of_one):
                yield RawRow(next(numbers), row.value, row.raw, path, row.line, convert, row.member)


def _converter(name: str, columns: Mapping[str, str], first: Any, path: Path) -> Converter:
    if name == "columns":
        return from_columns(columns)
    return CONVERTERS[guess(first, str(path)) if name == "auto" else name]


def _generated(source: Source, seed: int) -> Iterator[RawRow]:
    from importlib import import_module

    items, path = import_module(f"data_gen.{source.id}").items(2**62, seed=seed, split="train"), Path(f"<{source.id}>")
    convert = _converter(source.converter, source.columns, None, path)
    for number, item in enumerate(items):
        yield RawRow(number, asdict(item), None, path, number + 1, convert)


def records_of(source: Source, rows: Iterator[RawRow], tally: Tally) -> Iterator[tuple[RawRow, Record]]:
    """Each row with its Record; rows that do not convert go to the tally."""
    for row in rows:
        record = record_of(row, source, tally)
        if record is not None:
            yield row, record


def record_of(row: RawRow, source: Source, tally: Tally, line: Callable[[], int] = int) -> Record | None:
    """A row's record; None when it is none and such rows are passed over. `line` finds a line that is not known."""
    if isinstance(row.convert, NoForm):
        raise DataError(row.convert.why)
    try:
        record = row.convert(row.value)
    except DataError as error:
        tally.bad(row.path, row.line or line(), str(error), row.member, parsed=True)
        return None
    record.source = record.source or source.id
    return record


def open_source(
    id_or_path: str | Source,
    data_dir: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    tally: Tally | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> Iterator[Record]:
    """Records of a source or of a file, in order, one at a time.

    `rows` ends after that many (a generated source has 10,000 unless told); `seed` matters to generated sources only.
    """
    source = id_or_path if isinstance(id_or_path, Source) else get_source(id_or_path, columns)
    tally = tally or Tally()
    limit = rows if rows is not None else GENERATED_ROWS if source.generated else None
    pairs = records_of(source, raw_rows(source, data_dir, tally, seed), tally)
    return (record for _, record in islice(pairs, limit))
