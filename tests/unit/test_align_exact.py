"""The same tokenizer on both sides is distillation in one vocabulary: bit for bit where nothing is aligned, and to
single precision where it is aligned with itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.records import Record, write_records
from distill.data import InstructionData
from distill.gradients import mixed_gradient
from distill.losses import LossTerm, forward_kl
from distill.module import Distiller
from distill.set_loss import set_gradient
from students.tokenizers import ByteView
from teachers.panda import PandaTeacher
from tests import aligning, tiny
from tests.aligning import TEXTS, noise, planned
from tests.masses import moved
from tests.plain_loop import fit
from tests.random_vocabularies import build
from tests.slow_align import SlowAligner

views = aligning.views
STUDENTS = {"byte": tiny.GPT2, "sentencepiece": tiny.LLAMA, "wordpiece": tiny.GPT2}


def plain_step(
    model: Distiller, teacher: PandaTeacher, batch: Any, *, slopes: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of forward KL over one vocabulary: logits of both models in whole and `mixed_gradient`, or,
    without `slopes`, the textbook's formula and autograd."""
    side, head = batch.student, model.student.get_output_embeddings().weight
    size = len(model.tokenizer)
    with torch.no_grad():
        theirs = teacher.model(**side.inputs).logits.flatten(0, 1)[side.positions, :size]
    hidden = model.student.base_model(**side.inputs).last_hidden_state.flatten(0, 1)[side.positions]
    share = 1 / len(side.labels)
    if slopes:
        logits = (hidden @ head.t()).detach()
        values, slope = mixed_gradient([LossTerm("forward_kl", share)], theirs, logits, side.labels)
        loss = values.sum(-1)[0] * share / share / len(side.labels)  # as it is logged
        torch.autograd.backward([hidden, head], [slope @ head.detach(), slope.t() @ hidden.detach()])
    else:
        logs = torch.log_softmax(hidden @ head.t(), -1)
        loss = forward_kl(torch.log_softmax(theirs, -1), logs).sum() * share
        loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", STUDENTS)
def test_one_vocabulary_is_never_aligned(family: str, tmp_path: Path) -> None:
    """The teacher's tokenizer is a copy of the student's in another folder, its checkpoint padded: loss and gradients
    are those of the plain path, bit for bit, and those of the formula within 1e-6."""
    tokenizer = tiny.FAMILIES[family](tmp_path / "student")
    path = str(tiny.tiny_gpt2(tmp_path / "teacher", tiny.FAMILIES[family](tmp_path / "copy"), width=48, seed=1))
    write_records(tmp_path / "train.jsonl", [Record("问", output=text) for text in TEXTS])

    def distiller(teacher: PandaTeacher | None) -> Distiller:
        losses = [LossTerm("forward_kl" if teacher else "ce")]
        return Distiller(STUDENTS[family], tokenizer=str(tokenizer), teacher=teacher, losses=losses, seed=3)

    model = distiller(PandaTeacher(path))
    assert model.tutors[0].aligner is None
    data = InstructionData(str(tmp_path / "train.jsonl"), batch_size=len(TEXTS))
    catch, trainer = fit(model, data)
    batch = data.rows["train"][data._plan("train", len(TEXTS), 0).order(0)[0].tolist(), 1.0]
    for slopes in (True, False):
        loss, gradients = plain_step(distiller(None), PandaTeacher(path), batch, slopes=slopes)
        (found,) = catch.gradients
        assert found.keys() == gradients.keys()
        if slopes:
            assert torch.equal(trainer.callback_metrics["loss"], loss)
            assert all(torch.equal(found[name], gradient) for name, gradient in gradients.items())
        largest = max(float(gradient.abs().max()) for gradient in gradients.values())
        gap = max(float((found[name] - gradient).abs().max()) for name, gradient in gradients.items())
        assert gap < 1e-6 * largest
        assert float(trainer.callback_metrics["loss"]) == pytest.approx(float(loss), rel=1e-6)


def check_aligned_with_itself(view: ByteView, texts: list[str], *, written: bool) -> None:
    """The gradient of every row, and the sum of all values, are plain forward KL's within 1e-6.

    With `written` the teacher says nothing that its tokenizer would have written in another way.
    """
    aligner, plans, both = planned(view, view, texts)
    theirs, ours = noise(plans, view, view)
    if written:
        hush(theirs, view, both[0], len(texts))
    targets = moved(aligner, theirs, aligner.batch(plans), len(ours))
    slope = torch.empty_like(ours)
    values = set_gradient(targets, aligner.tables, 0, ours.clone(), slope)
    logits = ours.double().requires_grad_()
    expected = forward_kl(torch.log_softmax(theirs.double(), -1), torch.log_softmax(logits, -1))
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    assert float(values.double().sum()) == pytest.approx(float(expected.detach().sum()), rel=1e-6)
    torch.testing.assert_close(values.double(), expected.detach(), rtol=4e-6, atol=1e-6)  # sums of single precision
    torch.testing.assert_close(slope.double(), gradient, rtol=0, atol=1e-6)


def hush(theirs: Tensor, view: ByteView, side: Any, texts: int) -> None:
    slow, row = SlowAligner(view, view), 0
    unreachable = set(range(len(view.entries))) - {u for _, u in slow.keys} - {view.eos_id}
    for n in range(texts):
        ids = side.ids[side.row(n)][side.supervised[side.row(n)]].tolist()
        for before, token in zip([None, *ids], ids, strict=False):
            theirs[row, sorted((unreachable | slow.never(before)) - {token})] = -1e4
            row += 1


@pytest.mark.parametrize("family", ["byte", "sentencepiece"])
def test_a_tokenizer_aligned_with_itself(views: dict[str, ByteView], family: str) -> None:
    """Whatever the teacher says that its tokenizer could write."""
    check_aligned_with_itself(views[family], TEXTS, written=True)


def test_bytes_aligned_with_themselves() -> None:
    """Where every text of entries is written so, whatever the teacher says."""
    view = build("byte", ["a"], 0)  # no merges
    assert len(view.entries) == 257
    check_aligned_with_itself(view, TEXTS, written=False)
