"""What a command takes its rows from: a source's id, a file, a folder or a pattern of files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from data_gen.formats import is_notice
from data_gen.provenance import licence_told, manifest_naming
from data_gen.records import DataError
from data_gen.registry import get_source, locate
from data_gen.source_yaml import Licence, Source, SourceFile

REPORTS = (".decontamination.jsonl", ".rejected.jsonl", ".novelty.jsonl", ".recipe.json", ".jsonl.journal")
"""What mixes and generated sets write beside their rows"""


def open_inputs(
    names: Sequence[str], columns: Mapping[str, str] | None = None, data_dir: str | Path | None = None
) -> list[Source]:
    """The sources of several inputs, each of an id of its own. DataError when two share a file."""
    sources = [open_input(name, columns) for name in names]
    seen: dict[object, int] = {}
    for n, source in enumerate(sources if len(sources) > 1 else []):
        for what, file in _identities(source, data_dir):
            first = seen.setdefault(what, n)
            if first != n:
                if names[first] == names[n]:
                    raise DataError(f"{names[n]} is given twice, and so would its rows be written; name it once")
                both = f"{names[first]} and {names[n]} both hold {file}"
                raise DataError(f"{both}, whose rows would be written twice; name one of them")
    tell_apart(zip(names, sources, strict=True))
    return sources


def _identities(source: Source, data_dir: str | Path | None) -> Iterator[tuple[object, str]]:
    """What each of a source's files is, under whatever name it is given, and that name."""
    if source.generated:
        yield source.id, source.id
    for file in source.files:
        path = locate(source, file, data_dir)
        info = path.stat()
        yield (info.st_dev, info.st_ino, file.archive and file.name, file.at), str(path)


def tell_apart(given: Iterable[tuple[str, Source]]) -> None:
    """Give sources that were made of paths and have one id the shortest tails of these that tell them apart.

    Each source comes with its path as it was given; one without, and those of the registry, keep their ids.
    """
    given = list(given)
    ids = [source.id for _, source in given]
    for name in {name for name in ids if ids.count(name) > 1}:
        paths = [(path, source) for path, source in given if source.id == name and path and not source.yaml]
        taken = {source.id for path, source in given if all(source is not one for _, one in paths)}
        parts = [PurePath(os.path.normpath(path)).parts for path, _ in paths]
        deepest = max(map(len, parts), default=0)
        tails = ([str(PurePath(*one[-depth:])) for one in parts] for depth in range(1, deepest + 1))
        whole = [path for path, _ in paths]
        found = next((some for some in tails if len({*some} - taken) == len(some)), whole)
        for (_, source), tail in zip(paths, found, strict=True):
            source.id = tail


def open_input(name: str, columns: Mapping[str, str] | None = None) -> Source:
    """The source a name stands for. The files of a folder or a pattern are one source, in the order of their names."""
    path = Path(name).expanduser()
    if "/" in name and path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        what = f"the folder {name}"
    elif any(mark in name for mark in "*?[") and not path.exists():
        found = [Path(file) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
        what = f"the pattern {name}"
    else:
        return _with_licence(get_source(name, columns))
    found = [file for file in found if not _is_beside(file)]
    if not found:
        raise DataError(f"{what} holds no file")
    source = get_source(str(found[0].absolute()), columns)
    source.id = source.title = name if what.startswith("the pattern") else path.resolve().name
    source.files = [SourceFile(name=file.name, path=str(file.absolute())) for file in found]
    return _with_licence(source)


def _is_beside(file: Path) -> bool:
    """Whether a file only tells of others, holds the rows of one a second time, or is what a killed run left."""
    if file.suffix == ".arrow" and any(file.with_suffix(ending).is_file() for ending in (".jsonl", ".json", ".ndjson")):
        from data_gen.tables import stamp_of

        return stamp_of(file) is not None
    told = next((file.name.removesuffix(ending) for ending in REPORTS if file.name.endswith(ending)), "")
    if told and file.with_name(f"{told}.jsonl").is_file():
        return True
    return file.name.endswith((".manifest.json", ".part")) or is_notice(file.name)


def _with_licence(source: Source) -> Source:
    """A source of paths under the licences that manifests tell of its files: a sample of a mix is no freer than it."""
    if source.yaml or source.generated:
        return source
    paths = [Path(file.path) for file in source.files]
    folders = {folder for folder in {path.parent for path in paths} if any(folder.glob("*.manifest.json"))}
    told = [found for path in paths if path.parent in folders and (found := manifest_naming(path))]
    licences = [licence for found in told if (licence := licence_told(found))]
    if licences:
        names = [one.spdx for one in licences] + [source.licence.spdx] * (len(licences) < len(paths))
        source.licence = Licence(
            " AND ".join(sorted({part for name in names for part in name.split(" AND ")})),
            "; ".join(dict.fromkeys(one.note for one in licences if one.note)),
            any(one.noncommercial for one in licences) or None,
        )
    return source
