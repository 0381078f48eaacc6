"""JSON, line by line or out of a big array element by element.

An array is decoded from a growing window on the text, so that a file of any size costs the memory of a chunk.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from data_gen.records import DataError
from data_gen.rows import BOM, CHUNK, NOT_UTF8, Row, Tally, open_bytes


def parse_json(text: bytes) -> Any:
    """A JSON value: orjson, and Python's slower reader for what only that one takes (NaN). ValueError otherwise."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(_json_fault(text, error)) from None
        if not writable(value):
            raise ValueError("half of a surrogate pair, which no UTF-8 file can hold") from None
        return value


def _json_fault(text: bytes, error: ValueError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return f"not UTF-8 at byte {fault.start + 1} of the row (GBK? iconv -f gb18030 -t utf-8 converts)"
    return f"not valid JSON, {error}"


def writable(value: Any) -> bool:
    """Whether a value can be written as UTF-8 JSON: a lone surrogate cannot."""
    try:
        orjson.dumps(value)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return False
    return True


def json_lines(path: Path, tally: Tally) -> Iterator[Row]:
    """Rows of JSON lines; a line that is none goes to the tally, with its number."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            raw = (line.removeprefix(BOM) if number == 1 else line).rstrip(b"\r\n")
            if not raw.strip():
                continue
            try:
                value = parse_json(raw)
            except ValueError as error:
                torn = "" if line.endswith(b"\n") else "the last line is torn: "
                tally.bad(path, number, f"{torn}{error}")
                continue
            if isinstance(value, dict | list):
                yield Row(number, value, raw)
            else:
                tally.bad(path, number, f"expected a JSON object, found a {type(value).__name__}")


class _Text:
    """A growing window on a big UTF-8 text: bytes that are no UTF-8 become lone surrogates, to be found row by row."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self.text, self.at, self.line, self.end = "", 0, 1, False

    def more(self) -> None:
        """Drop what is read and take another chunk, a bigger one when a row did not fit."""
        self.text = self.text[self.at :]
        self.at = 0
        new = self.file.read(max(CHUNK, len(self.text)))
        self.end = not new
        self.text += new

    def skip(self, pattern: re.Pattern[str]) -> str:
        """Move past what matches here; the character that stands there then, "" at the end."""
        while True:
            match = pattern.match(self.text, self.at)
            assert match is not None
            self.move(match.end())
            if self.at < len(self.text) or self.end:
                return self.text[self.at : self.at + 1]
            self.more()

    def move(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to


_SPACE = re.compile(r"[ \t\r\n]*")


def json_array(path: Path, tally: Tally) -> Iterator[Row]:
    """Elements of a top-level array, decoded one by one from a window on the text."""
    with open_bytes(path) as file:
        text = _Text(file)
        if text.skip(_SPACE) != "[":
            raise DataError(f"{path}, line {text.line}: expected a JSON array, found {text.text[text.at :][:20]!r}")
        text.move(text.at + 1)
        after = text.skip(_SPACE)
        while after != "]":
            line = text.line
            value = _element(path, text, tally)
            if value is None:
                return
            if writable(value):
                yield Row(line, value)
            else:
                tally.bad(path, line, NOT_UTF8)
            after = text.skip(_SPACE)
            if after == ",":
                text.move(text.at + 1)
                after = text.skip(_SPACE)
            elif after == "":
                tally.bad(path, text.line, "the array is cut off: its ']' is missing")
                return
            elif after != "]":
                raise DataError(f"{path}, line {text.line}: expected ',' or ']' after a row, found {after!r}")
        text.move(text.at + 1)
        if rest := text.skip(_SPACE):
            hint = "; lists as JSON lines need the name .jsonl" if rest == "[" else ""
            raise DataError(f"{path}, line {text.line}: text after the end of the array{hint}")


def _element(path: Path, text: _Text, tally: Tally) -> dict[str, Any] | list[Any] | None:
    """The array's next element; None where a file that is cut off ends (counted)."""
    decode = json.JSONDecoder().raw_decode
    if text.text[text.at] not in "{[":
        raise DataError(f"{path}, line {text.line}: expected a row '{{...}}', found {text.text[text.at :][:20]!r}")
    while True:
        try:
            value, end = decode(text.text, text.at)
        except json.JSONDecodeError as error:
            # A fault near the end of the window is most likely the window's end: take more and try again.
            inside = error.pos < len(text.text) - 64 and not error.msg.startswith("Unterminated")
            if inside or text.end:
                line = text.line + text.text.count("\n", text.at, error.pos)
                if inside:
                    raise DataError(f"{path}, line {line}: not valid JSON, {error.msg}") from None
                tally.bad(path, line, f"the last row is torn: {error.msg}")
                return None
            text.more()
            continue
        text.move(end)
        return value
