"""What each strategy asks, and how it reads what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from data_gen.records import DataError
from data_gen.strategies import STRATEGIES, State, load_class, request_seed
from data_gen.strategies.answer import Answer, read_tasks
from data_gen.strategies.magpie import Magpie, end_of_question
from data_gen.strategies.self_chat import SelfChat
from data_gen.strategies.self_instruct import SelfInstruct
from data_gen.strategies.tasks import SEEDS, parse_tasks, read_seeds
from data_gen.templates import TEMPLATES
from teachers.base import Completion, Request

LOCAL, REMOTE = State(local=True), State()


def write(path: Path, rows: list[object]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def first(strategy: object, count: int, state: State = REMOTE) -> list[Request]:
    return list(islice(strategy.requests(state), count))  # type: ignore[attr-defined]


def test_names_and_paths() -> None:
    for name, path in STRATEGIES.items():
        assert load_class(name, STRATEGIES, "strategy").name == name  # type: ignore[attr-defined]
        assert load_class(path.replace(":", "."), STRATEGIES, "strategy") is load_class(path, STRATEGIES, "strategy")
    for bad, says in (
        ("anwser", "did you mean 'answer'"),
        ("data_gen.strategies.answer:Answr", "no strategy at"),
        ("nowhere.at.all:X", "no strategy at"),
        ("data_gen.strategies:request_seed", "is no class"),
    ):
        with pytest.raises(DataError, match=says):
            load_class(bad, STRATEGIES, "strategy")


def test_seeds_of_requests_are_fixed_for_all_time() -> None:
    assert [request_seed(0, 0), request_seed(0, 1), request_seed(1, 0)] == GOLDEN_SEEDS
    assert len({request_seed(0, n) for n in range(10_000)}) == 10_000


# answer


def test_answer_asks_each_row_in_both_forms(tmp_path: Path) -> None:
    rows = [
        {"instruction": "翻译", "input": "你好", "output": "ignored", "system": "你是译者", "id": "x", "source": "s"},
        {"instruction": "继续", "history": [["一", "二"]]},
    ]
    strategy = Answer(write(tmp_path / "in.jsonl", rows))
    assert strategy.total == 2
    one, two = first(strategy, 9, LOCAL)
    assert one.messages == [{"role": "system", "content": "你是译者"}, {"role": "user", "content": "翻译\n你好"}]
    assert one.prompt == "你是译者\n问：翻译\n你好\n答："
    assert (one.temperature, one.seed, one.stop) == (0.0, None, ["\n问："])
    assert [m["role"] for m in two.messages] == ["user", "assistant", "user"]
    assert two.prompt == "问：一\n答：二\n问：继续\n答："
    (remote, _) = first(strategy, 9)
    assert (remote.prompt, remote.stop) == (None, [])
    (record,) = strategy.parse(one, Completion(one.key, " hello \n"))
    assert (record.instruction, record.input, record.output, record.source) == ("翻译", "你好", "hello", "s")
    assert record.id != "x"
    (record,) = strategy.parse(two, Completion(two.key, "三"))
    assert record.history == [["一", "二"]]


def test_answer_samples_with_a_seed_of_its_own_for_each_row(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [{"instruction": "同一个问题"}] * 3)
    seeds = [request.seed for request in first(Answer(path, temperature=0.7, seed=3), 3)]
    assert seeds == [request_seed(3, n, record.id) for n, record in enumerate(read_tasks(Path(path)))]
    assert Answer(path, seed=3).settings != Answer(path, seed=4).settings
    assert Answer(path).inputs == Answer(path, seed=3).inputs


@pytest.mark.parametrize("make", [lambda path: Answer(path, temperature=0.7), SelfChat])
def test_rows_put_in_between_leave_the_requests_of_the_others_as_they_are(make: Any, tmp_path: Path) -> None:
    rows: list[object] = [{"instruction": text} for text in ("甲在哪里", "乙在哪里", "甲在哪里", "丙在哪里")]
    before = first(make(write(tmp_path / "in.jsonl", rows)), 9)
    after = first(make(write(tmp_path / "in.jsonl", [{"instruction": "丁在哪里"}, *rows[:1], *rows[2:]])), 9)
    asked, now = ({(r.seed, str(r.messages)) for r in requests} for requests in (before, after))
    assert len(asked) == 4
    assert len(asked & now) == 3
    assert len(now - asked) == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"instruction": "好"}, {"question": "?"}], "line 2: field 'instruction' is missing"),
        ([{"instruction": " "}], "line 1: the instruction is empty"),
        ([{"instruction": "好", "input": 3}], "line 1: field 'input' is a int; where it is given it must be text"),
        ([{"instruction": "好", "system": ["x"]}], "line 1: field 'system' is a list"),
        ([{"instruction": "好", "meta": "x"}], "line 1: field 'meta' is a str; where it is given it must be an object"),
        ([{"instruction": "好", "history": [["a", None]]}], "line 1: field 'history' must be a list of"),
        ([{"instruction": "好", "history": 5}], "line 1: field 'history' must be a list of"),
        ([["a", "list"]], "expected a JSON object"),
        ([], "holds no instructions"),
    ],
)
def test_answer_names_rows_that_are_no_tasks(tmp_path: Path, rows: list[object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Answer(write(tmp_path / "in.jsonl", rows))


@pytest.mark.parametrize("read", [Answer, read_seeds])
def test_rows_of_an_array_are_counted_as_rows(read: Callable[[Any], object], tmp_path: Path) -> None:
    """It has lines of its own, which are others."""
    path = tmp_path / "in.json"
    path.write_text('[\n{\n"instruction": "好",\n"output": "a"},\n{\n"instruction": "",\n"output": "b"}\n]')
    with pytest.raises(DataError, match=r"in\.json, row 2: "):
        read(path)
    path.write_text('[{"instruction": "好", "output": "a"}, 3]')
    with pytest.raises(DataError, match=r"in\.json, row 2: expected a JSON object, found a int"):
        read(path)


# self_instruct


def test_the_seed_tasks_of_the_package() -> None:
    kinds = read_seeds(SEEDS)
    tasks = [task for of_kind in kinds.values() for task in of_kind]
    assert len(tasks) >= 60
    assert len(kinds) == 12
    assert len({(task.instruction, task.input) for task in tasks}) == len(tasks)
    assert sum(bool(task.input) for task in tasks) > len(tasks) / 3
    shown = "\n\n".join(f"指令：{t.instruction}\n输入：{t.input or '无'}\n输出：{t.output}" for t in tasks)
    assert [(t.instruction, t.input, t.output) for t in parse_tasks(shown)] == [
        (t.instruction, t.input, t.output) for t in tasks
    ]


def test_self_instruct_asks_depend_on_seed_and_number_alone() -> None:
    one, two, other = first(SelfInstruct(), 50), first(SelfInstruct(), 50), first(SelfInstruct(seed=1), 50)
    assert one == two
    contents = [request.messages[0]["content"] for request in one]
    assert len(set(contents)) == 50
    assert not set(contents) & {request.messages[0]["content"] for request in other}
    assert all(content.count("指令：") == 3 for content in contents)
    assert "从第4个任务写到第8个任务" in contents[0]
    assert one[0].temperature == 1.0
    (local,) = first(SelfInstruct(), 1, LOCAL)
    assert local.prompt == f"问：{contents[0]}\n答："


def test_self_instruct_shows_seeds_of_three_kinds() -> None:
    kind_of = {task.instruction: kind for kind, tasks in read_seeds(SEEDS).items() for task in tasks}
    for request in first(SelfInstruct(), 30):
        content = request.messages[0]["content"].split("示例：\n", 1)[1]
        assert len({kind_of[task.instruction] for task in parse_tasks(content)}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "4. 指令：写一句话\n4. 输入：无\n4. 输出：春天来了。\n\n"
        "5. 指令：算一算\n5. 输入：1+1\n5. 输出：等于2。\n过程略。",
        "好的，以下是任务：\n\n### 任务4\n**指令**：写一句话\n**输入**：<无>\n"
        "**输出**：春天来了。\n\n---\n\n### 任务5\n"
        "**指令：** 算一算\n**输入：** 1+1\n**输出：** 等于2。\n过程略。",
        "4.\n指令: 写一句话\n输入: （无）\n输出: 春天来了。\n\n5.\n指令: 算一算\n输入: 1+1\n输出: 等于2。\n过程略。\n",
        "- 指令4：写一句话\n- 輸入4：無\n- 輸出4：春天来了。\n\n"
        "第5个任务：\n- 指令5：算一算\n- 輸入5：1+1\n- 輸出5：等于2。\n过程略。",
        "【指令】：写一句话\n【输入】：无需输入\n【输出】：春天来了。\n======\n"
        "【指令】：算一算\n【输入】：1+1\n【输出】：等于2。\n过程略。",
        "Instruction: 写一句话\nInput: N/A\nOutput: 春天来了。\n\n"
        "Instruction: 算一算\nInput: 1+1\nOutput: 等于2。\n过程略。",
        "任务：写一句话\n输入：无\n答案：春天来了。\n\n任务：算一算\n输入：1+1\n答案：等于2。\n过程略。",
        '```json\n[{"指令": "写一句话", "输入": "", "输出": "春天来了。"}, '
        '{"instruction": "算一算", "input": "1+1", "output": "等于2。\\n过程略。"}]\n```',
        '{"tasks": [{"instruction": "写一句话", "input": "无", "output": "春天来了。"}, '
        '{"instruction": "算一算", "input": "1+1", "output": "等于2。\\n过程略。"}]}',
    ],
)
def test_tasks_are_read_out_of_many_forms(text: str) -> None:
    assert [(t.instruction, t.input, t.output) for t in parse_tasks(text)] == [
        ("写一句话", "", "春天来了。"),
        ("算一算", "1+1", "等于2。\n过程略。"),
    ]


def test_labels_inside_an_answer_are_text() -> None:
    answer = "问题：几点了？\n回答：三点。\n输入：这也是正文\n```\n代码\n```"
    text = f"4. 指令：写一段对话\n4. 输入：无\n4. 输出：{answer}\n\n5. 指令：没有输出"
    (task,) = parse_tasks(text)
    assert task.output == answer


def test_nonsense_gives_no_task() -> None:
    for text in ("", "你好", "[1, 2]", "[{", "输出：没有指令", "指令：\n输入：\n输出：", "\n" * 5000 + "#" * 5000):
        assert parse_tasks(text) == []


def test_the_last_task_of_a_cut_answer_is_marked() -> None:
    text = "指令：一\n输入：无\n输出：甲\n\n指令：二\n输入：无\n输出：乙乙"
    request = first(SelfInstruct(), 1)[0]
    cut = SelfInstruct().parse(request, Completion(request.key, text, "length"))
    assert [record.meta["finish_reason"] for record in cut] == ["stop", "length"]


def test_seeds_that_are_no_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", [{"instruction": "好", "output": "好"}, {"text": "no task"}])
    with pytest.raises(DataError, match=r"s\.jsonl, line 2: field 'instruction' is missing"):
        SelfInstruct(path)
    with pytest.raises(DataError, match="needs an instruction and an output"):
        SelfInstruct(write(tmp_path / "s.jsonl", [{"instruction": "好", "output": ""}]))
    own = SelfInstruct(write(tmp_path / "s.jsonl", [{"instruction": "好", "output": "是"}]))
    assert "从第2个任务写到第6个任务" in first(own, 1)[0].messages[0]["content"]


# magpie


def test_magpie_asks_for_a_question_then_for_its_answer() -> None:
    strategy = Magpie()
    one, two = first(strategy, 2, LOCAL)
    assert (one.prompt, one.messages, one.temperature) == ("问：", [], 1.0)
    assert one.stop == ["\n答：", "\n问："]
    assert one.seed != two.seed
    second = strategy.follow_up(one, Completion(one.key, " 天为什么是蓝的？\n答：因为"))
    assert second is not None
    assert second.prompt == "问：天为什么是蓝的？\n答："
    assert second.key != one.key
    assert strategy.follow_up(second, Completion(second.key, "因为散射。")) is None
    (record,) = strategy.parse(second, Completion(second.key, "因为散射。\n"))
    assert (record.instruction, record.output) == ("天为什么是蓝的？", "因为散射。")


def test_magpie_pays_no_answer_for_a_broken_question() -> None:
    strategy = Magpie()
    (request,) = first(strategy, 1, LOCAL)
    for completion in (Completion(request.key, "很长的问题", "length"), Completion(request.key, "\n答：只有回答")):
        assert strategy.follow_up(request, completion) is None
        (record,) = strategy.parse(request, completion)
        assert record.output == ""
        assert record.meta["failed"] in {"question broke off", "no question"}


def test_magpie_needs_a_local_teacher() -> None:
    with pytest.raises(DataError, match="needs a local teacher"):
        first(Magpie(), 1, REMOTE)


def test_where_a_question_ends() -> None:
    assert {name: end_of_question(TEMPLATES[name]) for name in GOLDEN_ENDS} == GOLDEN_ENDS


GOLDEN_SEEDS = [1852633889, 876269200, 1822103333]
GOLDEN_ENDS = {
    "qa": "\n答：",
    "alpaca": "\n### Response:",
    "chinese-alpaca": "\n### Response:",
    "chatml": "<|im_end|>",
    "llama2": "[/INST]",
}
