"""Each raw form, oddities included, against the Record it must become."""

from __future__ import annotations

from typing import Any

import pytest

from data_gen.columns import from_columns
from data_gen.converters import CONVERTERS, guess
from data_gen.records import DataError, Record
from data_gen.web_text import clean
from tests.raw_rows import CASES


def said(record: Record) -> tuple[Any, ...]:
    return record.instruction, record.input, record.output, record.system, record.history, record.meta


@pytest.mark.parametrize(("name", "row", "expected"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_raw_row_becomes_this_record(name: str, row: Any, expected: tuple[Any, ...]) -> None:
    assert said(CONVERTERS[name](row)) == expected


def test_every_converter_has_a_case() -> None:
    assert {name for name, _, _ in CASES} == set(CONVERTERS)


UNSEEN = ("curriculum", "guanaco", "coco_cn")  # their columns are those of plain Alpaca, or of any text


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, row, _ in CASES if name not in UNSEEN])
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
    ("panda", [{"inputs": "问", "targets": '{"Q": "问"'}], "the response of turn 1 is not the JSON"),
    ("alpaca", {"instruction": "问", "output": None}, "field 'output' is null"),
    ("alpaca", {"instruction": float("nan"), "output": "答"}, "field 'instruction' is NaN"),
    ("alpaca", {"instruction": "问", "output": "答", "history": "不是"}, "'history' must be a list"),
    ("belle", {"input": "问", "target": None}, "field 'target' is null"),
    ("pclue", {"input": "测试集没有答案", "type": "nli"}, "no field 'target'"),
    ("translated", {"instruction_zh": "问"}, "no field 'output_zh'"),
    ("translated", {"instruction_zh": "问", "output": None}, "field 'output' is null"),
    ("wiki", {"title": "题"}, "no field 'text'"),
    ("cnewsum", {"article": ["甲", None], "summary": "丙"}, "field 'article' is null"),
    ("coco_cn", {"text": "一个男人"}, "expected 'image#number<TAB>caption', found '一个男人'"),
    ("guanaco", {"instruction": "User: 甲\nAssistant: 一", "input": "", "output": "二"}, "ends without a question"),
    ("moss", {"chat": {}}, "no field 'turn_0', found nothing"),
    ("moss", {"chat": {"turn_1": {"Human": "甲"}}}, "no field 'MOSS'"),
    ("coqa", {"story": "s", "questions": ["q"], "answers": []}, "no list 'answers'|1 questions and 0 answers"),
    ("coqa", {"story": "s", "questions": "q", "answers": ["a"]}, "no list 'questions'"),
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


def test_columns_inside_of_others() -> None:
    convert = from_columns({"instruction": "data.question", "input": "a.b", "output": "answers.0.text"})
    row = {"data": {"question": "问"}, "answers": [{"text": "甲"}, {"text": "乙"}], "a.b": None}
    assert said(convert(row)) == ("问", "", "甲", "", [], {})
    with pytest.raises(DataError, match=r"no field 'text'"):
        convert(row | {"answers": [{"txt": "甲"}]})
    with pytest.raises(DataError, match=r"field 'tags' is a list, not text; its first is tags.0$"):
        from_columns({"output": "tags"})({"tags": ["甲"]})
    with pytest.raises(DataError, match=r"no field 'answers.0.text'"):
        convert(row | {"answers": []})
    with pytest.raises(DataError, match=r"no field 'data.question'"):
        convert(row | {"data": "问"})


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
