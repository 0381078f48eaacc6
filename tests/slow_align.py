"""The aligned loss once more, a token at a time, with sets as sets: slow, and told straight from the definitions.

S(path) = { u : the teacher writes bytes(u) beginning with path }  +  { the student's first entry for bytes(path) }
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache, cached_property

import torch
from torch import Tensor

from distill.encoding import Side
from students.tokenizers import ByteView

Path = tuple[int, ...]
Target = dict[frozenset[int], float]
NOWHERE: frozenset[int] = frozenset()
SPACE: frozenset[int] = frozenset([-1])
"""In a target: the row weighs by how much else than white space the student expects"""


def write(view: ByteView, text: bytes) -> list[int]:
    """A tokenizer's ids for any bytes."""
    try:
        return view.encode(text.decode())
    except UnicodeDecodeError:
        return view.encode_broken(text)


class SlowAligner:
    """One pair of tokenizers."""

    def __init__(self, teacher: ByteView, student: ByteView) -> None:
        self.teacher, self.student = teacher, student
        self.squash = "wordpiece" in (teacher.family, student.family)
        self.lower = teacher.lowercase or student.lowercase
        self.t_bytes = [None if b is None else self.canonical(b) for b in teacher.entries]
        self.s_bytes = [None if b is None else self.canonical(b) for b in student.entries]
        self.s_known = {b for b in self.s_bytes if b}
        self.silent = {v for v, b in enumerate(self.t_bytes) if b == b"" and v != teacher.eos_id}
        self.student_silent = [u for u, b in enumerate(self.s_bytes) if b == b"" and u != student.eos_id]

    def canonical(self, text: bytes) -> bytes:
        """Without white space and in lower case where one side has it so."""
        if not self.squash:
            return text
        for space in (b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x0c", b"\xe3\x80\x80", b"\xc2\xa0"):
            text = text.replace(space, b"")
        if self.lower:
            text = text.decode("utf-8", "surrogateescape").lower().encode("utf-8", "surrogateescape")
        return text

    @cached_property
    def keys(self) -> list[tuple[Path, int]]:
        """Every student entry that a text can produce, as the teacher writes it (and after a space)."""
        found = []
        for u, entry in enumerate(self.student.entries):
            if not entry or u == self.student.eos_id or not self._reachable(u, entry):
                continue
            found.append((tuple(write(self.teacher, entry)), u))
            if self.squash and self.teacher.family != "wordpiece":
                found.append((tuple(write(self.teacher, b" " + entry)), u))
        return [(key, u) for key, u in found if key]

    def _reachable(self, u: int, entry: bytes) -> bool:
        name = self.student.tokenizer.convert_ids_to_tokens(u)
        if self.student.family == "wordpiece" and name.startswith("##"):
            return all(ord(c) < 0x2E80 for c in name)
        return write(self.student, entry) == [u]

    @cache  # noqa: B019
    def first(self, text: bytes) -> int | None:
        """The student's first entry."""
        ids = write(self.student, text)
        return ids[0] if ids and ids[0] not in self.student_silent else None

    @cached_property
    def starts(self) -> dict[Path, set[int]]:
        """Every beginning of a key, and the entries behind it."""
        found: dict[Path, set[int]] = defaultdict(set)
        for key, u in self.keys:
            for n in range(1, len(key) + 1):
                found[key[:n]].add(u)
        return dict(found)

    @cache  # noqa: B019
    def members(self, path: Path) -> frozenset[int]:
        """S(path)."""
        if path == (self.teacher.eos_id,):
            return frozenset([self.student.eos_id or 0])
        found = self.starts.get(path, set())
        first = self.first(b"".join(self.t_bytes[v] or b"" for v in path))
        unknown = path == (self.teacher.tokenizer.unk_token_id,)
        return frozenset(found if first is None or unknown else found | {first})

    @cache  # noqa: B019
    def never(self, previous: int | None) -> frozenset[int]:
        """What cannot follow a student entry, as the student would write both in another way."""
        if previous is None or self.student.family == "wordpiece" or not self.student.entries[previous]:
            return frozenset()
        left = self.student.entries[previous] or b""
        return frozenset(
            u for u, entry in enumerate(self.student.entries)
            if entry and self._meets(left, entry) and write(self.student, left + entry) != [previous, u]
        )  # fmt: skip

    def _meets(self, left: bytes, right: bytes) -> bool:
        """Whether some entry spans the seam, from the start of a character on."""
        if left.isascii():
            return left + right in self.s_known
        starts = [k for k in range(len(left)) if k == 0 or left[k] & 0xC0 != 0x80]
        return any(left[k:] + right[:n] in self.s_known for k in starts for n in range(1, len(right) + 1))

    @cache  # noqa: B019
    def _named(self, path: Path, v: int, said: bytes, rest: int | None) -> bool:
        """Whether `v` after `path` leads to an entry of its own; else it leaves `rest`."""
        longer = (*path, v)
        if longer in self.starts:
            return True
        more = self.t_bytes[v] or b""
        if not any(said + more[:n] in self.s_known for n in range(1, len(more) + 1)):
            return False
        if self.squash:
            plain = (self.teacher.entries[v] or b"")[:1] not in (b" ", b"\n", b"\t", b"\r")
        else:
            plain = tuple(write(self.teacher, said + more)) == longer
        return plain and self.first(said + more) not in (rest, None)

    def share(self, p: Tensor, i: int, path: Path, key: Path, depth: int, own: int, never: frozenset[int]) -> Target:
        """What the teacher's step `depth` of a path says, and those after it."""
        target: Target = defaultdict(float)
        before = key[: len(key) - len(path) + depth]
        said = b"".join(self.t_bytes[v] or b"" for v in before)
        rest = self.first(said)
        last = depth == len(path) - 1
        for v, mass in enumerate(p[i + depth].tolist()):
            if v == path[depth] and not last:
                for members, more in self.share(p, i, path, key, depth + 1, own, frozenset()).items():
                    target[members] += mass * more
                continue
            named = self._named(before, v, said, rest)
            members = self.members((*before, v)) if named else frozenset() if rest is None else frozenset([rest])
            if v == path[depth] and own not in members:
                members = frozenset([own])
            if not members & never or (v == path[depth] and (named or own != rest)):
                target[members] += mass
        return target

    def targets(self, p: Tensor, answer: str, teacher: Side, student: Side, row: int) -> list[Target | None]:
        """The target of every supervised student token of a row; None: it has none. `p` (teacher tokens, entries)."""
        text = answer.encode()
        at = [0]
        for char in answer:
            size, shown = len(char.encode()), len(self.canonical(char.encode()))
            between = range(1, size) if shown == size else [0] * (size - 1)
            at += [at[-1] + n for n in between] + [at[-1] + shown]
        at.append(at[-1] + 1)
        canonical = self.canonical(text)
        (s_ids, s_ends), (t_ids, t_ends) = (_tokens(side, row, at) for side in (student, teacher))
        found = [self._target(p, canonical, j, s_ids, s_ends, t_ids, t_ends) for j in range(len(s_ids))]
        for j in reversed(range(len(s_ids) - 1)):  # white space borrows the target of what comes after it
            if s_ids[j] in self.student_silent and found[j + 1] is not None:
                found[j] = {SPACE: 1.0, **(found[j + 1] or {})}
        return found

    def _target(
        self, p: Tensor, text: bytes, j: int, s_ids: list[int], s_ends: list[int], t_ids: list[int], t_ends: list[int]
    ) -> Target | None:
        start, end, own = ([0, *s_ends])[j], s_ends[j], s_ids[j]
        t_starts = [0, *t_ends]
        i = max(k for k in range(len(t_ids)) if t_starts[k] <= start)
        if end <= start or t_ends[-1] < end or own in self.student_silent:
            return None
        last = min(k for k in range(len(t_ids)) if t_ends[k] >= end)
        path = tuple(t_ids[i : last + 1])
        if t_starts[i] < start:
            behind = max(k for k in [0, *s_ends[:j]] if k <= t_starts[i])
            return self._inside(p, text[behind : t_starts[i]], text[t_starts[i] : start], path, i, own, text, start)
        if any(self.t_bytes[v] is None for v in path[:-1]):
            return None
        never = self.never(s_ids[j - 1]) if j else frozenset()
        depth = 0
        while depth < len(path) and self._blocked(path, depth, never):
            depth += 1
        if depth == len(path) and t_ends[last] == end:
            path = (*path, t_ids[last + 1])
        depth = min(depth, len(path) - 1)
        if depth:
            return _whole_mass(self.share(p, i, path, path, depth, own, never))
        return _whole_mass(self._plain(p, i, path, own, never))

    def _blocked(self, path: Path, depth: int, never: frozenset[int]) -> bool:
        if depth == 0:
            return bool(self.members(path[:1]) & never)
        said = b"".join(self.t_bytes[v] or b"" for v in path[:depth])
        named = self._named(path[:depth], path[depth], said, self.first(said))
        return named and bool(self.members(path[: depth + 1]) & never)

    def _plain(self, p: Tensor, i: int, path: Path, own: int, never: frozenset[int]) -> Target:
        target: Target = defaultdict(float)
        for v, mass in enumerate(p[i].tolist()):
            members = self.members((v,)) if self.t_bytes[v] is not None or v == self._unknown else NOWHERE
            members = self.members((v,)) if v == self.teacher.eos_id else members
            if v == path[0] and len(path) > 1:
                for deeper, more in self.share(p, i, path, path, 1, own, frozenset()).items():
                    target[deeper] += mass * more
            elif v == path[0]:
                target[members if own in members else frozenset([own])] += mass
            elif v not in self.silent and not members & never:
                target[members] += mass
        return target

    @property
    def _unknown(self) -> int | None:
        return self.teacher.tokenizer.unk_token_id

    def _inside(
        self, p: Tensor, behind: bytes, said: bytes, path: Path, i: int, own: int, text: bytes, start: int
    ) -> Target | None:
        realised = self.t_bytes[path[0]]
        rest = text[start : start + len(realised or b"") - len(said)]
        if any(self.t_bytes[v] is None for v in path):
            return None
        again = write(self.teacher, rest)
        target: Target = defaultdict(float)
        for v, mass in enumerate(p[i].tolist()):
            entry = self.t_bytes[v] or b""
            if v == path[0]:
                deeper: Target = {frozenset([own]): 1.0}
                if len(path) > 1 and again:
                    deeper = self.share(p, i, path, (*again, *path[1:]), 1, own, frozenset())
                for members, more in deeper.items():
                    target[members] += mass * more
            elif entry.startswith(said) and len(entry) > len(said):
                place = len(behind) + len(said)
                for u in write(self.student, behind + entry):
                    if place == 0:
                        target[frozenset([u])] += mass
                    size = len(self.s_bytes[u] or b"")
                    if place <= 0 or not size:
                        break
                    place -= size
        return _whole_mass(target)

    def loss(self, targets: list[Target | None], logits: Tensor) -> Tensor:
        """sum m (log m - log Q(S)) over all rows, from float64 logits (tokens, entries)."""
        heard = 1 - torch.softmax(logits.detach(), -1)[:, self.student_silent].sum(-1)
        logits = logits.clone()
        logits[:, self.student_silent] = -math.inf
        log_q = torch.log_softmax(logits, -1)
        whole = logits.new_zeros(())
        for row, target, other in zip(log_q, targets, heard.tolist(), strict=True):
            total = logits.new_zeros(())
            target = dict(target or {})
            weight = other if target.pop(SPACE, None) else 1.0
            covered = set(self.student_silent).union(*(members for members, mass in (target or {}).items() if mass > 0))
            others = [u for u in range(len(self.s_bytes)) if u not in covered]
            sums = {members: mass for members, mass in (target or {}).items() if mass > 0 and (members or others)}
            one = [(next(iter(members)), mass) for members, mass in sums.items() if len(members) == 1]
            if one:
                mass = torch.tensor([m for _, m in one], dtype=torch.float64)
                total = total + (mass * (mass.log() - row[[u for u, _ in one]])).sum()
            for members, some in sums.items():
                if len(members) != 1:
                    total = total + some * (math.log(some) - row[sorted(members) or others].logsumexp(-1))
            whole = whole + weight * total
        return whole


def _tokens(side: Side, row: int, at: list[int]) -> tuple[list[int], list[int]]:
    mask = side.supervised[side.row(row)]
    ids, ends = side.ids[side.row(row)][mask].tolist(), side.ends[side.row(row)][mask].tolist()
    return ids, [at[e] for e in ends]


def _whole_mass(target: Target) -> Target:
    total = sum(target.values())
    return {members: mass / total for members, mass in target.items()}
