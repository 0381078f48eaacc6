"""The files of a signal store: shards of ragged rows as safetensors, mapped into memory; whole or not there."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from teachers.base import TeacherError
from teachers.signal_codec import pack_groups, unpack_groups

DTYPES = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "I32": np.int32, "F16": np.float16,
          "F32": np.float32, "I64": np.int64}  # fmt: skip


ENTROPY_STEPS = 20
"""A nat of entropy is so many steps of 8 bits, which end above the logarithm of 300,000 entries"""


@dataclass
class Row:
    """The signals of one record."""

    key: int
    """Names the record, 64 bits"""
    check: int
    """Checksum of its supervised tokens, 32 bits"""
    entries: np.ndarray
    """(positions): entries of each; 0 where the teacher says nothing"""
    ids: np.ndarray
    """(entries), none twice in a position; -1: the next one of `sets`"""
    weights: np.ndarray
    """(entries): counts of draws, or masses"""
    tail: np.ndarray | None = None
    """(positions): mass that is in no entry; None where it was sampled"""
    sets: np.ndarray | None = None
    """(sets, 3): low, high, extra; None where nothing was moved"""
    entropy: np.ndarray | None = None
    """(positions): of what was drawn from, in nats; None where nothing was"""


@dataclass
class Signals:
    """Rows read back, one after the other."""

    entries: np.ndarray
    """(positions): entries of each"""
    ids: np.ndarray
    """(entries) int64, in an order of the shard's own; -1: the next one of `sets`"""
    mass: np.ndarray
    """(entries) float32"""
    tail: np.ndarray
    """(positions) float32; 0 where it was sampled"""
    sets: np.ndarray
    """(sets, 3)"""
    entropy: np.ndarray
    """(positions) float32: of what was drawn from; 0 where nothing was"""


def pack(rows: Sequence[Row], method: str, size: int, moved_onto: int | None) -> dict[str, np.ndarray]:
    """The tensors of a shard. `moved_onto`: entries of the vocabulary that the masses were moved onto."""
    entries = np.concatenate([r.entries for r in rows])
    kinds = np.concatenate([r.ids for r in rows]).astype(np.int64)
    weights = np.concatenate([r.weights for r in rows])
    tensors: dict[str, np.ndarray] = {
        "key": np.array([r.key for r in rows], np.uint64),
        "check": np.array([r.check for r in rows], np.uint32),
        "positions": np.array([len(r.entries) for r in rows], np.uint32),
    }
    if moved_onto is not None:
        given = [r.sets for r in rows if r.sets is not None]
        table, which = np.unique(np.concatenate(given), axis=0, return_inverse=True)
        kinds[kinds < 0] = moved_onto + which.reshape(-1)
        tensors["sets"] = table.astype(np.int32).reshape(-1, 3)
    at = np.repeat(np.arange(len(entries)), entries)
    # What was drawn more than once comes first, so that it is enough to know how many these are.
    alphabet, order, data, lengths = pack_groups(kinds, 2 * at + (weights <= 1) if method == "sampled" else at)
    weights = weights[order]
    tensors["entries"] = _narrow(entries, size + 1)
    tensors["alphabet"] = _narrow(alphabet, int(alphabet.max(initial=0)))
    tensors["ids"] = data
    row = np.repeat(np.arange(len(rows)), [len(r.ids) for r in rows])
    tensors["bytes"] = np.bincount(row, lengths, len(rows)).astype(np.uint32)
    if method == "sampled":
        more = np.bincount(at, weights > 1, len(entries)).astype(np.int64)
        tensors["repeated"] = _narrow(more, size)
        tensors["weights"] = _narrow(weights[weights > 1], size)
        entropy = np.concatenate([r.entropy for r in rows if r.entropy is not None])
        tensors["entropy"] = np.rint(entropy * ENTROPY_STEPS).clip(0, 255).astype(np.uint8)
    else:
        tensors["weights"] = weights.astype(np.float16)
        tensors["tail"] = np.concatenate([r.tail for r in rows if r.tail is not None]).astype(np.float16)
    shard = Shard(tensors)
    tensors["crc"] = np.array([shard.told(n, moved_onto).crc() for n in range(len(rows))], np.uint32)
    return tensors


@dataclass
class _Told:
    """What a shard holds of a row."""

    entries: np.ndarray
    repeated: np.ndarray
    """(positions): of how many entries there is a weight"""
    ids: np.ndarray
    sets: np.ndarray
    weights: np.ndarray
    rest: np.ndarray
    """(positions): entropy, or tail"""

    def crc(self) -> int:
        """32 bits over all of it, as it is read back."""
        found = 0
        for column in (self.entries, self.repeated, self.ids, self.sets):
            found = zlib.crc32(column.astype("<i4").tobytes(), found)
        for column in (self.weights, self.rest):
            found = zlib.crc32(column.astype("<f4").tobytes(), found)
        return found


class Shard:
    """The tensors of a shard, and where in them each row begins. ValueError when they do not fit together."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.drawn = "repeated" in tensors
        self.first = _starts(tensors["positions"])
        """(rows + 1): the first position of each row"""
        self.byte = _starts(tensors["bytes"])
        """(rows + 1): the first byte of `ids` of each row"""
        # Where only counts above 1 are written, `weights` has fewer than there are entries.
        positions = len(tensors["entries"])
        if self.first[-1] != positions or self.byte[-1] != len(tensors["ids"]):
            raise ValueError(f"{self.first[-1]} positions and {self.byte[-1]} bytes, not {positions} and "
                             f"{len(tensors['ids'])}")  # fmt: skip
        self.weight = _starts(tensors["repeated" if self.drawn else "entries"])[self.first]
        """(rows + 1): the first of `weights` of each row"""

    def told(self, row: int, moved_onto: int | None) -> _Told:
        """All of a row. ValueError or IndexError for what cannot be."""
        t, whole = self.tensors, slice(int(self.first[row]), int(self.first[row + 1]))
        entries = t["entries"][whole].astype(np.int64)
        repeated = t["repeated"][whole].astype(np.int64) if self.drawn else entries
        groups = np.stack([repeated, entries - repeated], 1).reshape(-1)
        ids = unpack_groups(t["ids"][self.byte[row] : self.byte[row + 1]], t["alphabet"], groups[groups > 0])
        sets = np.zeros((0, 3), np.int64)
        if moved_onto is not None:
            large = ids >= moved_onto
            sets = t["sets"][ids[large] - moved_onto].astype(np.int64)
            ids[large] = -1
        weights = t["weights"][self.weight[row] : self.weight[row + 1]].astype(np.float32)
        rest = t["entropy" if self.drawn else "tail"][whole].astype(np.float32)
        return _Told(entries, repeated, ids, sets, weights, rest)

    def read(self, row: int, positions: int, size: int, moved_onto: int | None) -> Signals:
        """The first positions of a row, of `size` draws each. ValueError when it is not what was written."""
        told = self.told(row, moved_onto)
        if told.crc() != self.tensors["crc"][row]:
            raise ValueError("its checksum is another")
        entries, repeated, rest = told.entries[:positions], told.repeated[:positions], told.rest[:positions]
        ids = told.ids[: entries.sum()]
        sets, weights = told.sets[: (ids < 0).sum()], told.weights[: repeated.sum()]
        nothing = np.zeros(positions, np.float32)
        if self.drawn:
            mass = np.ones(len(ids), np.float32)
            nth = np.arange(len(weights)) - np.repeat(np.cumsum(repeated) - repeated, repeated)
            mass[np.repeat(np.cumsum(entries) - entries, repeated) + nth] = weights
            return Signals(entries, ids, mass / size, nothing, sets, rest / ENTROPY_STEPS)
        of = np.repeat(np.arange(positions), entries)
        # 16 bits: they add up to nearly 1
        scale = (1 - rest) / np.maximum(np.bincount(of, weights, positions), 1e-12)
        mass = (weights * scale[of]).astype(np.float32)
        return Signals(entries, ids, mass, np.where(entries > 0, rest, 0), sets, nothing)


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _narrow(numbers: np.ndarray, largest: int) -> np.ndarray:
    return numbers.astype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32)


def map_tensors(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file, mapped into memory, where its own reader copies; TeacherError when it is cut off or none."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise ValueError("cut off in its header")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        if 8 + length + max((h["data_offsets"][1] for h in header.values()), default=0) != size:
            raise ValueError(f"it has {size} bytes, not as many as it says")
        data = np.memmap(path, np.uint8, "r")
        return {
            name: data[8 + length + h["data_offsets"][0] : 8 + length + h["data_offsets"][1]]
            .view(DTYPES[h["dtype"]])
            .reshape(h["shape"])
            for name, h in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        why = " ".join(str(error).split())[:120]
        raise TeacherError(f"{path} is damaged or cut off ({why}); run the same 'distill capture' again") from None


def write_synced(path: Path, data: bytes) -> None:
    """A file that is whole or not there, also after a power cut."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def locked(folder: Path) -> int:
    """Two captures never write one store."""
    file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise TeacherError(f"another capture is writing to {folder}; wait for its end") from None
    return file
