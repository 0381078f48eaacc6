"""Lists, tasks, conversations and pairs are read out of answers of many forms, and no answer breaks a parser."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.curriculum.drawing import listed
from data_gen.strategies.augment import parse_pairs
from data_gen.strategies.evolve import evolved
from data_gen.strategies.lamini_example import parse_list
from data_gen.strategies.self_chat import parse_dialogue
from data_gen.strategies.tasks import parse_tasks
from data_gen.strategies.translate import translation


@pytest.mark.parametrize(
    "text",
    [
        "<例>写一首诗</例>\n<例>算一算：\n1+1</例>",
        "好的：\n<例1>写一首诗</例1>\n\n<例2>算一算：\n1+1</例2>",
        "<example>写一首诗</example><example>算一算：\n1+1",
        "1. 写一首诗\n2. 算一算：\n1+1",
        "1、写一首诗\n\n2、**算一算：\n1+1**",
        "第1条：写一首诗\n第2条：算一算：\n1+1",
        '["写一首诗", "算一算：\\n1+1"]',
        '```json\n{"指令": ["写一首诗", "算一算：\\n1+1"]}\n```',
    ],
)
def test_lists_are_read_out_of_many_forms(text: str) -> None:
    assert parse_list(text) == ["写一首诗", "算一算：\n1+1"]


def test_lists_in_plain_lines_and_broken_ones() -> None:
    assert parse_list("- 写一首诗\n- 画一幅画") == ["写一首诗", "画一幅画"]
    assert parse_list("<例>写一首诗</例>\n<例>算一", broken=True) == ["写一首诗"]
    assert parse_list("<例>写一首诗</例>\n<例>算一算</例>", broken=True) == ["写一首诗", "算一算"]
    assert parse_list("1. 写一首诗\n2. 算一", broken=True) == ["写一首诗"]
    assert parse_list("") == []


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("写一首诗。", "写一首诗。"),
        ("改写后的任务：写一首诗。", "写一首诗。"),
        ("**新任务**：\n写一首诗。", "写一首诗。"),
        ("“写一首诗。”", "写一首诗。"),
        ("<任务 0a1b2c3d>\n写一首诗。\n</任务 0a1b2c3d>", "写一首诗。"),
        ("用“春”写一首诗：“雪”也可以。", "用“春”写一首诗：“雪”也可以。"),
    ],
)
def test_evolved_tasks_are_read(text: str, task: str) -> None:
    assert evolved(text) == task


@pytest.mark.parametrize(
    "text",
    [
        "用户：你好吗？\n助手：很好。\n你呢？\n用户：我也好。\n助手：那就好。",
        "**用户**：你好吗？\n\n**助手**：很好。\n你呢？\n\n**用户**：我也好。\n\n**助手**：那就好。",
        "[Human]: 你好吗？\n[AI]: 很好。\n你呢？\n[Human]: 我也好。\n[AI]: 那就好。",
        "第1轮 用户：你好吗？\n助手：很好。\n你呢？\n第2轮 用户：我也好。\n助手：那就好。",
        "问：你好吗？\n答：很好。\n你呢？\n问：我也好。\n答：那就好。",
        "助手：您好，有什么可以帮您？\n用户：你好吗？\n助手：很好。\n你呢？\n用户：我也好。\n助手：那就好。\n用户：再问",
        '```json\n[{"role": "user", "content": "你好吗？"}, {"role": "assistant", "content": "很好。\\n你呢？"},'
        ' {"role": "user", "content": "我也好。"}, {"role": "assistant", "content": "那就好。"}]\n```',
    ],
)
def test_conversations_are_read_out_of_many_forms(text: str) -> None:
    assert parse_dialogue(text) == [["你好吗？", "很好。\n你呢？"], ["我也好。", "那就好。"]]


def test_labels_of_another_kind_are_text() -> None:
    text = "用户：考考我\n助手：问：一加一？\n答：二。\n用户：谢谢\n助手：再来"
    assert parse_dialogue(text) == [["考考我", "问：一加一？\n答：二。"], ["谢谢", "再来"]]


@pytest.mark.parametrize(
    "text",
    [
        "1. 问：谁来了？\n1. 答：小明。\n2. 问：几点？\n2. 答：三点，\n准时。",
        "**问题1：** 谁来了？\n**答案1：** 小明。\n\n**问题2：** 几点？\n**答案2：** 三点，\n准时。",
        "Q1: 谁来了？\nA1: 小明。\nQ2: 几点？\nA2: 三点，\n准时。",
        '{"data": [{"问": "谁来了？", "答": "小明。"}, {"问题": "几点？", "答案": "三点，\\n准时。"}]}',
        '[{"问": "谁来了？", "答": "小明。"}, {"question": "几点？", "answer": "三点，\\n准时。"}]',
    ],
)
def test_pairs_are_read_out_of_many_forms(text: str) -> None:
    assert parse_pairs(text) == [("谁来了？", "小明。"), ("几点？", "三点，\n准时。")]


PIECES = st.sampled_from(
    [
        *listed(
            "指令： 输入： 输出： 用户： 助手： 问： 答： <例> </例> 1. 2、 ** [ { } ] : , ``` 任务 无 译文： Q: A: 甲"
        ),
        "\n",
        '"',
    ]
)


@settings(max_examples=200, deadline=1000)
@given(st.lists(PIECES, max_size=40).map("".join), st.booleans())
def test_no_answer_breaks_a_parser(text: str, broken: bool) -> None:
    for parsed in (parse_tasks(text), parse_list(text, broken), parse_dialogue(text, broken), parse_pairs(text)):
        assert isinstance(parsed, list)
    assert all(question and answer for question, answer in [*parse_dialogue(text, broken), *parse_pairs(text)])
    evolved(text)
    assert not translation(text, "x").startswith("\n")


@pytest.mark.parametrize("piece", ["[{", "<例>", "1. ", "用户：", "**", "\n", "第1轮 ", "问：", "# ", "“", "  "])
def test_no_answer_takes_a_parser_long(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    start = time.process_time()
    for parse in (parse_tasks, parse_list, parse_dialogue, parse_pairs, evolved, lambda t: translation(t, "x")):
        parse(text)
    assert time.process_time() - start < 2.0
