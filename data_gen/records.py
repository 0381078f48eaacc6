"""Record, the one form every data set is turned into, and its JSONL.

A record is Alpaca's form with history, which the trainers of the field read as it is. Its `id` is a hash of its
content, so the same question and answer has the same id wherever it comes from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from data_gen.errors import DataError, no_file

__all__ = ["DataError", "Record", "content_id", "iter_rows", "read_records", "write_records"]


@dataclass(slots=True)
class Record:
    """One instruction and its answer."""

    instruction: str
    input: str = ""
    output: str = ""
    system: str = ""
    history: list[list[str]] = field(default_factory=list)
    """Earlier turns, oldest first, each `[question, answer]`"""
    id: str = ""
    source: str = ""
    """The registry's id of the set it comes from"""
    meta: dict[str, Any] = field(default_factory=dict)
    """Provenance: teacher, model, strategy, prompt hash, seed, usage, time, licence"""

    def __post_init__(self) -> None:
        if not self.id:
            self.id = content_id(self)

    def to_dict(self) -> dict[str, Any]:
        """All fields, in their order."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Record:
        """A record from a JSON object of this form or of plain Alpaca's (`instruction`, `input`, `output`).

        Raises DataError when `instruction` or `output` is missing or a field has the wrong type.
        """
        for name in ("instruction", "output"):
            if not isinstance(row.get(name), str):
                got = "missing" if name not in row else f"a {type(row[name]).__name__}"
                raise DataError(f"field {name!r} is {got}; a record needs it as text")
        for name, kind, what in (("input", str, "text"), ("system", str, "text"), ("source", str, "text"),
                                 ("id", str | int, "text"), ("meta", dict, "an object")):  # fmt: skip
            if row.get(name) and not isinstance(row[name], kind):
                raise DataError(f"field {name!r} is a {type(row[name]).__name__}; where it is given it must be {what}")
        history = row.get("history") or []
        if not isinstance(history, list | tuple) or not all(map(_is_turn, history)):
            raise DataError("field 'history' must be a list of [question, answer] pairs")
        return cls(
            instruction=row["instruction"],
            input=row.get("input") or "",
            output=row["output"],
            system=row.get("system") or "",
            history=[list(turn) for turn in history],
            id=str(row["id"]) if row.get("id") is not None else "",
            source=row.get("source") or "",
            meta=dict(row.get("meta") or {}),
        )


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(said, str) for said in turn)


def content_id(record: Record) -> str:
    """16 hex digits over what is said in a record, not over where it comes from."""
    said = [record.instruction, record.input, record.output, record.system, record.history]
    return hashlib.blake2b(orjson.dumps(said), digest_size=8).hexdigest()


def read_records(path: str | Path) -> Iterator[Record]:
    """Records of a JSONL file (or of a JSON array of Alpaca rows), one at a time.

    Raises DataError naming file and place for anything that is no record.
    """
    path = Path(path)
    for place, row in iter_rows(path):
        try:
            yield Record.from_dict(row)
        except DataError as error:
            raise DataError(f"{path}, {place}: {error}") from None


def iter_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 7", JSON object) of a JSON-lines file; of a JSON array ("row 7", JSON object)."""
    if not path.is_file():
        raise DataError(no_file(path))
    with path.open("rb") as file:
        head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        file.seek(0)
        if head.startswith(b"["):
            try:
                rows = orjson.loads(file.read().removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                raise DataError(f"{path} is not valid JSON: {error}") from None
            yield from (_object(path, f"row {n}", row) for n, row in enumerate(rows, 1))
            return
        for number, line in enumerate(file, 1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not line.strip():
                continue
            try:
                row = orjson.loads(line.rstrip(b"\r\n"))
            except orjson.JSONDecodeError as error:
                import shlex  # here: most rows are read

                what = f"{error.msg} (column {error.colno})"
                other = path.suffix not in {".jsonl", ".json"}
                name, out = map(shlex.quote, (_named(path), f"{path.stem}.jsonl"))
                hint = f"; to make records of it: distill sample {name} --convert -o {out}"
                raise DataError(f"{path}, line {number} is not valid JSON: {what}{hint * other}") from None
            yield _object(path, f"line {number}", row)


def _named(path: Path) -> str:
    """A path as `distill sample` takes it for one."""
    return str(path) if "/" in str(path) else f"./{path}"


def _object(path: Path, place: str, row: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(row, dict):
        raise DataError(f"{path}, {place}: expected a JSON object, found a {type(row).__name__}")
    return place, row


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSONL under a temporary name, then rename; returns how many."""
    import jsonlines  # here, so that reading does not wait for it

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with part.open("wb") as file, jsonlines.Writer(file, dumps=orjson.dumps) as writer:
            for record in records:
                writer.write(record.to_dict())
                count += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count
