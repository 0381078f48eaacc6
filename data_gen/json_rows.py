"""JSON, line by line or out of a big array element by element.

An array is decoded from a growing window on the text, so that a file of any size costs the memory of a chunk. What
other readers let pass is a row's fault here: NaN (no JSON), half a surrogate pair (no UTF-8 file can hold it), a key
that is there twice with two values.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import IO, Any

import orjson

from data_gen.records import DataError
from data_gen.rows import BOM, CHUNK, NOT_UTF8, ROW_LIMIT, Place, Row

DOCUMENT_LIMIT = 64 << 20
"""Bytes of a file (or member of an archive) that is one JSON value"""
HALF_PAIR = "half of a surrogate pair, which no UTF-8 file can hold"


class _Strict:
    """Hooks for Python's own JSON reader that note what it lets pass."""

    def __init__(self) -> None:
        self.fault = ""

    def pairs(self, items: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object; a key may come twice only with the same value."""
        found = dict(items)
        if len(found) < len(items):
            twice = [name for name, value in items if found[name] != value]
            self.fault = self.fault or (f"the key {twice[0]!r} is there twice, with two values" if twice else "")
        return found

    def constant(self, name: str) -> float:
        """NaN, Infinity, -Infinity."""
        self.fault = self.fault or f"{name} is no JSON (write null for what is missing)"
        return float(name.replace("Infinity", "inf"))

    def take(self) -> str:
        """What was noted since the last time."""
        fault, self.fault = self.fault, ""
        return fault


def parse_json(text: bytes) -> Any:
    """A JSON value: by orjson, and by Python's slower reader what that one refuses or overlooks. ValueError if none."""
    try:
        value = orjson.loads(text)
        if not _may_repeat_keys(text, value):
            return value
        refused: ValueError | None = None
    except orjson.JSONDecodeError as error:
        refused = error
    strict = _Strict()
    try:
        # Of bytes it would guess the encoding, and take UTF-16 for JSON.
        value = json.loads(text.decode(), object_pairs_hook=strict.pairs, parse_constant=strict.constant)
    except (ValueError, RecursionError):
        raise ValueError(_json_fault(text, refused)) from None
    if fault := strict.take():
        raise ValueError(fault)
    if refused is not None and not writable(value):
        raise ValueError(HALF_PAIR)
    return value


def _may_repeat_keys(text: bytes, value: Any) -> bool:
    """Whether the text has more quotes than its value accounts for: a key that comes twice leaves some over."""
    return b"\\u0022" in text or text.count(b'"') != _quotes(value)


def _quotes(value: Any) -> int:
    if isinstance(value, str):
        return 2 + (value.count('"') if '"' in value else 0)
    if isinstance(value, dict):
        total = 0
        for name, one in value.items():
            total += 2 + (name.count('"') if '"' in name else 0)
            if isinstance(one, str):
                total += 2 + (one.count('"') if '"' in one else 0)
            elif isinstance(one, dict | list):
                total += _quotes(one)
        return total
    return sum(map(_quotes, value)) if isinstance(value, list) else 0


def _json_fault(text: bytes, error: ValueError | None) -> str:
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


def _unwritable(value: Any) -> str:
    """Why: bytes that are no UTF-8 were read as what `surrogateescape` makes of them, anything else was escaped so."""
    try:
        json.dumps(value, ensure_ascii=False).encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return HALF_PAIR
    return NOT_UTF8


def json_lines(place: Place) -> Iterator[Row]:
    """Rows of JSON lines; a line that is none goes to the tally, with its number."""
    with place.open() as file:
        for number, line in enumerate(place.lines(file), 1):
            raw = line.rstrip(b"\r\n")
            if not raw.strip():
                continue
            try:
                value = parse_json(raw)
            except ValueError as error:
                torn = "" if line.endswith(b"\n") else "the last line is torn: "
                place.bad(number, f"{torn}{error}")
                continue
            if isinstance(value, dict | list):
                yield Row(number, value, raw)
            else:
                place.bad(number, f"expected a JSON object, found a {type(value).__name__}")


def json_document(place: Place) -> Iterator[Row]:
    """The one row of a file that is one JSON value, over as many lines as it likes."""
    with place.open() as file:
        text = file.read(DOCUMENT_LIMIT + 1)
    if len(text) > DOCUMENT_LIMIT:
        raise DataError(f"{place} is one JSON value of more than {DOCUMENT_LIMIT:,} bytes, which is no row")
    try:
        value = parse_json(text.removeprefix(BOM))
    except ValueError as error:
        place.bad(1, str(error))
        return
    if isinstance(value, dict | list):
        yield Row(1, value)
    else:
        place.bad(1, f"expected a JSON object, found a {type(value).__name__}")


class _Text:
    """A growing window on a big UTF-8 text: bytes that are no UTF-8 become lone surrogates, to be found row by row."""

    def __init__(self, place: Place, file: IO[bytes]) -> None:
        self.place = place
        self.file = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        self.text, self.at, self.line, self.end = "", 0, 1, False
        self.strict = _Strict()
        decoder = json.JSONDecoder(object_pairs_hook=self.strict.pairs, parse_constant=self.strict.constant)
        self.decode = decoder.raw_decode

    def more(self) -> None:
        """Drop what is read and take another chunk, a bigger one when a row did not fit."""
        self.text = self.text[self.at :]
        self.at = 0
        if len(self.text) > ROW_LIMIT:
            raise self.error(f"longer than {ROW_LIMIT:,} characters, which is no row")
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

    def step(self) -> str:
        """Move past a bracket or comma and the space behind it."""
        self.move(self.at + 1)
        return self.skip(_SPACE)

    def ahead(self) -> str:
        return repr(self.text[self.at : self.at + 20])

    def error(self, why: str, line: int = 0) -> DataError:
        return DataError(f"{self.place}, line {line or self.line}: {why}")


_SPACE = re.compile(r"[ \t\r\n]*")
_TORN = object()


def json_array(place: Place) -> Iterator[Row]:
    """Elements of a top-level array (or of the one at a key), decoded one by one from a window on the text."""
    with place.open() as file:
        text = _Text(place, file)
        if place.at:
            _enter(text, place.at)
        if text.skip(_SPACE) != "[":
            raise text.error(f"expected a JSON array, found {text.ahead()}")
        after = text.step()
        while after != "]":
            line = text.line
            if text.text[text.at] not in "{[":
                raise text.error(f"expected a row '{{...}}', found {text.ahead()}")
            value = _element(text)
            if value is _TORN:
                return
            fault = text.strict.take()
            if fault or not writable(value):
                place.bad(line, fault or _unwritable(value))
            else:
                yield Row(line, value)
            after = text.skip(_SPACE)
            if after == ",":
                after = text.step()
            elif after == "":
                place.bad(text.line, "the array is cut off: its ']' is missing")
                return
            elif after != "]":
                raise text.error(f"expected ',' or ']' after a row, found {after!r}")
        rest = text.step()
        if rest and not place.at:
            hint = "; lists as JSON lines need the name .jsonl" if rest == "[" else ""
            raise text.error(f"text after the end of the array{hint}")


def _enter(text: _Text, key: str) -> None:
    """Move to the value of a key of the top-level object."""
    if text.skip(_SPACE) != "{":
        raise text.error(f"expected a JSON object with the rows at {key!r}, found {text.ahead()}")
    after, passed = text.step(), []
    while after == '"':
        name = _element(text)
        if name is _TORN or text.skip(_SPACE) != ":":
            break
        text.step()
        if name == key:
            return
        passed.append(str(name))
        if _element(text) is _TORN:
            break
        after = text.skip(_SPACE)
        after = text.step() if after == "," else after
    raise text.error(f"no list of rows at {key!r}, found {', '.join(passed) or 'nothing'}")


def _element(text: _Text) -> Any:
    """The value that begins here; `_TORN` where a file that is cut off ends (counted)."""
    while True:
        try:
            value, end = text.decode(text.text, text.at)
            if end == len(text.text) and not text.end and not isinstance(value, dict | list | str):
                text.more()  # a number may go on
                continue
        except RecursionError:
            raise text.error("nested too deeply to be a row") from None
        except json.JSONDecodeError as error:
            text.strict.take()
            # A fault near the end of the window is most likely the window's end: take more and try again.
            inside = error.pos < len(text.text) - 64 and not error.msg.startswith("Unterminated")
            if inside or text.end:
                line = text.line + text.text.count("\n", text.at, error.pos)
                if inside:
                    raise text.error(f"not valid JSON, {error.msg}", line) from None
                text.place.bad(line, f"the last row is torn: {error.msg}")
                return _TORN
            text.more()
            continue
        text.move(end)
        return value
