"""The manifest of a mix: what it says, and whether it still holds.

Keys are digests of everything that decides an output but the inputs' content: one of the whole recipe and one of each
part. Inputs are compared by size and time first and by content where these differ.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from data_gen import provenance
from data_gen.mix_parts import Part, cleaner_of
from data_gen.mix_recipe import Mix
from data_gen.mix_rules import libraries, rules_of
from data_gen.provenance import changed, check_digest, effective_licence, file_digest, overlaps, stamp
from data_gen.records import DataError
from data_gen.registry import GENERATED_ROWS
from data_gen.source_yaml import Source, SourceFile

FORMAT = 2
Files = dict[str, list[tuple[SourceFile, Path]]]


@dataclass
class Inputs:
    """What the manifest says of the input files."""

    sources: dict[str, list[dict[str, Any]]]
    evaluation: list[dict[str, Any]]

    def check_unchanged(self) -> None:
        """DataError when one of them is no longer the file whose sha256 was taken."""
        for was in [*(file for files in self.sources.values() for file in files), *self.evaluation]:
            path = Path(was["path"])
            if not path.is_file() or not stamp(path).items() <= was.items():
                raise DataError(changed(path))


@dataclass
class Built:
    """One part as it was written, or taken over from the last build."""

    key: str
    part: Part
    sides: list[dict[str, Any]] = field(default_factory=list)
    """Where its rows lie in the output and, with `heldout`, in the held-out file"""
    reused: bool = False


def manifest_path(out: Path) -> Path:
    """Where a mix's manifest lies: `out.jsonl` -> `out.manifest.json`."""
    return out.with_name(out.stem + ".manifest.json")


def heldout_path(out: Path) -> Path:
    """Where held-out rows go: `out.jsonl` -> `out.heldout.jsonl`."""
    return out.with_name(out.stem + ".heldout" + out.suffix)


def report_path(out: Path) -> Path:
    """Where decontamination reports to: `out.jsonl` -> `out.decontamination.jsonl`."""
    return out.with_name(out.stem + ".decontamination.jsonl")


def output_of(path: Path, at: Path) -> dict[str, Any]:
    """What a manifest says of an output; `at` is where it lies until it takes its name."""
    return stamp(at) | {"file": path.name, "sha256": file_digest(at)}


def manifest_of(
    mix: Mix, key: str, sources: dict[str, Source], inputs: Inputs, built: Sequence[Built], out: Path,
    at: Callable[[Path], Path],
) -> dict[str, Any]:  # fmt: skip
    """What a build was made of, and from which rules. `at` says where an output lies until it takes its name."""
    parts = [_part(one, inputs.sources[one.part.name]) for one in built]
    found = {
        "format": FORMAT,
        "name": mix.name,
        "about": mix.about,
        "key": key,
        "seed": mix.seed,
        "recipe": asdict(mix),
        "rows": sum(one.part.taken - one.part.heldout for one in built),
        "sources": parts,
        "licence": effective_licence(sources),
        "overlaps": overlaps(sources),
        "output": output_of(out, at(out)),
        "versions": provenance.versions() | libraries(mix),
    }
    if mix.heldout:
        rows = sum(one.part.heldout for one in built)
        heldout = heldout_path(out)
        found["heldout"] = output_of(heldout, at(heldout)) | {"rows": rows}
    if mix.decontaminate:
        by = Counter(row["evaluation"] for one in built for row in one.part.removed)
        found["decontamination"] = {
            "files": inputs.evaluation,
            "removed": sum(by.values()),
            "by_file": dict(by),
            "report": report_path(out).name,
            "report_sha256": file_digest(at(report_path(out))),
        }
    return found


def _part(one: Built, files: list[dict[str, Any]]) -> dict[str, Any]:
    part = one.part
    return {
        "id": part.name,
        "title": part.source.title,
        "language": part.source.language,
        "licence": asdict(part.source.licence),
        "verified": part.source.verified,
        "rows_in": part.rows_in,
        "taken": part.taken,
        "heldout": part.heldout,
        "dropped": dict(part.dropped),
        "reused": one.reused,
        "key": one.key,
        "sides": one.sides,
        "files": files,
    }


def recipe_key(mix: Mix, sources: dict[str, Source], on_error: str) -> str:
    """Of everything but the inputs' content that decides the output."""
    return _digest(
        {
            "format": FORMAT,
            "mix": asdict(mix),
            "sources": {name: asdict(source) | {"yaml": ""} for name, source in sources.items()},
            "on_error": on_error,
            "generated": GENERATED_ROWS,
            "rules": sorted(set(map(rules_of, sources.values()))),
            "versions": libraries(mix),
        }
    )


def part_key(
    mix: Mix, name: str, source: Source, inputs: Inputs, before: Sequence[str], on_error: str, allow_fewer: bool
) -> str:
    """Of everything that decides one part: its rules, its files and, where duplicates count, the parts before it."""
    return _digest(
        {
            "format": FORMAT,
            "part": asdict(mix.sources[name]) | {"file": ""},
            "rows": mix.wanted()[name],
            "source": asdict(source) | {"yaml": ""},
            "seed": mix.seed,
            "cleaning": asdict(cleaner_of(mix, source)),
            "dedup": [mix.dedup, mix.near_threshold, *before] if mix.dedup != "none" else [],
            "heldout": mix.heldout,
            "evaluation": [file["sha256"] for file in inputs.evaluation],
            "files": [file["sha256"] for file in inputs.sources[name]],
            "on_error": on_error,
            "allow_fewer": allow_fewer,
            "generated": GENERATED_ROWS,
            "rules": rules_of(source),
            "versions": libraries(mix),
        }
    )


def _digest(said: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def inputs_of(files: Files, evaluation: Sequence[Path], old: dict[str, Any] | None) -> Inputs:
    """All input files with their digests, those of the registry checked; unchanged ones are not read again."""
    known = {file["path"]: file for part in (old or {}).get("sources", []) for file in part["files"]}
    known |= {file["path"]: file for file in (old or {}).get("decontamination", {}).get("files", [])}

    def describe(path: Path, file: SourceFile | None) -> dict[str, Any]:
        said = stamp(path) | {"path": str(path.absolute())}
        expected = [file.sha256, file.git_blob] if file else []
        was = known.get(said["path"], {})
        if said.items() <= was.items() and was.get("expected", []) == expected:
            return was
        digest = check_digest(file, path) if file else file_digest(path)
        return said | {"sha256": digest, "expected": expected}

    sources = {name: [describe(path, file) for file, path in pairs] for name, pairs in files.items()}
    return Inputs(sources, [describe(path, None) for path in evaluation])


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of `out`, which may be gone; None when there is none, or none of this kind."""
    try:
        found = orjson.loads(manifest_path(out).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def report_of(manifest: dict[str, Any] | None) -> tuple[str, str]:
    """The name of the report on decontamination that a manifest tells of, and its sha256."""
    told = (manifest or {}).get("decontamination", {})
    return told.get("report", ""), told.get("report_sha256", "")


def tell_left(out: Path, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """Say on stderr which files of the build before are not of this one: what was held out may be trained on now."""
    files = [(heldout_path(out), "heldout"), (report_path(out), "decontamination")]
    for path in [path for path, key in files if old and old.get(key) and not new.get(key) and path.is_file()]:
        print(f"note: {path} is of the build before; this one has none", file=sys.stderr)


def is_output(out: Path, manifest: dict[str, Any]) -> bool:
    """Whether the files that a manifest describes are still what it says."""
    files = [manifest[name] for name in ("output", "heldout") if manifest.get(name)]
    return all(same_file(out.with_name(was["file"]) if n else out, was) for n, was in enumerate(files))


def same_inputs(old: dict[str, Any], files: Files, evaluation: Sequence[Path]) -> bool:
    """Whether the inputs are those of the manifest: by size and time, or else by content."""
    known = {source["id"]: source["files"] for source in old["sources"]}
    pairs = [([path for _, path in found], known.get(name, [])) for name, found in files.items()]
    pairs.append((list(evaluation), old.get("decontamination", {}).get("files", [])))
    return all(
        len(paths) == len(was) and all(same_file(path, one, named=True) for path, one in zip(paths, was, strict=True))
        for paths, was in pairs
    )


def same_file(path: Path, was: dict[str, Any], named: bool = False) -> bool:
    """Whether a file is what was said of it: by size and time, or else by content."""
    if not path.is_file():
        return False
    now = stamp(path)
    if now["bytes"] != was["bytes"]:
        return False
    untouched = now["mtime_ns"] == was["mtime_ns"] and (not named or was["path"] == str(path.absolute()))
    return untouched or file_digest(path) == was["sha256"]
