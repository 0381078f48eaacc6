"""One training step against a plain loop: a row at a time, without padding, token by token where it can be.

The steps are taken by Lightning's own Trainer, so that its share (accumulation, the division that comes with it) is in
what is compared. Gradients are caught right before the optimizer's step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.records import Record, write_records
from distill.align import Aligner
from distill.data import InstructionData
from distill.encoding import encode_side
from distill.features import FEATURE_LOSSES, FeatureTerm
from distill.losses import LossTerm
from distill.module import Distiller
from students.tokenizers import ByteView
from teachers.panda import PandaTeacher
from tests import plain_loop
from tests.plain_loop import ALPACA, CE, KL, QA, RECORDS, Ground, by_hand, cross_entropy, distiller, fit
from tests.plain_losses import set_loss

ground = plain_loop.ground


def said_the_same(record: Record, *views: ByteView) -> list[list[int]]:
    """Positions after which both sides have said the same characters of the row; not after EOS.

    In answers a side that has said a space more has said the same: a student of this kind swallows them.
    """
    sides: list[dict[tuple[int, int], int]] = []
    for view in views:
        found: dict[tuple[int, int], int] = {}
        at = 0
        for n, (part, answer) in enumerate(QA.render(record)):
            ids = view.encode(part) if n else view.encode_prompt(part)
            for k, end in enumerate(view.character_ends(part, ids)):
                if end:
                    found[n, len("".join(part[:end].split())) if answer else end] = at + k  # of several the last one
            at += len(ids) + answer
        sides.append(found)
    both = sorted(sides[0].keys() & sides[1].keys())
    return [[found[end] for end in both] for found in sides]


def plain(model: Distiller, teacher: Any) -> tuple[Tensor, int]:
    """0.7 ce alone."""
    total, count = torch.zeros(()), 0
    for record in RECORDS:
        logits, labels, _ = by_hand(model.student, model.student_view, QA, record)
        total, count = total + 0.7 * cross_entropy(logits, labels), count + len(labels)
    return total, count


def one_vocabulary(model: Distiller, teacher: Any) -> tuple[Tensor, int]:
    """0.4 ce + 0.6 KL at temperature 2, times 4, + 0.3 reverse KL; the teacher wears another template."""
    total, count = torch.zeros(()), 0
    size = len(model.tokenizer)
    for record in RECORDS:
        logits, labels, _ = by_hand(model.student, model.student_view, QA, record)
        with torch.no_grad():
            theirs, same, _ = by_hand(teacher.model, model.student_view, ALPACA, record)
        assert labels.tolist() == same.tolist()
        p, q = torch.softmax(theirs[:, :size] / 2, -1), torch.softmax(logits / 2, -1)
        total = total + 0.4 * cross_entropy(logits, labels) + 0.6 * 4 * (p * (p / q).log()).sum()
        p, q = torch.softmax(theirs[:, :size], -1), torch.softmax(logits, -1)
        total, count = total + 0.3 * (q * (q / p).log()).sum(), count + len(labels)
    return total, count


def two_vocabularies(model: Distiller, teacher: Any) -> tuple[Tensor, int]:
    """0.4 ce + 0.6 aligned KL + 0.5 of the relative gap of two layers where both have said the same bytes."""
    view = ByteView(teacher.tokenizer)
    aligner = Aligner(view, model.student_view)
    total, count = torch.zeros(()), 0
    ours, hidden = [], []
    assert model.features is not None
    ((projector,),) = [each.projectors for each in model._features()]
    for record in RECORDS:
        logits, labels, layers = by_hand(model.student, model.student_view, QA, record)
        with torch.no_grad():
            theirs, _, their_layers = by_hand(teacher.model, view, QA, record)
        sides = [encode_side(side, QA, [record], 512) for side in (view, model.student_view)]
        answers = [text for text, answer in QA.render(record) if answer]
        plan = aligner.batch([aligner.plan(answers, sides[0], sides[1], 0)])
        total = total + 0.4 * cross_entropy(logits, labels) + 0.6 * set_loss(aligner, theirs, logits, plan)
        count += len(labels)
        left, right = said_the_same(record, model.student_view, view)
        ours.append(projector(layers[1][left]))
        hidden.append(their_layers[2][right])
    both, target = torch.cat(ours), torch.cat(hidden)
    assert len(target) > 20
    gaps = (both - target).square().sum(-1) / target.square().sum(-1)  # in units of the teacher's square at the place
    return total + 0.5 * gaps.sum(), count


Reference = Callable[[Distiller, Any], tuple[Tensor, int]]
STEPS: dict[str, tuple[list[LossTerm], list[FeatureTerm], str | None, str | None, Reference]] = {
    "text": ([LossTerm("ce", 0.7)], [], None, None, plain),
    "one vocabulary": (
        [CE, LossTerm("forward_kl", 0.6, temperature=2.0), LossTerm("reverse_kl", 0.3)], [], "same", "alpaca",
        one_vocabulary,
    ),
    "two vocabularies": ([CE, KL], [FeatureTerm("mse", 0.5, "1:2")], "other", None, two_vocabularies),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_the_plain_loop(name: str, ground: Ground) -> None:
    """Loss and every gradient; three rows a batch, so that padding and accumulation are in it."""
    losses, features, teacher, template, reference = STEPS[name]
    path = getattr(ground, teacher) if teacher else None
    model = distiller(ground, losses, path, features=features)
    total, count = reference(model, PandaTeacher(path) if path else None)
    mean = total / count
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    expected = dict(zip(names, torch.autograd.grad(mean, [model.get_parameter(n) for n in names]), strict=True))
    data = InstructionData(ground.train, batch_size=len(RECORDS), teacher_template=template)
    catch, trainer = fit(model, data)
    assert float(trainer.callback_metrics["loss"]) == pytest.approx(float(mean.detach()), rel=1e-5)
    (found,) = catch.gradients
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("teacher", ["same", "other"])
def test_accumulated_batches_are_one_batch(size: int, teacher: str, ground: Ground) -> None:
    """The same gradients, with every feature loss, though rows have 2 to 60 supervised tokens: no mean of means."""
    path = getattr(ground, teacher)
    gradients = []
    for batch_size, accumulate in ((6, 1), (size, 6 // size)):
        model = distiller(ground, [CE, KL], path, features=[FeatureTerm(loss, 0.2, "1:2") for loss in FEATURE_LOSSES])
        catch, _ = fit(model, InstructionData(ground.train, batch_size=batch_size), accumulate=accumulate)
        gradients += catch.gradients
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-5, atol=1e-6)


def test_a_last_step_of_fewer_batches_is_divided_by_its_own_tokens(ground: Ground, tmp_path: Path) -> None:
    """Five rows, two a step: the fifth alone makes the third step, which weighs like any other."""
    write_records(tmp_path / "five.jsonl", RECORDS[:5])
    model = distiller(ground, [LossTerm("ce")], learning_rate=1e-12)
    data = InstructionData(str(tmp_path / "five.jsonl"), batch_size=1, seed=4)
    catch, _ = fit(model, data, steps=3, accumulate=2)
    assert len(catch.gradients) == 3
    last = data._plan("train", 1, 4).order(0)[-1].tolist()
    alone = distiller(ground, [LossTerm("ce")])
    logits, labels, _ = by_hand(alone.student, alone.student_view, QA, RECORDS[last[0]])
    (cross_entropy(logits, labels) / len(labels)).backward()
    for key, value in alone.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(catch.gradients[2][key], value.grad, rtol=1e-4, atol=2e-6)


def test_neither_order_nor_padding_matters(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in another order, and beside one that is many times longer."""
    gradients = []
    for n, records in enumerate((RECORDS, RECORDS[::-1])):
        write_records(tmp_path / f"{n}.jsonl", records)
        model = distiller(ground, [CE, KL], ground.other)
        catch, _ = fit(model, InstructionData(str(tmp_path / f"{n}.jsonl"), batch_size=6, seed=n))
        gradients += catch.gradients
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-5, atol=1e-6)
    # Of a batch of a short and a long row, the short one's share is what it is alone.
    model = distiller(ground, [CE, KL], ground.other)
    data = InstructionData(ground.train, batch_size=6)
    fit(model, data)
    rows = data.rows["train"]
    values = []
    monkeypatch.setattr(model, "log", lambda *a, **k: None)
    for chosen in ([3], [3, 1], [1]):
        values.append(float(model.training_step(rows[(chosen, 1.0)], 0).detach()))
    assert rows[([1], 1.0)].student.ids.shape[1] > 2 * rows[([3], 1.0)].student.ids.shape[1]
    assert values[1] == pytest.approx(values[0] + values[2], rel=1e-5)
