"""What a command takes its rows from: a source's id, a file, a folder or a pattern of files."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path

from data_gen.records import DataError
from data_gen.registry import get_source
from data_gen.source_yaml import Source, SourceFile


def open_input(name: str, columns: Mapping[str, str] | None = None) -> Source:
    """The source a name stands for. The files of a folder or a pattern are one source, in the order of their names."""
    path = Path(name).expanduser()
    if "/" in name and path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        found = [file for file in found if not file.name.endswith(".manifest.json")]
        what = f"the folder {name}"
    elif any(mark in name for mark in "*?[") and not path.exists():
        found = [Path(file) for file in sorted(glob.glob(str(path), recursive=True)) if Path(file).is_file()]
        what = f"the pattern {name}"
    else:
        return get_source(name, columns)
    if not found:
        raise DataError(f"{what} holds no file")
    source = get_source(str(found[0].absolute()), columns)
    source.id = source.title = name if what.startswith("the pattern") else path.resolve().name
    source.files = [SourceFile(name=file.name, path=str(file.absolute())) for file in found]
    return source
