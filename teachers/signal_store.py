"""Teacher signals on disk: for every supervised token of a data set a sparse row of (id, weight).

A store is a folder. `manifest.json` says once what decides its content (teacher, vocabularies, templates, data, method,
temperature); `shard-NNNNN.safetensors` hold the rows of some records each, found by a 64-bit key of the record. A shard
is written under another name, synced and renamed, so after a kill at any byte there are whole shards and nothing else,
and the same capture goes on with the records that are missing. Reading maps the files into memory.

`sampled` rows are the outcome of `size` draws: different ids with their counts, of which only those above 1 are
written, and the entropy of what was drawn from in 8 bits. `topk` rows are 16-bit masses and the mass of everything
else. Ids take little more than a byte each (teachers.signal_codec). A moved store's rows are masses on the entries of
another vocabulary than the teacher's, and on sets of its entries: an id from `vocabulary_size` on is a set of the
shard's own table, `(low, high, extra)` of the order in `sets.safetensors`.

No torch here, and nobody else of this project: numpy and safetensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from teachers.base import TeacherError, nearest
from teachers.signal_files import Row, Shard, Signals, locked, map_tensors, pack, write_synced

FORMAT = 2
METHODS = ("sampled", "topk")
SHARD_TOKENS = 1 << 16
"""Positions a shard: about 2 MB"""


@dataclass(frozen=True)
class Manifest:
    """What decides a store's content."""

    method: str
    """sampled or topk"""
    size: int
    """Draws a token, or entries a token at most"""
    temperature: float
    """Of the teacher"""
    teacher: str
    teacher_weights: str
    """Fingerprint of its weights; empty when there are none to look at"""
    teacher_vocabulary: str
    """`vocabulary_id` of its tokenizer"""
    vocabulary: str
    """`vocabulary_id` of the tokenizer whose ids stand in the rows: the student's"""
    vocabulary_size: int
    tokenization: str
    """Fingerprint of how that tokenizer cuts"""
    moved: bool
    """Rows are masses on sets of another vocabulary than the teacher's"""
    template: str
    teacher_template: str
    max_length: int
    """Tokens of a row, in the student's vocabulary"""
    data: str
    """Fingerprint of the records"""
    rows: int
    """Records"""
    files: list[str] = field(default_factory=list)
    """Where they came from, as they were named; decides nothing"""
    seed: int = 0
    format: int = FORMAT

    def differences(self, other: Manifest) -> list[str]:
        """`name: this one, not that one` of what decides the content."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.name != "files"}
        return [f"{name} ({a}, not {b})" for name, (a, b) in pairs.items() if a != b]


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a store; TeacherError where there is none or it is damaged."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        there = nearest(Path(folder).name, [p.parent.name for p in Path(folder).parent.glob("*/manifest.json")])
        raise TeacherError(f"{folder} holds no signals: no manifest.json; make a store with 'distill capture'{there}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if "format" not in found:
            raise TeacherError(f"{path} was not written by 'distill capture'; give another folder")
        if found["format"] != FORMAT:
            raise TeacherError(f"{folder} was written in format {found['format']}, this version reads {FORMAT}")
        return Manifest(**found)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, TeacherError):
            raise
        raise TeacherError(f"{path} is damaged ({error}); capture the signals again into another folder") from None


def save_sets(folder: str | Path, order: np.ndarray, silent: np.ndarray) -> None:
    """What the sets of a moved store are ranges of: student ids in an order, and those that have no bytes."""
    import safetensors.numpy

    tensors = {"order": order.astype(np.int32), "silent": silent.astype(np.int32)}
    data = safetensors.numpy.save(tensors)
    path = Path(folder) / "sets.safetensors"
    if not path.is_file() or path.read_bytes() != data:
        if any(Path(folder).glob("shard-*.safetensors")):
            raise TeacherError(f"{path} is damaged or of another version; capture into another folder")
        write_synced(path, data)


def _refuse_others(folder: Path) -> None:
    """A store is not mixed into a folder of other things, such as a tokenizer."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    others = sorted(name for name in names if not name.endswith(".part") and not name.startswith("shard-"))
    if "manifest.json" not in names and others:
        raise TeacherError(f"{folder} holds {others[0]} and no signals; give another folder")


class SignalWriter:
    """Adds rows to a store; opening one that exists goes on with it, if it is of the same manifest."""

    def __init__(self, folder: str | Path, manifest: Manifest, shard_tokens: int = SHARD_TOKENS) -> None:
        self.folder, self.manifest, self.shard_tokens = Path(folder), manifest, shard_tokens
        if manifest.method not in METHODS:
            raise TeacherError(f"unknown method {manifest.method!r}{nearest(manifest.method, METHODS)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        _refuse_others(self.folder)
        self._lock = locked(self.folder)
        self.damaged = 0
        """Shards that were found cut off and thrown away"""
        self.keys: set[int] = set()
        self.tokens = self.bytes = 0
        """Positions and bytes on disk"""
        self._waiting: list[Row] = []
        self._next = self._held = 0
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def _moved_onto(self) -> int | None:
        return self.manifest.vocabulary_size if self.manifest.moved else None

    def _open(self) -> None:
        if (self.folder / "manifest.json").exists():
            different = read_manifest(self.folder).differences(self.manifest)
            if different:
                raise TeacherError(
                    f"{self.folder} holds other signals: {'; '.join(different)}; give another folder or delete it"
                )
        elif any(self.folder.glob("shard-*")):
            raise TeacherError(f"{self.folder} holds shards without a manifest.json; give another folder")
        else:
            text = json.dumps(asdict(self.manifest), ensure_ascii=False, indent=1) + "\n"
            write_synced(self.folder / "manifest.json", text.encode())
        for part in self.folder.glob("*.part"):
            part.unlink()
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            self._next = max(self._next, int(path.stem.removeprefix("shard-")) + 1)
            try:
                shard = map_tensors(path)
            except TeacherError:
                path.unlink()
                self.damaged += 1
                continue
            self.keys.update(shard["key"].tolist())
            self.tokens += len(shard["entries"])
            self.bytes += path.stat().st_size

    def __contains__(self, key: int) -> bool:
        return key in self.keys

    def add(self, row: Row) -> None:
        """Take a record's signals; they are on disk when a shard is full, or after `flush`."""
        self._waiting.append(row)
        self.keys.add(row.key)
        self._held += len(row.entries)
        if self._held >= self.shard_tokens:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting as a shard."""
        if not self._waiting:
            return
        import safetensors.numpy

        data = safetensors.numpy.save(pack(self._waiting, self.manifest.method, self.manifest.size, self._moved_onto))
        write_synced(self.folder / f"shard-{self._next:05d}.safetensors", data)
        self._next += 1
        self.tokens += self._held
        self.bytes += len(data)
        self._waiting.clear()
        self._held = 0

    def close(self) -> None:
        """Let others write. What is waiting is lost without `flush`."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> SignalWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self.flush()
        finally:
            self.close()


class SignalStore:
    """Reads a store. TeacherError when a shard is cut off, naming it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder, self.manifest = Path(folder), read_manifest(folder)
        self._paths = sorted(self.folder.glob("shard-*.safetensors"))
        self._shards = [self._open(path) for path in self._paths]
        keys = [np.asarray(s.tensors["key"]) for s in self._shards]
        self._of = np.repeat(np.arange(len(keys)), [len(k) for k in keys]).astype(np.int64)
        self._at = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(k)) for k in keys)])
        everything = np.concatenate([np.zeros(0, np.uint64), *keys])
        self._order = np.argsort(everything, kind="stable")
        self._keys = everything[self._order]
        self.tokens = sum(len(s.tensors["entries"]) for s in self._shards)
        self.bytes = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    def sets(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a moved store: the student ids that sets are ranges of, and the student ids without bytes."""
        path = self.folder / "sets.safetensors"
        if not path.is_file():
            raise TeacherError(f"{self.folder} has lost its sets.safetensors; capture the signals again")
        tensors = map_tensors(path)
        return tensors["order"].astype(np.int64), tensors["silent"].astype(np.int64)

    def _open(self, path: Path) -> Shard:
        try:
            return Shard(map_tensors(path))
        except (ValueError, KeyError) as error:
            if isinstance(error, TeacherError):
                raise
            raise TeacherError(
                f"{path} does not fit together ({error}); delete that file and run the same 'distill capture' again"
            ) from None

    def __len__(self) -> int:
        """Records."""
        return len(self._keys)

    def missing(self) -> int:
        """Records that the capture has not come to, or that were lost."""
        return self.manifest.rows - len(np.unique(self._keys))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(keys): where each record stands, for `read`; -1 where there is none."""
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        at = np.searchsorted(self._keys, keys.astype(np.uint64)).clip(max=len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._order[at], -1)

    def about(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(places): how many positions each has, and the checksum of its tokens."""
        shards = [self._shards[s].tensors for s in self._of[places]]
        at = self._at[places].tolist()
        return (
            np.array([s["positions"][n] for s, n in zip(shards, at, strict=True)], np.int64),
            np.array([s["check"][n] for s, n in zip(shards, at, strict=True)], np.int64),
        )

    def read(self, places: Sequence[int], positions: Sequence[int]) -> Signals:
        """The first `positions[n]` positions of the record at `places[n]`, one record after the other."""
        none, no_mass = np.zeros(0, np.int64), np.zeros(0, np.float32)
        found = [Signals(none, none, no_mass, no_mass, none.reshape(0, 3), no_mass)]
        found += [self._row(int(p), int(n)) for p, n in zip(places, positions, strict=True)]
        columns = zip(*((s.entries, s.ids, s.mass, s.tail, s.sets, s.entropy) for s in found), strict=True)
        return Signals(*(np.concatenate(column) for column in columns))

    def _row(self, place: int, positions: int) -> Signals:
        shard, row = self._shards[self._of[place]], int(self._at[place])
        there = int(shard.tensors["positions"][row])
        if positions > there:
            raise TeacherError(f"{self.folder}: a row has {there} tokens, {positions} are asked")
        found = self.manifest
        try:
            return shard.read(row, positions, found.size, found.vocabulary_size if found.moved else None)
        except (ValueError, IndexError) as error:
            path = self._paths[self._of[place]]
            raise TeacherError(
                f"a row in {path} is damaged ({error}); delete that file and run the same 'distill capture' again"
            ) from None
