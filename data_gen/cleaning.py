"""What a mix does to single records: one form of characters, one script, and filters; each switched on in its recipe.

nfkc: true               # Unicode's NFKC: full-width letters, digits and punctuation become the usual ones
simplified: true         # traditional characters become simplified ones (OpenCC's t2s)
filters:                 # what to leave out, with thresholds; see data_gen/filters.py
  length: {max_output: 2000}
  chinese_share: {least: 0.5}
licences: [Apache-2.0, MIT]   # the record's own licence (meta.licence), or else its source's; all that it names
"""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from data_gen.filters import FILTERS
from data_gen.licences import permitted
from data_gen.records import DataError, Record, content_id
from teachers.base import nearest

SINGLE = {name: check for name, check in FILTERS.items() if "seen" not in inspect.signature(check).parameters}
"""The filters that look at one record alone"""


@dataclass(frozen=True)
class Cleaner:
    """`clean(record) -> (record, why it is left out)`. Plain values, so it can be sent to another machine."""

    nfkc: bool = False
    simplified: bool = False
    drop_empty: bool = True
    filters: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    licence: str = ""
    """That of the source, for records without one of their own"""

    def __call__(self, record: Record) -> tuple[Record, str]:
        if self.nfkc or self.simplified:
            record = self._rewritten(record)
        if self.drop_empty and is_empty(record):
            return record, "empty"
        if self.licences and not permitted(str(record.meta.get("licence") or self.licence), self.licences):
            return record, "licence"
        for name, thresholds in self.filters.items():
            if thresholds is False:
                continue
            keep, why = SINGLE[name](record, **(thresholds if isinstance(thresholds, Mapping) else {}))
            if not keep:
                return record, why
        return record, ""

    def _rewritten(self, record: Record) -> Record:
        own_id = record.id == content_id(record)
        texts = [record.instruction, record.input, record.output, record.system]
        record.instruction, record.input, record.output, record.system = map(self._text, texts)
        record.history = [[self._text(turn) for turn in pair] for pair in record.history]
        if own_id:
            record.id = content_id(record)
        return record

    def _text(self, text: str) -> str:
        if self.nfkc:
            text = unicodedata.normalize("NFKC", text)
        return to_simplified()(text) if self.simplified and text else text


def check_filters(filters: Mapping[str, Any], where: str) -> None:
    """DataError when a filter or one of its thresholds is none."""
    for name, thresholds in filters.items():
        if name not in SINGLE:
            raise DataError(f"{where}: unknown filter {name!r}{nearest(str(name), SINGLE)}")
        if isinstance(thresholds, bool):
            continue
        if not isinstance(thresholds, Mapping):
            raise DataError(f"{where}: filter {name!r} takes 'threshold: value', true or false, found {thresholds!r}")
        takes = [option for option in inspect.signature(SINGLE[name]).parameters if option != "record"]
        for option, value in thresholds.items():
            if option not in takes:
                raise DataError(f"{where}: filter {name!r} has no threshold {option!r}{nearest(str(option), takes)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise DataError(f"{where}: threshold {option!r} of {name!r} must be a number, found {value!r}")


def is_empty(record: Record) -> bool:
    """Whether there is nothing to ask or nothing to answer."""
    return not record.output.strip() or not (record.instruction.strip() or record.input.strip())


@cache
def to_simplified() -> Callable[[str], str]:
    """OpenCC's conversion; DataError when it is not installed."""
    try:
        from opencc import OpenCC
    except ImportError:
        raise DataError("'simplified: true' needs OpenCC: pip install 'minituo[clean]'") from None
    convert: Callable[[str], str] = OpenCC("t2s").convert
    return convert
