"""What decides a mix beside its recipe and its inputs: the code that makes records of rows, and the libraries it uses.

The source text of that code is part of a mix's keys, so an upgrade makes anew what was made by other rules, and one
that changed none of them leaves every mix as it is.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import cache
from importlib.metadata import version
from pathlib import Path

from data_gen import provenance
from data_gen.mix_recipe import Mix
from data_gen.source_yaml import Source

DECIDING = (
    *("archives", "columnar", "formats", "json_rows", "registry", "rows"),  # which rows a file has
    *("columns", "converters", "corpora", "dialogs", "fields", "records", "web_text"),  # what they say
    *("cleaning", "filters", "licences", "media_tasks", "normal", "refusals"),  # what is done to them
    *("curriculum/drawing", "curriculum/script_pairs"),
    *("contamination", "near_duplicates"),  # what they are compared with
    *("choice", "heldout", "line_index", "mix_parts", "pools", "ranks", "shards", "strata", "where"),  # which are taken
)
"""Modules of data_gen; a test holds that whatever `mix_parts` imports is here, or known to decide nothing"""


@cache
def rules(generated: str = "") -> str:
    """A digest of the deciding modules, and of the package that makes the rows of a generated source."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    try:
        for name in DECIDING:
            digest.update((folder / f"{name}.py").read_bytes())
        for path in sorted((folder / generated).glob("*.py")) if generated else []:
            digest.update(path.read_bytes())
    except OSError:  # installed without its source text
        return provenance.versions()["minituo"]
    return digest.hexdigest()


def rules_of(source: Source) -> str:
    """The rules for the rows of a source."""
    return rules(source.id if source.generated else "")


def libraries(mix: Mix) -> dict[str, str]:
    """The versions of the libraries that a recipe's result depends on."""
    found = {"unicode": unicodedata.unidata_version}
    if mix.dedup == "near":
        from data_gen import near_duplicates

        found |= near_duplicates.versions()
    if mix.simplified:
        from data_gen.cleaning import to_simplified

        to_simplified()
        found |= {"opencc": version("opencc")}
    return found
