"""What a run was trained on: the manifest that its folder and the exported model carry.

A single file with a mix's manifest beside it keeps that manifest, byte for byte. Otherwise the rows themselves say
which sources they come of; licences are those of the manifests that name the files, else of the registry, else what the
rows say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from data_gen.licences import terms_of
from data_gen.provenance import file_digest, manifest_naming
from data_gen.records import DataError, Record
from data_gen.registry import load_registry

UNCLEAR = {"spdx": "LicenseRef-unclear", "note": "", "noncommercial": False}


def manifest_of(files: Sequence[str], records: Sequence[Record]) -> bytes:
    """The manifest of a run that is trained on these files, whose rows are `records`."""
    if len(files) == 1 and (beside := Path(files[0]).with_suffix(".manifest.json")).is_file():
        return beside.read_bytes()
    licences = _licences(manifest_naming(Path(file)) for file in files)
    taken = Counter(_origin(record) for record in records)
    said = {_origin(record): record.meta["licence"] for record in records if record.meta.get("licence")}
    sources = [
        {"id": name, "taken": count, "licence": licences.get(name) or _stated(said.get(name))}
        for name, count in taken.most_common()
    ]
    found = {
        "name": " + ".join(Path(file).stem for file in files),
        "rows": len(records),
        "sources": sources,
        "files": [{"file": str(file), "sha256": file_digest(Path(file))} for file in files],
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2)


def _origin(record: Record) -> str:
    """The source a row names; for rows that a teacher made up, who and how."""
    if record.source:
        return record.source
    made = [str(record.meta[key]) for key in ("strategy", "teacher") if record.meta.get(key)]
    return " by ".join(made) or "unknown"


def _licences(manifests: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """Source -> licence, as the registry and then the files' own manifests say it."""
    try:
        found: dict[str, Any] = {name: asdict(source.licence) for name, source in load_registry().items()}
    except DataError:  # a wrong file in ./sources is no reason not to train
        found = {}
    for manifest in manifests:
        sources = (manifest or {}).get("sources")
        for source in sources if isinstance(sources, list) else []:
            if isinstance(source, dict) and source.get("licence"):
                name = str(source.get("id"))  # of a path, ./a.jsonl, the rows say a.jsonl
                found |= {name: source["licence"], Path(name).name: source["licence"]}
    return found


def _stated(licence: Any) -> dict[str, Any]:
    if isinstance(licence, dict):
        return UNCLEAR | licence
    name = str(licence or "")
    return UNCLEAR | {"spdx": name, "noncommercial": terms_of(name).noncommercial} if name else UNCLEAR
