"""What ties signals on disk to the rows of a data set: keys, checksums, fingerprints."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.records import Record, content_id
from distill.encoding import Side
from teachers.base import vocabulary_id

SAMPLES = 64
SAMPLE_BYTES = 4096
"""Of a file of weights so many stretches of so many bytes are looked at"""


def record_keys(records: Sequence[Record]) -> np.ndarray:
    """64 bits over what each record says; the same record has the same key in every file. (records)"""
    return np.array([int(content_id(record), 16) for record in records], np.uint64)


def row_check(side: Side, row: int, positions: int | None = None) -> int:
    """32 bits over the supervised tokens of a row, or over the first of them."""
    at = side.row(row)
    ids = side.ids[at][side.supervised[at]][:positions]
    return zlib.crc32(ids.astype("<i4").tobytes())


def data_fingerprint(keys: np.ndarray) -> str:
    """Of a set of records, whatever their order."""
    return hashlib.blake2b(np.unique(keys).astype("<u8").tobytes(), digest_size=8).hexdigest()


def tokenization(tokenizer: Any) -> str:
    """Of how a tokenizer cuts: its model, merges included, and everything around it but padding and truncation."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state.pop("padding", None)
    state.pop("truncation", None)
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=8).hexdigest()


PROBES = (
    "The Quick brown  FOX jumps, e\u0301t\u00e9 123,456.78!",
    "小猫在家里看书。“你好！”Ａ１：① 今天是2024年5月1日　星期三",
    "貓咪在家裡看書，\n\n\t第二行 <br> [UNK] ##ing \u2581x \U0001f389 don't",
)
EVERY = 16
"""One entry of so many is cut, too"""


def cut_alike(one: Any, other: Any) -> bool:
    """Whether two tokenizers have the same entries and cut text into the same ones.

    The same settings do; so do other ones that cut some hundred texts alike, for saving a tokenizer again with another
    library may write the same in another way.
    """
    if vocabulary_id(one) != vocabulary_id(other):
        return False
    if not (hasattr(one, "backend_tokenizer") and hasattr(other, "backend_tokenizer")):
        return one is other
    if tokenization(one) == tokenization(other):
        return True
    texts = [*PROBES, *(one.decode([token]) for token in range(0, len(one), EVERY))]
    return _cut(one, texts) == _cut(other, texts)


def _cut(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [found.ids for found in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]


def weights_fingerprint(path: str) -> str:
    """Of the safetensors of a model's folder, from samples of their bytes; empty for a hub id, and without a path."""
    files = sorted(Path(path).glob("*.safetensors")) if path and Path(path).is_dir() else []
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            for n in range(SAMPLES):
                opened.seek(n * max(size - SAMPLE_BYTES, 0) // (SAMPLES - 1), os.SEEK_SET)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest() if files else ""
