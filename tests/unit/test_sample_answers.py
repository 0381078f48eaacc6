"""Answers that are printed while training: the student's own, to the first validation rows, by one rank alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pytorch_lightning.strategies import FSDPStrategy, SingleDeviceStrategy

from distill.answers import answer_records
from distill.callbacks import SampleAnswers
from distill.errors import DistillError
from tests import plain_loop
from tests.plain_loop import CE, QA, RECORDS, Ground, distiller

ground = plain_loop.ground


def trainer(**more: Any) -> Any:
    """What the callback looks at."""
    data = SimpleNamespace(records={"val": RECORDS}, template=QA)
    about = {"sanity_checking": False, "is_global_zero": True, "strategy": SingleDeviceStrategy("cpu")}
    return SimpleNamespace(datamodule=data, **(about | more))


def test_the_first_rows_are_answered(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    model = distiller(ground, [CE])
    model.student.train()
    expected = answer_records(model.student, model.student_view, QA, RECORDS[:2], max_tokens=5)
    sample = SampleAnswers(count=2, max_tokens=5)
    sample.setup(trainer(), model, "fit")
    sample.on_validation_end(trainer(), model)
    said = capsys.readouterr().err
    assert said == "".join(
        f"  问：{question}\n  答：{answer!r}  （应为 {record.output[:40]!r}）\n"
        for question, record, answer in zip(["第一句", "接着说 材料：小猫"], RECORDS, expected, strict=False)
    )
    assert any(expected)
    assert model.student.training
    for silent in (trainer(sanity_checking=True), trainer(is_global_zero=False)):
        sample.on_validation_end(silent, model)
    SampleAnswers(count=0).on_validation_end(trainer(), model)
    assert capsys.readouterr().err == ""


def test_a_student_in_parts_is_not_asked() -> None:
    with pytest.raises(DistillError, match=r"with this strategy leave it out of trainer\.callbacks"):
        SampleAnswers().setup(trainer(strategy=FSDPStrategy()), None, "fit")
