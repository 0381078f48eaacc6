"""The three kinds of existing sets that are translated or asked about, and where the texts stand in their rows.

    Alpaca rows         instruction, input, output, with system and history where there are any
    COCO-CN captions    "COCO_val2014_000000217153#0<TAB>一个男人……", a caption a line
    CoQA stories        story, questions[input_text], answers[input_text] (and additional_answers); a file is one
                        object with them in `data`

A text's place in a row is a path such as ("questions", 2, "input_text").
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_gen.formats import read_rows
from data_gen.records import DataError

Place = tuple[str | int, ...]

_CAPTION = re.compile(r"(\S+#\S+|\d+)[\t ]\s*(\S.*)")
_ALPACA: tuple[str, ...] = ("system", "instruction", "input", "output")


def documents(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a file; the rows of a CoQA file are its stories, those of a caption file {id, caption}."""
    if path.suffix.casefold() in {".txt", ".tsv", ".caption"} and path.is_file() and (rows := _captions(path)):
        yield from rows
        return
    for row in read_rows(path):
        inner = row.value.get("data") if isinstance(row.value, dict) else None
        if isinstance(inner, list) and all(isinstance(item, dict) for item in inner):
            yield from enumerate(inner, 1)
        elif isinstance(row.value, dict):
            yield row.line, row.value
        else:
            raise DataError(f"{path}, line {row.line}: expected a JSON object, found a {type(row.value).__name__}")


def _captions(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Captions with their pictures' names; none when a line is no such thing."""
    rows: list[tuple[int, dict[str, Any]]] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            match = _CAPTION.fullmatch(line.strip())
            if match:
                rows.append((number, {"id": match.group(1), "caption": match.group(2).strip()}))
            elif line.strip():
                return []
    return rows


def kind_of(row: dict[str, Any]) -> str:
    """ "alpaca", "caption", "coqa" or ""."""
    if isinstance(row.get("story"), str):
        return "coqa"
    if isinstance(row.get("instruction"), str):
        return "alpaca"
    return "caption" if isinstance(row.get("caption"), str) else ""


def places(row: dict[str, Any]) -> list[Place]:
    """Where the texts stand that are translated, in their order; empty ones are left out."""
    found: list[Place]
    if kind_of(row) == "coqa":
        found = [("story",)]
        for path in (("questions",), *_answers(row)):
            items = given if isinstance(given := text_at(row, path), list) else []
            found += [
                (*path, n, "input_text") if isinstance(item, dict) else (*path, n) for n, item in enumerate(items)
            ]
    elif kind_of(row) == "alpaca":
        found = [(name,) for name in _ALPACA]
        found += [("history", n, side) for n, _ in enumerate(row.get("history") or []) for side in (0, 1)]
    else:
        found = [("caption",)]
    return [place for place in found if isinstance(text := text_at(row, place), str) and text.strip()]


def _answers(row: dict[str, Any]) -> list[Place]:
    """Where lists of answers stand: a story's own, and those of other people in CoQA's development set."""
    others = given if isinstance(given := row.get("additional_answers"), dict) else {}
    return [("answers",), *(("additional_answers", name) for name in others)]


def text_at(row: Any, place: Place) -> Any:
    """What stands there; None when there is no such place."""
    for step in place:
        try:
            row = row[step]
        except (KeyError, IndexError, TypeError):
            return None
    return row


def with_texts(row: dict[str, Any], texts: dict[Place, str]) -> dict[str, Any]:
    """The row with other texts at these places; where answers stand in a story is found anew (-1: nowhere)."""
    row = copy.deepcopy(row)
    for place, text in texts.items():
        holder = text_at(row, place[:-1])
        holder[place[-1]] = text
    if kind_of(row) == "coqa":
        for answer in (each for path in _answers(row) for each in text_at(row, path) or []):
            if isinstance(answer, dict) and "span_start" in answer:
                start = row["story"].find(answer.get("input_text") or "\0")
                found = answer.get("input_text", "") if start >= 0 else ""
                answer |= {"span_start": start, "span_end": start + len(found) if found else -1, "span_text": found}
    return row
