"""How one tokenization of a row's answers lies over another: what depends on the texts alone, made once a row.

A student token that starts where a teacher token starts is plain; one that starts inside a teacher token is conditioned
on the bytes said before; either may reach past the end of its first teacher token and then follows a path of them.

Two things are known beyond the teacher's distribution. The text itself: the realised outcome always names the realised
student token. And that the student has ended a token here: what it would have written as one token with the one before
cannot come. An outcome of which only a part could come is taken as said where it is the realised one, and left out
where it is not; over the teacher's texts that comes to the right share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from distill.vocabulary_sets import Path, VocabularySets

NO_REST = -2
"""In place of a student entry: what is not listed cannot come"""


@dataclass
class RowPlan:
    """How one row's teacher tokens lie over its student tokens; indices count supervised tokens within the row.

    Lists of outcomes that many rows have in common stand in the tables of the pair (VocabularySets); a plan holds their
    numbers there.
    """

    teacher_at: np.ndarray
    """(student tokens): the teacher token in which each starts; -1: no target"""
    ids: np.ndarray
    """(student tokens): the student's own ids, what the text realises"""
    realised: np.ndarray
    """(student tokens): the id of that teacher token"""
    teacher_tokens: int
    deep: np.ndarray
    """Student tokens that do not look at all outcomes of a teacher token"""
    inside: np.ndarray
    """(conditioned tokens, 3): student token, its number in `conditioned`, 1 where the realised outcome names the
    realised student id"""
    prefixes: np.ndarray
    """(prefixes, 7): student token, steps said, realised next id (-1: all count), the student id for what is not listed
    (-1: none, NO_REST: that cannot come), number in `followers` (-1: none), the place there that is left out (-1:
    none), number in `stopped` (-1: none)"""
    added: np.ndarray
    """(entries, 5): prefix, teacher id, low, high, extra: what follows a prefix besides"""
    steps: np.ndarray
    """(steps, 3): prefix, teacher token, its id: a prefix's mass is the product over its steps"""
    spent: np.ndarray
    """(entries, 2): student token and the realised teacher id, which prefixes share out"""
    spaces: np.ndarray
    """(spaces, 2): student tokens of white space that the teacher cannot see, and the tokens that end it"""
    student_span: np.ndarray
    """(student tokens): the stretch of text, between ends that both share, to which each belongs; -1: none"""
    teacher_span: np.ndarray
    """(teacher tokens)"""

    def shared(self) -> np.ndarray:
        """(pairs, 2): student and teacher tokens that start at the same place."""
        both = np.setdiff1d(np.flatnonzero(self.teacher_at >= 0), self.inside[:, 0])
        return np.stack([both, self.teacher_at[both]], 1)


@dataclass
class _Lists:
    """What is gathered, token by token, for a RowPlan."""

    deep: list[int] = field(default_factory=list)
    inside: list[tuple[int, int, int]] = field(default_factory=list)
    prefixes: list[tuple[int, int, int, int, int, int, int]] = field(default_factory=list)
    added: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    steps: list[tuple[int, int, int]] = field(default_factory=list)
    spent: list[tuple[int, int]] = field(default_factory=list)

    def tables(self) -> dict[str, np.ndarray]:
        """As arrays."""
        widths = {"inside": 3, "prefixes": 7, "added": 5, "steps": 3, "spent": 2}
        found = {name: np.array(getattr(self, name), np.int32).reshape(-1, n) for name, n in widths.items()}
        return found | {"deep": np.array(self.deep, np.int32)}


@dataclass
class _Row:
    """A row as it is laid."""

    sets: VocabularySets
    at: np.ndarray
    ids: np.ndarray
    t_ids: np.ndarray
    lists: _Lists = field(default_factory=_Lists)

    def previous(self, j: int) -> int:
        """The student token before token j in the same answer; -1: none."""
        return -1 if j == 0 or self.ids[j - 1] == self.sets.student.eos_id else int(self.ids[j - 1])

    def taken_as_said(self, path: Path, j: int) -> int:
        """How many of a path's tokens to take as said: as long as a part of what begins like them could not stand
        here."""
        depth = 0
        while depth < len(path) and path[depth] in self.sets.impossible.tokens(path[:depth], self.previous(j)):
            depth += 1
        return depth


def lay_row(
    sets: VocabularySets, s_ends: np.ndarray, s_ids: np.ndarray, t_ends: np.ndarray, t_ids: np.ndarray, text: bytes
) -> RowPlan:
    """Lay the teacher's tokens over the student's; `ends` are positions in `text`, the row's canonical bytes."""
    s_starts, t_starts = (np.concatenate([[0], ends])[: len(ends)] for ends in (s_ends, t_ends))
    at = np.searchsorted(t_starts, s_starts, "right") - 1  # of tokens without canonical bytes, spaces, the one after
    last = np.searchsorted(t_ends, s_ends, "left")  # where the student's token ends
    silent = np.array([sets.student_bytes[u] == b"" for u in s_ids.tolist()], dtype=bool)
    at[(s_ends <= s_starts) | (last >= len(t_ids)) | silent] = -1
    quiet = np.array([sets.teacher_bytes[v] == b"" for v in t_ids.tolist()], dtype=bool)
    if len(t_ids):
        at[(at >= 0) & quiet[at]] = -1  # it stands for what the teacher cannot write
    row, single = _Row(sets, at, s_ids, t_ids), []
    for j in np.flatnonzero(at >= 0).tolist():
        i, path = int(at[j]), tuple(t_ids[at[j] : last[j] + 1].tolist())
        inside = t_starts[i] != s_starts[j]
        if any(sets.teacher_bytes[v] is None for v in (path if inside else path[:-1])):
            at[j] = -1
        elif inside:
            before = s_starts[np.searchsorted(s_starts, t_starts[i], "right") - 1]
            rest = sets.written(text[s_starts[j] : t_ends[i]]) if len(path) > 1 else ()
            number = sets.conditioned_number(text[before : t_starts[i]], text[t_starts[i] : s_starts[j]])
            row.lists.deep.append(j)
            row.lists.inside.append((j, number, int(not rest)))
            if rest:  # else what follows is taken as said
                _share_out(row, j, path, (*rest, *path[1:]), 0, inside=True)
        else:
            sets.impossible.know(row.previous(j))
            depth = row.taken_as_said(path, j)
            if depth == len(path) and t_ends[last[j]] == s_ends[j]:
                path = (*path, int(t_ids[last[j] + 1]))
            if len(path) == 1:
                single.append(j)
                continue
            depth = min(depth, len(path) - 1)
            row.lists.deep += [j] * (depth > 0)
            _share_out(row, j, path, path, depth, inside=False)
    _name_realised(row, np.array(single, dtype=np.int64))
    ours, theirs = _spans(sets, s_ends, s_ids, t_ends, t_ids)
    return RowPlan(
        teacher_at=at.astype(np.int32),
        ids=s_ids.astype(np.int32),
        realised=(t_ids[at] if len(t_ids) else at).astype(np.int32),
        teacher_tokens=len(t_ids),
        spaces=np.array(_spaces(at, silent), np.int32).reshape(-1, 2),
        student_span=ours.astype(np.int32),
        teacher_span=theirs.astype(np.int32),
        **row.lists.tables(),
    )


def _share_out(row: _Row, j: int, path: Path, key: Path, first: int, *, inside: bool) -> None:
    """Add the prefixes of a realised path and what may follow each of them.

    `path` are the realised teacher ids from the one in which token j starts, `key` the same as the token's own bytes
    are written; `first` of them are taken as said.
    """
    lists, sets, i, mine = row.lists, row.sets, int(row.at[j]), int(row.ids[j])
    if not inside and not first:
        lists.spent.append((j, path[0]))
    for depth in range(max(first, 1), len(path)):
        tail, n = len(path) - depth, len(lists.prefixes)
        said = key[:-tail]
        children, number = sets.children(said), sets.follower_number(said)
        rest, stopped = children.rest, -1
        never = np.zeros(0, np.int64)
        if depth == first:
            never, rest_never = sets.impossible.children(said, row.previous(j))
            stopped = sets.impossible.stopped_number(said, row.previous(j)) if len(never) else -1
            rest = NO_REST if rest_never else rest
        at = int(np.searchsorted(children.tokens, path[depth]))
        found = at < len(children.tokens) and children.tokens[at] == path[depth]
        out = at if found else -1
        if tail == 1:
            holds = found and bool(sets.holds(children.sets, np.array([at]), row.ids[j : j + 1])[0])
            if holds and at in never:  # what is said can be said
                same = children.sets
                lists.added.append((n, path[depth], int(same.low[at]), int(same.high[at]), int(same.extra[at])))
            elif holds or (not found and rest == mine):
                out = -1
            else:
                lists.added.append((n, path[depth], 0, 0, mine))
        start = 0 if inside or not first else first
        lists.steps += [(n, i + d, path[d]) for d in range(start, depth)]
        lists.prefixes.append((j, depth, path[depth] if tail > 1 else -1, rest, number, out, stopped))


def _name_realised(row: _Row, single: np.ndarray) -> None:
    """Where the realised outcome's set lacks the realised student token, the outcome gives it all the same."""
    realised = row.t_ids[row.at[single]]
    lacking = ~row.sets.holds(row.sets.single_paths, realised, row.ids[single])
    for j, token in zip(single[lacking].tolist(), realised[lacking].tolist(), strict=True):
        row.lists.spent.append((j, token))
        row.lists.added.append((len(row.lists.prefixes), token, 0, 0, int(row.ids[j])))
        row.lists.prefixes.append((j, 0, -1, NO_REST, -1, -1, -1))


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


def _spaces(teacher_at: np.ndarray, silent: np.ndarray) -> list[tuple[int, int]]:
    """Each silent token with the first one after it that is not, where that has a target."""
    heard = np.flatnonzero(~silent)
    quiet = np.flatnonzero(silent)
    after = np.searchsorted(heard, quiet)
    pairs = [(j, int(heard[n])) for j, n in zip(quiet.tolist(), after.tolist(), strict=True) if n < len(heard)]
    return [(j, k) for j, k in pairs if teacher_at[k] >= 0]
