"""How one tokenization of a row's answers lies over another: what depends on the texts alone, made once a row.

A student token that starts where a teacher token starts is plain; one that starts inside a teacher token is conditioned
on the bytes said before; either may reach past the end of its first teacher token and then follows a path of them.

Two things are known beyond the teacher's distribution. The text itself: the realised outcome always names the realised
student token. And that the student has ended a token here: what it would have written as one token with the one before
cannot come. An outcome of which only a part could come is taken as said where it is the realised one, and left out
where it is not; over the teacher's texts that comes to the right share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from distill.vocabulary_sets import Path, VocabularySets

NO_REST = -2
"""In place of a student entry: what is not listed cannot come"""


@dataclass
class RowPlan:
    """How one row's teacher tokens lie over its student tokens; indices count supervised tokens within the row."""

    teacher_at: np.ndarray
    """(student tokens): the teacher token in which each starts; -1: no target"""
    ids: np.ndarray
    """(student tokens): the student's own ids, what the text realises"""
    realised: np.ndarray
    """(student tokens): the id of that teacher token"""
    teacher_tokens: int
    inside: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Student token -> (bytes of the student's tokens before its teacher token, bytes already said inside that)"""
    paths: dict[int, tuple[Path, Path, int]] = field(default_factory=dict)
    """Student token -> realised teacher ids, where it reaches past the first; the same as its own bytes are written;
    how many of them are taken as said, because a part of what begins like them could not stand here"""
    named: list[int] = field(default_factory=list)
    """Student tokens whose realised outcome's set lacks them"""
    spaces: list[tuple[int, int]] = field(default_factory=list)
    """Student tokens of white space that the teacher cannot see, and the tokens that end it"""
    spans: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.int64)))
    """Of each student and each teacher token the stretch of text, between ends that both share, to which it belongs;
    -1: none"""

    def plain(self) -> np.ndarray:
        """Student tokens that share a start with a teacher token and look at all of its outcomes."""
        deep = {j for j, (_, _, depth) in self.paths.items() if depth} | self.inside.keys()
        return np.array([j for j in np.flatnonzero(self.teacher_at >= 0) if j not in deep], dtype=np.int64)

    def shared(self) -> np.ndarray:
        """(pairs, 2): student and teacher tokens that start at the same place."""
        both = np.array([j for j in np.flatnonzero(self.teacher_at >= 0) if j not in self.inside], dtype=np.int64)
        return np.stack([both, self.teacher_at[both]], 1)


@dataclass
class PlanBatch:
    """The plans of a batch, as flat tensors; student tokens are rows, teacher tokens are sources."""

    rows: Tensor
    """The plain rows: all outcomes of a teacher token count"""
    sources: Tensor
    """Their sources"""
    targeted: Tensor
    """(rows with a target, 2): each row, plain or not, and the source in which it starts"""
    spent: Tensor
    """(entries, 2): index into `rows` and the realised teacher id, where that is shared out below"""
    banned: Tensor
    """(entries, 2): index into `rows` and a teacher id that cannot come: the student would have said another token"""
    inside: Tensor
    """(entries, 4): row, source, teacher id, student id: outcomes of conditioned rows"""
    spaces: Tensor
    """(spaces, 2): a row of white space that the teacher cannot see, and the row whose target it borrows"""
    steps: Tensor
    """(steps, 3): prefix, source, teacher id: a prefix's mass is the product over its steps"""
    prefixes: Tensor
    """(prefixes, 5): row, its index in `rows` (-1: not plain), source of the next step, realised next id (-1: all
    count), student id for what is not listed (-1: none, NO_REST: that cannot come)"""
    follow: Tensor
    """(entries, 5): prefix, teacher id, low, high, extra: a set of student entries; an empty one cannot come"""
    shared: Tensor
    """(pairs, 2): rows and sources that start at the same place"""
    student_span: Tensor
    """(student tokens): the span, a stretch of text that both sides end together, of each; -1: none"""
    teacher_span: Tensor
    """(teacher tokens)"""

    def asked(self) -> Tensor:
        """(pairs, 2): positions and ids of the teacher of which the probabilities are needed by name."""
        following, realised = self.prefixes[:, 2], self.prefixes[:, 3]
        return torch.cat([
            torch.stack([self.sources[self.banned[:, 0]], self.banned[:, 1]], 1),
            self.steps[:, 1:],
            torch.stack([following[self.follow[:, 0]], self.follow[:, 1]], 1),
            torch.stack([following, realised.clamp_min(0)], 1),
            self.inside[:, 1:3],
        ])  # fmt: skip

    def split_asked(self, masses: Tensor) -> dict[str, Tensor]:
        """Their probabilities, by the table that asks."""
        tables = {"banned": self.banned, "steps": self.steps, "follow": self.follow, "realised": self.prefixes,
                  "inside": self.inside}  # fmt: skip
        return dict(zip(tables, masses.split([len(t) for t in tables.values()]), strict=True))

    def to(self, device: object) -> PlanBatch:
        """A copy on a device."""
        return PlanBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


def lay_row(
    sets: VocabularySets, s_ends: np.ndarray, s_ids: np.ndarray, t_ends: np.ndarray, t_ids: np.ndarray, text: bytes
) -> RowPlan:
    """Lay the teacher's tokens over the student's; `ends` are positions in `text`, the row's canonical bytes."""
    s_starts, t_starts = (np.concatenate([[0], ends])[: len(ends)] for ends in (s_ends, t_ends))
    at = np.searchsorted(t_starts, s_starts, "right") - 1  # of tokens without canonical bytes, spaces, the one after
    last = np.searchsorted(t_ends, s_ends, "left")  # where the student's token ends
    silent = np.array([sets.student_bytes[u] == b"" for u in s_ids.tolist()], dtype=bool)
    at[(s_ends <= s_starts) | (last >= len(t_ids)) | silent] = -1
    plan = RowPlan(at, s_ids, t_ids[at] if len(t_ids) else at, len(t_ids))
    plan.spans = _spans(sets, s_ends, s_ids, t_ends, t_ids)
    for j in np.flatnonzero(at >= 0).tolist():
        i, path = int(at[j]), tuple(t_ids[at[j] : last[j] + 1].tolist())
        if t_starts[i] == s_starts[j]:
            if any(sets.teacher_bytes[v] is None for v in path[:-1]):
                at[j] = -1
                continue
            depth = _taken_as_said(sets, path, _previous(sets, plan, j))
            if depth == len(path) and t_ends[last[j]] == s_ends[j]:
                path = (*path, int(t_ids[last[j] + 1]))
            if len(path) > 1:
                plan.paths[j] = path, path, min(depth, len(path) - 1)
            continue
        if any(sets.teacher_bytes[v] is None for v in path):
            at[j] = -1
            continue
        before = s_starts[np.searchsorted(s_starts, t_starts[i], "right") - 1]
        plan.inside[j] = text[before : t_starts[i]], text[t_starts[i] : s_starts[j]]
        rest = sets.written(text[s_starts[j] : t_ends[i]])
        if len(path) > 1 and rest:  # else what follows is taken as said
            plan.paths[j] = path, (*rest, *path[1:]), 0
    single = np.array([j for j in plan.plain() if j not in plan.paths], dtype=np.int64)
    plan.spaces = _spaces(plan, silent)
    plan.named = single[~sets.holds(sets.single_paths, plan.realised[single], s_ids[single])].tolist()
    return plan


def _spans(
    sets: VocabularySets, s_ends: np.ndarray, s_ids: np.ndarray, t_ends: np.ndarray, t_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The span of each token on both sides. White space that does not count is in none; nor is a span with text that
    one of the sides cannot say."""
    shared = np.intersect1d(s_ends, t_ends)
    found, unsaid = [], np.zeros(0, np.int64)
    for ends, ids, texts, view in (
        (s_ends, s_ids, sets.student_bytes, sets.student), (t_ends, t_ids, sets.teacher_bytes, sets.teacher)
    ):  # fmt: skip
        at = np.searchsorted(shared, ends, "left")
        at[at == len(shared)] = -1  # one side's row was cut
        unknown = np.array([texts[v] is None and v != view.eos_id for v in ids.tolist()], dtype=bool)
        unsaid = np.union1d(unsaid, at[unknown])
        at[np.array([texts[v] == b"" for v in ids.tolist()], dtype=bool)] = -1
        found.append(at)
    alive = np.setdiff1d(np.intersect1d(found[0], found[1]), unsaid)
    ours, theirs = (np.where(np.isin(at, alive), at, -1) for at in found)
    return ours, theirs


def _spaces(plan: RowPlan, silent: np.ndarray) -> list[tuple[int, int]]:
    """Each silent token with the first one after it that is not, where that has a target."""
    heard = np.flatnonzero(~silent)
    quiet = np.flatnonzero(silent)
    after = np.searchsorted(heard, quiet)
    pairs = [(j, int(heard[n])) for j, n in zip(quiet.tolist(), after.tolist(), strict=True) if n < len(heard)]
    return [(j, k) for j, k in pairs if plan.teacher_at[k] >= 0]


def _previous(sets: VocabularySets, plan: RowPlan, j: int) -> int:
    """The student token before token j in the same answer; -1: none."""
    return -1 if j == 0 or plan.ids[j - 1] == sets.student.eos_id else int(plan.ids[j - 1])


def _taken_as_said(sets: VocabularySets, path: Path, previous: int) -> int:
    """How many of a path's tokens to take as said: as long as a part of what begins like them could not stand here."""
    depth = 0
    while depth < len(path) and path[depth] in sets.impossible(path[:depth], previous):
        depth += 1
    return depth


@dataclass
class _Lists:
    """What is gathered, row by row, for a PlanBatch."""

    banned: list[np.ndarray] = field(default_factory=list)
    spent: list[tuple[int, int]] = field(default_factory=list)
    inside: list[np.ndarray] = field(default_factory=list)
    spaces: list[tuple[int, int]] = field(default_factory=list)
    steps: list[tuple[int, int, int]] = field(default_factory=list)
    prefixes: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    follow: list[np.ndarray] = field(default_factory=list)


def join_plans(sets: VocabularySets, plans: Sequence[RowPlan]) -> PlanBatch:
    """Join the plans of a batch's rows."""
    rows, sources, targeted, shared, spans = [], [], [], [], []
    lists = _Lists()
    row0 = source0 = count = span0 = 0
    for plan in plans:
        plain = plan.plain()
        rows.append(row0 + plain)
        some = np.flatnonzero(plan.teacher_at >= 0)
        targeted.append(np.stack([row0 + some, source0 + plan.teacher_at[some]], 1))
        sources.append(source0 + plan.teacher_at[plain])
        shared.append(plan.shared() + np.array([row0, source0]))
        spans.append([np.where(at >= 0, at + span0, -1) for at in plan.spans])
        span0 += 1 + int(plan.spans[0].max(initial=-1))
        place = {j: count + n for n, j in enumerate(plain.tolist())}
        count += len(plain)
        for j, n in place.items():
            never = sets.impossible((), _previous(sets, plan, j))
            never = never[never != plan.realised[j]]
            lists.banned.append(np.stack([np.full(len(never), n), never], 1))
        lists.spaces += [(row0 + j, row0 + k) for j, k in plan.spaces]
        for j in plan.inside:
            lists.inside.append(_conditioned(sets, plan, j) + np.array([row0, source0, 0, 0]))
        for j in plan.paths:
            _share_out(sets, lists, plan, j, (row0, source0, place.get(j, -1)))
        for j in plan.named:
            source, token = source0 + int(plan.teacher_at[j]), int(plan.realised[j])
            lists.spent.append((place[j], token))
            lists.follow.append(np.array([[len(lists.prefixes), token, 0, 0, plan.ids[j]]]))
            lists.prefixes.append((row0 + j, place[j], source, -1, NO_REST))
        row0, source0 = row0 + len(plan.teacher_at), source0 + plan.teacher_tokens
    return PlanBatch(
        torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(sources)), _table(targeted, 2),
        _table(lists.spent, 2), _table(lists.banned, 2), _table(lists.inside, 4), _table(lists.spaces, 2),
        _table(lists.steps, 3),
        _table(lists.prefixes, 5), _table(lists.follow, 5), _table(shared, 2),
        *(torch.from_numpy(np.concatenate(side)) for side in zip(*spans, strict=True)),
    )  # fmt: skip


def _conditioned(sets: VocabularySets, plan: RowPlan, j: int) -> np.ndarray:
    """A conditioned row's outcomes, `(entries, 4)`; the realised one names the realised student id, or is missing."""
    tokens, members = sets.conditioned(*plan.inside[j])
    others = tokens != plan.realised[j]
    tokens, members = tokens[others], members[others]
    if j not in plan.paths:
        tokens, members = np.append(tokens, plan.realised[j]), np.append(members, plan.ids[j])
    return np.stack([np.full(len(tokens), j), np.full(len(tokens), plan.teacher_at[j]), tokens, members], 1)


def _share_out(sets: VocabularySets, lists: _Lists, plan: RowPlan, j: int, where: tuple[int, int, int]) -> None:
    """Add the prefixes of a realised path and what may follow each of them."""
    path, key, first = plan.paths[j]
    row0, source0, place = where
    source = source0 + int(plan.teacher_at[j])
    inside = j in plan.inside
    if place >= 0:
        lists.spent.append((place, path[0]))
    for depth in range(max(first, 1), len(path)):
        tail, n = len(path) - depth, len(lists.prefixes)
        children = sets.children(key[:-tail])
        names = np.stack([children.tokens, children.sets.low, children.sets.high, children.sets.extra], 1)
        rest = children.rest
        if depth == first:
            never, rest_never = sets.impossible_children(key[:-tail], _previous(sets, plan, j))
            names[never, 1:] = 0, 0, -1
            rest = NO_REST if rest_never else rest
        at = np.flatnonzero(children.tokens == path[depth])
        if tail > 1:
            names = np.delete(names, at, 0)  # shared out further
        elif len(at) == 0 and rest == plan.ids[j]:
            pass
        elif not (len(at) and sets.holds(children.sets, at, plan.ids[j : j + 1])[0]):
            names = np.concatenate([np.delete(names, at, 0), [[path[depth], 0, 0, plan.ids[j]]]])
        else:
            names[at[0], 1:] = children.sets.low[at[0]], children.sets.high[at[0]], children.sets.extra[at[0]]
        start = 0 if inside or not first else first
        lists.steps += [(n, source + d, path[d]) for d in range(start, depth)]
        lists.prefixes.append((row0 + j, place, source + depth, path[depth] if tail > 1 else -1, rest))
        lists.follow.append(np.concatenate([np.full((len(names), 1), n), names], 1))


def _table(parts: Sequence, columns: int) -> Tensor:
    stacked = [np.asarray(part, dtype=np.int64).reshape(-1, columns) for part in parts]
    return torch.from_numpy(np.concatenate([np.zeros((0, columns), np.int64), *stacked]))
