"""When two tokenizers are one: by their entries and by how they cut, not by what their files look like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_gen.records import Record, write_records
from distill.across import on_sets
from distill.capture import capture
from distill.capture_data import Settings
from distill.data import InstructionData
from distill.errors import DistillError
from distill.losses import LossTerm
from distill.module import Distiller
from distill.signal_keys import cut_alike, weights_fingerprint
from distill.stored import StoredSignals
from students.load_tokenizers import load_tokenizer
from teachers.panda import PandaTeacher
from tests import tiny
from tests.plain_loop import fit


def changed(folder: Path, name: str, **parts: Any) -> Path:
    """A copy of a tokenizer's folder with other settings in its normalizer."""
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    state = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    state["normalizer"] |= parts
    (copy / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    return copy


def test_what_is_alike(tmp_path: Path) -> None:
    folder = tiny.wordpiece(tmp_path / "lower")
    one = load_tokenizer(folder)
    one.save_pretrained(tmp_path / "again")
    assert cut_alike(one, load_tokenizer(tmp_path / "again"))
    # Another setting that changes nothing, for what is lower-cased loses its accents anyway.
    assert cut_alike(one, load_tokenizer(changed(folder, "accents", strip_accents=True)))
    assert not cut_alike(one, load_tokenizer(changed(folder, "cased", lowercase=False)))
    assert not cut_alike(one, load_tokenizer(changed(folder, "words", handle_chinese_chars=False)))
    assert not cut_alike(one, load_tokenizer(tiny.wordpiece(tmp_path / "smaller", size=400)))


@pytest.mark.parametrize(
    "answers", [["The Quick brown 小猫 Fox."], ["T 小猫", "小猫 Q"]], ids=["counts", "same counts"]
)
def test_the_same_entries_cut_in_another_way_are_aligned(
    answers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A student that lower-cases beside a teacher that does not: what stands for what is found on the bytes."""
    lower = tiny.wordpiece(tmp_path / "lower")
    cased = changed(lower, "cased", lowercase=False)
    teacher = PandaTeacher(str(tiny.tiny_gpt2(tmp_path / "teacher", cased)))
    write_records(tmp_path / "train.jsonl", [Record("问", output=answer) for answer in answers])
    model = Distiller(tiny.GPT2, str(lower), teacher=teacher, losses=[LossTerm("ce", 0.3), LossTerm("forward_kl", 0.7)])
    assert model.tutors[0].aligner is not None
    data = InstructionData(str(tmp_path / "train.jsonl"), batch_size=2)
    caught, _ = fit(model, data)
    assert all(gradient.isfinite().all() for gradient in caught.gradients[0].values())
    batch = data.rows["train"][list(range(len(answers))), 1.0]
    signals: Any = model.teacher_signals(batch)
    aligner = model.tutors[0].aligner
    assert aligner
    targets = on_sets(model.losses[1], aligner, signals[0], batch.lessons[0])
    assert (targets.total > 0).all()
    with pytest.raises(DistillError, match="needs one vocabulary on both sides"):
        Distiller(tiny.GPT2, str(lower), teacher=teacher, losses=[LossTerm("jsd")])
    monkeypatch.setattr("distill.tutors.cut_alike", lambda *both: True)  # had the trial texts not shown it
    model = Distiller(tiny.GPT2, str(lower), teacher=teacher, losses=[LossTerm("forward_kl")])
    with pytest.raises(DistillError, match=r"must see the whole answer|some answers of data.train they do not"):
        fit(model, InstructionData(str(tmp_path / "train.jsonl"), batch_size=2))


def test_signals_for_a_student_that_cuts_alike_are_its_own(tmp_path: Path) -> None:
    """Same entries, other settings that change nothing: beside the teacher as from its signals on disk."""
    folder = tiny.wordpiece(tmp_path / "lower")
    alike = changed(folder, "accents", strip_accents=True)
    teacher = PandaTeacher(str(tiny.tiny_gpt2(tmp_path / "teacher", folder)))
    records = [Record("问", output="小猫在家里看书。"), Record("问问", output="Q 小猫")]
    write_records(tmp_path / "train.jsonl", records)
    capture(records, teacher, tmp_path / "signals", Settings(method="topk", size=8), load_tokenizer(alike))
    signals = StoredSignals(str(tmp_path / "signals"))
    model = Distiller(tiny.GPT2, str(alike), signals=signals, losses=[LossTerm("jsd")])
    caught, _ = fit(model, InstructionData(str(tmp_path / "train.jsonl"), batch_size=2))
    assert any(gradient.abs().max() > 0 for gradient in caught.gradients[0].values())
    with pytest.raises(DistillError, match=r"other way of cutting .* --student set to this student's tokenizer"):
        Distiller(tiny.GPT2, str(folder), signals=StoredSignals(signals.path), losses=[LossTerm("jsd")])


def test_no_path_is_not_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights of something else")
    monkeypatch.chdir(tmp_path)
    assert weights_fingerprint("") == weights_fingerprint("owner/model") == ""
    assert weights_fingerprint(".")
