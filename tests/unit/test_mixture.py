"""Several strategies in one run: shares, an order that depends on the answers alone, and each one's own rules."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from data_gen.budget import Budget
from data_gen.job import run
from data_gen.records import DataError
from data_gen.strategies import State, filters_of
from data_gen.strategies.answer import Answer
from data_gen.strategies.evolve import Evolve
from data_gen.strategies.magpie import Magpie
from data_gen.strategies.mixture import Mixture
from data_gen.strategies.self_chat import SelfChat
from data_gen.strategies.self_instruct import SelfInstruct
from teachers.base import Request
from teachers.scripted import ScriptedTeacher
from tests import actor


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(path: Path, count: int) -> Answer:
    rows = (json.dumps({"instruction": f"请回答第{n}个问题"}, ensure_ascii=False) for n in range(count))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Answer(str(path))


def three() -> Mixture:
    return Mixture(
        {"tasks": SelfInstruct(), "hard": Evolve(judge=False), "chats": SelfChat(turns=2)},
        {"tasks": 5, "hard": 3, "chats": 2},
    )


def test_rows_come_in_their_shares(tmp_path: Path) -> None:
    report = run(three(), ScriptedTeacher(actor.answer), tmp_path / "out.jsonl", rows=100)
    assert report.accepted_of == {"tasks": 50, "hard": 30, "chats": 20}
    rows = lines(tmp_path / "out.jsonl")
    assert Counter(row["meta"]["strategy"] for row in rows) == report.accepted_of
    assert {row["meta"]["strategy"] for row in rows[:20]} == {"tasks", "hard", "chats"}, "they are interleaved"
    assert all(len(row["history"]) == 1 for row in rows if row["meta"]["strategy"] == "chats")


@pytest.mark.parametrize("purse", [None, Budget(tokens=10**9)], ids=["free", "estimated"])
def test_shares_hold_when_one_strategy_is_turned_down_often(tmp_path: Path, purse: Budget | None) -> None:
    def lazy(request: Request) -> str:
        said = actor.said(request)
        refuses = "标记之间" not in said and "个新的" not in said and ord(said[8]) % 3 == 0  # an evolved task
        return "抱歉，我无法回答。" if refuses else actor.answer(request)

    said: list[str] = []
    teacher = ScriptedTeacher(lazy)
    report = run(three(), teacher, tmp_path / "out.jsonl", rows=50, budget=purse, tell=said.append)
    assert bool(said) == bool(purse)
    assert report.rejected["evolution cannot be answered"] >= 3
    assert report.accepted_of == {"tasks": 25, "hard": 15, "chats": 10}


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_output_depends_on_the_answers_alone(batch: int, tmp_path: Path) -> None:
    run(three(), ScriptedTeacher(actor.answer), tmp_path / "a.jsonl", rows=60)
    run(three(), ScriptedTeacher(actor.answer, batch_size=batch), tmp_path / "b.jsonl", rows=60)
    assert [row["id"] for row in lines(tmp_path / "a.jsonl")] == [row["id"] for row in lines(tmp_path / "b.jsonl")]


def test_more_rows_and_other_shares_ask_only_for_what_is_new(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(actor.answer)
    run(three(), teacher, tmp_path / "out.jsonl", rows=40)
    asked = len(teacher.asked)
    members = three().members
    other = Mixture(members, {"tasks": 1, "hard": 1, "chats": 1})
    teacher = ScriptedTeacher(actor.answer)
    report = run(other, teacher, tmp_path / "out.jsonl", rows=48)
    assert report.accepted_of == {"tasks": 16, "hard": 16, "chats": 16}
    assert 0 < len(teacher.asked) < asked


def test_a_strategy_with_an_end_leaves_the_rest_to_the_others(tmp_path: Path) -> None:
    mixture = Mixture({"answer": questions(tmp_path / "in.jsonl", 10), "tasks": SelfInstruct()}, {})
    report = run(mixture, ScriptedTeacher(actor.answer), tmp_path / "out.jsonl", rows=60)
    assert report.accepted_of == {"answer": 10, "tasks": 50}
    assert mixture.total is None


@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("trouble", ["turned down", "empty", "failed"])
def test_what_is_turned_down_at_the_end_of_a_file_goes_to_the_others(trouble: str, batch: int, tmp_path: Path) -> None:
    """And what comes out, and a run that goes on, depend on the answers alone."""

    def unlucky(request: Request) -> str:
        if "请回答第" not in actor.said(request) or request.key == "answer/answer-3":
            return actor.answer(request)
        return {"turned down": "抱歉，我无法回答。", "empty": ""}[trouble]

    failing = {f"answer/answer-{n}": 99 for n in range(20) if n != 3} if trouble == "failed" else {}

    def go(out: str, teacher: ScriptedTeacher) -> list[str]:
        members: dict[str, Any] = {
            "answer": questions(tmp_path / "in.jsonl", 20),
            "tasks": SelfInstruct(),
            "chats": SelfChat(turns=1),
        }
        report = run(Mixture(members, {}), teacher, tmp_path / out, rows=60)
        assert report.accepted_of["answer"] == 1
        assert 29 <= report.accepted_of["tasks"] <= 30
        assert 29 <= report.accepted_of["chats"] <= 30
        assert (report.accepted, report.exhausted) == (60, False)
        if teacher is not again:
            paid = [row["usage"]["prompt_tokens"] for row in lines(tmp_path / f"{out}.journal")]
            assert report.prompt_tokens == sum(paid), "an answer that was read twice was paid for once"
        return [row["id"] for row in lines(tmp_path / out)]

    again = ScriptedTeacher(unlucky, failures=failing)
    first = go("a.jsonl", ScriptedTeacher(unlucky, failures=failing, batch_size=4))
    assert go("b.jsonl", ScriptedTeacher(unlucky, failures=failing, batch_size=batch)) == first
    (tmp_path / "a.jsonl").unlink()
    assert go("a.jsonl", again) == first
    # While those that failed are asked again, another row may be begun for them.
    assert len(again.asked) in ({19, 20} if trouble == "failed" else {0})


def test_files_alone_end_when_they_are_at_their_end(tmp_path: Path) -> None:
    questions(tmp_path / "2.jsonl", 9)
    other = (tmp_path / "2.jsonl").read_text(encoding="utf-8").replace("回答", "解释")
    (tmp_path / "2.jsonl").write_text(other, encoding="utf-8")
    one, two = questions(tmp_path / "1.jsonl", 6), Answer(str(tmp_path / "2.jsonl"))
    teacher = ScriptedTeacher(lambda request: "" if request.key.startswith("one") else actor.answer(request))
    report = run(Mixture({"one": one, "two": two}, {}), teacher, tmp_path / "out.jsonl", rows=12)
    assert (report.accepted_of, report.exhausted) == ({"two": 9}, True)


def test_strategies_with_an_end_are_asked_to_it(tmp_path: Path) -> None:
    one, two = questions(tmp_path / "1.jsonl", 10), questions(tmp_path / "2.jsonl", 5)
    two.settings["seed"] = 1
    mixture = Mixture({"one": one, "two": two}, {"one": 1, "two": 3})
    assert mixture.total == 15
    teacher = ScriptedTeacher(actor.answer)
    report = run(mixture, teacher, tmp_path / "out.jsonl", filters={"duplicate": False})
    assert report.accepted_of == {"one": 10, "two": 5}
    assert len(teacher.asked) == 10  # five of the questions are the same: paid for once
    assert {row["meta"]["seed"] for row in lines(tmp_path / "out.jsonl")} == {0, 1}


def test_members_keep_their_filters(tmp_path: Path) -> None:
    """Near questions of a file are all answered; near tasks that were made up are not kept."""
    answer = questions(tmp_path / "in.jsonl", 20)
    mixture = Mixture({"file": answer, "chats": SelfChat(turns=1)}, {})
    assert filters_of(mixture) == {"file": {"novelty": False}, "chats": {}}

    def same_again(request: Request) -> str:
        said = actor.said(request)
        return (
            f"用户：请讲一个关于{actor.quoted(said)[:1]}的故事\n助手：从前有座山。"
            if "用户与" in said
            else "这是回答。"
        )

    with pytest.raises(DataError, match="gave no row that passes"):
        run(mixture, ScriptedTeacher(same_again), tmp_path / "out.jsonl", rows=40)
    rejected = lines(tmp_path / "out.rejected.jsonl.part")
    assert {row["meta"]["strategy"] for row in rejected} == {"chats"}
    near = [row for row in rejected if row["reason"] == "not novel"]
    assert near[0]["meta"]["neighbour"]["rouge_l"] >= 0.7
    assert len(near[0]["meta"]["neighbour"]["id"]) == 16


def test_a_member_that_the_teacher_cannot_serve_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a local teacher"):
        run(Mixture({"magpie": Magpie()}, {}), ScriptedTeacher(), tmp_path / "out.jsonl", rows=5)
    assert not (tmp_path / "out.jsonl.journal").exists()


def test_keys_differ_and_requests_are_interleaved() -> None:
    keys = [request.key for request in islice(three().requests(State()), 200) if request]
    assert len(set(keys)) == 200
    counts = Counter(key.split("/")[0] for key in keys[:60])
    assert counts["hard"] == pytest.approx(60 * 3 / 6, abs=2)  # 5 tasks come of one request, so 1 : 3 : 2
    assert counts["tasks"] == pytest.approx(10, abs=2)


def test_another_recipe_names_what_is_other_in_it(tmp_path: Path) -> None:
    run(three(), ScriptedTeacher(actor.answer), tmp_path / "out.jsonl", rows=10)
    members = {**three().members, "chats": SelfChat(turns=4)}
    says = r"made with another recipe \(members\.chats\.turns 2, now 4\); give another"
    with pytest.raises(DataError, match=says):
        run(Mixture(members, {}), ScriptedTeacher(actor.answer), tmp_path / "out.jsonl", rows=10)


@pytest.mark.parametrize("share", [0, -1, "half", True, float("inf"), float("nan")])
def test_shares_that_are_none(share: Any) -> None:
    with pytest.raises(DataError, match="the share of strategy 'tasks' must be a number above 0"):
        Mixture({"tasks": SelfInstruct()}, {"tasks": share})


def test_no_strategies() -> None:
    with pytest.raises(DataError, match="names none"):
        Mixture({}, {})
