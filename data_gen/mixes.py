"""Mixes: records of several sources in one file, with a manifest that says where every row comes from.

`build_mix` writes the records and, beside them, `<out>.manifest.json`: what was taken from which file (with its sha256)
and what was left out and why, under which licences the parts stand. The same command again finds nothing to do while
recipe and inputs are the same, and builds anew when one of them changed.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from data_gen.mix_recipe import Mix, load_mix, sources_of
from data_gen.progress import Progress
from data_gen.provenance import check_digest, effective_licence, file_digest, stamp, versions
from data_gen.records import DataError, Record, content_id
from data_gen.registry import GENERATED_ROWS, RawRow, locate, raw_rows, records_of
from data_gen.rows import Tally, line_writer
from data_gen.sampling import Taken, check_output, dump, taken_rows
from data_gen.source_yaml import Source, SourceFile
from data_gen.where import parse_all

MANIFEST_FORMAT = 1


def build_mix(
    path_or_name: str | Path,
    out: str | Path,
    *,
    data_dir: str | Path | None = None,
    seed: int | None = None,
    allow_fewer: bool = False,
    force: bool = False,
    on_error: str = "stop",
) -> dict[str, Any]:
    """Build a mix into `out` and return its manifest; `manifest["built"]` is False when nothing had changed."""
    mix, out = load_mix(path_or_name), Path(out)
    mix.seed = mix.seed if seed is None else seed
    sources = sources_of(mix)
    files = _locate_all(sources, data_dir)
    key = _key(mix, sources, on_error)
    old = _read_manifest(out)
    ours = old is not None and _is_output(out, old["output"]) and old["name"] == mix.name
    if old and ours and not force and old["key"] == key and _same_inputs(old, files):
        return old | {"built": False}
    check_output(out, force or ours)
    inputs = {name: [_input(file, path) for file, path in pairs] for name, pairs in files.items()}
    parts = _write(mix, sources, out, data_dir, allow_fewer, Tally(on_error))
    manifest = _manifest(mix, key, parts, inputs, out)
    with line_writer(manifest_path(out)) as write:
        write(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return manifest | {"built": True}


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


def _write(
    mix: Mix, sources: dict[str, Source], out: Path, data_dir: str | Path | None, allow_fewer: bool, tally: Tally
) -> list[tuple[Taken, int]]:
    """Write the records, source after source; what became of each source's rows, with its unreadable ones."""
    parts: list[tuple[Taken, int]] = []
    seen: set[str] = set()
    wanted = mix.wanted()
    with line_writer(out) as write, Progress(f"mix {mix.name}", unit="rows read") as bar:
        for name, source in sources.items():
            taken = Taken(source, wanted[name], parse_all(mix.sources[name].where))
            before, rows = tally.total, raw_rows(source, data_dir, tally, mix.seed)
            bar.advance(0, note=name)
            # Whose text was taken counts as seen only when the source is through: `seen` is what others took.
            mine = []
            made = _Maker(mix, taken, seen, tally)
            for digest, line in taken_rows(taken, rows, made, _packed, mix.seed, bar, allow_fewer):
                write(line)
                mine.append(digest)
            seen.update(mine if mix.dedup == "exact" else ())
            parts.append((taken, tally.total - before))
    if tally.total:
        print(tally.report(), file=sys.stderr)
    return parts


@dataclass(slots=True)
class _Maker:
    """Turns rows into (digest of the content, record), leaving out empty records and duplicates before the draw."""

    mix: Mix
    taken: Taken
    seen: set[str]
    tally: Tally

    def __call__(self, rows: Iterator[RawRow]) -> Iterator[tuple[RawRow, tuple[str, Record]]]:
        own: set[str] = set()
        for row, record in records_of(self.taken.source, rows, self.tally):
            if self.mix.drop_empty and is_empty(record):
                self.taken.drop("empty")
                continue
            digest = ""
            if self.mix.dedup == "exact":
                digest = content_id(record)
                if digest in own or digest in self.seen:
                    self.taken.drop("duplicate")
                    continue
                own.add(digest)
            yield row, (digest, record)


def _packed(pair: tuple[str, Record]) -> tuple[str, bytes]:
    return pair[0], dump(pair[1])


def is_empty(record: Record) -> bool:
    """Whether there is nothing to ask or nothing to answer."""
    return not record.output.strip() or not (record.instruction.strip() or record.input.strip())


def manifest_path(out: Path) -> Path:
    """Where a mix's manifest lies: `out.jsonl` -> `out.manifest.json`."""
    return out.with_name(out.stem + ".manifest.json")


def _manifest(
    mix: Mix, key: str, parts: Sequence[tuple[Taken, int]], inputs: dict[str, list[dict[str, Any]]], out: Path
) -> dict[str, Any]:
    sources = []
    for name, (taken, unreadable) in zip(mix.sources, parts, strict=True):
        dropped = taken.dropped | ({"unreadable": unreadable} if unreadable else {})
        sources.append(
            {
                "id": name,
                "title": taken.source.title,
                "licence": asdict(taken.source.licence),
                "verified": taken.source.verified,
                "rows_in": taken.rows_in,
                "taken": taken.taken,
                "dropped": dropped,
                "files": inputs[name],
            }
        )
    return {
        "format": MANIFEST_FORMAT,
        "name": mix.name,
        "about": mix.about,
        "key": key,
        "seed": mix.seed,
        "recipe": asdict(mix),
        "rows": sum(taken.taken for taken, _ in parts),
        "sources": sources,
        "licence": effective_licence({name: taken.source for name, (taken, _) in zip(mix.sources, parts, strict=True)}),
        "output": stamp(out) | {"sha256": file_digest(out)},
        "versions": versions(),
    }


def _key(mix: Mix, sources: dict[str, Source], on_error: str) -> str:
    """Everything but the inputs' content that decides the output."""
    said = {
        "format": MANIFEST_FORMAT,
        "mix": asdict(mix),
        "sources": {name: asdict(source) | {"yaml": ""} for name, source in sources.items()},
        "on_error": on_error,
        "generated": GENERATED_ROWS,
        "versions": versions(),
    }
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _input(file: SourceFile, path: Path) -> dict[str, Any]:
    """What the manifest says of an input file, its digest checked against the registry's."""
    return stamp(path) | {"path": str(path.absolute()), "sha256": check_digest(file, path)}


def _read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest beside `out`; None when there is none, or none of this kind."""
    path = manifest_path(out)
    if not path.is_file() or not out.is_file():
        return None
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and found.get("format") == MANIFEST_FORMAT else None


def _is_output(out: Path, was: dict[str, Any]) -> bool:
    """Whether `out` is still what the manifest describes."""
    now = stamp(out)
    return now["bytes"] == was["bytes"] and (now["mtime_ns"] == was["mtime_ns"] or file_digest(out) == was["sha256"])


def _same_inputs(old: dict[str, Any], files: dict[str, list[tuple[SourceFile, Path]]]) -> bool:
    """Whether the inputs are those of the manifest: by size and time, or else by content."""
    known = {source["id"]: source["files"] for source in old["sources"]}
    for name, pairs in files.items():
        if len(known.get(name, [])) != len(pairs):
            return False
        for (_, path), was in zip(pairs, known[name], strict=True):
            now = stamp(path)
            same_time = now["bytes"] == was["bytes"] and now["mtime_ns"] == was["mtime_ns"]
            if not (same_time and was["path"] == str(path.absolute())) and file_digest(path) != was["sha256"]:
                return False
    return True
