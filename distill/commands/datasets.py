"""`distill datasets ls | show | fetch | check | add | stats | card`: the registry.

Each action is a function with its own few options; the plain dict at the end names them. Those that read a source's
files are in datasets_files.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_gen.columns import parse_columns
from data_gen.records import DataError
from distill.commands.dataset_options import arguments
from distill.commands.datasets_files import check, fetch, stats
from distill.commands.tables import print_json, print_table, table_of
from teachers.base import nearest

SHOWN = 3
"""Files whose beginning `add` shows"""


def main(argv: list[str]) -> int:
    """Dispatch to an action."""
    if not argv or argv[0] in {"-h", "--help"}:
        print("distill datasets ACTION: the registry of data sets\n")
        print("\n".join(f"  {name:<6} {act.__doc__.splitlines()[0]}" for name, act in ACTIONS.items() if act.__doc__))
        print("\n'distill datasets ACTION --help' tells an action's options.")
        return 0
    if argv[0] not in ACTIONS:
        raise DataError(f"distill datasets has no action {argv[0]!r}{nearest(argv[0], ACTIONS)}")
    return ACTIONS[argv[0]](argv[1:])


def ls(argv: list[str]) -> int:
    """List the sources, and which of them are on this machine."""
    from data_gen.registry import SHIPPED, load_registry

    args = arguments("ls", ls.__doc__, "--data-dir", "--json").parse(argv)
    rows: list[dict[str, Any]] = [
        {
            "id": source.id,
            "rows": source.rows,
            "rows_about": sum(file.rows or file.rows_about or 0 for file in source.files) or None,
            "licence": source.licence.spdx,
            "noncommercial": source.licence.noncommercial,
            "unclear": source.licence.unclear,
            "language": source.language,
            "contains": source.contains,
            "here": "made" if source.generated else _presence(source, args.data_dir),
            "verified": source.verified,
            "yours": Path(source.yaml).parent != SHIPPED,
            "title": source.title,
        }
        for source in load_registry().values()
    ]
    if args.json:
        return print_json(rows)
    table = table_of("source", "rows", "here", "licence", "title")
    for row in rows:
        count = f"{row['rows']:,}" if row["rows"] else f"~{row['rows_about']:,}" if row["rows_about"] else "-"
        count = "any" if row["here"] == "made" else count
        marks = " (non-commercial)" * row["noncommercial"] + " (unverified)" * (not row["verified"])
        marks += " (yours)" * row["yours"]
        licence = row["licence"] + "?" * (row["unclear"] and not row["licence"].endswith("unclear"))
        table.add_row(row["id"], count, row["here"], licence, row["title"] + marks)
    print_table(table)
    print("?: rights of the texts unclear, whatever the name says; 'distill datasets show ID' tells")
    return 0


def _presence(source: Any, data_dir: str | None) -> str:
    from data_gen.registry import locate

    found = 0
    for file in source.files:
        try:
            found += locate(source, file, data_dir).is_file()
        except DataError:
            continue
    return "yes" if found == len(source.files) else f"{found} of {len(source.files)}" if found else "no"


def show(argv: list[str]) -> int:
    """Tell all about a source: files, addresses, form, licence."""
    from dataclasses import asdict

    from data_gen.registry import how_to_get, inside, load_registry, locate, no_source

    parser = arguments("show", show.__doc__, "--data-dir", "--json")
    parser.add_argument("id", metavar="ID")
    args = parser.parse(argv)
    known = load_registry()
    if args.id not in known:
        raise DataError(no_source(args.id, known))
    source = known[args.id]
    if args.json:
        return print_json(asdict(source))
    print(f"{source.id}: {source.title}\n{source.about}".rstrip())
    licence = source.licence
    others, tests = inside(source, known)
    rows = {
        "rows": f"{source.rows:,}" if source.rows else "",
        "licence": licence.spdx + (f" ({licence.note})" if licence.note else ""),
        "that is": ", ".join(licence.limits),
        "home": source.home,
        "hub": f"{source.hub} at {source.revision or 'main'}" if source.hub else "",
        "fields": ", ".join(source.fields),
        "converter": source.converter,
        "columns": ", ".join(f"{to}={name}" for to, name in source.columns.items()),
        "language": source.language,
        "contains": ", ".join(others),
        "scored on": ", ".join(tests) + " (keep out of training, or decontaminate)" * bool(tests),
        "verified": ("yes" if source.verified else "no")
        + (f", but not: {source.unverified}" * bool(source.unverified)),
        "described": source.yaml,
    }
    print("\n".join(f"  {name:<10} {value}" for name, value in rows.items() if value))
    for file in source.files:
        count = f"{file.rows:,} rows" if file.rows else f"about {file.rows_about:,} rows" if file.rows_about else ""
        packed = f" in {file.archive}" if file.archive else ""
        print(f"  {'file':<10} {file.name}{packed}  {count}")
        try:
            path = locate(source, file, args.data_dir)
            print(f"{'':13}{'here' if path.is_file() else 'missing'}: {path}")
        except DataError:
            print(f"{'':13}not here; to get it: {how_to_get(source, file)}")
    if source.files and not source.files[0].path:
        print(f"  {'place':<10} {Path(args.data_dir or 'data') / source.id}/")
    if source.citation:
        print(f"  {'cite':<10} {source.citation}")
    return 0


def add(argv: list[str]) -> int:
    """Add files of yours to the registry: writes ./sources/ID.yaml."""
    import re

    import yaml

    from data_gen.converters import CONVERTERS
    from data_gen.outputs import naming, part_of
    from data_gen.registry import tell_replaced
    from data_gen.source_yaml import load_source

    parser = arguments("add", add.__doc__, "--columns", "--force")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="files of one form, or folders of such")
    parser.add_argument("--id", required=True, help="its name from now on: letters, digits, - and _")
    parser.add_argument("--title", default="")
    parser.add_argument("--licence", default="LicenseRef-unclear", metavar="SPDX")
    parser.add_argument("--language", default="zh")
    parser.add_argument(
        "--converter", default="", metavar="NAME", help="how rows are read, such as sharegpt or guanaco"
    )
    parser.add_argument("--at", default="", metavar="KEY", help="where the rows are, in a JSON file that is one object")
    args = parser.parse(argv)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", args.id):
        raise DataError(f"--id {args.id!r}: an id is made of ASCII letters, digits, - and _")
    out = Path("sources") / f"{args.id}.yaml"
    if out.exists() and not args.force:
        raise DataError(f"{out} exists already; choose another --id or add --force to replace it")
    columns = parse_columns(args.columns)
    if columns and args.converter:
        raise DataError("--columns say how rows are read, and so does --converter: give one of them")
    if args.converter and args.converter not in CONVERTERS:
        raise DataError(f"--converter {args.converter!r} is none{nearest(args.converter, CONVERTERS)}")
    values: dict[str, Any] = {
        "id": args.id,
        "title": args.title or args.id,
        "converter": "columns" if columns else args.converter or "auto",
        **({"columns": columns} if columns else {}),
        "files": [_file_entry(file, args.at) for path in args.paths for file in _files(path)],
        "language": args.language,
        "licence": {"spdx": args.licence},
        "verified": False,
    }
    made = not out.parent.is_dir()
    out.parent.mkdir(exist_ok=True)
    part = part_of(out)
    try:
        with naming(out):
            part.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
            forms, said = _first_records(load_source(part))
            if values["converter"] == "auto" and len(forms) == 1:  # what was recognised stays so
                values["converter"] = forms.pop()
                part.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")
            os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
        if made and not any(out.parent.iterdir()):
            out.parent.rmdir()
    print(f"wrote {out}; {said}")
    tell_replaced([load_source(out)])
    return 0


def _files(path: str) -> list[Path]:
    from data_gen.inputs import open_input

    one = Path(path).expanduser().absolute()
    return [Path(file.path) for file in open_input(f"{one}/").files] if one.is_dir() else [one]


def _file_entry(path: Path, at: str) -> dict[str, str]:
    inside = path.is_relative_to(Path.cwd())
    entry = {"name": path.name, "path": str(path.relative_to(Path.cwd()) if inside else path)}
    return entry | ({"at": at} if at else {})


def _first_records(source: Any) -> tuple[set[str], str]:
    """How each file is read and its first record, so that a wrong mapping is seen before the YAML is there."""
    from dataclasses import replace

    from data_gen.registry import raw_rows, records_of
    from data_gen.rows import Tally

    forms, firsts = set(), []
    for file in source.files:
        rows = raw_rows(replace(source, files=[file]), None, Tally())
        row, record = next(records_of(source, rows, Tally()))
        forms.add(form := "columns" if source.columns else row.convert.__name__)
        firsts.append(f"{file.name} ({form}) begins {record.instruction[:40]!r} -> {record.output[:40]!r}")
    more = f"; and {len(firsts) - SHOWN} files more" if len(firsts) > SHOWN else ""
    return forms, "; ".join(firsts[:SHOWN]) + more


def card(argv: list[str]) -> int:
    """Write the dataset card of a source, a mix or the manifest of a built mix."""
    from data_gen.cards import card as make
    from data_gen.outputs import write_text

    parser = arguments("card", card.__doc__, "--force")
    parser.add_argument("id", metavar="ID_OR_MIX", help="a source, a mix's name or YAML, or <out>.manifest.json")
    parser.add_argument("-o", "--out", metavar="MD", help="the file to write; standard output when not given")
    args = parser.parse(argv)
    text = make(args.id)
    if not args.out:
        print(text, end="")
        return 0
    out = Path(args.out)
    if out.exists() and not args.force:
        raise DataError(f"{out} exists already; choose another name or add --force to replace it")
    write_text(out, text)
    print(f"wrote {out}")
    return 0


ACTIONS: dict[str, Callable[[list[str]], int]] = {
    "ls": ls,
    "show": show,
    "fetch": fetch,
    "check": check,
    "add": add,
    "stats": stats,
    "card": card,
}
