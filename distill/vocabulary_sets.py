"""Sets of student entries that a teacher's outcome leaves open: the tables behind distill.align.

A teacher that has said the tokens pi = (v_1 .. v_k) from a place where the student starts a token leaves the student

    S(pi) = { u : enc_T(bytes(u)) begins with pi }  +  { first_S(bytes(pi)) }

to say. With the student's entries sorted by enc_T(bytes(u)), the teacher's own tokenization of them, the first part is
one range of that order; the second is one entry more. Most sets have a single member.

BERT-style tokenizers swallow white space and may lower-case: as soon as one side does, both are looked at without white
space (and in lower case), and a student entry is sorted in twice, as the teacher writes it after a space and as it
writes it without one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distill.impossible import Impossible
from distill.ragged import Ragged
from students.tokenizers import ByteView

Path = tuple[int, ...]
_WHITE = re.compile(rb"[ \t\n\r\x0b\x0c]|\xe3\x80\x80|\xc2\xa0")
_CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Sets:
    """Sets of student entries as `[low, high)` of the sorted order plus one `extra` entry (-1: none); all `(sets)`."""

    low: np.ndarray
    high: np.ndarray
    extra: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Members of each set."""
        return self.high - self.low + (self.extra >= 0)


@dataclass(frozen=True)
class Children:
    """What may follow a path of teacher tokens inside one student token."""

    tokens: np.ndarray
    """Teacher ids"""
    sets: Sets
    """Their sets, in the same order"""
    rest: int
    """The student entry that is left when anything else follows; -1: none"""


class VocabularySets:
    """Tables of one ordered pair of tokenizers; grow as new paths and partial tokens are met."""

    def __init__(self, teacher: ByteView, student: ByteView) -> None:
        self.teacher, self.student = teacher, student
        self.squash = "wordpiece" in (teacher.family, student.family)
        self.lowercase = teacher.lowercase or student.lowercase
        self.teacher_bytes = [self.canonical(b) if b is not None else None for b in teacher.entries]
        self._firsts: dict[bytes, int] = {}
        self._written: dict[frozenset[int], tuple[int, int, int]] = {}
        self._children: dict[Path, Children] = {}
        self.conditioned_table = Ragged(2)
        """Outcomes of a conditioned token: teacher id, student id"""
        self.followers = Ragged(4)
        """What may follow a path: teacher id, low, high, extra"""
        self.student_bytes = [self.canonical(b) if b is not None else None for b in student.entries]
        self._by_bytes = sorted((b, v) for v, b in enumerate(self.teacher_bytes) if b)
        self._student_by_bytes = sorted((b, u) for u, b in enumerate(self.student_bytes) if b)
        self._sort_student()
        self.single_paths = self._one_token_sets()
        self.impossible = Impossible(self)

    def canonical(self, text: bytes) -> bytes:
        """Bytes as both sides are compared on."""
        if not self.squash:
            return text
        text = _WHITE.sub(b"", text)
        if self.lowercase:
            text = text.decode("utf-8", "surrogateescape").lower().encode("utf-8", "surrogateescape")
        return text

    def _sort_student(self) -> None:
        """`order` (sorted) student ids and their `keys`, teacher tokenizations; without entries no text produces."""
        entries = [(u, b) for u, b in enumerate(self.student.entries) if b and u != self.student.eos_id]
        entries = [(u, b) for (u, b), ok in zip(entries, self._reachable(entries), strict=True) if ok]
        keys = list(zip(self.encode_bytes(self.teacher, [b for _, b in entries]), entries, strict=True))
        if self.squash and self.teacher.family != "wordpiece":
            spaced = self.encode_bytes(self.teacher, [b" " + b for _, b in entries])
            keys += zip(spaced, entries, strict=True)
        ordered = sorted({(tuple(key), u) for key, (u, _) in keys if key})
        self.keys = [key for key, _ in ordered]
        self.order = np.array([u for _, u in ordered], dtype=np.int64)

    def _reachable(self, entries: Sequence[tuple[int, bytes]]) -> list[bool]:
        again = self.encode_bytes(self.student, [b for _, b in entries])
        alone = [ids == [u] for ids, (u, _) in zip(again, entries, strict=True)]
        if self.student.family != "wordpiece":
            return alone
        names = self.student.tokenizer.convert_ids_to_tokens([u for u, _ in entries])
        return [not _CJK.search(n) if n.startswith("##") else ok for n, ok in zip(names, alone, strict=True)]

    @staticmethod
    def encode_bytes(view: ByteView, texts: Sequence[bytes]) -> list[list[int]]:
        """A tokenizer's ids for any bytes; what is no UTF-8 goes through its byte entries, or is empty without them."""
        whole, broken = [], []
        for n, text in enumerate(texts):
            try:
                whole.append((n, text.decode()))
            except UnicodeDecodeError:
                broken.append(n)
        found: list[list[int]] = [[] for _ in texts]
        for (n, _), ids in zip(whole, view.encode_many([t for _, t in whole]), strict=True):
            found[n] = ids
        for n in broken:
            found[n] = view.encode_broken(texts[n])
        return found

    def firsts(self, texts: Sequence[bytes]) -> np.ndarray:
        """The student's first entry for each text, -1 where it has none; (texts)."""
        new = list({t for t in texts if t not in self._firsts})
        for text, ids in zip(new, self.encode_bytes(self.student, new), strict=True):
            self._firsts[text] = ids[0] if ids and self.student_bytes[ids[0]] != b"" else -1
        return np.array([self._firsts[t] for t in texts], dtype=np.int64)

    def range(self, path: Path) -> tuple[int, int]:
        """Where in the sorted order the entries stand whose teacher tokenization begins with `path`."""
        return bisect_left(self.keys, path), bisect_left(self.keys, (*path[:-1], path[-1] + 1))

    def _sets(self, paths: Sequence[Path], texts: Sequence[bytes]) -> Sets:
        ranges = np.array([self.range(p) for p in paths], dtype=np.int64).reshape(-1, 2)
        low, high = ranges[:, 0], ranges[:, 1]
        extra = self.firsts(texts)
        inside = [e in self.order[a:b] for e, a, b in zip(extra, low, high, strict=True)]
        return self._known_by_one(Sets(low, high, np.where(inside, -1, extra)))

    def _known_by_one(self, sets: Sets) -> Sets:
        """The same sets, each as it was written first: two ranges may hold the same entries."""
        for n in np.flatnonzero(sets.sizes > 1):
            a, b, e = int(sets.low[n]), int(sets.high[n]), int(sets.extra[n])
            members = frozenset([*self.order[a:b].tolist(), *([e] if e >= 0 else [])])
            written = (0, 0, e if e >= 0 else int(self.order[a])) if len(members) == 1 else (a, b, e)
            sets.low[n], sets.high[n], sets.extra[n] = self._written.setdefault(members, written)
        return sets

    def _one_token_sets(self) -> Sets:
        """The set of every one-token path, by teacher id; EOS answers EOS; empty for other special entries."""
        unknown = self.teacher.tokenizer.unk_token_id
        named = [v for v, b in enumerate(self.teacher_bytes) if b is not None or v == unknown]
        texts = [self.teacher_bytes[v] or b"" for v in named]
        some = self._sets([(v,) for v in named], texts)
        size = len(self.teacher_bytes)
        low, high, extra = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
        low[named], high[named], extra[named] = some.low, some.high, some.extra
        if self.teacher.eos_id is not None and self.student.eos_id is not None:
            low[self.teacher.eos_id] = high[self.teacher.eos_id] = 0
            extra[self.teacher.eos_id] = self.student.eos_id
        return Sets(low, high, extra)

    def holds(self, sets: Sets, which: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Whether set `which[n]` of `sets` has `members[n]`; bool (sets)."""
        low, high, extra = sets.low[which], sets.high[which], sets.extra[which]
        found = extra == members
        for n in np.flatnonzero(~found & (high > low)):
            found[n] = members[n] in self.order[low[n] : high[n]]
        return found

    def written(self, text: bytes) -> Path:
        """The teacher's own ids for any bytes."""
        return tuple(self.encode_bytes(self.teacher, [text])[0])

    def children(self, path: Path) -> Children:
        """What may follow `path` inside a student token."""
        if path not in self._children:
            low, high = self.range(path)
            depth = len(path)
            said = b"".join(self.teacher_bytes[v] or b"" for v in path)
            rest = int(self.firsts([said])[0]) if said else -1
            tokens = {key[depth] for key in self.keys[low:high] if len(key) > depth}
            tokens |= self._across(path, said, rest)
            ordered = sorted(tokens)
            sets = self._sets([(*path, v) for v in ordered], [said + (self.teacher_bytes[v] or b"") for v in ordered])
            self._children[path] = Children(np.array(ordered, dtype=np.int64), sets, rest)
        return self._children[path]

    def _across(self, path: Path, said: bytes, rest: int) -> set[int]:
        """Teacher entries that may follow `path` and would end a longer student entry than `rest` in their middle."""
        tails = {b[len(said) :] for b, _ in self.student_beginning(said) if len(b) > len(said)}
        found = sorted({v for tail in tails for b, v in _beginning(self._by_bytes, tail)})
        found = [v for v in found if not (self.squash and _WHITE.match(self.teacher.entries[v] or b""))]
        texts = [said + (self.teacher_bytes[v] or b"") for v in found]
        firsts = self.firsts(texts)
        written = self.encode_bytes(self.teacher, texts) if not self.squash else [[*path, v] for v in found]
        return {
            v for v, first, ids in zip(found, firsts, written, strict=True)
            if first not in (rest, -1) and ids == [*path, v]
        }  # fmt: skip

    def follower_number(self, path: Path) -> int:
        """Of what may follow a path, in `followers`."""
        return self.followers.number(path, lambda: self._follower_rows(self.children(path)))

    @staticmethod
    def _follower_rows(children: Children) -> np.ndarray:
        return np.stack([children.tokens, children.sets.low, children.sets.high, children.sets.extra], 1)

    def conditioned_number(self, before: bytes, said: bytes) -> int:
        """Of a conditioned token's outcomes, in `conditioned_table`."""
        return self.conditioned_table.number((before, said), lambda: self._conditioned(before, said))

    def _conditioned(self, before: bytes, said: bytes) -> np.ndarray:
        """Teacher entries that begin with `said` and go on, and the student's entry for what follows it; (entries, 2).

        The student has ended a token at `said`. Entries of which it would have made other tokens are not what is to
        come. `before` are the bytes of its tokens in front of the teacher's.
        """
        longer = [(b, v) for b, v in _beginning(self._by_bytes, said) if len(b) > len(said)]
        written = self.encode_bytes(self.student, [before + b for b, _ in longer])
        found = np.array([self._entry_at(ids, len(before) + len(said)) for ids in written], dtype=np.int64)
        tokens = np.array([v for _, v in longer], dtype=np.int64)
        return np.stack([tokens[found >= 0], found[found >= 0]], 1)

    def student_beginning(self, start: bytes) -> Iterator[tuple[bytes, int]]:
        """Student entries that begin with some bytes: these, and the id."""
        return _beginning(self._student_by_bytes, start)

    def _entry_at(self, ids: Sequence[int], place: int) -> int:
        """The entry that starts `place` bytes into a text of these entries; -1: none starts there."""
        for u in ids:
            if place <= 0:
                return u if place == 0 and self.student_bytes[u] != b"" else -1
            size = len(self.student_bytes[u] or b"")
            if not size:  # [UNK] stands for any bytes
                return -1
            place -= size
        return -1


def _beginning(entries: list[tuple[bytes, int]], start: bytes) -> Iterator[tuple[bytes, int]]:
    """Of sorted `(bytes, id)` those that begin with `start`."""
    at = bisect_left(entries, (start, -1))
    while at < len(entries) and entries[at][0].startswith(start):
        yield entries[at]
        at += 1
