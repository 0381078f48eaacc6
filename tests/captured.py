"""A tiny teacher and records for tests of captured signals; captures, students that learn from them, their losses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.records import Record, write_records
from distill.batches import Batch
from distill.capture import capture
from distill.capture_data import Settings
from distill.data import InstructionData
from distill.losses import LossTerm
from distill.module import Distiller
from students.load_tokenizers import load_tokenizer
from teachers.panda import PandaTeacher
from tests import tiny

LINES = [*tiny.sentences()[:24], "Large language models", "好。", "😀中a"]
RECORDS = [Record(f"第{n}句", output=text) for n, text in enumerate(LINES)]
RECORDS.append(Record("再说", "材料", "好的，小猫。", history=[["谁？", "小猫"]]))
TERMS = [LossTerm("ce", 0.3), LossTerm("forward_kl", 0.7)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, tokenizers of its own and of another family, records."""
    folder = tmp_path_factory.mktemp("capture")
    tiny.tiny_llama(folder / "llama", tiny.sentencepiece_like(folder / "sp"))
    tiny.tiny_llama(folder / "other", folder / "sp", seed=1)
    tiny.wordpiece(folder / "wp")
    write_records(folder / "train.jsonl", RECORDS)
    return folder


def distiller(ground: Path, tokenizer: str, terms: list[LossTerm], **more: Any) -> Distiller:
    return Distiller(
        {"preset": "tiny", "n_layer": 1, "n_embd": 16, "n_head": 2}, str(ground / tokenizer), losses=terms, **more
    )


def batch_of(model: Distiller, ground: Path, rows: list[int], **options: Any) -> Batch:
    """Those rows as the data module gives them, with the signals found."""
    data = InstructionData(str(ground / "train.jsonl"), **options)
    data.trainer = SimpleNamespace(lightning_module=model)  # type: ignore[assignment]
    data.setup("fit")
    if model.signals is not None:
        model.signals.bind(data)
    return data.rows["train"][rows, 1.0]


def losses(model: Distiller, batch: Batch, terms: list[LossTerm] = TERMS) -> tuple[torch.Tensor, torch.Tensor]:
    """Each term's sum, and the gradient of the weighted sum in the output embedding."""
    hidden, _ = model.student_hidden(batch)
    model.zero_grad()
    total, values = model.head_losses(terms, hidden, model.teacher_signals(batch), batch)
    total.backward()
    return values, model.student.get_output_embeddings().weight.grad.clone()


def made(ground: Path, name: str, student: str | None = None, records: list[Record] = RECORDS, **settings: Any) -> Path:
    capture(
        records, PandaTeacher(str(ground / "llama")), ground / name, Settings(**settings),
        load_tokenizer(ground / student) if student else None, ["train.jsonl"],
    )  # fmt: skip
    return ground / name
