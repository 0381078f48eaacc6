"""Decontamination: records that share 13 characters in a row with an item of an evaluation set are left out.

Of every item the question and its options are taken, and the text that they are about where the form has one (C3's
dialogue, CMRC2018's context); of a record all it says. Letter case, width, white space and punctuation do not count. An
item shorter than 13 characters must be a whole field of the record. What was removed, and because of which item, goes
into a report, so that a phrase that is merely common is noticed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.formats import read_rows
from data_gen.records import DataError, Record
from data_gen.shards import texts_of

GRAM = 13
QUESTION = (
    *("question", "instruction", "input", "query", "stem", "title", "prompt", "problem"),
    *("sentence", "sentence1", "sentence2"),
)
OPTIONS = (
    "options",
    "choices",
    "choice",
    "answer_choices",
    "candidates",
    *"abcdefgh",
    *(f"option{n}" for n in range(1, 9)),
)


@dataclass(frozen=True)
class Hit:
    """Why a record is left out."""

    gram: str
    file: str
    row: int
    """Which item of the evaluation file, from 1: a row; of CMRC2018, whose files are one object, a paragraph"""


class Contamination:
    """The items of evaluation files; `hit(record)` is the first that a record contains. Paths are below `folder`."""

    def __init__(self, paths: Iterable[str | Path], folder: str | Path = "") -> None:
        self.files: list[str] = []
        self._grams: dict[str, tuple[int, int]] = {}
        self._short: dict[str, tuple[int, int]] = {}
        self._slices: list[slice] = []
        for path in map(Path, paths):
            self.files.append(str(path))
            texts = (text for row in read_rows(Path(folder) / path) for text in item_texts(row.value, path, row.line))
            for number, text in enumerate(texts, 1):
                self._add(text, (len(self.files) - 1, number))

    def _add(self, text: str, place: tuple[int, int]) -> None:
        text = plain(text)
        if len(text) >= GRAM:
            for gram in self._grams_of(text):
                self._grams.setdefault(gram, place)
        elif text:
            self._short.setdefault(text, place)

    def _grams_of(self, text: str) -> Iterable[str]:
        count = max(0, len(text) - GRAM + 1)
        self._slices += [slice(n, n + GRAM) for n in range(len(self._slices), count)]
        return map(text.__getitem__, self._slices[:count])

    def hit(self, record: Record) -> Hit | None:
        """The first item that a record has 13 characters of, or all of a shorter one."""
        fields = [plain(text) for text in texts_of(record) if text]
        for text in fields:
            found = self._short.get(text)
            if found is None and self._grams.keys().isdisjoint(self._grams_of(text)):
                continue
            gram = text if found is not None else next(gram for gram in self._grams_of(text) if gram in self._grams)
            file, row = found or self._grams[gram]
            return Hit(gram, self.files[file], row)
        return None


def plain(text: str) -> str:
    """Letters, digits and 汉字 alone, in one width and case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def item_texts(row: Any, path: Path, line: int) -> Iterator[str]:
    """The texts of the items in a row: one, or all of an object whose `data` or `paragraphs` hold them."""
    match row:
        case {"paragraphs": list(items)}:  # with a title beside it, which asks nothing
            pass
        case {"data": [dict() | list(), *_] as items} if not any(map(row.get, QUESTION)):
            pass
        case _:
            items = []
            yield item_text(row, path, line)
    for item in items:
        yield from item_texts(item, path, line)


def item_text(row: Any, path: Path, line: int) -> str:
    """The question of an evaluation item, then its options; in C3 and CMRC2018 after the text that is asked about."""
    match row:
        case [list(lines), list(asked), *_] if asked:  # C3: [[line, ..], [{question, choice, answer}, ..], id]
            return "".join([*map(_said, lines), *(_question(one, path, line) for one in asked)])
        case {"context": context, "qas": list(asked)}:  # CMRC2018, as SQuAD
            return "".join([_said(context), *(_question(one, path, line) for one in asked)])
    return _question(row, path, line)


def _question(row: Any, path: Path, line: int) -> str:
    fields = {str(name).casefold(): value for name, value in row.items()} if isinstance(row, dict) else {}
    question = [_said(fields[name]) for name in QUESTION if name in fields]
    if not any(question):
        names = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise DataError(
            f"{path}, line {line}: an evaluation item has one of {', '.join(QUESTION)}, or the form of C3 or CMRC2018; "
            f"found {names}"
        )
    return "".join([*question, *(_said(fields[name]) for name in OPTIONS if name in fields)])


def _said(value: Any) -> str:
    """The text of options in any of their usual forms: a text, a list, {"A": ...}, {"text": [...]}."""
    if isinstance(value, dict):
        value = value["text"] if isinstance(value.get("text"), Sequence) else list(value.values())
    if isinstance(value, list):
        return "".join(map(_said, value))
    return "" if value is None else str(value)
