"""`distill datasets check | fetch | stats`: the actions that read a source's files, or bring them here."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_gen.columns import parse_columns
from data_gen.records import DataError
from distill.commands.dataset_options import arguments
from distill.commands.tables import print_json, print_stats

ABOUT = 0.1
"""How far a file's rows may be from the number that a source knows only about, as a share of it"""


def check(argv: list[str]) -> int:
    """Check a source's files: there, the right bytes, the right number of rows, every row converts."""
    from data_gen.inputs import open_input
    from data_gen.progress import Progress
    from data_gen.registry import inside, load_registry

    parser = arguments("check", check.__doc__, "--data-dir", "--columns")
    parser.add_argument("id", metavar="ID_OR_PATH", help="a source, a file, a folder or a pattern of files")
    args = parser.parse(argv)
    source = open_input(args.id, parse_columns(args.columns))
    if source.generated:
        print(f"{source.id}: made on the spot, nothing to check")
        return 0
    wrong = whole = 0
    with Progress("check", total=source.rows) as bar:
        for file in source.files:
            # One file after the other, so that all of them are told about, whatever is wrong with one.
            place, found, faults = _check_file(replace(source, files=[file]), args.data_dir, bar)
            wrong += bool(faults)
            print(f"{'wrong' if faults else 'good '} {place}{': ' + found if found else ''}")
            print("".join(f"      {fault}\n" for fault in faults), end="")
        whole = bar.done
    if source.total_rows is not None and whole != source.total_rows and not wrong:
        wrong = 1
        print(f"wrong {source.id}: {whole:,} rows in all files, expected {source.total_rows:,}")
    if tests := inside(source, load_registry())[1]:
        print(f"holds what models are scored on: {', '.join(tests)}; keep it out of training or decontaminate")
    return 1 if wrong else 0


def _check_file(source: Any, data_dir: str | None, bar: Any) -> tuple[str, str, list[str]]:
    """Where the one file of a source is, what was found, and what is wrong with it."""
    from data_gen.provenance import check_digest
    from data_gen.registry import how_to_get, locate, raw_rows, records_of
    from data_gen.rows import Tally

    (file,), tally, rows = source.files, Tally("skip"), 0
    try:
        path = locate(source, file, data_dir)
    except DataError as error:
        if not source.yaml:  # a path, mistyped
            raise
        missing = str(error) if file.path else f"missing; to get it: {how_to_get(source, file)}"
        return file.name, "", [missing]
    place = str(path) + (f", member {file.name}" if file.archive and path.name == Path(file.archive).name else "")
    try:
        digest = check_digest(file, path)
        for _ in records_of(source, raw_rows(source, data_dir, tally), tally):
            rows += 1
            bar.advance()
    except DataError as error:
        return place, f"{rows:,} rows read" if rows else "", [str(error)]
    faults = []
    if (bad := tally.total) > file.unreadable:
        first = tally.first[str(path)]
        faults.append(f"{bad:,} unreadable rows, {file.unreadable} are known; the first: {first}")
    if file.rows is not None and rows != file.rows:
        faults.append(f"{rows:,} rows, expected {file.rows:,}")
    elif file.rows is None and file.rows_about and abs(rows - file.rows_about) > ABOUT * file.rows_about:
        faults.append(f"{rows:,} rows, expected about {file.rows_about:,}: {_off(rows, file.rows_about)}")
    sure = "sha256 as known" if file.sha256 else "git blob as known" if file.git_blob else f"sha256 {digest}"
    about = f" (about {file.rows_about:,} expected)" if file.rows_about and not faults else ""
    return place, f"{rows:,} rows{about}, {sure}", faults


def _off(rows: int, about: int) -> str:
    lacking = "is this a part of it, or a torn download?" if rows < about else "is this a later or another file?"
    return f"more than a tenth {'fewer' if rows < about else 'more'}; {lacking}"


def fetch(argv: list[str]) -> int:
    """Fetch the files of sources or of a mix: from the hub or the web, resumed and checked; tells what it cannot."""
    from data_gen.fetch import fetch as fetch_files
    from data_gen.mix_recipe import load_mix, mix_names
    from data_gen.registry import data_roots, get_source

    parser = arguments("fetch", fetch.__doc__, "--data-dir")
    parser.add_argument("ids", nargs="+", metavar="ID_OR_MIX", help="sources, or the name of a mix: all of its sources")
    args = parser.parse(argv)
    names = [name for given in args.ids for name in (load_mix(given).sources if given in mix_names() else [given])]
    sources = [get_source(name) for name in dict.fromkeys(names)]  # a wrong name is found before anything is fetched
    by_hand: set[Path] = set()
    failed = 0
    for source in sources:
        if source.generated:
            print(f"{source.id}: made on the spot, nothing to fetch")
            continue
        try:
            fetched = fetch_files(source, args.data_dir)
        except DataError as error:
            if len(sources) == 1:
                raise
            failed += 1
            print(f"failed: {error}")
            continue
        said = set()
        for one in fetched:
            place = one.path or data_roots(args.data_dir)[0] / source.id / (one.file.archive or one.file.name)
            if place not in said:
                print(f"{place}: {one.note}" if one.path else f"by hand: {one.note}; put it at {place}")
            said.add(place)
            by_hand |= set() if one.path else {place}
    if by_hand or failed:
        print(f"to be fetched by hand: {len(by_hand)} of the files; sources that failed: {failed}", file=sys.stderr)
    return 1 if by_hand or failed else 0


def stats(argv: list[str]) -> int:
    """Count rows, lengths, languages and duplicates of a source or a file, and draw them."""
    from data_gen.describe import describe
    from data_gen.inputs import open_input
    from data_gen.progress import Progress
    from data_gen.registry import open_source
    from data_gen.rows import Tally

    parser = arguments("stats", stats.__doc__, "--data-dir", "--columns", "--on-error", "--json", "--force")
    parser.add_argument("id", metavar="ID_OR_PATH", help="a source, a file, a folder or a pattern of files")
    parser.add_argument("--svg", metavar="FILE", help="write a picture of the numbers, too")
    args = parser.parse(argv)
    if args.svg and Path(args.svg).exists() and not args.force:
        raise DataError(f"{args.svg} exists already; choose another name or add --force to replace it")
    tally = Tally(args.on_error)
    records = open_source(open_input(args.id, parse_columns(args.columns)), args.data_dir, tally=tally)
    with Progress("stats") as bar:
        numbers = describe(_counted(records, bar))
    if tally.total:
        print(tally.report(), file=sys.stderr)
    if args.svg:
        from data_gen.outputs import write_text
        from distill.commands.stats_picture import picture

        write_text(Path(args.svg), picture(args.id, numbers))
    if args.json:
        return print_json(numbers | ({"unreadable": tally.total} if tally.total else {}))
    print_stats(args.id, numbers)
    return 0


def _counted(records: Iterable[Any], bar: Any) -> Iterator[Any]:
    for record in records:
        bar.advance()
        yield record
