"""Which rows are held out: decided by what a row asks, the seed and the share, and by nothing else.

So a question is on its side whatever was drawn beside it: what a smaller sample trains on, a larger one with the same
seed never holds out, and a mix is built again with other sources without a question changing sides. The share is
therefore kept on average, not to the row. What asks for a text about a picture (captions) asks about that picture, and
a text that answers no question is known by what it says. Rows that all ask one and the same cannot be split; that is
said.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from data_gen.ranks import mix64
from data_gen.records import Record

STREAM = 0x6D697868656C64
"""Xored into the seed, so that what is held out does not depend on what was drawn"""


def asked_by(record: Record) -> int:
    """64 bits of what a record asks."""
    return asked_in(
        (record.instruction, record.input, record.system, record.history), record.output, record.meta.get("image")
    )


def asked_in(asked: Sequence[Any], answer: str, image: Any = None) -> int:
    """The same of instruction, input, system and history, of the answer and of the picture that all is about."""
    if not any(asked):
        return number_of([answer])
    return number_of([*asked, image] if image else [*asked])


def number_of(said: Sequence[Any]) -> int:
    """64 bits of texts, or of what else JSON can say."""
    return int.from_bytes(hashlib.blake2b(orjson.dumps(said), digest_size=8).digest())


def is_heldout(asked: int, seed: int, share: float) -> bool:
    """Whether the rows that ask this are held out; those of a smaller share are among those of a larger one."""
    return mix64(asked, seed ^ STREAM) < share * 2**64


class OneQuestion:
    """Notes what rows ask, to say so when it is the same of all."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._rows, self._same = 0, True

    def note(self, asked: int) -> None:
        """One more row."""
        self._rows += 1
        if self._first is None:
            self._first = asked
        self._same = self._same and asked == self._first

    def told(self, whose: str) -> None:
        """Say on stderr that the rows cannot be split, where they cannot."""
        if self._same and self._rows > 1:
            print(
                f"note: the {self._rows:,} rows of {whose} all ask the same, so all are on one side of the split",
                file=sys.stderr,
            )
