"""InstructionData without a Trainer: tokenizers of the three families, files of rows, and what stands for a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_gen.records import Record, write_records
from data_gen.templates import get_template
from distill.align import Aligner
from distill.data import InstructionData
from distill.encoded import EncodedRows
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny

LINES = tiny.sentences()
QA = get_template("qa")


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByteView]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {name: ByteView(load_tokenizer(make(folder / name))) for name, make in tiny.FAMILIES.items()}


class Trainer:
    """What InstructionData looks at of a Trainer and of the model in it."""

    def __init__(
        self, student: ByteView, teacher: ByteView | None, world: int = 1, rank: int = 0, folder: str = ""
    ) -> None:
        same = teacher is not None and teacher.tokenizer.get_vocab() == student.tokenizer.get_vocab()
        self.lightning_module = SimpleNamespace(
            student_view=student, student_pad=0, features=None,
            tutors=[] if teacher is None else [SimpleNamespace(
                view=teacher, pad=0, context=None, weight=1.0, sources=None, teacher=SimpleNamespace(
                    tokenizer=teacher.tokenizer, path=folder
                ),
                aligner=None if same else Aligner(teacher, student),
            )],
        )  # fmt: skip
        self.accumulate_grad_batches, self.world_size, self.global_rank = 1, world, rank
        self.limit_train_batches: int | float = 1.0


def ready(data: InstructionData, student: ByteView, teacher: ByteView | None = None, stage: str = "fit") -> Any:
    """The data module as a Trainer sets it up."""
    data.trainer = Trainer(student, teacher)  # type: ignore[assignment]
    data.setup(stage)
    return data


def file(folder: Path, name: str, records: list[Record]) -> str:
    write_records(folder / name, records)
    return str(folder / name)


def some(count: int, start: int = 0) -> list[Record]:
    return [Record(f"第{n}句", output=LINES[n]) for n in range(start, start + count)]


def learnt(rows: EncodedRows, r: int, view: ByteView) -> str:
    """The supervised tokens of a row as text; EOS shows as |."""
    at = rows.student.row(r)
    ids = rows.student.ids[at][rows.student.supervised[at]].tolist()
    return b"".join(b"|" if i == view.eos_id else view.entries[i] or b"?" for i in ids).decode("utf-8", "replace")
