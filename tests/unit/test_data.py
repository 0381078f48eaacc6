"""From files of records to batches on both sides: what is learnt, what is cut, what is left out, what is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from data_gen.records import DataError, Record
from data_gen.templates import get_template
from distill.data import InstructionData
from distill.encoding import encode_side
from distill.errors import DistillError
from distill.model_folders import teacher_template
from students.tokenizers import ByteView
from tests import instruction_data
from tests.instruction_data import LINES, QA, Trainer, file, learnt, ready, some

views = instruction_data.views


@pytest.mark.parametrize(("share", "asked"), [(0.0, []), (0.25, [3, 7]), (0.5, [1, 3, 5, 7]), (1.0, list(range(8)))])
def test_question_share(share: float, asked: list[int], views: dict[str, ByteView], tmp_path: Path) -> None:
    """Of an evenly spread share of rows the question is learnt too, all but the first token, which nothing predicts.
    Validation looks at answers alone."""
    path = file(tmp_path, "train.jsonl", some(8))
    data = ready(InstructionData(path, val=path, question_share=share), views["byte"])
    for r, record in enumerate(data.records["train"]):
        whole = "".join(text for text, _ in QA.render(record)) + "|"
        first = len(views["byte"].entries[views["byte"].encode_prompt(whole)[0]] or b"")
        expected = whole.encode()[first:].decode("utf-8", "replace") if r in asked else record.output + "|"
        assert learnt(data.rows["train"], r, views["byte"]) == expected
        assert learnt(data.rows["val"], r, views["byte"]) == record.output + "|"
    counts = data.rows["train"].student.supervised_counts
    assert [r for r in range(8) if counts[r] > data.rows["val"].student.supervised_counts[r]] == asked


def test_question_share_goes_without_a_teacher(views: dict[str, ByteView], tmp_path: Path) -> None:
    data = InstructionData(file(tmp_path, "t.jsonl", some(4)), question_share=0.5)
    with pytest.raises(DistillError, match="question_share goes without a teacher"):
        ready(data, views["wordpiece"], views["sentencepiece"])


@pytest.mark.parametrize("limit", [None, 1, 3, 99])
def test_limit_is_of_each_file(limit: int | None, views: dict[str, ByteView], tmp_path: Path) -> None:
    """The first rows of each, in the files' order."""
    files = [file(tmp_path, "a.jsonl", some(4)), file(tmp_path, "b.jsonl", some(5, 10))]
    data = ready(InstructionData(files, val=files[1], limit=limit), views["byte"])
    a, b = min(limit or 99, 4), min(limit or 99, 5)
    assert [r.output for r in data.records["train"]] == LINES[:a] + LINES[10 : 10 + b]
    assert [r.output for r in data.records["val"]] == LINES[10 : 10 + b]
    assert len(data.rows["train"]) == a + b


@pytest.mark.parametrize(("student", "teacher"), [("wordpiece", "sentencepiece"), ("byte", "wordpiece")])
def test_both_sides_of_a_batch_are_the_same_rows(
    student: str, teacher: str, views: dict[str, ByteView], tmp_path: Path
) -> None:
    """The teacher's tokens are the same answers in its own vocabulary and its own template."""
    path = file(tmp_path, "t.jsonl", [*some(3), Record("再说", "材料", "好的。", history=[["谁？", "小猫"]])])
    data = ready(InstructionData(path, teacher_template="alpaca"), views[student], views[teacher])
    batch = data.rows["train"][([3, 1], 9.0)]
    (lesson,) = batch.lessons
    assert lesson.whole
    assert (batch.rows, batch.step_tokens) == ([3, 1], 9.0)
    records = [data.records["train"][r] for r in batch.rows]
    for view, tokens in ((views[student], batch.student), (views[teacher], lesson.teacher)):
        texts = [text for record in records for text, answer in QA.render(record) if answer]
        expected = [i for text in texts for i in [*view.encode(text), view.eos_id]]
        assert tokens.labels.tolist() == expected
    assert batch.characters == sum(len(r.output) + sum(len(a) for _, a in r.history) for r in records)
    prompt = views[teacher].encode_prompt(get_template("alpaca").render(records[1])[0][0])
    assert lesson.teacher.ids[1, : len(prompt)].tolist() == prompt


def test_answers_are_cut_alike_in_one_vocabulary(
    views: dict[str, ByteView], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the student lost at max_length the teacher, in its longer template, is not asked for."""
    long = Record("说", output="".join(LINES[:30]))
    path = file(tmp_path, "t.jsonl", [*some(2), long])
    view = views["byte"]
    data = ready(InstructionData(path, max_length=40, teacher_template="chatml"), view, view)
    rows = data.rows["train"]
    assert "train: 1 of 3 answers cut at 40 tokens" in capsys.readouterr().err
    assert rows.student.lengths[2] == 40
    batch = rows[([0, 1, 2], 1.0)]
    (lesson,) = batch.lessons
    assert lesson.teacher.labels.tolist() == lesson.labels.tolist() == batch.student.labels.tolist()
    assert lesson.plan is None
    assert rows.student.characters[2] < len(long.output)


def test_a_teacher_reads_further_than_the_student(views: dict[str, ByteView], tmp_path: Path) -> None:
    """It may need more tokens for what the student keeps: every token the student is asked for has a target."""
    scrambled = "".join(LINES)[::-7][:80]
    path = file(tmp_path, "t.jsonl", [Record("说", output=scrambled)])
    data = ready(InstructionData(path, max_length=40), views["wordpiece"], views["byte"])
    rows = data.rows["train"]
    assert rows.student.lengths[0] == 40
    (taught,) = rows.taught
    assert taught.side.lengths[0] > 60
    (plan,) = taught.plans.values()
    assert (plan.teacher_at[:-1] >= 0).all()


def test_a_teacher_that_does_not_see_the_whole_answer(views: dict[str, ByteView], tmp_path: Path) -> None:
    """Its template alone fills the four times max_length tokens it gets."""
    path = file(tmp_path, "t.jsonl", [Record("说", output="好")])
    data = InstructionData(path, max_length=14, teacher_template="alpaca")
    with pytest.raises(DistillError, match=r"must see the whole answer: raise data\.max_length"):
        ready(data, views["byte"], views["byte"])


def test_rows_without_an_answer_within_reach_are_left_out(
    views: dict[str, ByteView], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prompt that fills max_length, an empty output: counted, and records and rows stay side by side."""
    records = [Record("问" * 60, output="答"), Record("空", output=""), *some(2)]
    data = ready(InstructionData(file(tmp_path, "t.jsonl", records), max_length=30), views["wordpiece"])
    said = ["train: 1 rows have no answer, left out", "train: 1 rows have no answer within 30 tokens, left out"]
    assert capsys.readouterr().err.splitlines() == said
    assert [r.output for r in data.records["train"]] == LINES[:2]
    assert len(data.rows["train"]) == 2
    none = file(tmp_path, "none.jsonl", records[:1])
    with pytest.raises(DistillError, match=r"data\.train: no usable row in .*none\.jsonl"):
        ready(InstructionData(none, max_length=30), views["wordpiece"])


@pytest.mark.parametrize(("empty", "times"), [(False, 1), (True, 2)])
def test_rows_are_encoded_again_only_where_some_are_left_out(
    empty: bool, times: int, views: dict[str, ByteView], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(side_effect=encode_side)
    monkeypatch.setattr("distill.data.encode_side", asked)
    records = [*some(3), Record("无", output="" if empty else "有")]
    data = ready(InstructionData(file(tmp_path, "t.jsonl", records)), views["byte"])
    assert (asked.call_count, len(data.rows["train"])) == (times, 4 - empty)


def test_what_a_stage_reads(views: dict[str, ByteView], tmp_path: Path) -> None:
    """Scoring reads no training file; it needs data.val; bad files name their line before anything is encoded."""
    val = file(tmp_path, "val.jsonl", some(3))
    data = ready(InstructionData(str(tmp_path / "none.jsonl"), val=val), views["byte"], stage="validate")
    assert list(data.rows) == ["val"]
    with pytest.raises(DistillError, match=r"need data\.val"):
        ready(InstructionData(val), views["byte"], stage="predict")
    with pytest.raises(DataError, match=r"no file .*none\.jsonl"):
        InstructionData(str(tmp_path / "none.jsonl")).read("fit")
    with pytest.raises(DataError, match=r"no file .*none\.jsonl"):
        InstructionData(val, val=str(tmp_path / "none.jsonl")).read("fit")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": 0}, "data.batch_size is 1 at least"),
        ({"max_length": 1}, "data.max_length is 2 at least"),
        ({"question_share": 1.5}, "question_share is a share"),
    ],
)
def test_values_out_of_range(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DistillError, match=said):
        InstructionData("x.jsonl", **settings)


@pytest.mark.parametrize("parts", [[], ["belle-1m", "coqa"]])
def test_non_commercial_parts_are_named_before_training(
    parts: list[str], tmp_path: Path, views: dict[str, ByteView], capsys: pytest.CaptureFixture[str]
) -> None:
    """From the manifest beside a mix; nothing is said of a file that has none."""
    train, other = file(tmp_path, "mix.jsonl", some(3)), file(tmp_path, "other.jsonl", some(2))
    manifest = {"licence": {"noncommercial": parts}}
    (tmp_path / "mix.manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    ready(InstructionData([train, other]), views["wordpiece"])
    said = capsys.readouterr().err
    assert ("mix.jsonl: non-commercial use only" in said) == bool(parts)
    assert all(part in said for part in parts)
    assert "other.jsonl" not in said


@pytest.mark.parametrize(
    ("told", "given", "worn", "said"),
    [
        (None, None, "qa", ""),
        ("alpaca", None, "alpaca", "asked with template 'alpaca', which it was trained with"),
        ("alpaca", "chatml", "chatml", "trained with template 'alpaca', asked with 'chatml' as you say"),
        ("alpaca", "alpaca", "alpaca", ""),
        ("qa", None, "qa", ""),
    ],
)
def test_the_template_a_teacher_is_asked_with(
    told: str | None, given: str | None, worn: str, said: str, views: dict[str, ByteView], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What its folder says it was trained with, unless the recipe says otherwise; neither in silence."""
    if told:
        (tmp_path / "template.txt").write_text(told + "\n", encoding="utf-8")
    data = InstructionData(file(tmp_path, "t.jsonl", some(2)), teacher_template=given)
    data.trainer = Trainer(views["wordpiece"], views["byte"], folder=str(tmp_path))  # type: ignore[assignment]
    data.setup("fit")
    (lesson,) = data.rows["train"][([0], 1.0)].lessons
    expected = views["byte"].encode_prompt(get_template(worn).render(data.records["train"][0])[0][0])
    assert lesson.teacher.ids[0, : len(expected)].tolist() == expected
    err = capsys.readouterr().err
    assert said in err if said else "template" not in err


def test_a_chat_template_is_not_passed_over_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    teacher = SimpleNamespace(path="qwen", tokenizer=SimpleNamespace(chat_template="{{ messages }}"))
    assert teacher_template(teacher, None, "qa") == "qa"
    assert "has a chat template of its own and is asked with 'qa'" in capsys.readouterr().err
    assert teacher_template(teacher, "chatml", "qa") == "chatml"
    assert not capsys.readouterr().err


def test_text_that_the_student_cannot_write_is_counted(
    views: dict[str, ByteView], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In answers, not in questions."""
    records = [Record("𪚥龘？", output="小猫𪚥在龘家"), *some(1)]
    ready(InstructionData(file(tmp_path, "t.jsonl", records)), views["wordpiece"])
    assert "train: at 2 places in answers the student's tokenizer has no entry, [UNK] is learnt there" in (
        capsys.readouterr().err
    )
    ready(InstructionData(file(tmp_path, "t.jsonl", records)), views["byte"])
    assert "no entry" not in capsys.readouterr().err


def test_rows_are_encoded_some_at_a_time(views: dict[str, ByteView], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many at a time does not show, and what is done is told."""
    records = [*some(7), Record("再说", output="好的。", history=[["谁？", "小猫"]]), Record("说", output="长" * 60)]
    for view in views.values():
        whole = encode_side(view, QA, records, 40, question_share=0.4)
        told: list[int] = []
        monkeypatch.setattr("distill.encoding.AT_ONCE", 2)
        parts = encode_side(view, QA, records, 40, question_share=0.4, advance=told.append)
        monkeypatch.undo()
        assert told == [2, 2, 2, 2, 1]
        for f in fields(whole):
            assert np.array_equal(getattr(whole, f.name), getattr(parts, f.name)), f.name
            assert getattr(getattr(whole, f.name), "dtype", None) == getattr(getattr(parts, f.name), "dtype", None)
