"""What training does around a step: numbers that are none, kept signals, projectors, validation, decay, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from distill.cli import main
from distill.data import InstructionData
from distill.errors import DistillError
from distill.features import FeatureTerm
from distill.losses import LossTerm
from distill.sharding import clip_gradients
from teachers.panda import PandaTeacher
from tests import plain_loop
from tests.plain_loop import CE, KL, QA, RECORDS, STUDENT, Ground, by_hand, cross_entropy, distiller, fit

ground = plain_loop.ground


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


@pytest.mark.parametrize(
    ("losses", "teacher"), [([CE], None), ([LossTerm("forward_kl")], "same"), ([LossTerm("forward_kl")], "other")]
)
def test_a_student_that_went_astray_is_one_sentence(
    losses: list[LossTerm], teacher: str | None, ground: Ground
) -> None:
    model = distiller(ground, losses, getattr(ground, teacher) if teacher else None)
    student: Any = model.student
    student.transformer.ln_f.weight.data[0] = math.nan
    with pytest.raises(DistillError, match=r"the loss is no number at step 0: lower model\.learning_rate"):
        fit(model, InstructionData(ground.train, batch_size=6))


def test_a_warm_up_longer_than_the_run_is_told(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    for warmup in (2, 3):
        fit(distiller(ground, [CE], warmup_steps=warmup), InstructionData(ground.train, batch_size=6), steps=3)
    told = [line for line in capsys.readouterr().err.splitlines() if "warmup" in line]
    assert told == ["model.warmup_steps is 3, the run has 3 steps: it ends before its learning rate is reached"]


def test_a_gradient_that_is_no_number_takes_no_step(ground: Ground) -> None:
    """Clipping by a norm that is none would make every weight be none."""
    model = distiller(ground, [CE])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(model.parameters()).grad = torch.full_like(next(model.parameters()), math.inf)
    with pytest.raises(DistillError, match=r"the gradient is no number.*lower model\.learning_rate"):
        clip_gradients(model, SimpleNamespace(model=model), 1.0)


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


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["same", "other"])
def test_half_precision(name: str, precision: Any, ground: Ground) -> None:
    """Weights or arithmetic in bf16: the losses are those of full precision but for bf16's rounding."""
    found = []
    for kind in ("32-true", precision):
        model = distiller(ground, [CE, KL], getattr(ground, name))
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=2, precision=kind, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(model, InstructionData(ground.train, batch_size=6))
        found.append([float(trainer.logged_metrics[key]) for key in ("loss/ce", "loss/forward_kl")])
    assert found[1] == pytest.approx(found[0], rel=0.03)
