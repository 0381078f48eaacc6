"""Rows that are rejected because of another text say which one, in the form that the novelty filter uses."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from data_gen.filters import Filters
from data_gen.records import Record
from data_gen.strategies import Ask, State
from data_gen.strategies.augment import Augment
from data_gen.strategies.evolve import Evolve
from data_gen.strategies.lamini_example import LaminiExample
from data_gen.strategies.lamini_topic import LaminiTopic
from data_gen.strategies.self_instruct import SelfInstruct
from teachers.base import Completion


def one(strategy: SelfInstruct | LaminiExample | Augment | Evolve, number: int = 0) -> Ask:
    requests = strategy.requests(State())
    for _ in range(number):
        next(requests)
    request = next(requests)
    assert isinstance(request, Ask)
    return request


def test_a_duplicate_names_the_row_that_was_kept() -> None:
    filters = Filters({"novelty": False})
    kept = Record("介绍一下 Python。", "面向孩子", "它是一种编程语言。")
    assert filters.check(kept) == ""
    between = Record("介绍一下 Python。", "面向老人", "它是一种编程语言。")
    assert filters.check(between) == ""
    again = Record("介紹一下ｐｙｔｈｏｎ", "面向孩子", "另一个回答，说的是同一件事。")
    assert filters.check(again) == "duplicate"
    assert again.meta["neighbour"] == {"id": kept.id, "text": "介绍一下python", "rouge_l": 1.0}
    third = Record("介绍一下 Python。", "面向孩子", "第三个回答。")
    assert filters.check(third) == "duplicate"
    assert third.meta["neighbour"]["id"] == kept.id, "and not a rejected one's"
    assert "neighbour" not in kept.meta | between.meta


def test_duplicate_conversations_are_told_by_what_is_asked_first() -> None:
    filters = Filters({"novelty": False})
    talks = [Record("谢谢", "", text, history=[["怎样养好绿萝？", "少浇水。"]]) for text in ("不客气。", "不用谢。")]
    assert [filters.check(talk) for talk in talks] == ["", "duplicate"]
    assert talks[1].meta["neighbour"] == {"id": talks[0].id, "text": "怎样养好绿萝", "rouge_l": 1.0}


def test_what_duplicates_are_compared_with_takes_little_memory() -> None:
    """Less than 300 bytes a row, however long the rows are."""
    filters = Filters(dict.fromkeys(("novelty", "repetition", "chinese_share", "refusal", "media"), False))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(3_000):
        filters.check(Record(f"说说第{number}件事。" + "很长的要求" * 50, "", "好" * 400))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 300 * 3_000


@pytest.mark.parametrize("strategy", [LaminiExample(tasks_per_request=1), LaminiTopic(tasks_per_request=1)])
def test_a_copy_of_an_example_in_a_list_names_the_seed(strategy: LaminiExample) -> None:
    request = one(strategy)
    copy = request.done["shown"][2]
    (record,) = strategy.parse(request, Completion("", f"<例>{copy}！</例>"))
    assert record.meta["failed"] == "copy of an example"
    neighbour = record.meta["neighbour"]
    assert (neighbour["id"], neighbour["rouge_l"]) == (request.meta["seed_ids"][2], 1.0)
    assert neighbour["text"][:4] in copy
    (short,) = strategy.parse(request, Completion("", "。"))
    assert "neighbour" not in short.meta


def test_a_task_that_copies_an_example_names_the_seed() -> None:
    strategy = SelfInstruct()
    request = one(strategy)
    text = f"4. 指令：{request.done['shown'][1]}\n4. 输出：好\n\n5. 指令：另外的事情\n5. 输出：好"
    copy, new = strategy.parse(request, Completion("", text))
    assert copy.meta["neighbour"]["id"] == request.meta["seed_ids"][1]
    assert copy.meta["neighbour"]["rouge_l"] == 1.0
    assert "neighbour" not in new.meta


def test_a_question_that_is_no_new_one_names_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    row = {"passage": "小明三点来到谷仓。", "questions": ["谁来到谷仓？"]}
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    strategy = Augment(str(path))
    text = (
        "1. 问：小明几点来的？\n1. 答：三点。\n2. 问：谁来到了谷仓？\n2. 答：小明。\n"
        "3. 问：小明几点来的\n3. 答：三点。\n4. 问：？！\n4. 答：？\n5. 问：？！\n5. 答：？"
    )
    new, of_file, of_answer, odd, same = strategy.parse(one(strategy), Completion("", text))
    assert "neighbour" not in new.meta | odd.meta
    assert of_file.meta["neighbour"] == {"in": str(path), "text": "谁来到谷仓", "rouge_l": 0.9091}
    assert of_answer.meta["neighbour"] == {"id": new.id, "text": "小明几点来的", "rouge_l": 1.0}
    assert same.meta["failed"] == "no new question"
    assert same.meta["neighbour"]["id"] == odd.id


def test_an_evolution_that_changed_nothing_names_what_it_came_of(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"instruction": "介绍长城。", "output": "长城很长。"}', encoding="utf-8")
    strategy = Evolve(str(path))
    request = one(strategy)
    (record,) = strategy.parse(request, Completion("", "介绍“长城”"))
    assert record.meta["failed"] == "evolution changed nothing"
    assert record.meta["neighbour"] == {"id": request.done["id"], "text": "介绍长城", "rouge_l": 1.0}
    judged = strategy.follow_up(request, Completion("", "请介绍长城。"))
    assert isinstance(judged, Ask)
    (record,) = strategy.parse(judged, Completion("", "相同"))
    assert record.meta["neighbour"] == {"id": request.done["id"], "text": "介绍长城", "rouge_l": 0.8889}
