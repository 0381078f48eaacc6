"""Where alignment ends or leaves out: ends of answers, what a side cannot write, cut rows, padding, tables kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from distill import align
from distill.align import Aligner
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from students.train_tokenizers import train_wordpiece
from tests import aligning, tiny
from tests.aligning import PAIRS, TEXTS, noise, planned
from tests.enumerated import sides
from tests.plain_losses import set_loss

views = aligning.views


def eos_only(view: ByteView, rows: int, confident: float = 30.0) -> Tensor:
    logits = torch.zeros(rows, len(view.entries))
    logits[:, view.eos_id] = confident
    return logits


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_eos_answers_eos(views: dict[str, ByteView], teacher: str, student: str) -> None:
    """A teacher that wants to end at the last position asks the student for its own EOS, trailing space or not."""
    for text in ("小猫", "小猫\n"):
        aligner, plans, _ = planned(views[teacher], views[student], [text])
        assert plans[0].realised[-1] == views[teacher].eos_id
        assert plans[0].teacher_at[-1] == plans[0].teacher_tokens - 1
        ours = torch.zeros(len(plans[0].ids), len(views[student].entries), requires_grad=True)
        theirs = eos_only(views[teacher], plans[0].teacher_tokens)
        (gradient,) = torch.autograd.grad(set_loss(aligner, theirs, ours, aligner.batch(plans)), ours)
        last = gradient[-1].clone()
        assert last[views[student].eos_id].item() < -0.95
        last[views[student].eos_id] = 0
        assert (last >= 0).all()


def test_answers_of_a_conversation_do_not_touch(views: dict[str, ByteView]) -> None:
    """Every answer ends at the same place on both sides; the token after an EOS knows no token before it."""
    from data_gen.records import Record
    from data_gen.templates import get_template
    from distill.encoding import encode_side

    record = Record("二", output="国人 again", history=[["一", "中"]])
    for teacher, student in PAIRS:
        pair = [views[teacher], views[student]]
        theirs, ours = (encode_side(view, get_template("qa"), [record], 512) for view in pair)
        aligner = Aligner(pair[0], pair[1])
        plan = aligner.plan(["中", "国人 again"], theirs, ours, 0)
        ends = np.flatnonzero(plan.ids == views[student].eos_id)
        assert len(ends) == 2
        assert (plan.realised[ends] == views[teacher].eos_id).all()
        theirs_eos = theirs.ids[theirs.supervised] == views[teacher].eos_id
        assert plan.teacher_at[ends[0] + 1] == np.flatnonzero(theirs_eos)[0] + 1
        batch = aligner.batch([plan])
        assert ends[0] + 1 in batch.rows.tolist()
        after = batch.rows.tolist().index(ends[0] + 1)
        assert after not in batch.banned[:, 0].tolist()


def test_the_realised_token_always_has_mass(views: dict[str, ByteView]) -> None:
    """A teacher sure of the text makes the student sure of the text, even inside words and across spaces."""
    for teacher, student in PAIRS:
        aligner, plans, both = planned(views[teacher], views[student], TEXTS)
        said = [both[0].ids[both[0].row(n)][both[0].supervised[both[0].row(n)]] for n in range(len(TEXTS))]
        sure = torch.from_numpy(np.concatenate(said)).long()
        theirs = torch.nn.functional.one_hot(sure, len(views[teacher].entries)) * 40.0
        ours = torch.zeros(sum(len(p.ids) for p in plans), len(views[student].entries), requires_grad=True)
        (gradient,) = torch.autograd.grad(set_loss(aligner, theirs, ours, aligner.batch(plans)), ours)
        row = 0
        for plan in plans:
            for j, own in enumerate(plan.ids.tolist()):
                if plan.teacher_at[j] >= 0:
                    assert gradient[row, own] < 0, (teacher, student, row, j)
                row += 1


def test_entries_the_teacher_stands_for_by_unknown(tmp_path: Path) -> None:
    """A WordPiece teacher's [UNK] leaves what it cannot write, and is no bytes inside of others."""
    teacher = ByteView(train_wordpiece(["小猫看书" + "abcdefghijklmnopqrstuvwxyz"], 80, tmp_path / "wp"))
    student = ByteView(load_tokenizer(tiny.sentencepiece_like(tmp_path / "sp")))
    aligner, plans, both = planned(teacher, student, ["小鬱猫"])
    unknown = teacher.tokenizer.unk_token_id
    assert unknown in both[0].ids
    some = aligner.sets.single_paths
    chars = {student.entries[u] for u in aligner.sets.order[some.low[unknown] : some.high[unknown]]}
    assert "，".encode() in chars
    assert "猫".encode() not in chars
    at = plans[0].teacher_at.tolist()
    assert at[0] == 0
    assert at.count(-1) == len(student.encode("鬱")) - 1  # within the unknown character there is nothing to go by
    assert at[-1] == 3


def test_a_cut_teacher_leaves_no_target(views: dict[str, ByteView]) -> None:
    """Where the teacher's row ends first, the rest has none."""
    teacher, student = views["byte"], views["sentencepiece"]
    theirs, ours = sides(teacher, student, ["小猫在家里看书。"])
    keep = np.flatnonzero(theirs.supervised)[:5]
    theirs.supervised[:] = False
    theirs.supervised[keep] = True
    plan = Aligner(teacher, student).plan(["小猫在家里看书。"], theirs, ours, 0)
    end = theirs.ends[keep[-1]]
    s_ends = ours.ends[ours.supervised]
    assert ((plan.teacher_at >= 0) == (s_ends <= end)).all()
    theirs.supervised[:] = False
    assert (Aligner(teacher, student).plan(["小猫在家里看书。"], theirs, ours, 0).teacher_at == -1).all()


def test_a_batch_moves_to_a_device(views: dict[str, ByteView]) -> None:
    """Every field comes along."""
    aligner, plans, _ = planned(views["byte"], views["wordpiece"], TEXTS)
    moved = aligner.batch(plans).to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in moved.__dataclass_fields__)


@pytest.mark.parametrize("width", [0, 64])
def test_padded_output_embeddings(views: dict[str, ByteView], width: int) -> None:
    """Checkpoints may have more rows than the tokenizer has entries; the teacher's are ignored."""
    aligner, plans, _ = planned(views["byte"], views["sentencepiece"], TEXTS[:2])
    theirs, ours = noise(plans, views["byte"], views["sentencepiece"])
    wide = torch.nn.functional.pad(theirs, (0, width), value=9.0), torch.nn.functional.pad(ours, (0, width), value=-1e9)
    expected = set_loss(aligner, theirs, ours, aligner.batch(plans))
    torch.testing.assert_close(set_loss(aligner, *wide, aligner.batch(plans)), expected)


def test_the_tables_of_a_pair_are_built_once(views: dict[str, ByteView], tmp_path: Path) -> None:
    """Whoever loaded the tokenizers; another special entry or another way of cutting makes another pair."""
    teacher, student = views["sentencepiece"], views["wordpiece"]
    first = align.pair_sets(teacher, student)
    again = ByteView(load_tokenizer(tiny.wordpiece(tmp_path / "again")))
    assert align.pair_sets(teacher, again) is first
    again.tokenizer.eos_token = "[MASK]"
    assert align.pair_sets(teacher, again) is not first
    cut = ByteView(load_tokenizer(tmp_path / "again"))
    cut.tokenizer.backend_tokenizer.normalizer = None
    assert align.pair_sets(teacher, cut) is not first
    for n in range(align.PAIRS):
        cut.tokenizer.backend_tokenizer.add_tokens([f"词{n}"])
        align.pair_sets(cut, student)
    assert len(align._pairs) <= align.PAIRS
    assert align.pair_sets(teacher, student) is not first, "the oldest are forgotten"


def test_a_teacher_that_drops_characters(views: dict[str, ByteView], tmp_path: Path) -> None:
    """It has no entry for line feeds: they are learnt from the text, all else has a target, and masses add up to 1."""
    teacher = ByteView(load_tokenizer(tiny.dropping(tmp_path / "dropping")))
    texts = ["小猫\n2. 看书\n3. 家", "🎉小猫在家里。\n看书\n"]
    for student in views.values():
        aligner, plans, _ = planned(teacher, student, texts)
        plan = aligner.batch(plans)
        theirs = torch.randn(sum(p.teacher_tokens for p in plans), len(teacher.entries), generator=torch.manual_seed(1))
        rows = sum(len(p.ids) for p in plans)
        targets = aligner.targets(aligner.read(lambda part: theirs[part], len(theirs), plan), plan, rows)  # noqa: B023
        total = targets.tail.clone().index_add_(0, targets.single_row, targets.single_mass)
        total.index_add_(0, targets.row, targets.mass).index_add_(0, targets.large_row, targets.large_mass)
        torch.testing.assert_close(total, targets.total, rtol=0, atol=1e-5)
        assert float((targets.total > 0).float().mean()) > 0.6
