"""Filters such as `star>=3`: one field, one comparison, one value; nothing is ever evaluated as code."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from data_gen.fields import reach
from data_gen.records import DataError
from teachers.base import nearest

_FORM = re.compile(r"\s*([^\s<>=!~]+)\s*(>=|<=|==|!=|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass
class Where:
    """`field op value` with op one of >= <= > < == != ~ ("contains"); `meta.family`, `answers.0.text` reach inside."""

    name: str
    op: str
    value: str
    seen: bool = False
    """Whether any row had the field"""
    names: set[str] = field(default_factory=set)
    """The fields that rows had, for the hint"""

    @classmethod
    def parse(cls, text: str) -> Where:
        match = _FORM.fullmatch(text)
        if not match or not match[3]:
            raise DataError(f"--where {text!r} is no 'field op value' with op one of >= <= > < == != ~ (contains)")
        name, op, value = match.groups()
        if op == "=" and value[0] in "<>":
            raise DataError(
                f"--where {text!r}: write {value[0]}=; a text that begins so is given in quotes, {name}='{value}'"
            )
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        op = "==" if op == "=" else op
        if op in _ORDER and _number(value) is None:
            raise DataError(f"--where {text!r}: {op} compares numbers, {value!r} is none")
        return cls(name, op, value)

    def __call__(self, row: Any) -> bool:
        """Whether a row is kept. A row without the field never is."""
        if not isinstance(row, dict):
            return False
        inner, name = reach(row, self.name)
        if name not in inner:
            if not self.seen:
                self.names.update(map(str, row))
            return False
        found = inner[name]
        self.seen = True
        if self.op in _ORDER:
            number = _number(found)
            return number is not None and _ORDER[self.op](number, float(self.value))
        if self.op == "~":
            return self.value in _text(found)
        numbers = _number(found), _number(self.value)
        if isinstance(found, bool) or found is None:  # as JSON writes them, or Python
            same = self.value.casefold() in ({"", "null", "none"} if found is None else {str(found).casefold()})
        else:
            same = numbers[0] == numbers[1] if None not in numbers else _text(found) == self.value
        return same == (self.op == "==")

    def check(self, whose: str) -> None:
        """DataError when no row at all had the field."""
        if not self.seen and self.names:
            raise DataError(f"--where: no row of {whose} has a field {self.name!r}{nearest(self.name, self.names)}")


def parse_all(texts: Iterable[str]) -> list[Where]:
    """Filters of a command line or a recipe; all of them must hold."""
    return [Where.parse(text) for text in texts]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
