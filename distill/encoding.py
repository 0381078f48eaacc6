"""Records to token ids: one side (student or teacher) of a data set, as flat arrays.

A record becomes segments of text (data_gen.templates); each is encoded on its own, and the tokenizer's EOS is put after
every answer. Answers are supervised. Positions inside the supervised text of a row are counted in bytes, with one more
unit for each EOS, so that two tokenizations of the same row can be laid over each other: both sides end every answer,
and the row, at the same position.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_gen.records import Record
from data_gen.templates import Template
from distill.errors import DistillError
from students.tokenizers import ByteView

AT_ONCE = 1024
"""Rows whose tokens are Python numbers at a time"""


@dataclass
class Side:
    """Token ids of every row in one vocabulary. Row r is `[start[r], start[r + 1])` of the flat arrays."""

    ids: np.ndarray
    """int32 (tokens)"""
    supervised: np.ndarray
    """bool (tokens): the ones the loss counts"""
    ends: np.ndarray
    """int32 (tokens): where a supervised token ends, in bytes of the row's supervised text; 0 elsewhere"""
    prompt_ends: np.ndarray
    """int32 (tokens): where a prompt's token ends, in characters of the row's whole text; 0 where it ends no character,
    and at the end of a prompt, from where the answer's first token is predicted"""
    start: np.ndarray
    """int64 (rows + 1)"""
    characters: np.ndarray
    """int64 (rows): characters of the supervised text that was kept"""
    cut: int = 0
    """Rows whose answer was cut by the maximum length"""
    unknown: int = 0
    """Characters of the supervised text that the tokenizer has no entry for"""

    def row(self, r: int) -> slice:
        """The flat range of row r."""
        return slice(int(self.start[r]), int(self.start[r + 1]))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        return np.diff(self.start)

    @property
    def supervised_counts(self) -> np.ndarray:
        """Supervised tokens of each row."""
        total = np.concatenate([[0], np.cumsum(self.supervised, dtype=np.int64)])
        return np.diff(total[self.start])

    def fingerprint(self) -> str:
        """Of all rows in their order."""
        found = hashlib.blake2b(digest_size=8)
        for column in (self.ids, self.supervised, self.start):
            found.update(np.ascontiguousarray(column).data)
        return found.hexdigest()


@dataclass
class _Row:
    ids: list[int] = field(default_factory=list)
    supervised: list[bool] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    prompt_ends: list[int] = field(default_factory=list)
    said: int = 0
    length: int = 0
    """Characters of all text so far"""
    text: bytearray = field(default_factory=bytearray)
    """The supervised text, with 0xFF for each EOS"""


def encode_side(
    view: ByteView,
    template: Template,
    records: Sequence[Record],
    max_length: int,
    *,
    question_share: float = 0.0,
    advance: Callable[[int], object] = lambda rows: None,
) -> Side:
    """Encode every record for one tokenizer; rows longer than `max_length` tokens lose the end of their answer.

    Of an evenly spread `question_share` of the rows the question is supervised too; its tokens have no place in `ends`.
    A row whose prompt alone fills `max_length` keeps no supervised token; the caller drops it. `advance` is told how
    many rows are done, some at a time. Raises DistillError when the tokenizer has no EOS.
    """
    if view.eos_id is None:
        raise DistillError("the tokenizer has no eos_token: name one in its tokenizer_config.json")
    columns = {"ids": array("i"), "supervised": array("b"), "ends": array("i"), "prompt_ends": array("i")}
    lengths, characters, cut, unknown = [], [], 0, 0
    unk = view.tokenizer.unk_token_id if view.family != "byte_bpe" else None  # GPT-2's is its EOS
    for first in range(0, len(records), AT_ONCE):
        some = records[first : first + AT_ONCE]
        rendered = [template.render(record) for record in some]
        later = [part for segments in rendered for part in segments[1:]]
        answers = iter(view.encode_many([text for text, answer in later if answer]))
        prompts = iter(view.encode_many([text for text, answer in later if not answer], special=True))
        for r, segments in enumerate(rendered, first):
            row = _Row()
            asked_too = int((r + 1) * question_share) > int(r * question_share)
            for n, (text, supervised) in enumerate(segments):
                ids = next(answers if supervised else prompts) if n else view.encode_prompt(text)
                _append(row, view, text, ids, supervised, asked_too)
                if supervised and unk is not None:
                    unknown += ids.count(unk)
            cut += len(row.ids) > max_length
            lengths.append(min(len(row.ids), max_length))
            characters.append(_characters(row, max_length))
            for name, column in columns.items():
                column.extend(getattr(row, name)[:max_length])
        advance(len(some))
    return Side(
        ids=np.array(columns["ids"], np.int32),
        supervised=np.array(columns["supervised"], bool),
        ends=np.array(columns["ends"], np.int32),
        prompt_ends=np.array(columns["prompt_ends"], np.int32),
        start=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        characters=np.array(characters, dtype=np.int64),
        cut=cut,
        unknown=unknown,
    )


def encode_answered(encode: Callable[[Sequence[Record]], Side], records: Sequence[Record]) -> tuple[Side, list[int]]:
    """The records of which an answer, or a part of one, is left within the maximum length, and which they are.

    `encode` is asked again only where there are others: a share of questions is spread over those that stay.
    """
    side = encode(records)
    kept = np.flatnonzero(side.supervised_counts > 1).tolist()
    return side if len(kept) == len(records) else encode([records[r] for r in kept]), kept


def _append(row: _Row, view: ByteView, text: str, ids: list[int], supervised: bool, asked_too: bool) -> None:
    first = not row.ids
    if not supervised:
        row.ids += ids
        row.supervised += [asked_too] * len(ids)
        row.ends += [0] * len(ids)
        row.prompt_ends += _prompt_ends(view, text, ids, row.length)
    else:
        assert view.eos_id is not None
        row.ids += [*ids, view.eos_id]
        row.supervised += [True] * (len(ids) + 1)
        size = len(text.encode("utf-8", "surrogatepass"))
        row.ends += [*(row.said + e for e in view.ends(text, ids).tolist()), row.said + size + 1]
        row.said += size + 1
        row.prompt_ends += [0] * (len(ids) + 1)
        row.text += text.encode("utf-8", "surrogatepass") + b"\xff"
    row.length += len(text)
    if first and row.supervised:
        row.supervised[0] = False  # nothing predicts the first token


def _prompt_ends(view: ByteView, text: str, ids: list[int], before: int) -> list[int]:
    """Where each token of a prompt ends: of several that end with the same character only the last one does."""
    ends = view.character_ends(text, ids)
    following = [*ends, len(text)][1:]
    return [before + end if 0 < end < later else 0 for end, later in zip(ends, following, strict=True)]


def _characters(row: _Row, max_length: int) -> int:
    """Characters of the supervised text up to the last token that was kept."""
    kept = row.text[: max(row.ends[:max_length], default=0)]
    return sum(byte & 0xC0 != 0x80 and byte != 0xFF for byte in kept)
