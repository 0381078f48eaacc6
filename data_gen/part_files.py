"""The parts of a mix as files of their own, under the names that its recipe gives them.

A name that ends in .json gets an array of `instruction, input, output`, the form Mini-Luotuo's own files have; one that
ends in .jsonl gets the records as they stand in the mix. `<output>.parts.manifest.json` beside them says under which
licence each of them stands, so that it is known before somebody trains on one, and what was written: parts that are
still so are left alone while the mix is the same, and replaced when it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from data_gen.mix_manifest import output_of, same_file
from data_gen.mix_recipe import Mix
from data_gen.outputs import Together, check_output, refuse_inputs
from data_gen.records import DataError

FORMAT = "parts 2"


def part_paths(mix: Mix, folder: Path) -> dict[str, Path]:
    """The file of each part; DataError when two would be one."""
    names = {name: folder / (part.file or f"{Path(name).stem}.jsonl") for name, part in mix.sources.items()}
    owners: dict[Path, str] = {}
    for name, path in names.items():
        if (first := owners.setdefault(path, name)) != name:
            raise DataError(f"--parts: {first} and {name} would both be {path}; give one a 'file: ..' in the recipe")
    return names


def check_parts(mix: Mix, out: Path, folder: Path, force: bool, outputs: Iterable[Path], read: Iterable[Path]) -> None:
    """DataError when a part would replace anything but what this mix wrote there; before any of it is built."""
    said = _manifest_path(out, folder)
    old, read = _old(mix, said), list(read)
    known = {one["part"] for one in (old or {}).get("sources", []) if _as_written(folder, one)}
    taken = {path.absolute(): path for path in outputs}
    if said.exists() and old is None:
        check_output(said, force)
    for name, path in part_paths(mix, folder).items():
        if path.absolute() in taken:
            raise DataError(f"--parts: {name} would be {path}, as the mix itself; give it a 'file: ..' in the recipe")
        refuse_inputs(path, read)
        check_output(path, force or path.name in known)


def write_parts(mix: Mix, manifest: dict[str, Any], out: Path, folder: Path) -> None:
    """Write each part of a mix that was built into `folder`; nothing where all are there as they should be."""
    names, path = part_paths(mix, folder), _manifest_path(out, folder)
    said, old = _said(manifest, names), _old(mix, path)
    if old and _without_outputs(old) == said and all(_as_written(folder, one) for one in old["sources"]):
        return
    with out.open("rb") as file, Together() as files:
        for part, one in zip(manifest["sources"], said["sources"], strict=True):
            side = part["sides"][0]
            file.seek(side["start"])
            place = names[part["id"]]
            write = files.open(place)
            if place.suffix == ".json":
                _array(write, file, side["bytes"])
            else:
                for size in _pieces(side["bytes"]):
                    write(file.read(size))
            one["output"] = output_of(place, files.part(place))
        files.open(path)(orjson.dumps(said, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _manifest_path(out: Path, folder: Path) -> Path:
    return folder / f"{out.stem}.parts.manifest.json"


def _old(mix: Mix, path: Path) -> dict[str, Any] | None:
    """What an earlier run with this mix says that it wrote."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    ours = isinstance(found, dict) and found.get("format") == FORMAT and found.get("name") == mix.name
    return found if ours else None


def _as_written(folder: Path, one: dict[str, Any]) -> bool:
    return same_file(folder / one["part"], one["output"])


def _without_outputs(said: dict[str, Any]) -> dict[str, Any]:
    sources = [{key: value for key, value in one.items() if key != "output"} for one in said["sources"]]
    return said | {"sources": sources}


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
