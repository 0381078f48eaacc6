"""Any two vocabularies, any text: one axis, a target wherever there are bytes, and masses that add up to 1."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.align import Aligner
from distill.encoding import Side
from students.tokenizers import ByteView
from tests.enumerated import sides
from tests.masses import moved, off_one
from tests.plain_losses import set_loss
from tests.random_vocabularies import FAMILIES, build

CHARACTERS = [
    *"中国人民大学生小猫看书龘𠮷，。！", *"abcxyzABZ09'.", *"éßİΣ", *" \n\t\r\u3000\u00a0", *"🎉👍🏽\u200d❤️",
    *"\x00\x07\u200b\ufeff\u0301#<",
]  # fmt: skip
"""Chinese, Latin, case that changes its length, white space, emoji and their parts, controls"""
TEXT = st.lists(st.sampled_from(CHARACTERS), max_size=14).map("".join)
WORDS = st.lists(st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=6).map("".join), min_size=1, max_size=10)
VIEW = st.builds(build, st.sampled_from(FAMILIES), WORDS, st.integers(0, 2**16))
FLOOR = st.sampled_from([0.0, 1e-5])
SHARP = st.sampled_from([0.0, 1.0, 6.0, 40.0])
"""Spread of the teacher's logits: even, at random, peaked, all but certain"""


DROPPED = tuple("\x00\x07\u200b\ufeff\u200d")
"""Controls that a WordPiece tokenizer may drop"""


def text_between(text: bytes, ends: np.ndarray) -> list[bytes]:
    """What each token covers."""
    starts = [0, *ends.tolist()]
    return [text[a:b] for a, b in pairwise(starts)]


def in_two(view: ByteView, text: str) -> bool:
    """Whether a character may be two tokens, of which one covers nothing: İ is two characters in lower case."""
    return view.lowercase and "İ" in text


def shown(view: ByteView, text: bytes) -> str:
    """As the tokenizer's entries have it: WordPiece drops white space and controls, and may lower-case."""
    said = text.decode()
    if view.family != "wordpiece":
        return said
    said = "".join(c for c in said if not c.isspace() and c not in DROPPED)
    return said.lower() if view.lowercase else said


@settings(max_examples=120, deadline=None)
@given(VIEW, st.lists(TEXT, min_size=1, max_size=4))
def test_offsets_never_drift(view: ByteView, texts: list[str]) -> None:
    """Every token covers the bytes of its entry, whatever stands before it."""
    side, _ = sides(view, view, texts)
    for n, text in enumerate(texts):
        mask = side.supervised[side.row(n)]
        ids, ends = side.ids[side.row(n)][mask], side.ends[side.row(n)][mask]
        whole = text.encode()
        assert ends[-1] == len(whole) + 1
        assert (np.diff(ends) >= 0).all()
        assert ids[-1] == view.eos_id
        covered = text_between(whole, ends[:-1])
        if view.family == "wordpiece":
            if in_two(view, text):
                continue
            for token, part in zip(ids, covered, strict=False):
                entry = view.entries[token]
                assert entry is None or shown(view, entry) == shown(view, part)
        else:
            assert covered == [view.entries[token] for token in ids[:-1]]


def can_be_followed(teacher: ByteView, side: Side, n: int, text: str) -> bool:
    """Whether the teacher has bytes for all of a text: no [UNK], and no control that is dropped at its end."""
    if teacher.family != "wordpiece":
        return True
    return teacher.tokenizer.unk_token_id not in side.ids[side.row(n)] and text[-1:] not in DROPPED


@settings(max_examples=120, deadline=None)
@given(VIEW, VIEW, st.lists(TEXT, min_size=1, max_size=3), FLOOR, SHARP, st.integers(0, 99))
def test_every_token_with_bytes_has_a_target_whose_masses_are_one(
    teacher: ByteView, student: ByteView, texts: list[str], floor: float, sharp: float, seed: int
) -> None:
    """Where the teacher has bytes for the text nobody is left out; nothing raises, and loss and gradient are finite
    unless the teacher holds for impossible what stands there."""
    aligner, both = Aligner(teacher, student, floor=floor), sides(teacher, student, texts)
    plans = [aligner.plan([text], *both, n) for n, text in enumerate(texts)]
    for n, (text, row) in enumerate(zip(texts, plans, strict=True)):
        heard = np.array([aligner.sets.student_bytes[u] != b"" for u in row.ids.tolist()])
        if can_be_followed(teacher, both[0], n, text) and not in_two(student, text):
            assert (row.teacher_at[heard] >= 0).all()
    plan, rows = aligner.batch(plans), sum(len(row.ids) for row in plans)
    draw = torch.Generator().manual_seed(seed)
    theirs = torch.randn(sum(row.teacher_tokens for row in plans), len(teacher.entries), generator=draw) * sharp
    targets = moved(aligner, theirs, plan, rows)
    assert off_one(targets) < 1e-6
    there = torch.from_numpy(np.concatenate([row.teacher_at >= 0 for row in plans]))
    if sharp <= 1:  # else it may be sure of what cannot come
        assert targets.total[there].eq(1).all()
    if not targets.total[there].all():
        return
    logits = torch.randn(rows, len(student.entries), generator=draw, requires_grad=True)
    value = set_loss(aligner, theirs, logits, plan)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
