"""What a generated task is compared with: the rows accepted so far, and the sets named by `--against`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from data_gen.formats import read_rows
from data_gen.novelty import Neighbour, Novelty
from data_gen.records import DataError

ASKED = (
    "instruction",
    "question",
    "query",
    "prompt",
    "input_text",
    "input",
    "inputs",
    "text",
    "title",
    "trans_instruction",
)
"""Where a row of an existing set says what is asked: the first that it has"""
SHORTEST_INPUT = 8
"""Characters from which on an input is compared with existing sets, too: a test's question may stand there"""


class Decisions:
    """Accepts novel texts one after the other; a run that replays its journal finds its decisions in a file.

    A decision follows from the text and all texts accepted before. So as long as the texts come as they did when the
    file was written, what stands there is the decision; from the first other text on, everything is computed.
    """

    def __init__(self, threshold: float) -> None:
        self.novelty = Novelty(threshold)
        self._log: list[tuple[str, int, float]] = []
        """Of each text: its characters, the number of its neighbour (-1: none), the score"""
        self._at = 0

    def accept(self, text: str, name: str) -> Neighbour | None:
        """None, and `text` is remembered, when it is novel; else the neighbour that it has."""
        said = self.novelty.tokens(text)
        if self._at < len(self._log) and self._log[self._at][0] == said:
            _, number, score = self._log[self._at]
        else:
            number, score = self.novelty.find(said)
            del self._log[self._at :]
            self._log.append((said, number, score))
        self._at += 1
        if number >= 0:
            return self.novelty.neighbour(number, score)
        self.novelty.add_tokens(said, name)
        return None

    def load(self, path: Path) -> None:
        """Take decisions from a file of `save`; one that is missing, damaged or of another threshold is not used."""
        try:
            lines = path.read_bytes().splitlines()
            if not lines or orjson.loads(lines[0]) != self._head():
                return
            log = [tuple(orjson.loads(line)) for line in lines[1:]]
        except (OSError, orjson.JSONDecodeError):
            return
        whole = all(len(row) == 3 and isinstance(row[0], str) and isinstance(row[1], int) for row in log)
        self._log, self._at = (log if whole else []), 0

    def save(self, path: Path) -> None:
        """Write all decisions, under a temporary name first."""
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            file.write(orjson.dumps(self._head(), option=orjson.OPT_APPEND_NEWLINE))
            file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in self._log)
        os.replace(part, path)

    def _head(self) -> dict[str, Any]:
        return {"novelty": "rouge-l of characters", "threshold": self.novelty.threshold}


class Known:
    """Existing sets and evaluation files: `Known(0.7, ["eval.csv"]).nearest("问题")`."""

    def __init__(self, threshold: float, files: Iterable[str]) -> None:
        self._novelty = Novelty(threshold)
        self.fingerprints: dict[str, str] = {}
        """Of the files, by their paths"""
        for file in files:
            path = Path(file)
            before = len(self._novelty)
            for line, text in questions(path):
                self._novelty.add(text, f"{file}:{line}")
            if len(self._novelty) == before:
                raise DataError(f"{file} holds no field that says what is asked (such as {', '.join(ASKED[:4])})")
            with path.open("rb") as opened:
                self.fingerprints[file] = hashlib.file_digest(opened, hashlib.sha256).hexdigest()[:16]

    def nearest(self, asked: str, given: str = "") -> Neighbour | None:
        """The text of a set that a task is too near to, by what is asked or by its input."""
        found = self._novelty.nearest(asked)
        return found or (self._novelty.nearest(given) if len(given) >= SHORTEST_INPUT else None)


def questions(path: Path) -> Iterator[tuple[int, str]]:
    """(line, what is asked) of the rows of a file in any format the registry reads."""
    for row in read_rows(path):
        for text in _asked(row.value):
            if text.strip():
                yield row.line, text


def _asked(value: Any) -> Iterator[str]:
    """Questions in a row: its first field that is known to hold one, or those of the objects inside it."""
    if isinstance(value, list):
        for item in value:
            yield from _asked(item)
    elif isinstance(value, dict):
        fields = {str(name).strip().casefold(): inner for name, inner in value.items()}
        for name in ASKED:
            if isinstance(fields.get(name), str) and fields[name].strip():
                yield fields[name]
                if name == "instruction" and isinstance(fields.get("input"), str):
                    yield fields["input"] if len(fields["input"]) >= SHORTEST_INPUT else ""
                return
        for inner in value.values():
            if isinstance(inner, list | dict):
                yield from _asked(inner)
