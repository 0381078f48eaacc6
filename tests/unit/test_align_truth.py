"""The moved target itself, on languages that can be counted: the mass of a set is the probability that it comes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from distill.plans import RowPlan
from tests.aligning import planned
from tests.enumerated import Exact, language, safe_log, tokenizers
from tests.masses import listed, moved

PAIRS = [
    ("byte290", "byte270"), ("byte290", "sp269"), ("byte290", "sp275"), ("sp275", "byte270"), ("sp275", "sp269"),
    ("byte270", "sp269"), ("sp269", "sp275"), ("sp269", "byte270"), ("byte270", "sp275"),
]  # fmt: skip
WORDS = [("byte290", "wp"), ("sp275", "wp"), ("byte270", "wp"), ("sp269", "wp"), ("wp", "sp275"), ("wp", "byte270")]
"""These see no white space"""
CASES = [*(("plain", *pair) for pair in PAIRS + WORDS), *(("spaced", *pair) for pair in PAIRS[::2])]
SEEN = 1e-12
"""Masses of an exact teacher are above this or stand for 0"""


@pytest.fixture(scope="module")
def languages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = {}
    for kind, extra in (("plain", ()), ("spaced", ("\n", " ", "。\n"))):
        texts = language(70, extra=extra)
        found[kind] = texts, tokenizers(texts, tmp_path_factory.mktemp(kind))
    return found


def beginnings(exact: Exact) -> dict[tuple[int, ...], set[str]]:
    """The texts that begin with some tokens."""
    found: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for text, ids in exact.ids.items():
        for k in range(len(ids) + 1):
            found[ids[:k]].add(text)
    return found


def determined(
    text: str, plan: RowPlan, theirs: Exact, ours: Exact, ways: tuple[Any, Any]
) -> Iterator[tuple[int, set[str]]]:
    """Positions at which the method claims to know the student's next token, with the texts that may stand there."""
    inside = set(plan.inside[:, 0].tolist())
    ends = [0, *np.cumsum([len(theirs.view.entries[v] or b"x") for v in theirs.ids[text]]).tolist()]
    start = 0
    for j, u in enumerate(plan.ids.tolist()):
        k, at, start = int(plan.teacher_at[j]), start, start + len(ours.view.entries[u] or b"x")
        possible, others = ways[1][ours.ids[text][:j]], ways[0][theirs.ids[text][:k]]
        if k < 0 or not possible <= others:  # the teacher's tokens say more than the student's
            continue
        said = at - ends[k]
        outcomes = {y: theirs.ids[y][k] for y in others}
        if {outcomes[y] for y in possible} & {outcomes[y] for y in others - possible}:  # a part of one is ruled out
            continue
        longer = all(len(theirs.view.entries[outcomes[y]] or b"") > said for y in possible)
        if j not in inside or longer:  # else the teacher could also have stopped inside its token
            yield j, possible


@pytest.mark.parametrize(("kind", "teacher", "student"), CASES)
def test_a_set_weighs_what_its_entries_are_likely(
    languages: dict[str, Any], kind: str, teacher: str, student: str
) -> None:
    """m(S) is P(the student's token is in S | what was said), wherever that is determined by the teacher's steps.

    Determined are the positions at which all texts that begin with the student's tokens begin with the teacher's, too,
    of the teacher's outcomes each can come as a whole or not at all, and, inside a teacher token, the teacher could not
    have stopped at the bytes said: docs/align.md leaves these three out, each of which evens out over the teacher's
    texts or makes the target too sure. The students have no whole phrases; those are only nearly exact.
    """
    texts, views = languages[kind]
    views = views[teacher], views[student]
    theirs, ours = (Exact(view, texts) for view in views)
    ways = beginnings(theirs), beginnings(ours)
    aligner, plans, _ = planned(*views, list(texts))
    given = torch.cat([safe_log(theirs.probabilities(text)) for text in texts])
    rows = sum(len(plan.ids) for plan in plans)
    targets = moved(aligner, given, aligner.batch(plans), rows)
    masses, first, seen = listed(targets, aligner.tables, SEEN), 0, 0
    for text, plan in zip(texts, plans, strict=True):
        for j, possible in determined(text, plan, theirs, ours, ways):
            whole = sum(texts[y] for y in possible)
            few = whole / sum(texts[y] for y in ways[0][theirs.ids[text][: int(plan.teacher_at[j])]])
            close = max(1e-6, 1e-7 / few)  # of single precision: what can come is what the teacher says, less the rest
            for members, mass in masses[first + j].items():
                true = sum(texts[y] for y in possible if ours.ids[y][j] in members) / whole
                assert mass == pytest.approx(true, abs=close), (text, j, members)
            assert targets.tail[first + j] < close
            assert sum(masses[first + j].values()) == pytest.approx(1, abs=close)
            seen += 1
        first += len(plan.ids)
    assert seen > 0.6 * rows
