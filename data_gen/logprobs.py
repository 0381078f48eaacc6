"""The probabilities that an endpoint told with its answers, out of a journal and in bytes.

`--logprobs N` keeps, for every token of an answer, its own log probability and those of the N likeliest tokens. A token
is a string of bytes here, whichever tokenizer the endpoint has: what was said, joined, is the answer's text, so that
another tokenizer can be laid over it. The end-of-text token, which some servers tell as well, is left out.

    for row in read_logprobs("out.jsonl.journal"):
        for position in row.positions:
            position.said, position.logprob, position.likely        # bytes, float, [(bytes, float), ...]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from data_gen.records import DataError

Told = str | list[int]


@dataclass(slots=True)
class Position:
    """One token of an answer."""

    said: bytes
    logprob: float
    likely: list[tuple[bytes, float]]
    """The likeliest tokens, with what was said among them as a rule"""


@dataclass(slots=True)
class ToldAnswer:
    """An answer with its probabilities."""

    key: str
    """The journal's, and `meta.prompt_hash` of the row that came of it"""
    text: str
    positions: list[Position]


def read_logprobs(journal: str | Path) -> Iterator[ToldAnswer]:
    """Answers that have them, in the order of the journal. DataError where they do not add up to the text."""
    path = Path(journal)
    if not path.is_file():
        raise DataError(f"no journal {path}")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or b'"logprobs":' not in line:
                continue
            row = orjson.loads(line)
            if not row.get("logprobs"):
                continue
            positions = [Position(_bytes(s), p, [(_bytes(t), q) for t, q in top]) for s, p, top in row["logprobs"]]
            text = row["text"].encode()
            while positions and sum(len(position.said) for position in positions[:-1]) >= len(text):
                positions.pop()
            if b"".join(position.said for position in positions) != text:
                raise DataError(f"{path}, line {number}: the tokens of {row['name']} do not add up to its text")
            yield ToldAnswer(row["key"], row["text"], positions)


def _bytes(told: Told) -> bytes:
    return told.encode() if isinstance(told, str) else bytes(told)
