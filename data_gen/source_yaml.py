"""What a source's YAML says: dataclasses whose fields are its keys, read with every key and type checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from data_gen.columns import from_columns
from data_gen.converters import CONVERTERS
from data_gen.errors import no_file, of_yaml
from data_gen.formats import FORMATS
from data_gen.licences import terms_of
from data_gen.records import DataError
from teachers.base import nearest

GENERATORS = ("curriculum",)
"""Packages of data_gen whose `items` makes rows"""


@dataclass(slots=True)
class Licence:
    """Under which terms a source stands. Not legal advice: what its own pages say."""

    spdx: str
    """An SPDX expression, or LicenseRef-unclear"""
    note: str = ""
    noncommercial: bool | None = None
    """Where it is not said, what the licence's name tells; `false` vouches for a name that tells nothing"""
    vouched: bool = field(init=False, default=False)
    """`noncommercial: false` was said: somebody read the terms"""

    def __post_init__(self) -> None:
        self.vouched = self.noncommercial is False
        self.noncommercial = bool(self.noncommercial) or terms_of(self.spdx).noncommercial

    @property
    def unclear(self) -> bool:
        """Nobody knows what it allows: by its name, or by the note beside a name that covers the packaging alone."""
        settled = self.vouched and not self.noncommercial
        return not settled and (terms_of(self.spdx).unclear or "unclear" in self.note.lower())

    @property
    def expression(self) -> str:
        """Its name and, where that alone would mislead, what is known beside it."""
        told = terms_of(self.spdx)
        more = ["LicenseRef-noncommercial"] * bool(self.noncommercial and not told.noncommercial)
        more += ["LicenseRef-unclear"] * (self.unclear and not told.unclear)
        return " AND ".join([self.spdx, *more])

    @property
    def limits(self) -> list[str]:
        """What a reader of its name alone has to be told."""
        said = {
            "non-commercial use only": self.noncommercial,
            "share alike": terms_of(self.spdx).share_alike,
            "rights unclear": self.unclear,
        }
        return [what for what, so in said.items() if so]


@dataclass(slots=True)
class SourceFile:
    """One file of a source."""

    name: str
    rows: int | None = None
    """Exactly how many rows it has, where known; `datasets check` counts them"""
    rows_about: int | None = None
    unreadable: int = 0
    """How many broken rows are known and passed over"""
    format: str = "auto"
    converter: str = ""
    """Overrides the source's"""
    archive: str = ""
    """The archive it comes in: read out of that one where the file itself is not there"""
    at: str = ""
    """The key of the list of rows, in a JSON file that is one object"""
    sha256: str = ""
    git_blob: str = ""
    """Git's hash of the content, where a repository gives that"""
    url: str = ""
    path: str = ""
    """Where a user's own file lies: absolute, or relative to the folder that holds `sources/`"""


@dataclass(slots=True)
class Source:
    """One data set."""

    id: str
    title: str
    licence: Licence
    converter: str = "auto"
    """A name of `CONVERTERS`, "columns", or "auto", which looks at the first row of each file"""
    files: list[SourceFile] = field(default_factory=list)
    total_rows: int | None = None
    """How many rows all files have together, where nobody says how they are spread over the files"""
    about: str = ""
    hub: str = ""
    """The id of a data set on the Hugging Face hub"""
    revision: str = ""
    home: str = ""
    get: str = ""
    """How to come by the files where no address leads straight to them"""
    fields: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    generated: bool = False
    """Rows are made on the spot by the module `data_gen.<id>`"""
    language: str = "zh"
    contains: list[str] = field(default_factory=list)
    """What else is in here: other sources, by their ids, and sets that models are scored on"""
    citation: str = ""
    verified: bool = False
    """Whether the facts here were read in the source's own files or pages"""
    unverified: str = ""
    """What of it was not"""
    yaml: str = ""
    """The file that says all this; empty for a bare path"""

    @property
    def rows(self) -> int | None:
        """How many rows all files have together, where that is known exactly."""
        if self.total_rows is not None:
            return self.total_rows
        counts = [file.rows for file in self.files]
        return sum(n for n in counts if n is not None) if counts and None not in counts else None

    def address(self, file: SourceFile) -> str:
        """Where to fetch a file; empty when no address leads straight to it."""
        if file.url or not self.hub:
            return file.url
        name = file.archive or file.name
        return f"https://huggingface.co/datasets/{self.hub}/resolve/{self.revision or 'main'}/{name}"


def load_source(path: Path) -> Source:
    """The source a YAML file describes, every key checked."""
    values = read_yaml(path)
    if values.get("columns"):
        values.setdefault("converter", "columns")
    values["licence"] = build(Licence, values.get("licence") or {}, f"{path}, licence")
    files = values.get("files") or []
    if not isinstance(files, list):
        raise DataError(f"{path}: 'files' must be a list of '- name: ...'")
    for file in files:
        if isinstance(file, dict) and isinstance(file.get("path"), str):
            file.setdefault("name", Path(file["path"]).name)
    values["files"] = [build(SourceFile, file, f"{path}, files") for file in files]
    source: Source = build(Source, values, str(path))
    source.yaml = str(path)
    for what, names, known in (
        (
            "converter",
            [source.converter, *(f.converter for f in source.files if f.converter)],
            {*CONVERTERS, "columns", "auto"},
        ),
        ("format", [f.format for f in source.files], {*FORMATS, "auto"}),
    ):
        for name in names:
            if name not in known:
                raise DataError(f"{path}: unknown {what} {name!r}{nearest(name, known)}")
    if not source.id or source.id.startswith(".") or {"/", "\\", "\0"} & {*source.id}:
        raise DataError(f"{path}: id {source.id!r} must be a plain name; files are looked for in a folder of that name")
    for file in source.files:
        for what, name in (("name", file.name), ("archive", file.archive or "-")):
            if not name or Path(name).is_absolute() or ".." in Path(name).parts:
                raise DataError(f"{path}, files: {what} {name!r} must be a name inside of the source's folder")
    if source.generated and source.id not in GENERATORS:
        raise DataError(
            f"{path}: only {', '.join(GENERATORS)} can be 'generated: true', not {source.id!r}; give 'files'"
        )
    if bool(source.files) == source.generated:
        raise DataError(f"{path}: a source has either 'files' or 'generated: true'")
    if source.converter == "columns":
        from_columns(source.columns)
    return source


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; DataError says what is wrong with it."""
    import yaml

    if not path.is_file():
        raise DataError(no_file(path))
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _refuse_repeated(path, node)
        values = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML, {of_yaml(error)}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold 'key: value' lines, found {type(values).__name__}")
    return values


def _refuse_repeated(path: Path, root: Any) -> None:
    """DataError when a key stands there twice: YAML would silently take the last one."""
    nodes, seen = [root], set()
    while nodes:
        node = nodes.pop()
        if not isinstance(getattr(node, "value", None), list) or id(node) in seen:
            continue
        seen.add(id(node))  # an alias may lead back to what it is inside of
        if node.id == "sequence":
            nodes += node.value
            continue
        names = set()
        for key, value in node.value:
            if str(key.value) in names:
                raise DataError(f"{path}, line {key.start_mark.line + 1}: {key.value!r} stands there twice")
            names.add(str(key.value))
            nodes.append(value)


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text, in quotes where it looks like a number or a yes"),
    "int": ((int,), "a whole number"),
    "int | None": ((int, type(None)), "a whole number"),
    "bool": ((bool,), "true or false"),
    "bool | None": ((bool, type(None)), "true or false"),
    "list[str]": ((list,), "a list, [a, b]"),
    "dict[str, str]": ((dict,), "a mapping, {a: b}"),
}
"""What a field's type takes, and how that is called"""


def build(kind: Callable[..., Any], values: Any, where: str) -> Any:
    """A dataclass from a mapping; DataError for unknown, missing and wrongly typed keys."""
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected 'key: value' lines, found {values!r}")
    known = {f.name: f for f in fields(kind) if f.init and f.name != "yaml"}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise DataError(f"{where}: unknown key {name!r}{nearest(str(name), known)}")
        types, called = _TYPES.get(str(known[name].type), ((object, bool), ""))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise DataError(f"{where}: {name} must be {called}, found {value!r}")
    needed = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [repr(name) for name in needed if name not in values]:
        raise DataError(f"{where}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return kind(**values)
