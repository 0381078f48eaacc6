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
        ("3.14是什么数？", "3.14是什么数？"),
        ("写一首诗：\n1. 押韵", "写一首诗：\n1. 押韵"),
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


JSON_TASKS = '{"指令": "写诗", "输入": "无", "输出": "好诗"}, {"4. 指令": "算数", "输入": null, "输出": 2}'
TASKS = ["4. 指令：写诗\n4. 输入：无\n4. 输出：好诗", "5. 指令：算数\n5. 输入：\n5. 输出：2"]


@pytest.mark.parametrize(
    "text",
    [
        "４．指令：写诗\n４．输入：无\n４．输出：好诗\n\n５．指令：算数\n５．输入：（无）\n５．输出：2",
        "①指令：写诗\n①输入：无\n①输出：好诗\n②指令：算数\n②输入：無\n②输出：2",
        "　　指令：写诗\n　　输入：无\n　　输出：好诗\n　　指令：算数\n　　输出：2",
        "【指令】写诗\n【输入】无\n【输出】好诗\n【指令】算数\n【输出】2",
        "Task 4:\nInstruction: 写诗\nInput: none\nOutput: 好诗\n\nTask 5:\nInstruction: 算数\nOutput: 2",
        "## 任务四：写诗\n- **指令**：写诗\n- **輸入**：無\n- **輸出**：好诗\n\n## 任務五：算数\n指令：算数\n输出：2",
        "4. 指令：写诗 输入：无 输出：好诗\n5. 指令：算数 输入：无 输出：2",
        f"```\n{TASKS[0]}\n```\n\n```\n{TASKS[1]}\n```\n\n希望这些任务对您有帮助！",
        f"<think>指令：想想\n输出：嗯\n</think>\n{TASKS[0]}\n\n{TASKS[1]}".replace("\n", "\r\n"),
        f"好的，以下是任务：\n```json\n[{JSON_TASKS}]\n```\n希望有用",
        f'{{"count": 2, "tasks": [{JSON_TASKS}]}}',
        JSON_TASKS.replace("}, {", "}\n{"),
        f'```json\n[{JSON_TASKS}, {{"指令": "又一',
    ],
)
def test_tasks_are_read_out_of_many_forms(text: str) -> None:
    assert [(t.instruction, t.input, t.output) for t in parse_tasks(text)] == [("写诗", "", "好诗"), ("算数", "", "2")]


def test_what_belongs_to_a_task_stays_in_it() -> None:
    (task,) = parse_tasks("指令：写一个函数\n输入1、2时给出3\n输入：无\n输出：好")
    assert task.instruction == "写一个函数\n输入1、2时给出3"
    code = "```python\nprint(1)\n```"
    (task,) = parse_tasks(f"指令：写代码\n输出：如下：\n{code}\n\n---\n以上就是一个任务。")
    assert task.output == f"如下：\n{code}"
    (task,) = parse_tasks('[{"instruction": "排序", "output": ["a", 1]}]')
    assert task.output == '["a", 1]'
    assert parse_tasks('[{"instruction": "\\ud83d", "output": "half"}]')[0].instruction == "?"


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("＜例＞写诗＜／例＞\n＜例＞算数＜／例＞", False),
        ("&lt;例&gt;写诗&lt;/例&gt;\n&lt;例&gt;算数&lt;/例&gt;", False),
        ("【例】写诗【/例】\n【例】算数【/例】", False),
        ('以下是两条：\n```json\n["写诗", "算数"]\n```', False),
        ('[{"id": 1, "指令": "写诗"}, {"id": 2, "指令": "算数"}]', False),
        ('["写诗", "算数", "又一', True),
        ("１．写诗\n２．算数", False),
        ("①写诗\n②算数", False),
        ("（1）写诗\n（2）算数\n\n希望对你有帮助！", False),
        ("```\n1. 写诗\n2. 算数\n```", False),
        ("好的，以下是两条指令：\n写诗\n算数", False),
        ("<think><例>试试</例>\n</think><例>写诗</例><例>算数</例>", False),
    ],
)
def test_lists_are_read_in_either_width_and_as_json(text: str, broken: bool) -> None:
    assert parse_list(text, broken) == ["写诗", "算数"]


def test_a_list_inside_an_instruction_and_a_refusal_are_none() -> None:
    assert parse_list("1. 写诗，要求：\n1) 押韵\n2) 四句\n2. 算数") == ["写诗，要求：\n1) 押韵\n2) 四句", "算数"]
    assert parse_list("抱歉，我无法满足这个请求。") == []
    assert parse_list('<例>把["甲","乙"]排序</例>') == ['把["甲","乙"]排序']


@pytest.mark.parametrize(
    "text",
    [
        "１．问：谁？\n１．答：他。\n２．问：哪？\n２．答：这。",
        "（1）問：谁？\n（1）答：他。\n（2）問：哪？\n（2）答：这。",
        "1. 问：谁？ 答：他。\n2. 问：哪？答：这。",
        "问题一：谁？\n答案一：他。\n---\n问题二：哪？\n答案二：这。\n\n以上是两个问题。",
        '{"question": "谁？", "answer": "他。"}\n{"question": "哪？", "answer": "这。"}',
        '[{"问": "谁？", "答": "他。"}, {"问": "哪？", "答": "这。"}, {"问": "又',
    ],
)
def test_pairs_are_read_in_either_width_and_as_json(text: str) -> None:
    assert parse_pairs(text) == [("谁？", "他。"), ("哪？", "这。")]


def test_choices_are_part_of_a_question() -> None:
    assert parse_pairs("Q1. 谁？\nA1. 他。") == [("谁？", "他。")]
    assert parse_pairs("1. 问：首都是？\nA. 北京\nB. 上海\n1. 答：A") == [("首都是？\nA. 北京\nB. 上海", "A")]


@pytest.mark.parametrize(
    "text",
    [
        "### 第1轮\n用户：好吗\n助手：好。\n\n### 第2轮\n用户：吃吗\n助手：吃。",
        "【第一轮】\n用戶：好吗\n助手：好。\n【第二轮】\n用戶：吃吗\n助手：吃。\n\n（对话结束）",
        "使用者：好吗\nAI助理：好。\n---\n使用者：吃吗\nAI助理：吃。",
        "【用户】好吗\n【助手】好。\n【用户】吃吗\n【助手】吃。",
        "用户（第1轮）：好吗\n助手（第1轮）：好。\n用户（第2轮）：吃吗\n助手（第2轮）：吃。",
        '[{"turn": 1, "user": "好吗", "assistant": "好。"}, {"turn": 2, "user": "吃吗", "assistant": "吃。"}]',
        '[{"用户": "好吗", "助手": "好。"}, {"用户": "吃吗", "助手": "吃。"}, {"用户": "又',
    ],
)
def test_conversations_are_read_without_what_stands_between_turns(text: str) -> None:
    assert parse_dialogue(text, broken=text.endswith("又")) == [["好吗", "好。"], ["吃吗", "吃。"]]


@pytest.mark.parametrize(
    "text",
    [
        "好的，以下是改好的任务：\n\n写一首诗",
        "```\n写一首诗\n```",
        "Rewritten task: 写一首诗",
        "好的，以下是您要的内容：\n\n写一首诗\n\n---\n希望这些任务对您有帮助！",
        "<任務>\n写一首诗\n</任務>",
        "改后任务：写一首诗\n\n（说明：增加了体裁的限制。）",
        "1. 写一首诗\n解释：加深了难度。",
        "<think>怎么改？</think>\n写一首诗",
        '{"任务": "写一首诗"}',
    ],
)
def test_evolved_tasks_are_read_without_what_stands_around_them(text: str) -> None:
    assert evolved(text) == "写一首诗"


@pytest.mark.parametrize(
    ("answer", "text", "said"),
    [
        ("好的，译文如下：\n你好", "Hello", "你好"),
        ("翻译：你好", "Hello", "你好"),
        ("這段文字的翻譯是：你好", "Hello", "你好"),
        ("<think>hm</think>\n你好", "Hello", "你好"),
        ("“你好”和“再见”", "Hello and bye", "“你好”和“再见”"),
        ("翻译：你好", "Translation: hello", "翻译：你好"),
        ("将下句翻译成法语：你好", "Put into French: hello", "将下句翻译成法语：你好"),
    ],
)
def test_translations_are_read_without_what_stands_around_them(answer: str, text: str, said: str) -> None:
    assert translation(answer, text) == said


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


@pytest.mark.parametrize(
    "piece",
    [
        "[{",
        "<例>",
        "1. ",
        "用户：",
        "**",
        "\n",
        "第1轮 ",
        "问：",
        "# ",
        "“",
        "  ",
        "```\n",
        "[",
        "(1",
        '["a",',
        "</think>\n",
    ],
)
def test_no_answer_takes_a_parser_long(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    start = time.process_time()
    for parse in (parse_tasks, parse_list, parse_dialogue, parse_pairs, evolved, lambda t: translation(t, "x")):
        parse(text)
    assert time.process_time() - start < 2.0
