"""The parts of a mix as files of their own, under the names that its recipe gives them.

A name that ends in .json gets an array of `instruction, input, output`, the form Mini-Luotuo's own files have; one that
ends in .jsonl gets the records as they stand in the mix. `<output>.parts.manifest.json` beside them says under which
licence each of them stands, so that it is known before somebody trains on one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from data_gen.mix_recipe import Mix
from data_gen.outputs import Together, check_output
from data_gen.records import DataError

FORMAT = "parts 1"


def part_paths(mix: Mix, folder: Path) -> dict[str, Path]:
    """The file of each part; DataError when two would be one."""
    names = {name: folder / (part.file or f"{Path(name).stem}.jsonl") for name, part in mix.sources.items()}
    owners: dict[Path, str] = {}
    for name, path in names.items():
        if (first := owners.setdefault(path, name)) != name:
            raise DataError(f"--parts: {first} and {name} would both be {path}; give one a 'file: ..' in the recipe")
    return names


def write_parts(mix: Mix, manifest: dict[str, Any], out: Path, folder: Path, force: bool) -> list[Path]:
    """Write each part of a mix that was built into `folder`; the paths."""
    names = part_paths(mix, folder)
    for path in names.values():
        check_output(path, force)
    with out.open("rb") as file, Together() as files:
        for part in manifest["sources"]:
            side = part["sides"][0]
            file.seek(side["start"])
            path = names[part["id"]]
            write = files.open(path)
            if path.suffix == ".json":
                _array(write, file, side["bytes"])
            else:
                for size in _pieces(side["bytes"]):
                    write(file.read(size))
        write = files.open(folder / f"{out.stem}.parts.manifest.json")
        write(orjson.dumps(_said(manifest, names), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return list(names.values())


def _said(manifest: dict[str, Any], names: dict[str, Path]) -> dict[str, Any]:
    sources = [
        {"id": part["id"], "title": part["title"], "part": names[part["id"]].name, "licence": part["licence"]}
        | {"taken": part["taken"] - part["heldout"]}
        for part in manifest["sources"]
    ]
    return {"format": FORMAT, "name": manifest["name"], "mix": manifest["output"], "sources": sources}


def _array(write: Any, file: Any, left: int) -> None:
    mark = b"[\n"
    while left > 0 and (line := file.readline()):
        left -= len(line)
        row = orjson.loads(line)
        write(mark + orjson.dumps({name: row[name] for name in ("instruction", "input", "output")}))
        mark = b",\n"
    write(b"\n]\n" if mark == b",\n" else b"[]\n")


def _pieces(size: int) -> list[int]:
    whole, rest = divmod(size, 1 << 20)
    return [1 << 20] * whole + [rest] * (rest > 0)
