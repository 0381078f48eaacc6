"""Which rows are held out: decided by what a row asks, the seed and the share, and by nothing else.

So a question is on its side whatever was drawn beside it: what a smaller sample trains on, a larger one with the same
seed never holds out, and a mix is built again with other sources without a question changing sides. The share is
therefore kept on average, not to the row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from data_gen.ranks import mix64
from data_gen.records import Record

STREAM = 0x6D697868656C64
"""Xored into the seed, so that what is held out does not depend on what was drawn"""


def asked_by(record: Record) -> int:
    """64 bits of what a record asks."""
    return number_of([record.instruction, record.input, record.system, record.history])


def number_of(said: Sequence[Any]) -> int:
    """64 bits of texts, or of what else JSON can say."""
    return int.from_bytes(hashlib.blake2b(orjson.dumps(said), digest_size=8).digest())


def is_heldout(asked: int, seed: int, share: float) -> bool:
    """Whether the rows that ask this are held out; those of a smaller share are among those of a larger one."""
    return mix64(asked, seed ^ STREAM) < share * 2**64
