"""Whatever the text, the two tokenizations keep to one axis and nearly every token has a target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.align import Aligner
from distill.plans import RowPlan
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny
from tests.enumerated import sides
from tests.plain_losses import set_loss

WORDS = [
    *"小猫在家里看书，。！？的是",
    "中国",
    "北京",
    "The ",
    "quick",
    " fox",
    "Python",
    "12",
    "3.14",
    "2024年",
    "\n",
    "  ",
]
PLAIN = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map("".join)
"""What answers look like"""
ANY = st.text(st.characters(codec="utf-8"), max_size=12)
"""Any text without surrogates: controls, emoji, combining marks, scripts nobody has entries for"""
CORNERS = [
    *"中A é ß İ Σ \u3000\u00a0\x00\x07\u200b\u200d龘𠮷ﬁ①Ａ\ufeff\ufffd▁#",
    "##",
    "</s>",
    "[SEP]",
    "<|endoftext|>",
    "👍🏽",
    "e\u0301",
    "  ",
    "\r\n",
    "\t",
]
ODD = st.lists(st.sampled_from(CORNERS), max_size=12).map("".join)
FAMILIES = ["byte", "sentencepiece", "wordpiece", "cased"]
PAIRS = [(a, b) for a in FAMILIES for b in FAMILIES]


@pytest.fixture(scope="module")
def aligners(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Aligner]:
    root = tmp_path_factory.mktemp("tokenizers")
    folders = {name: make(root / name) for name, make in tiny.FAMILIES.items()}
    folders["cased"] = tiny.wordpiece(Path(root / "cased"), lower=False)
    views = {name: ByteView(load_tokenizer(folder)) for name, folder in folders.items()}
    return {(a, b): Aligner(views[a], views[b]) for a, b in PAIRS}


def lay(aligner: Aligner, text: str) -> tuple[RowPlan, np.ndarray, np.ndarray]:
    """The plan, and both sides' ends of supervised tokens in bytes."""
    theirs, ours = sides(aligner.sets.teacher, aligner.sets.student, [text])
    return aligner.plan([text], theirs, ours, 0), theirs.ends[theirs.supervised], ours.ends[ours.supervised]


@settings(max_examples=2000, deadline=None)
@given(st.one_of(ANY, ODD, PLAIN), st.sampled_from(PAIRS))
def test_any_text_has_a_plan_on_one_axis(
    aligners: dict[tuple[str, str], Aligner], text: str, pair: tuple[str, str]
) -> None:
    """No text raises; ends never go back and both sides end at the same place; the loss is a finite number."""
    aligner = aligners[pair]
    plan, t_ends, s_ends = lay(aligner, text)
    size = len(text.encode()) + 1
    for ends in (t_ends, s_ends):
        assert (np.diff(ends) >= 0).all()
        assert ends[-1] == size
    targets = plan.teacher_at[plan.teacher_at >= 0]
    assert (np.diff(targets) >= 0).all()
    last = plan.prefixes[plan.prefixes[:, 0] == len(plan.ids) - 1]
    reached = plan.teacher_at[-1] + last[:, 1].max(initial=0)
    assert plan.teacher_at[-1] < 0 or reached == plan.teacher_tokens - 1  # a control character may be swallowed
    theirs = torch.zeros(plan.teacher_tokens, len(aligner.sets.teacher.entries))
    ours = torch.zeros(len(plan.ids), len(aligner.sets.student.entries), requires_grad=True)
    value = set_loss(aligner, theirs, ours, aligner.batch([plan]))
    value.backward()
    assert torch.isfinite(value)
    assert ours.grad is not None
    assert torch.isfinite(ours.grad).all()


@settings(max_examples=200, deadline=None)
@given(PLAIN, st.sampled_from(PAIRS))
def test_a_target_lies_where_the_student_is(
    aligners: dict[tuple[str, str], Aligner], text: str, pair: tuple[str, str]
) -> None:
    """A student token's teacher token covers the byte it starts at; white space aside."""
    aligner = aligners[pair]
    plan, t_ends, s_ends = lay(aligner, text)
    whole = text.encode() + b"\xff"
    blank = b" \n\r\t"
    for j, i in enumerate(plan.teacher_at):
        if i < 0:
            continue
        start = 0 if j == 0 else s_ends[j - 1]
        while aligner.sets.squash and whole[start] in blank:
            start += 1
        begin = 0 if i == 0 else t_ends[i - 1]
        assert begin <= start
        assert t_ends[i] > start or aligner.sets.squash


@settings(max_examples=40, deadline=None)
@given(st.lists(PLAIN, min_size=20, max_size=20), st.sampled_from(PAIRS))
def test_nearly_every_token_has_a_target(
    aligners: dict[tuple[str, str], Aligner], texts: list[str], pair: tuple[str, str]
) -> None:
    """99 of 100 where the teacher sees white space; where it does not, of the others."""
    aligner = aligners[pair]
    there = total = 0
    for text in texts:
        plan, _, _ = lay(aligner, text)
        silent = np.isin(plan.ids, aligner.tables.student_silent.numpy())
        there += int((plan.teacher_at[~silent] >= 0).sum())
        total += int((~silent).sum())
    assert there >= 0.99 * total


@pytest.mark.parametrize("pair", PAIRS)
def test_spaces_and_case_shift_nothing(aligners: dict[tuple[str, str], Aligner], pair: tuple[str, str]) -> None:
    """After swallowed spaces, capitals and unknown characters, 书 still stands on 书."""
    aligner = aligners[pair]
    text = "The  Fox\n\n İ 龘龘 书"
    plan, t_ends, _ = lay(aligner, text)
    student, teacher = aligner.sets.student, aligner.sets.teacher
    ids = student.encode("书")
    place = len(plan.ids) - 1 - len(ids)
    assert plan.ids[place:-1].tolist() == ids or student.family != "wordpiece"
    i = plan.teacher_at[len(plan.ids) - 2]
    assert t_ends[i] == len(text.encode())
    assert (teacher.entries[plan.realised[len(plan.ids) - 2]] or b"").endswith(b"\xb9\xa6")  # of 书, E4 B9 A6
