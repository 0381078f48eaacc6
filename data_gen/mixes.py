"""Mixes: records of several sources in one file, with a manifest that says where every row comes from.

`build_mix` writes the records and, beside them, `<out>.manifest.json`: what was taken from which file (with its sha256)
and what was left out and why, under which licences the parts stand. The same command again finds nothing to do while
recipe and inputs are the same. When one of them changed, only the parts that depend on it are made anew: a part depends
on its own files and recipe and, where duplicates are left out, on what the parts before it hold. The others are copied
from the last build.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from data_gen.contamination import Contamination
from data_gen.errors import no_file
from data_gen.heldout import OneQuestion, is_heldout
from data_gen.line_index import NoIndex
from data_gen.mix_manifest import (
    Built,
    Inputs,
    heldout_path,
    inputs_of,
    is_output,
    manifest_of,
    manifest_path,
    part_key,
    read_manifest,
    recipe_key,
    report_of,
    report_path,
    same_inputs,
    tell_left,
)  # fmt: skip
from data_gen.mix_parts import Memory, Part, asked_of, take
from data_gen.mix_recipe import Mix, load_mix, sources_of
from data_gen.outputs import Together, check_output, refuse_inputs
from data_gen.part_files import check_parts, part_paths, write_parts
from data_gen.pools import Engine, Pool, local
from data_gen.progress import Progress
from data_gen.provenance import file_digest
from data_gen.records import DataError
from data_gen.registry import GENERATED_ROWS, locate, tell_replaced
from data_gen.rows import Tally
from data_gen.shards import TELL_EVERY
from data_gen.source_yaml import Source, SourceFile

__all__ = ["build_mix", "heldout_path", "manifest_path", "report_path"]


def build_mix(
    path_or_name: str | Path,
    out: str | Path,
    *,
    data_dir: str | Path | None = None,
    seed: int | None = None,
    allow_fewer: bool = False,
    force: bool = False,
    on_error: str = "stop",
    parts: str | Path | None = None,
    engine: Engine = local,
) -> dict[str, Any]:
    """Build a mix into `out` and return its manifest; `manifest["built"]` is False when nothing had changed.

    `parts` names a folder that gets each source's rows in a file of their own, too.
    """
    mix, out = load_mix(path_or_name), Path(out)
    mix.seed = mix.seed if seed is None else seed
    sources = sources_of(mix)
    tell_replaced(sources.values())
    if parts is not None:
        part_paths(mix, Path(parts))
    files = _locate_all(sources, data_dir)
    evaluation = [_file(path) for path in mix.decontaminate]
    read = [*(at for each in files.values() for _, at in each), *evaluation]
    key = recipe_key(mix, sources, on_error)
    old = read_manifest(out)
    ours = old is not None and old["name"] == mix.name and out.is_file() and is_output(out, old)
    if parts is not None:
        check_parts(mix, out, Path(parts), force, _outputs(mix, out), read)
    whole = ours and (not mix.decontaminate or _report_is_there(out, old))
    if old and whole and not force and old["key"] == key and same_inputs(old, files, evaluation):
        if parts is not None:
            write_parts(mix, old, out, Path(parts))
        return old | {"built": False}
    _check_outputs(mix, out, old, ours, force, read)
    inputs = inputs_of(files, evaluation, old if ours else None)
    build = _Build(mix, sources, inputs, out, data_dir, allow_fewer, on_error, engine)
    build.old = old if whole and not force else None
    try:
        manifest = build.run(key)
    except NoIndex:  # something is odd in a file: row by row it is told what, and where
        build.index = False
        manifest = build.run(key)
    tell_left(out, old, manifest)
    if parts is not None:
        write_parts(mix, manifest, out, Path(parts))
    return manifest | {"built": True}


def _outputs(mix: Mix, out: Path) -> list[Path]:
    """Every file that a build writes."""
    more = [heldout_path(out)] * bool(mix.heldout) + [report_path(out)] * bool(mix.decontaminate)
    return [out, *more, manifest_path(out)]


def _check_outputs(
    mix: Mix, out: Path, old: dict[str, Any] | None, ours: bool, force: bool, read: Sequence[Path]
) -> None:
    """DataError when one of them would replace what no earlier build of this mix has written."""
    rows = {old[name]["file"] for name in ("output", "heldout") if old.get(name)} if old and ours else set()
    for path in _outputs(mix, out):
        mine = path.name in rows
        if path == manifest_path(out):
            mine = old is not None
        elif path == report_path(out):
            mine = _report_is_there(out, old)
        check_output(path, force or mine)
        refuse_inputs(path, read)


def _report_is_there(out: Path, old: dict[str, Any] | None) -> bool:
    """Whether the report on decontamination is the one that a manifest tells of."""
    name, digest = report_of(old)
    path = report_path(out)
    return path.name == name and path.is_file() and file_digest(path) == digest


def _file(path: str) -> Path:
    if not Path(path).is_file():
        raise DataError(f"decontaminate: {no_file(Path(path))}")
    return Path(path)


def _locate_all(sources: dict[str, Source], data_dir: str | Path | None) -> dict[str, list[tuple[SourceFile, Path]]]:
    """Every input file; DataError tells of the first missing one in full and names the others."""
    found: dict[str, list[tuple[SourceFile, Path]]] = {name: [] for name in sources}
    missing: list[tuple[str, DataError]] = []
    for name, source in sources.items():
        for file in source.files:
            try:
                found[name].append((file, locate(source, file, data_dir)))
            except DataError as error:
                missing.append((f"{name}/{file.name}", error))
    if missing:
        others = ", ".join(name for name, _ in missing[1:])
        rest = f"; also missing: {others} ('distill datasets show ID' tells where they are)" if others else ""
        raise DataError(f"{missing[0][1]}{rest}")
    return found


@dataclass
class _Build:
    """One run over all sources."""

    mix: Mix
    sources: dict[str, Source]
    inputs: Inputs
    out: Path
    data_dir: str | Path | None
    allow_fewer: bool
    on_error: str
    engine: Engine
    old: dict[str, Any] | None = None
    """The manifest of the last build, whose parts may be used again"""
    index: bool = True

    def run(self, key: str) -> dict[str, Any]:
        """Write the records and, with them, the manifest, which is returned."""
        with Together() as files:
            built = self._records(files)
            self.inputs.check_unchanged()
            manifest = manifest_of(self.mix, key, self.sources, self.inputs, built, self.out, files.part)
            write = files.open(manifest_path(self.out))
            write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return manifest

    def _records(self, files: Together) -> list[Built]:
        """Write the records, source after source; what became of each."""
        mix = self.mix
        built: list[Built] = []
        evaluation = Contamination(mix.decontaminate) if mix.decontaminate else None
        digests = tuple(file["sha256"] for file in self.inputs.evaluation)
        self.memory, self.unseen = Memory(mix, evaluation, digests), []  # type: ignore[var-annotated]
        self.tally = Tally(self.on_error)
        wanted = mix.wanted()
        with Progress(f"mix {mix.name}", unit="rows read") as self.bar:
            outs = [_Side(files, self.out)]
            if mix.heldout:
                outs.append(_Side(files, heldout_path(self.out)))
            for name in self.sources:
                self.bar.advance(0, note=name)
                before = [one.sides[0]["sha256"] + one.sides[-1]["sha256"] for one in built]
                key = part_key(mix, name, self.sources[name], self.inputs, before, self.on_error, self.allow_fewer)
                reused = self._reuse(name, key, outs)
                built.append(reused or self._make(name, key, outs, wanted[name]))
        if mix.decontaminate:
            write = files.open(report_path(self.out))
            for one in built:
                for row in one.part.removed:
                    write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        if self.tally.total:
            print(self.tally.report(), file=sys.stderr)
        return built

    def _make(self, name: str, key: str, outs: list[_Side], wanted: int | None) -> Built:
        if self.mix.dedup != "none":
            for lines in self.unseen:
                self.memory.remember(lines)
        self.unseen = []
        source = self.sources[name]
        if source.generated and wanted is None:
            wanted = GENERATED_ROWS
        pool = Pool(
            source,
            self.data_dir,
            on_error=self.on_error,
            engine=self.engine,
            index=self.index and wanted is not None,
            seed=self.mix.seed,
            limit=GENERATED_ROWS + 200 * (wanted or 0),
            advance=self.bar.advance,
        )
        part, lines = take(self.mix, name, pool, self.memory, wanted, self.allow_fewer)
        for side in outs:
            side.start()
        questions = OneQuestion()
        for line in lines:
            if part.taken % TELL_EVERY == 0:
                self.bar.advance(0, f"{name}: {part.taken:,}{f' of {wanted:,}' if wanted else ''} written")
            held = False
            if len(outs) > 1:
                questions.note(asked := asked_of(line))
                held = is_heldout(asked, self.mix.seed, self.mix.heldout)
            part.heldout += held
            outs[held].write(line)
        questions.told(name)
        self.tally.add(pool.looked.tally)
        return Built(key, part, [side.end() for side in outs])

    def _reuse(self, name: str, key: str, outs: list[_Side]) -> Built | None:
        """The part as the last build wrote it, when nothing that it depends on has changed."""
        was = next((part for part in (self.old or {}).get("sources", []) if part["id"] == name), None)
        if was is None or was.get("key") != key or len(was["sides"]) != len(outs):
            return None
        sides = []
        for side, old in zip(outs, was["sides"], strict=True):
            side.start()
            for line in _old_lines(side.path, old):
                side.write(line)
            sides.append(side.end())
            if sides[-1]["sha256"] != old["sha256"]:
                raise DataError(f"{side.path} is not what its manifest says; build again with --force")
            self.unseen.append(_old_lines(side.path, old))
        part = Part(name, self.sources[name], was["rows_in"], was["taken"], was["heldout"])
        part.dropped.update(was["dropped"])
        if self.mix.decontaminate:
            rows = map(orjson.loads, report_path(self.out).read_bytes().splitlines())
            part.removed = [row for row in rows if row["part"] == name]
        return Built(key, part, sides, reused=True)


def _old_lines(path: Path, side: dict[str, Any]) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(side["start"])
        left = side["bytes"]
        while left > 0 and (line := file.readline()):
            left -= len(line)
            yield line.rstrip(b"\n")


class _Side:
    """One output file that is being written, part after part."""

    def __init__(self, files: Together, path: Path) -> None:
        self.path = path
        self._write = files.open(path)
        self._at = self._from = 0
        self._digest: Any = None

    def start(self) -> None:
        """A part begins here."""
        self._from, self._digest = self._at, hashlib.sha256()

    def write(self, line: bytes) -> None:
        """Write a line."""
        line += b"\n"
        self._write(line)
        self._digest.update(line)
        self._at += len(line)

    def end(self) -> dict[str, Any]:
        """Where the part lies, and what it is."""
        return {"start": self._from, "bytes": self._at - self._from, "sha256": self._digest.hexdigest()}
