"""The job with a scripted teacher: order, provenance, going on, filters, recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_gen.job import run
from data_gen.output import Report
from data_gen.records import DataError, read_records
from data_gen.strategies.answer import Answer
from data_gen.strategies.magpie import Magpie
from data_gen.strategies.self_instruct import SelfInstruct
from teachers.base import Request, TeacherError
from teachers.scripted import ScriptedTeacher, said
from tests.asking import lines, questions


def test_rows_stand_in_the_order_of_their_questions(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    report = run(questions(tmp_path / "in.jsonl", 25), ScriptedTeacher(batch_size=7), out)
    records = list(read_records(out))
    assert [record.instruction for record in records] == [f"第{n}个问题是什么？" for n in range(25)]
    assert all(record.instruction[:4] in record.output for record in records)
    assert (report.accepted, report.failed, report.complete, report.exhausted) == (25, 0, True, True)
    assert report.completion_tokens == sum(record.meta["usage"]["completion_tokens"] for record in records)
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "out.jsonl",
        "out.jsonl.journal",
        "out.recipe.json",
        "out.rejected.jsonl",
    ]


def test_provenance(tmp_path: Path) -> None:
    run(questions(tmp_path / "in.jsonl", 1), ScriptedTeacher(), tmp_path / "out.jsonl")
    (record,) = read_records(tmp_path / "out.jsonl")
    (row,) = lines(tmp_path / "out.jsonl.journal")
    meta = record.meta
    assert (meta["strategy"], meta["teacher"], meta["model"], meta["template"]) == (
        "answer",
        "scripted",
        "scripted",
        "qa",
    )
    assert (meta["temperature"], meta["max_tokens"], meta["seed"], meta["attempts"]) == (0.0, 512, 0, 1)
    assert (meta["prompt_hash"], meta["time"], meta["usage"]) == (row["key"], row["time"], row["usage"])


def test_the_same_command_again_says_it_is_complete(tmp_path: Path) -> None:
    strategy, out = questions(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    first = run(strategy, ScriptedTeacher(), out)
    before = out.read_bytes()
    teacher = ScriptedTeacher()
    again = run(strategy, teacher, out)
    assert (again.ran, again.accepted, teacher.asked) == (False, first.accepted, [])
    assert out.read_bytes() == before


def test_more_rows_go_on_where_it_ended(tmp_path: Path) -> None:
    strategy, out = questions(tmp_path / "in.jsonl", 30), tmp_path / "out.jsonl"
    run(strategy, ScriptedTeacher(), out, rows=10)
    assert len(lines(out)) == 10
    teacher = ScriptedTeacher()
    assert run(strategy, teacher, out, rows=20).accepted == 20
    assert len(teacher.asked) == 10
    assert [row["instruction"] for row in lines(out)] == [f"第{n}个问题是什么？" for n in range(20)]
    assert not run(strategy, teacher, out, rows=15).ran


def test_equal_questions_are_paid_for_once(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"instruction": "问题"}\n' * 6, encoding="utf-8")
    teacher = ScriptedTeacher(batch_size=2)
    report = run(Answer(str(tmp_path / "in.jsonl")), teacher, tmp_path / "out.jsonl", filters={"duplicate": False})
    assert (len(teacher.asked), report.accepted) == (1, 6)
    assert report.prompt_tokens == 2


def test_rejected_rows_are_kept_with_their_reason(tmp_path: Path) -> None:
    def answer(request: Request) -> str:
        return "抱歉，我无法回答。" if "第2个" in said(request) else f"{said(request)}的回答"

    strategy, out = questions(tmp_path / "in.jsonl", 6), tmp_path / "out.jsonl"
    report = run(strategy, ScriptedTeacher(answer), out, rows=5)
    assert (report.accepted, report.rejected) == (5, {"refusal": 1})
    (row,) = lines(tmp_path / "out.rejected.jsonl")
    assert (row["reason"], row["instruction"]) == ("refusal", "第2个问题是什么？")


def test_other_filters_read_the_journal_again(tmp_path: Path) -> None:
    strategy, out = questions(tmp_path / "in.jsonl", 6), tmp_path / "out.jsonl"
    run(strategy, ScriptedTeacher(), out)
    teacher = ScriptedTeacher()
    with pytest.raises(DataError, match=r"of 6 answers none gave a row .*'output too long' 6 of 6 times"):
        run(strategy, teacher, out, filters={"length": {"max_output": 3}})
    assert (teacher.asked, len(lines(out))) == ([], 6)


def test_an_answer_that_is_no_json_where_it_was_asked_for(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(lambda request: '{"答": "是"}' if "第1个" not in said(request) else "不是JSON")
    teacher.wants_json = True  # type: ignore[attr-defined]
    report = run(questions(tmp_path / "in.jsonl", 4), teacher, tmp_path / "out.jsonl", filters={"chinese_share": False})
    assert (report.accepted, report.rejected) == (3, {"no JSON": 1})


def test_an_output_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    run(questions(path, 3), ScriptedTeacher(), out)
    other = Answer(str(path), max_tokens=99)
    with pytest.raises(DataError, match=r"made with another recipe \(max_tokens 512, now 99\)"):
        run(other, ScriptedTeacher(), out)
    with pytest.raises(DataError, match="teacher 'scripted', now 'else'"):
        run(questions(path, 3), ScriptedTeacher(name="else"), out)
    assert len(lines(out)) == 3
    teacher = ScriptedTeacher()
    run(other, teacher, out, force=True)
    assert len(teacher.asked) == 3
    assert lines(out)[0]["meta"]["max_tokens"] == 99
    assert len(lines(tmp_path / "out.jsonl.journal.old")) == 3


def test_force_takes_nothing_away_before_the_first_answer(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    run(questions(path, 3), ScriptedTeacher(), out)

    def files() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    before = files()
    with pytest.raises(TeacherError, match=r"^the scripted quota is spent$"):
        run(Answer(str(path), max_tokens=99), ScriptedTeacher(fatal_after=0), out, force=True)
    assert files() == before
    teacher = ScriptedTeacher()
    assert not run(questions(path, 3), teacher, out).ran
    for old, tokens in (("", 98), ("2", 99)):
        last = files()
        run(Answer(str(path), max_tokens=tokens), ScriptedTeacher(), out, force=True)
        assert lines(out)[0]["meta"]["max_tokens"] == tokens
        for name in ("out.jsonl", "out.rejected.jsonl", "out.jsonl.journal"):
            assert files()[f"{name}.old{old}"] == last[name]


@pytest.mark.parametrize("forced", [False, True])
def test_force_stopped_on_its_way_goes_on_with_the_new_recipe(forced: bool, tmp_path: Path) -> None:
    """Also when it is the very same command: it says that this goes on."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    run(questions(path, 3), ScriptedTeacher(), out)
    strategy = Answer(str(path), max_tokens=99)
    with pytest.raises(TeacherError, match="2 answers are safe"):
        run(strategy, ScriptedTeacher(fatal_after=2), out, force=True)
    assert not out.exists()
    assert len(lines(tmp_path / "out.jsonl.old")) == 3
    teacher = ScriptedTeacher()
    run(strategy, teacher, out, force=forced)
    assert len(lines(out)) == 3
    assert len(teacher.asked) == 1
    assert not (tmp_path / "out.jsonl.old2").exists()
    teacher = ScriptedTeacher()
    run(strategy, teacher, out, force=True)
    assert len(teacher.asked) == 3, "it was complete: that starts again"


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine\n")
    with pytest.raises(DataError, match="this command did not make it"):
        run(questions(tmp_path / "in.jsonl", 2), ScriptedTeacher(), tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder"):
        run(questions(tmp_path / "in.jsonl", 2), ScriptedTeacher(), tmp_path / "file" / "out.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        run(questions(tmp_path / "in.jsonl", 2), ScriptedTeacher(), tmp_path)


def test_an_endless_strategy_needs_a_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--rows"):
        run(SelfInstruct(), ScriptedTeacher(), tmp_path / "out.jsonl")
    with pytest.raises(DataError, match="above 0"):
        run(SelfInstruct(), ScriptedTeacher(), tmp_path / "out.jsonl", rows=0)


def test_self_instruct_gives_exactly_the_rows_and_no_task_twice(tmp_path: Path) -> None:
    def tasks(request: Request) -> str:
        base = (request.seed or 0) % 50
        return "\n\n".join(f"指令：说出第{base + n}个城市\n输入：无\n输出：这是第{base + n}个城市。" for n in range(5))

    out = tmp_path / "out.jsonl"
    report = run(SelfInstruct(), ScriptedTeacher(tasks), out, rows=23, filters={"novelty": False})
    rows = lines(out)
    assert len(rows) == len({row["instruction"] for row in rows}) == 23
    assert report.rejected.keys() == {"duplicate"}
    assert report.accepted == 23


def test_magpie_writes_questions_and_answers(tmp_path: Path) -> None:
    def chat(request: Request) -> str:
        if request.prompt == "问：":
            return f"第{request.seed}号城市在哪里？\n答：不该出现"
        return f"{(request.prompt or '')[2:-4]}，在南方。"

    out = tmp_path / "out.jsonl"
    teacher = ScriptedTeacher(chat, local=True, batch_size=8)
    assert run(Magpie(), teacher, out, rows=10, filters={"novelty": False}).accepted == 10
    rows = lines(out)
    assert all(row["output"] == row["instruction"][:-1] + "，在南方。" for row in rows)
    assert len(teacher.asked) == 20
    assert rows[0]["meta"]["usage"]["completion_tokens"] > len(rows[0]["output"])  # both requests of the row


def test_reports_come_back_from_the_stamp(tmp_path: Path) -> None:
    run(questions(tmp_path / "in.jsonl", 2), ScriptedTeacher(), tmp_path / "out.jsonl")
    stamp = json.loads((tmp_path / "out.recipe.json").read_text())
    assert Report(**stamp["report"]).accepted == 2
    assert stamp["recipe"]["strategy"] == "answer"
    (tmp_path / "out.recipe.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        run(questions(tmp_path / "in.jsonl", 2), ScriptedTeacher(), tmp_path / "out.jsonl")
