"""The estimate before the start against what the run then really asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_gen.budget import Budget
from data_gen.continuing import MOST_PARTS
from data_gen.estimate import estimate, needed
from data_gen.job import run
from data_gen.journal import Journal
from data_gen.prices import Price
from data_gen.strategies import Strategy
from data_gen.strategies.answer import Answer
from data_gen.strategies.evolve import Evolve
from data_gen.strategies.lamini_example import LaminiExample
from data_gen.strategies.lamini_topic import LaminiTopic
from data_gen.strategies.mixture import Mixture
from data_gen.strategies.self_chat import SelfChat
from data_gen.strategies.self_instruct import SelfInstruct
from data_gen.strategies.translate import Translate
from teachers.base import estimated_tokens
from teachers.scripted import ScriptedTeacher
from tests import actor

STORIES = [
    {
        "story": f"The cat number {n} lives in a barn.",
        "questions": [{"input_text": "Where does it live?"}, {"input_text": f"Which cat is number {n}?"}],
        "answers": [{"input_text": "in a barn"}, {"input_text": f"cat {n} of course"}],
    }
    for n in range(6)
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


STRATEGIES: dict[str, tuple[Callable[[], Strategy], int | None, int]] = {
    "self_instruct": (SelfInstruct, 40, 8),
    "a list for ten": (lambda: LaminiExample(tasks_per_request=10), 40, 44),
    "the last list is not used up": (lambda: LaminiTopic(tasks_per_request=20), 45, 48),
    "evolve": (lambda: Evolve(), 20, 60),
    "evolve, no judge": (lambda: Evolve(judge=False), 20, 40),
    # A task takes 3 evolutions, and a judgement and an answer for each of the rows that end at one of them.
    "evolve in rounds": (lambda: Evolve(rounds=3), 30, 90),
    "self_chat": (SelfChat, 12, 12),
    # A story has 5 texts; two of them are the same in all.
    "translate": (lambda: Translate(save("coqa.jsonl", STORIES)), None, 6 * 3 + 2),
    "mixture": (lambda: Mixture({"one": SelfChat(), "two": Evolve(judge=False)}, {"one": 1, "two": 1}), 20, 30),
    # 20 rows take 4 requests of the one and 20 of the other.
    "a mixture of five and one": (lambda: Mixture({"one": SelfInstruct(), "two": SelfChat()}, {}), 40, 24),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_counts_what_is_then_asked(name: str) -> None:
    make, rows, requests = STRATEGIES[name]
    strategy, teacher = make(), ScriptedTeacher(actor.answer)
    with Journal("empty") as empty:
        need = needed(strategy, teacher, rows, empty)
    report = run(strategy, teacher, "out.jsonl", rows, filters={"novelty": False, "against": False})
    assert report.accepted == (rows or 6), report.rejected
    assert need.requests == pytest.approx(requests)
    asked = len({(asked.messages[-1]["content"], asked.seed) for asked in teacher.asked})
    # Some rows more may have been begun when the last one was accepted.
    assert requests <= asked <= requests * 1.2
    read = sum(map(estimated_tokens, teacher.asked)) * requests / asked
    assert 0.6 * read < need.read < 1.6 * read
    assert need.most == pytest.approx(sum(asked.max_tokens for asked in teacher.asked), rel=0.2)
    with Journal("out.jsonl.journal") as journal:
        assert needed(strategy, teacher, rows, journal).requests == 0, "and then it is all there"


def test_what_the_journal_holds_is_not_counted_again() -> None:
    strategy, teacher = Evolve(judge=False), ScriptedTeacher(actor.answer, fatal_after=25)
    with pytest.raises(ValueError, match="quota is spent"):
        run(strategy, teacher, "out.jsonl", 30, filters={"novelty": False})
    with Journal("out.jsonl.journal") as journal:
        assert len(journal) == 25
        assert needed(strategy, teacher, 30, journal).requests == 60 - 25


def test_one_changed_row_among_many_is_one_request() -> None:
    tasks = [{"instruction": f"请介绍第{n}种茶叶"} for n in range(300)]
    teacher = ScriptedTeacher()
    run(Answer(save("in.jsonl", tasks)), teacher, "out.jsonl")
    strategy = Answer(save("in.jsonl", [*tasks[:177], {"instruction": "请介绍一种点心"}, *tasks[178:]]))
    with Journal("out.jsonl.journal") as journal:
        assert needed(strategy, teacher, None, journal).requests == 1


def test_large_runs_are_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_gen.estimate.LOOKED_AT", 50)
    strategy, teacher = LaminiExample(tasks_per_request=10), ScriptedTeacher(actor.answer)
    with Journal("empty") as journal:
        need = needed(strategy, teacher, 5000, journal)
    assert need.requests == pytest.approx(5500)
    assert need.most == pytest.approx(5500 * 2048)


def test_answers_that_may_be_continued_cost_more_at_most() -> None:
    strategy = Answer(save("in.jsonl", [{"instruction": "介绍茶叶"}] * 10), max_tokens=100)
    teacher, budget = ScriptedTeacher(), Budget(Price(1.0, 1.0), tokens=10_000)
    with Journal("empty") as journal:
        plain = estimate(budget, strategy, teacher, None, journal, False)
        continued = estimate(budget, strategy, teacher, None, journal, True)
    assert plain.startswith("estimate: 1 requests, 10 tokens in, 25 to 100 out; ")  # the same question ten times
    assert continued.startswith(f"estimate: 1 to {MOST_PARTS} requests, 10 to 640 tokens in, 25 to 400 out; ")


def test_it_says_when_turned_down_rows_cost_more() -> None:
    teacher, budget = ScriptedTeacher(), Budget(Price(1.0, 1.0))
    with Journal("empty") as journal:
        assert "more when rows are turned down" in estimate(budget, SelfInstruct(), teacher, 10, journal, False)
        assert estimate(Budget(), SelfInstruct(), teacher, 10, journal, False) == ""


def test_a_strategy_that_expects_nothing_is_counted_by_its_first_requests() -> None:
    class Mine(SelfChat):
        expected = None

    with Journal("empty") as journal:
        assert needed(Mine(), ScriptedTeacher(), 7, journal).requests == 7
