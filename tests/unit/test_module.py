"""One training step against a plain loop: a row at a time, without padding, token by token where it can be.

The steps are taken by Lightning's own Trainer, so that its share (accumulation, the division that comes with it) is in
what is compared. Gradients are caught right before the optimizer's step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor

from data_gen.records import Record, write_records
from data_gen.templates import Template, get_template
from distill.align import Aligner
from distill.cli import main
from distill.data import InstructionData
from distill.encoding import encode_side
from distill.errors import DistillError
from distill.features import FEATURE_LOSSES, FeatureTerm
from distill.losses import LossTerm
from distill.module import Distiller
from students.tokenizers import ByteView
from teachers.panda import PandaTeacher
from tests import tiny

LINES = tiny.sentences()
RECORDS = [
    Record("第一句", output=LINES[0]),
    Record("接着说", input="材料：小猫", output=LINES[1] * 2),
    Record("再说一句", output="好的。", history=[["小猫在哪里？", LINES[2]], ["Who?", "The cat"]]),
    Record("x", output="12"),
    Record("请介绍", output=LINES[3] + LINES[4], system="你是老师。"),
    Record("说一句英文", output="The quick brown fox, 3.14!"),
]
STUDENT = {"preset": "tiny", "n_layer": 2, "n_embd": 32, "n_head": 2}


@dataclass
class Ground:
    """Files on disk: tokenizers, teachers with the student's vocabulary and with another, data."""

    folder: Path
    tokenizer: str
    same: str
    other: str
    train: str


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("module")
    tokenizer = tiny.wordpiece(folder / "wordpiece")
    # As many checkpoints have it, the teacher with the same tokenizer has some rows more than the tokenizer entries.
    same = tiny.tiny_gpt2(folder / "same", tokenizer, width=48, layers=3, seed=1, vocab_size=640)
    other = tiny.tiny_llama(folder / "other", tiny.sentencepiece_like(folder / "sp"), width=40, layers=3, seed=2)
    write_records(folder / "train.jsonl", RECORDS)
    return Ground(folder, str(tokenizer), str(same), str(other), str(folder / "train.jsonl"))


class Catch(pl.Callback):
    """Keeps the gradients of every optimizer step, and the logged loss."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        found = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        self.gradients.append(found)


def fit(model: Distiller, data: InstructionData, steps: int = 1, accumulate: int = 1) -> tuple[Catch, pl.Trainer]:
    """Some optimizer steps as `distill fit` takes them."""
    catch = Catch()
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, accumulate_grad_batches=accumulate, callbacks=[catch], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, data)
    return catch, trainer


def distiller(ground: Ground, losses: list[LossTerm], teacher: str | None = None, **more: Any) -> Distiller:
    settings = {"tokenizer": ground.tokenizer, "seed": 3, **more}
    return Distiller(STUDENT, teacher=PandaTeacher(teacher) if teacher else None, losses=losses, **settings)


def by_hand(model: Any, view: ByteView, template: Template, record: Record) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Of one row alone: logits `(tokens, vocab)` that predict its supervised tokens, these, and all layers."""
    ids: list[int] = []
    supervised: list[bool] = []
    for n, (text, answer) in enumerate(template.render(record)):
        assert view.eos_id is not None
        part = (view.encode(text) if n else view.encode_prompt(text)) + [view.eos_id] * answer
        ids += part
        supervised += [answer] * len(part)
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    at = [t for t in range(1, len(ids)) if supervised[t]]
    before = [t - 1 for t in at]
    layers = {n: hidden[0] for n, hidden in enumerate(out.hidden_states)}
    return out.logits[0, before], torch.tensor([ids[t] for t in at]), layers


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


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Token by token."""
    logs = [row - torch.logsumexp(row, 0) for row in logits]
    return torch.stack([-row[label] for row, label in zip(logs, labels, strict=True)]).sum()


QA, ALPACA = get_template("qa"), get_template("alpaca")


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
        total = total + 0.4 * cross_entropy(logits, labels) + 0.6 * aligner.loss(theirs, logits, plan)
        count += len(labels)
        left, right = said_the_same(record, model.student_view, view)
        ours.append(projector(layers[1][left]))
        hidden.append(their_layers[2][right])
    both, target = torch.cat(ours), torch.cat(hidden)
    assert len(target) > 20
    gaps = (both - target).square().sum(-1) / target.square().sum(-1)  # in units of the teacher's square at the place
    return total + 0.5 * gaps.sum(), count


CE, KL = LossTerm("ce", 0.4), LossTerm("forward_kl", 0.6)
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


@pytest.mark.parametrize("part", ["norm", "head"])
@pytest.mark.parametrize("name", ["same", "other"])
def test_a_teacher_that_says_nothing_finite_is_one_sentence(name: str, part: str, ground: Ground) -> None:
    """Half precision that overflows, say, in the hidden states or not before the logits."""
    model = distiller(ground, [CE, KL], getattr(ground, name))
    teacher: Any = model.tutors[0].teacher
    if part == "norm":
        base = teacher.model.base_model
        (base.norm if name == "other" else base.ln_f).weight.data[0] = math.inf
    else:
        teacher.model.get_output_embeddings().weight.data.mul_(1e39)
    with pytest.raises(DistillError, match=r"the teacher's (hidden states|logits) are not finite.*dtype: fp32"):
        fit(model, InstructionData(ground.train, batch_size=6))


def test_a_student_that_went_astray_is_one_sentence(ground: Ground) -> None:
    model = distiller(ground, [CE])
    student: Any = model.student
    student.transformer.ln_f.weight.data[0] = math.nan
    with pytest.raises(DistillError, match=r"the loss is no number at step 0: lower model\.learning_rate"):
        fit(model, InstructionData(ground.train, batch_size=6))


@pytest.mark.parametrize("teacher", ["same", "other"])
def test_kept_signals_train_the_same_student(teacher: str, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three epochs of two batches; the teacher runs in the first alone."""
    asked = []
    signal = PandaTeacher.signal

    def counted(self: PandaTeacher, *arguments: Any) -> Any:
        asked.append(1)
        return signal(self, *arguments)

    monkeypatch.setattr(PandaTeacher, "signal", counted)
    weights = []
    for keep in (False, True):
        asked.clear()
        features = [FeatureTerm("cosine", 0.5, "last")]
        model = distiller(ground, [CE, KL], getattr(ground, teacher), features=features, keep_signals=keep)
        fit(model, InstructionData(ground.train, batch_size=3), steps=6)
        weights.append({n: p.detach() for n, p in model.named_parameters()})
        assert len(asked) == (2 if keep else 6)
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=1e-6)


def test_projectors_are_trained_and_kept_and_not_exported(ground: Ground, tmp_path: Path) -> None:
    """In the checkpoint with the student; neither teacher nor projectors in the folder that is left."""
    argv = [
        "fit", f"--model.student={STUDENT}", f"--model.tokenizer={ground.tokenizer}", "--model.warmup_steps=0",
        f"--model.teacher={{class_path: teachers.panda.PandaTeacher, init_args: {{path: {ground.other}}}}}",
        "--model.features=[{loss: mse, layers: uniform}]", f"--data.train={ground.train}", "--data.batch_size=3",
        "--trainer.max_epochs=2", f"--trainer.default_root_dir={tmp_path / 'run'}", "--trainer.precision=32-true",
    ]  # fmt: skip
    assert main(argv) == 0
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    mine = {key for key in state if not key.startswith("student.")}
    assert mine == {f"features.0.projectors.{n}.{part}" for n in (0, 1) for part in ("weight", "bias")}
    fresh = distiller(ground, [CE], ground.other, features=[FeatureTerm("mse", 1.0, "uniform")], seed=0)
    for key in mine:
        assert (state[key] - fresh.state_dict()[key]).abs().max() > 1e-5
    exported = load_file(tmp_path / "run" / "student" / "model.safetensors")
    assert all(key.startswith("transformer.") for key in exported)
    torch.testing.assert_close(exported["transformer.wte.weight"], state["student.transformer.wte.weight"])


def test_validation_by_hand(ground: Ground) -> None:
    """Nats a token and bits a character: of answers and their ends, history's answers too."""
    model = distiller(ground, [LossTerm("ce")])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, use_distributed_sampler=False)
    data = InstructionData(ground.train, val=ground.train, batch_size=2, val_batch_size=4)
    (metrics,) = trainer.validate(model, data, verbose=False)
    nats, tokens, characters = 0.0, 0, 0
    for record in RECORDS:
        logits, labels, _ = by_hand(model.student, model.student_view, QA, record)
        nats, tokens = nats + float(cross_entropy(logits, labels).detach()), tokens + len(labels)
        characters += len(record.output) + sum(len(answer) for _, answer in record.history)
    assert metrics["val_loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert metrics["val_bpc"] == pytest.approx(nats / math.log(2) / characters, rel=1e-5)


def test_decay_is_for_matrices(ground: Ground) -> None:
    """Biases and norms are left alone; every trained weight is in exactly one group."""
    model = distiller(ground, [LossTerm("ce")], weight_decay=0.3)
    _, trainer = fit(model, InstructionData(ground.train, batch_size=6))
    groups = trainer.optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert {p.ndim for p in groups[0]["params"]} == {2}
    assert {p.ndim for p in groups[1]["params"]} == {1}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_features_without_a_teacher(ground: Ground) -> None:
    with pytest.raises(DistillError, match=r"model\.features needs a teacher"):
        distiller(ground, [LossTerm("ce")], features=[FeatureTerm()])


def test_the_floor_is_a_probability(ground: Ground) -> None:
    """It reaches the alignment; other numbers are refused."""
    model = distiller(ground, [CE, KL], ground.other, floor=5e-4)
    assert model.tutors[0].aligner is not None
    assert model.tutors[0].aligner.floor == 5e-4
    with pytest.raises(DistillError, match=r"model\.floor"):
        distiller(ground, [CE, KL], ground.other, floor=1.5)
    with pytest.raises(DistillError, match=r"model\.floor"):  # also where nothing is aligned
        distiller(ground, [CE, KL], ground.same, floor=-0.1)
