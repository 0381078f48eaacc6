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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        self._children: dict[Path, Children] = {}
        self._conditioned: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        self._by_bytes = sorted((b, v) for v, b in enumerate(self.teacher_bytes) if b)
        self._sort_student()
        self.single_paths = self._one_token_sets()

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
        keys = list(zip(self._encode_bytes(self.teacher, [b for _, b in entries]), entries, strict=True))
        if self.squash and self.teacher.family != "wordpiece":
            spaced = self._encode_bytes(self.teacher, [b" " + b for _, b in entries])
            keys += zip(spaced, entries, strict=True)
        ordered = sorted({(tuple(key), u) for key, (u, _) in keys if key})
        self.keys = [key for key, _ in ordered]
        self.order = np.array([u for _, u in ordered], dtype=np.int64)

    def _reachable(self, entries: Sequence[tuple[int, bytes]]) -> list[bool]:
        if self.student.family == "wordpiece":
            names = self.student.tokenizer.convert_ids_to_tokens([u for u, _ in entries])
            return [not (n.startswith("##") and _CJK.search(n)) for n in names]
        again = self._encode_bytes(self.student, [b for _, b in entries])
        return [ids == [u] for ids, (u, _) in zip(again, entries, strict=True)]

    @staticmethod
    def _encode_bytes(view: ByteView, texts: Sequence[bytes]) -> list[list[int]]:
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
        for text, ids in zip(new, self._encode_bytes(self.student, new), strict=True):
            self._firsts[text] = ids[0] if ids else -1
        return np.array([self._firsts[t] for t in texts], dtype=np.int64)

    def range(self, path: Path) -> tuple[int, int]:
        """Where in the sorted order the entries stand whose teacher tokenization begins with `path`."""
        return bisect_left(self.keys, path), bisect_left(self.keys, (*path[:-1], path[-1] + 1))

    def _sets(self, paths: Sequence[Path], texts: Sequence[bytes]) -> Sets:
        ranges = np.array([self.range(p) for p in paths], dtype=np.int64).reshape(-1, 2)
        low, high = ranges[:, 0], ranges[:, 1]
        extra = self.firsts(texts)
        inside = [e in self.order[a:b] for e, a, b in zip(extra, low, high, strict=True)]
        return Sets(low, high, np.where(inside, -1, extra))

    def _one_token_sets(self) -> Sets:
        """The set of every one-token path, by teacher id; EOS answers EOS; empty for other special entries."""
        named = [v for v, b in enumerate(self.teacher_bytes) if b is not None]
        texts = [self.teacher_bytes[v] or b"" for v in named]
        some = self._sets([(v,) for v in named], texts)
        size = len(self.teacher_bytes)
        low, high, extra = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -1, np.int64)
        low[named], high[named], extra[named] = some.low, some.high, some.extra
        if self.teacher.eos_id is not None and self.student.eos_id is not None:
            low[self.teacher.eos_id] = high[self.teacher.eos_id] = 0
            extra[self.teacher.eos_id] = self.student.eos_id
        return Sets(low, high, extra)

    def children(self, path: Path) -> Children:
        """What may follow `path` inside a student token."""
        if path not in self._children:
            low, high = self.range(path)
            depth = len(path)
            tokens = sorted({key[depth] for key in self.keys[low:high] if len(key) > depth})
            said = b"".join(self.teacher_bytes[v] or b"" for v in path)
            sets = self._sets([(*path, v) for v in tokens], [said + (self.teacher_bytes[v] or b"") for v in tokens])
            rest = int(self.firsts([said])[0]) if said else -1
            self._children[path] = Children(np.array(tokens, dtype=np.int64), sets, rest)
        return self._children[path]

    def conditioned(self, said: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Teacher entries that begin with `said` and go on, and the student's first entry for what follows it."""
        if said not in self._conditioned:
            at = bisect_left(self._by_bytes, (said, -1))
            tokens, rests = [], []
            while at < len(self._by_bytes) and self._by_bytes[at][0].startswith(said):
                if len(self._by_bytes[at][0]) > len(said):
                    tokens.append(self._by_bytes[at][1])
                    rests.append(self._by_bytes[at][0][len(said) :])
                at += 1
            members = self.firsts(rests)
            known = members >= 0
            self._conditioned[said] = (np.array(tokens, dtype=np.int64)[known], members[known])
        return self._conditioned[said]

