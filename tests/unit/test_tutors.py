"""Several teachers: each says its share of the rows that are its own, and the sum is what single teachers come to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from data_gen.records import Record, write_records
from distill.across import on_sets
from distill.cli import main
from distill.data import InstructionData
from distill.errors import DistillError
from distill.features import FeatureTerm
from distill.losses import LossTerm
from distill.module import Distiller
from distill.tutors import TeacherTerm, Tutor, shares
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from teachers.panda import PandaTeacher
from tests import tiny

STUDENT = {"preset": "tiny", "n_layer": 2, "n_embd": 16, "n_head": 2}
LINES = tiny.sentences()
SOURCES = ["coig-exam", "baike", "own", "coig-chat", "baike", "own", "own"]
RECORDS = [Record(f"第{n}句", output=LINES[n], source=source) for n, source in enumerate(SOURCES)]
TERMS = [LossTerm("ce", 0.4), LossTerm("forward_kl", 0.6)]
WHO: list[dict[str, Any]] = [{"weight": 3.0, "sources": ["coig-*", "baike"]}, {"sources": ["baike"]}]
SHARES = np.array([[1, 0.75, 0, 1, 0.75, 0, 0], [0, 0.25, 0, 0, 0.25, 0, 0]])


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tutors")
    for name, make in tiny.FAMILIES.items():
        make(root / name)
    tiny.tiny_gpt2(root / "same", root / "wordpiece", width=24, layers=3, seed=1)
    tiny.tiny_llama(root / "other", root / "sentencepiece", width=40, layers=3, seed=2)
    tiny.tiny_llama(root / "third", root / "byte", width=32, layers=2, seed=3)
    write_records(root / "train.jsonl", RECORDS)
    return root


def distiller(ground: Path, names: list[str], student: str, terms: list[LossTerm], **more: Any) -> Distiller:
    teachers = [PandaTeacher(str(ground / name)) for name in names]
    many = [TeacherTerm(teacher, **who) for teacher, who in zip(teachers, WHO, strict=True)] if len(names) > 1 else None
    one = teachers[0] if len(names) == 1 else None
    return Distiller(STUDENT, str(ground / student), teacher=one, teachers=many, losses=terms, seed=3, **more)


def rows_of(model: Distiller, ground: Path) -> Any:
    data = InstructionData(str(ground / "train.jsonl"))
    data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
    data.setup("fit")
    return data.rows["train"]


def losses(model: Distiller, rows: list[int], encoded: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Each term's sum over some rows, that of the features, and the gradient of everything in the embedding."""
    batch = encoded[rows, 1.0]
    hidden, layers = model.student_hidden(batch)
    signals = model.teacher_signals(batch)
    terms = [term.at(0, 1) for term in model.losses]
    total, values = model.head_losses(terms, hidden, signals, batch)
    features = model.feature_losses(layers, signals, batch) if model.features is not None else torch.zeros(())
    student: Any = model.student
    (slope,) = torch.autograd.grad(total + features, [student.transformer.wte.weight])
    return values, features.detach(), slope


@pytest.mark.parametrize(
    ("names", "student", "term"),
    [
        (["same", "other"], "wordpiece", LossTerm("forward_kl", 0.6)),
        (["third", "other"], "wordpiece", LossTerm("forward_kl", 0.6)),
        (["other", "third"], "wordpiece", LossTerm("alm", 0.2)),
        (["other", "third"], "wordpiece", LossTerm("uld", 0.2)),
        (["same", "same"], "wordpiece", LossTerm("jsd", 0.6)),
    ],
    ids=["own-and-other", "two-others", "alm", "uld", "one-vocabulary"],
)
@pytest.mark.parametrize("features", [[], [FeatureTerm("cosine", 0.5, "1:1 2:2"), FeatureTerm("gram", 0.1, "last")]])
def test_the_sum_is_that_of_single_teachers(
    names: list[str], student: str, term: LossTerm, features: list[FeatureTerm], ground: Path
) -> None:
    """Values and gradients, row by row with each teacher's share; the text counts once, for every row."""
    model = distiller(ground, names, student, [LossTerm("ce", 0.4), term], features=features)
    values, of_features, slope = losses(model, [5, 4, 2, 0, 1, 3], rows_of(model, ground))
    expected, feature_sum, slopes = torch.zeros(2), torch.zeros(()), torch.zeros_like(slope)
    text = distiller(ground, [], student, [LossTerm("ce", 0.4)])
    text_rows = rows_of(text, ground)
    for row in range(6):
        found, _, by = losses(text, [row], text_rows)
        expected[0], slopes = expected[0] + found[0], slopes + by
    for n, name in enumerate(names):
        single = distiller(ground, [name], student, [term], features=features)
        if features:
            single._features()[0].load_state_dict(model._features()[n].state_dict())
        single_rows = rows_of(single, ground)
        for row in np.flatnonzero(SHARES[n, :6]).tolist():
            found, other, by = losses(single, [row], single_rows)
            expected[1] += SHARES[n, row] * found[0]
            feature_sum, slopes = feature_sum + SHARES[n, row] * other, slopes + SHARES[n, row] * by
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(of_features, feature_sum, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slope, slopes, rtol=1e-3, atol=1e-5)


def test_shares_in_chunks_and_without_anybody(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few positions are taken at a time; rows of no teacher alone give the text's loss."""
    model = distiller(ground, ["same", "other"], "wordpiece", TERMS)
    encoded = rows_of(model, ground)
    whole = losses(model, [0, 1, 2, 3], encoded)
    monkeypatch.setattr("distill.fused.AT_ONCE_CPU", 2000)
    for found, expected in zip(losses(model, [0, 1, 2, 3], encoded), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    values, _, _ = losses(model, [2, 5], encoded)
    assert values[0] > 0
    assert values[1] == 0


def test_shares(ground: Path) -> None:
    view = ByteView(load_tokenizer(str(ground / "wordpiece")))
    teacher = PandaTeacher(str(ground / "same"))
    tutors = [Tutor(TeacherTerm(teacher, **who), view, 0.0, False) for who in WHO]
    np.testing.assert_allclose(shares(tutors, RECORDS), SHARES)
    everybody = [Tutor(TeacherTerm(teacher, weight), view, 0.0, False) for weight in (1.0, 3.0)]
    np.testing.assert_allclose(shares(everybody, RECORDS), np.outer([0.25, 0.75], np.ones(7)))
    lost = [Tutor(TeacherTerm(teacher, sources=["biake"]), view, 0.0, False)]
    with pytest.raises(DistillError, match=r"no row of data\.train has a source 'biake' .did you mean 'baike'"):
        shares(lost, RECORDS)
    with pytest.raises(DistillError, match="a weight is above 0, got 0"):
        Tutor(TeacherTerm(teacher, 0.0), view, 0.0, False)
    with pytest.raises(DistillError, match=r"model\.teacher or model\.teachers, not both"):
        Distiller(STUDENT, str(ground / "wordpiece"), teacher=teacher, teachers=[TeacherTerm(teacher)])


def test_a_recipe_of_several(ground: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a user writes it, packed, with features and kept signals; nobody of the teachers is in the checkpoint."""
    recipe = tmp_path / "several.yaml"
    recipe.write_text(
        f"""\
model:
  student: {{preset: tiny, n_layer: 2, n_embd: 16, n_head: 2}}
  tokenizer: {ground / "wordpiece"}
  teachers:
    - teacher: {{class_path: teachers.panda.PandaTeacher, init_args: {{path: {ground / "same"}}}}}
      weight: 3
      sources: [coig-*, baike]
    - teacher: {{class_path: teachers.panda.PandaTeacher, init_args: {{path: {ground / "other"}}}}}
      sources: [baike]
  losses: [{{name: ce, weight: 0.4}}, {{name: forward_kl, weight: 0.6}}]
  features: [{{loss: mse}}]
  keep_signals: true
data: {{train: {ground / "train.jsonl"}, val: {ground / "train.jsonl"}, batch_size: 2, max_length: 64, packing: true}}
trainer: {{default_root_dir: {tmp_path / "run"}, max_epochs: 3, precision: 32-true}}
""",
        encoding="utf-8",
    )
    assert main(["fit", "--config", str(recipe)]) == 0
    said = capsys.readouterr().err
    assert "no teacher is for 3 of 7 rows, their text alone is learnt" in said
    assert "100.0 % of" in said
    assert "have a target from teacher 2" in said
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    projectors = [key for key in state if not key.startswith("student.")]
    assert sorted(projectors) == [f"features.{n}.projectors.0.{part}" for n in (0, 1) for part in ("bias", "weight")]
    assert main(["fit", "--config", str(recipe)]) == 0
    assert "is complete" in capsys.readouterr().out


def test_every_teacher_is_tried_on_rows_of_its_own(ground: Path, tmp_path: Path) -> None:
    """Of each, three of the shortest that are for it; a second teacher that ignores positions is found out."""
    model = distiller(ground, ["same", "other"], "wordpiece", TERMS)
    encoded = rows_of(model, ground)
    short = encoded.short_ones()
    assert len(short) == 6
    assert {SOURCES[row] for row in short[:3]} <= {"coig-exam", "coig-chat", "baike"}
    assert {SOURCES[row] for row in short[3:]} == {"baike"}
    signal = model.tutors[1].teacher.signal
    model.tutors[1].teacher.signal = lambda *given, position_ids=None: signal(*given)  # type: ignore[method-assign]
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    data = InstructionData(str(ground / "train.jsonl"), packing=True, max_length=128)
    with pytest.raises(DistillError, match=r"this teacher, a LlamaForCausalLM, does not keep rows"):
        trainer.fit(model, data)


@pytest.mark.parametrize("name", ["same", "other"])
def test_a_teacher_keeps_its_precision(ground: Path, name: str) -> None:
    """What a student computes in bfloat16 is no concern of the teacher's, nor of differences between the two."""
    model = distiller(ground, [name], "wordpiece", TERMS, features=[FeatureTerm("gram"), FeatureTerm("mse")])
    batch = rows_of(model, ground)[[0, 1, 2], 1.0]
    signals: Any = model.teacher_signals(batch)
    layers = model.student_hidden(batch)[1]
    features = model.feature_losses(layers, signals, batch)
    aligner = model.tutors[0].aligner
    targets = on_sets(TERMS[1], aligner, signals[0], batch.lessons[0]) if aligner else None
    with torch.autocast("cpu", torch.bfloat16):
        again: Any = model.teacher_signals(batch)
        assert torch.equal(again[0].hidden, signals[0].hidden)
        assert torch.equal(model.feature_losses(layers, again, batch), features)
        if aligner and targets:
            assert torch.equal(on_sets(TERMS[1], aligner, again[0], batch.lessons[0]).mass, targets.mass)
        in_half = {k: states.bfloat16() for k, states in layers.items()}  # as a student's come out of autocast
        torch.testing.assert_close(model.feature_losses(in_half, again, batch), features, rtol=0.02, atol=0)
