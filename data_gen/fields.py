"""What converters share: reading the fields of a raw row, joining and cleaning text, turns to a Record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from data_gen.records import DataError, Record
from teachers.base import nearest


def text_of(row: Mapping[str, Any], name: str, required: bool = False) -> str:
    """A field as text: numbers are written out; null, NaN and a missing field are empty, or a fault where required."""
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN, as data frames write what is missing
        if not required:
            return ""
        if name not in row:
            raise DataError(f"no field {name!r}{nearest(name, map(str, row))}")
        raise DataError(f"field {name!r} is {'null' if value is None else 'NaN'}")
    if isinstance(value, int | float):
        return str(value)
    first = f"; its first is {name}.0" if isinstance(value, list) and value and isinstance(value[0], str) else ""
    raise DataError(f"field {name!r} is a {type(value).__name__}, not text{first}")


def present(row: Mapping[str, Any], name: str) -> str:
    """A field that must be there and may be null, as text."""
    return text_of(row, name, required=name not in row)


def first_of(row: Mapping[str, Any], *names: str, required: bool = False) -> str:
    """The first of these fields that says something."""
    for name in names:
        if (said := text_of(row, name)).strip():
            return said
    return text_of(row, next((name for name in names if name in row), names[0]), required)


def reach(row: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], str]:
    """Where a field such as `answers.0.text` is: the object that holds it, and its name there."""
    inner, rest = row, name
    while "." in rest and rest not in inner:
        head, rest = rest.split(".", 1)
        found = inner.get(head)
        if isinstance(found, list):
            found = {str(n): one for n, one in enumerate(found)}
        if not isinstance(found, dict):
            return row, name
        inner = found
    return inner, rest


def as_dict(row: Any) -> dict[str, Any]:
    """A row that must be an object."""
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, found a {type(row).__name__}")
    return row


def kept(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields of these that say something, for `meta`."""
    return {name: row[name] for name in names if row.get(name) not in (None, "")}


def paragraphs(*parts: str) -> str:
    """The parts that say something, with a blank line between them."""
    return "\n\n".join(part for part in parts if part.strip())


def of_turns(turns: list[list[str]], system: str = "") -> Record:
    """A record of whole turns: the last one is asked, the others are its history."""
    if not turns:
        raise DataError("a dialog without a question and its answer")
    question, answer = turns[-1]
    return Record(instruction=question, output=answer, system=system, history=turns[:-1])


def of_messages(messages: Iterable[tuple[str, str]], system: str = "") -> Record:
    """A record of (role, text) with the roles user, assistant, system.

    What the assistant says before the first question and questions after the last answer are left out; messages of one
    side that follow each other are one message.
    """
    turns: list[list[str]] = []
    last = ""
    for role, said in messages:
        if role == "system":
            system = paragraphs(system, said)
        elif role == "user" and last == "user":
            turns[-1][0] += "\n" + said
        elif role == "user":
            turns.append([said])
        elif turns and last == "assistant":
            turns[-1][1] += "\n" + said
        elif turns:
            turns[-1].append(said)
        last = last if role == "system" else role
    return of_turns([turn for turn in turns if len(turn) == 2], system)
