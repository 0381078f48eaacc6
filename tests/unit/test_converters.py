"""Each raw form, oddities included, against the Record it must become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_gen.converters import CONVERTERS, clean, from_columns, guess
from data_gen.records import DataError, Record


def said(record: Record) -> tuple[Any, ...]:
    return record.instruction, record.input, record.output, record.system, record.history, record.meta


def answer(q: str, a: str) -> str:
    return json.dumps({"Q": q, "A": a}, ensure_ascii=False)


CASES: list[tuple[str, Any, tuple[Any, ...]]] = [
    ("alpaca", {"instruction": "问", "input": "", "output": "答"}, ("问", "", "答", "", [], {})),
    ("alpaca", {"instruction": "问", "output": "答"}, ("问", "", "答", "", [], {})),
    ("alpaca", {"instruction": "问", "input": None, "output": 42, "id": 7}, ("问", "", "42", "", [], {})),
    ("alpaca", {"instruction": " 两端 ", "input": "x", "output": None}, (" 两端 ", "x", "", "", [], {})),
    (
        "alpaca",
        {"instruction": "再问", "output": "答", "system": "你是猫", "history": [["问", "喵"]]},
        ("再问", "", "答", "你是猫", [["问", "喵"]], {}),
    ),
    (
        "coig_textbox",
        {
            "textbox_q_instruction": "完成下列选择题",
            "textbox_q_context": "",
            "textbox_question": "1+1=？\nA. 1 B. 2",
            "textbox_answer": "B",
            "textbox_answer_analysis": "一加一等于二。",
            "subject": "数学",
        },
        ("完成下列选择题\n\n1+1=？\nA. 1 B. 2", "", "B\n\n一加一等于二。", "", [], {"subject": "数学"}),
    ),
    (
        "coig_textbox",
        {
            "textbox_q_instruction": None,
            "textbox_q_context": "材料",
            "textbox_question": "问",
            "textbox_answer": "答",
            "textbox_answer_analysis": " \n",
        },
        ("材料\n\n问", "", "答", "", [], {}),
    ),
    (
        "coig_textbox",
        {"textbox_question": "问", "textbox_answer": "", "textbox_answer_analysis": "只有解析"},
        ("问", "", "只有解析", "", [], {}),
    ),
    (
        "coig_trans",
        {"trans_instruction": "翻译", "trans_input": "cat", "trans_output": "猫", "extra": 1},
        ("翻译", "cat", "猫", "", [], {}),
    ),
    (
        "coig_dialog",
        {"round_0": {"prompt": "不进入记录", "response": answer("天为何蓝？", "散射。")}},
        ("天为何蓝？", "", "散射。", "", [], {}),
    ),
    (
        "coig_dialog",
        # Rounds are in numeric order, answers may be fenced, or parsed already, or hold raw line ends.
        {
            "round_10": {"prompt": "p", "response": {"Q": "丙", "A": "三"}},
            "round_2": {"prompt": "p", "response": '```json\n{"Q": "乙", "A": "二\n行"}\n```'},
            "round_0": {"prompt": "p", "response": answer("甲", "一")},
        },
        ("丙", "", "三", "", [["甲", "一"], ["乙", "二\n行"]], {}),
    ),
    (
        "baike",
        {"qid": "qid_1", "category": "教育", "title": "如何学习？", "desc": "", "answer": "多读<br />多写\r\r\n多想\r"},
        ("如何学习？", "", "多读\n多写\n多想", "", [], {"qid": "qid_1", "category": "教育"}),
    ),
    ("baike", {"title": "如何学习？ ", "desc": "如何学习", "answer": "读"}, ("如何学习？", "", "读", "", [], {})),
    (
        "baike",
        {"title": "如何学习？", "desc": "如何学习？我数学不好。", "answer": "读"},
        ("如何学习？", "如何学习？我数学不好。", "读", "", [], {}),
    ),
    (
        "webtext",
        {
            "qid": 5,
            "title": "猫",
            "desc": "黑猫\r\n\r\n白猫",
            "topic": "动物",
            "star": 3,
            "content": "都好<BR>",
            "answer_id": 9,
            "answerer_tags": "",
        },
        ("猫", "黑猫\n\n白猫", "都好", "", [], {"qid": 5, "topic": "动物", "star": 3}),
    ),
    ("webtext", {"title": "猫", "desc": None, "star": 0, "content": "好"}, ("猫", "", "好", "", [], {"star": 0})),
    ("belle", {"input": "问\\n", "target": "答"}, ("问\\n", "", "答", "", [], {})),
    ("belle", {"kind": "对联", "input": "上联", "target": "下联"}, ("上联", "", "下联", "", [], {"kind": "对联"})),
    ("belle", {"instruction": "问", "input": "物", "output": "答"}, ("问", "物", "答", "", [], {})),
    ("panda", {"inputs": "问", "targets": "答"}, ("问", "", "答", "", [], {})),
    (
        "panda",
        [{"inputs": "甲", "targets": "一"}, {"inputs": "乙", "targets": "二"}],
        ("乙", "", "二", "", [["甲", "一"]], {}),
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "甲"}, {"from": "gpt", "value": "一"}]},
        ("甲", "", "一", "", [], {}),
    ),
    (
        "sharegpt",
        # The assistant begins, one side goes on, a question stays open, content comes in parts.
        {
            "messages": [
                {"role": "assistant", "content": "先说"},
                {"role": "system", "content": "你是猫"},
                {"role": "user", "content": "甲"},
                {"role": "user", "content": [{"type": "text", "text": "又甲"}]},
                {"role": "assistant", "content": "一"},
                {"role": "assistant", "content": "又一"},
                {"role": "user", "content": "乙"},
                {"role": "assistant", "content": "二"},
                {"role": "user", "content": "没有回答"},
            ]
        },
        ("乙", "", "二", "你是猫", [["甲\n又甲", "一\n又一"]], {}),
    ),
    (
        "curriculum",
        {"family": "加法", "difficulty": 1, "instruction": "算", "input": "1+1", "output": "2", "key": "1+1"},
        ("算", "1+1", "2", "", [], {"family": "加法", "difficulty": 1, "key": "1+1"}),
    ),
    (
        "record",
        {"instruction": "问", "output": "答", "history": [], "meta": {"model": "m"}, "source": "s"},
        ("问", "", "答", "", [], {"model": "m"}),
    ),
]


@pytest.mark.parametrize(("name", "row", "expected"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_raw_row_becomes_this_record(name: str, row: Any, expected: tuple[Any, ...]) -> None:
    assert said(CONVERTERS[name](row)) == expected


def test_every_converter_has_a_case() -> None:
    assert {name for name, _, _ in CASES} == set(CONVERTERS)


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, row, _ in CASES if name != "curriculum"])
def test_an_unnamed_file_is_converted_alike(name: str, row: Any) -> None:
    assert said(CONVERTERS[guess(row)](row)) == said(CONVERTERS[name](row))


WRONG: list[tuple[str, Any, str]] = [
    ("alpaca", {"instruction": "问", "ouput": "答"}, "no field 'output'.*did you mean 'ouput'"),
    ("alpaca", {"instruction": ["问"], "output": "答"}, "field 'instruction' is a list, not text"),
    ("alpaca", [1], "expected a JSON object, found a list"),
    ("alpaca", {"instruction": "问", "output": "答", "history": [["只有问"]]}, "history"),
    ("coig_textbox", {"textbox_question": "问"}, "no field 'textbox_answer'"),
    ("coig_dialog", {"rounds": []}, "no field 'round_0', found rounds"),
    ("coig_dialog", {"round_0": {"response": '{"Q": "问", "A": '}}, "the response of round_0 is not the JSON"),
    ("coig_dialog", {"round_0": {"prompt": "问"}}, "response of round_0 is no object with 'Q' and 'A'"),
    ("coig_dialog", {"round_0": {"response": '{"Q": "问"}'}}, "no field 'A'"),
    ("baike", {"title": "题", "desc": ""}, "no field 'answer'"),
    ("panda", [], "without a question"),
    ("sharegpt", {"conversation": []}, "no list 'conversations' or 'messages', found conversation"),
    ("sharegpt", {"messages": [{"role": "usr", "content": "问"}]}, "unknown speaker 'usr'.*'user'"),
    ("sharegpt", {"messages": [{"role": "user", "content": "问"}]}, "without a question and its answer"),
]


@pytest.mark.parametrize(("name", "row", "why"), WRONG)
def test_a_row_of_another_form_is_refused(name: str, row: Any, why: str) -> None:
    with pytest.raises(DataError, match=why):
        CONVERTERS[name](row)


def test_columns_of_the_user() -> None:
    convert = from_columns({"instruction": "题目", "output": "答案", "system": "角色"})
    row = {"题目": "问", "答案": 3.5, "角色": "你是猫", "其他": "x"}
    assert said(convert(row)) == ("问", "", "3.5", "你是猫", [], {})
    assert said(from_columns({"output": "text"})({"text": "文"})) == ("", "", "文", "", [], {})
    with pytest.raises(DataError, match=r"no field '题目'.*there are: x, y|did you mean"):
        convert({"x": "问", "y": "答"})
    with pytest.raises(DataError, match=r"no 'ouput'.*'output'"):
        from_columns({"ouput": "答案"})
    with pytest.raises(DataError, match=r"which column is the output"):
        from_columns({"instruction": "题目"})


def test_an_unknown_form_lists_its_columns() -> None:
    with pytest.raises(DataError, match=r"text, url; say which is which, as in --columns"):
        guess({"url": "u", "text": "t"})


@pytest.mark.parametrize(
    ("raw", "clean_text"),
    [
        ("a\rb", "a\nb"),
        ("a\r\r\rb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("a\n\nb", "a\n\nb"),
        ("a< BR/ >b<br>c", "a\nb\nc"),
        ("  a \r", "a"),
        ("1<2 与 <b>", "1<2 与 <b>"),
        ("", ""),
    ],
)
def test_clean(raw: str, clean_text: str) -> None:
    assert clean(raw) == clean_text
