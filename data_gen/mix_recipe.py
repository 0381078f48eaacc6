"""The recipe of a mix is data: which sources, how many rows of each, one seed.

name: my_mix
seed: 42
rows: 10000              # needed where weights share out rows
dedup: exact             # or near (character 5-grams, near_threshold: 0.8), or none
drop_empty: true         # leave out records without a question or an answer
decontaminate: [eval/ceval.csv]   # leave out what contains an item of these files
heldout: 0.01            # that share of the questions goes into <out>.heldout.jsonl
licence: any             # or commercial: refuse sources that are not known to allow commercial use
sources:
  coig: 5000             # that many rows, drawn by the seed; or: all
  alpaca-zh: {weight: 0.7}
  webtext: {weight: 0.3, where: ["star>=3"]}
  ./corpus/: 1000          # the files of a folder, or a pattern of files, together

Cleaning (nfkc, simplified, filters, licences) is described in data_gen/cleaning.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_gen.cleaning import check_filters
from data_gen.inputs import open_input, tell_apart
from data_gen.provenance import effective_licence
from data_gen.records import DataError
from data_gen.registry import get_source, load_registry
from data_gen.source_yaml import Licence, Source, build, read_yaml
from data_gen.strata import apportion
from data_gen.where import parse_all
from teachers.base import nearest

SHIPPED = Path(__file__).parent / "mix_recipes"
DEDUP = ("exact", "near", "none")
LICENCE = ("any", "commercial")


@dataclass(slots=True)
class Part:
    """What a mix takes of one source: `rows` (a number or "all") or a `weight`."""

    rows: Any = None
    weight: Any = None
    where: list[str] = field(default_factory=list)
    path: str = ""
    """Reads the source's form from this file instead of the registry's"""
    columns: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    """SPDX expression of a file of yours; without it the manifest says that its rights are unclear"""
    file: str = ""
    """The name of this part's own file where parts are written one by one; default <source>.jsonl"""


@dataclass(slots=True)
class Mix:
    """A recipe."""

    name: str
    sources: dict[str, Part]
    seed: int = 0
    rows: int | None = None
    dedup: str = "exact"
    near_threshold: float = 0.8
    drop_empty: bool = True
    nfkc: bool = False
    simplified: bool = False
    filters: dict[str, Any] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)
    decontaminate: list[str] = field(default_factory=list)
    heldout: float = 0.0
    licence: str = "any"
    about: str = ""

    def wanted(self) -> dict[str, int | None]:
        """Rows to take of each source; None is all of them."""
        weighted = {name: float(part.weight) for name, part in self.sources.items() if part.weight is not None}
        fixed = {
            name: None if part.rows == "all" else int(part.rows)
            for name, part in self.sources.items()
            if part.weight is None
        }
        if weighted:
            if self.rows is None or None in fixed.values():
                raise DataError(f"mix {self.name!r}: weights share out a number of rows: give 'rows', and no 'all'")
            left = self.rows - sum(n or 0 for n in fixed.values())
            if left < 0:
                raise DataError(
                    f"mix {self.name!r}: its sources take {self.rows - left:,} of {self.rows:,} rows already"
                )
            try:
                fixed |= dict(zip(weighted, apportion(left, list(weighted.values())), strict=True))
            except DataError as error:
                raise DataError(f"mix {self.name!r}: {error}") from None
        elif self.rows not in (None, sum(n or 0 for n in fixed.values())):
            raise DataError(f"mix {self.name!r}: its sources do not add up to 'rows: {self.rows}'")
        return {name: fixed[name] for name in self.sources}


def mix_names() -> list[str]:
    """The mixes that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_mix(path_or_name: str | Path) -> Mix:
    """A mix by the name of a shipped one or by the path of a YAML file, every key checked."""
    name = str(path_or_name)
    path = Path(name) if name.endswith((".yaml", ".yml")) or "/" in name else SHIPPED / f"{name}.yaml"
    if path.parent == SHIPPED and not path.is_file():
        if name in load_registry():
            raise DataError(f"no mix {name!r}, that is a source: distill sample {name} -o {name}.jsonl")
        raise DataError(f"no mix {name!r}{nearest(name, mix_names())}; a recipe of yours is named by its path, x.yaml")
    values = read_yaml(path)
    sources = values.get("sources")
    if not isinstance(sources, dict) or not sources:
        raise DataError(f"{path}: 'sources' must say 'source: rows' for one source at least")
    values["sources"] = {str(key): _part(part, f"{path}, {key}") for key, part in sources.items()}
    mix: Mix = build(Mix, values, str(path))
    _check(mix, str(path))
    mix.wanted()
    return mix


def _check(mix: Mix, where: str) -> None:
    for name, value, known in (("dedup", mix.dedup, DEDUP), ("licence", mix.licence, LICENCE)):
        if value not in known:
            raise DataError(f"{where}: {name} is {' or '.join(map(repr, known))}, found {value!r}")
    for name, share, lowest in (("near_threshold", mix.near_threshold, 0.5), ("heldout", mix.heldout, 0)):
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not lowest <= share < 1:
            raise DataError(f"{where}: {name} is a number from {lowest} to below 1, found {share!r}")
    if not isinstance(mix.filters, dict):
        raise DataError(f"{where}: filters must say 'name: {{threshold: value}}', found {mix.filters!r}")
    check_filters(mix.filters, where)
    for file in [part.file for part in mix.sources.values() if part.file]:
        if not file.endswith((".json", ".jsonl")) or "/" in file:
            raise DataError(f"{where}: file is a name that ends in .json or .jsonl, found {file!r}")


def _part(value: Any, where: str) -> Part:
    part: Part = build(Part, value if isinstance(value, dict) else {"rows": value}, where)
    if (part.rows is None) == (part.weight is None):
        raise DataError(f"{where}: give either rows or a weight")
    if part.weight is not None and (isinstance(part.weight, bool) or not isinstance(part.weight, int | float)):
        raise DataError(f"{where}: weight must be a number, found {part.weight!r}")
    whole = isinstance(part.rows, int) and not isinstance(part.rows, bool) and part.rows > 0
    if part.rows is not None and part.rows != "all" and not whole:
        raise DataError(f"{where}: rows must be a whole number above 0 or 'all', found {part.rows!r}")
    parse_all(part.where)
    return part


def sources_of(mix: Mix) -> dict[str, Source]:
    """The source of every part, under the licence that the recipe states for files of the user's own."""
    sources = {
        name: get_source(name, part.columns or None, part.path) if part.path else open_input(name, part.columns or None)
        for name, part in mix.sources.items()
    }
    # A name that is no path, given to a file, is that of its records as it stands.
    places = {name: part.path if "/" in name else "" for name, part in mix.sources.items() if part.path}
    tell_apart((places.get(name, name), source) for name, source in sources.items())
    for name, part in mix.sources.items():
        if part.licence:
            sources[name].licence = Licence(part.licence, "as the mix's recipe says")
    if mix.licence == "commercial":
        _refuse_closed(mix, sources)
    return sources


def _refuse_closed(mix: Mix, sources: dict[str, Source]) -> None:
    """DataError names the first part that forbids commercial use, or of whose licence nobody knows whether it does."""
    found = effective_licence(sources)
    for key, what in (
        ("noncommercial", "forbids commercial use"),
        ("unclear", "has unclear rights"),
        ("unrecognised", "is not known to allow it"),
    ):
        for name in found[key][:1]:
            spdx = sources[name].licence.spdx or "no licence"
            way_out = "say 'licence: any'" if key == "noncommercial" else _way_out(name, sources[name])
            raise DataError(
                f"mix {mix.name!r} is for commercial use, and {name} {what} ({spdx}); leave it out, or {way_out}"
            )


def _way_out(name: str, source: Source) -> str:
    """How to say that terms of which a licence's name tells nothing were read, and allow commercial use."""
    if source.yaml:
        return "if its terms allow it, say 'noncommercial: false' under 'licence' in the source's YAML"
    return (
        f"name its licence, '{name}: {{rows: .., licence: MIT}}', or, where that has no name, make it a source "
        "('distill datasets add') and say 'noncommercial: false' under 'licence' in its YAML"
    )
