"""Each raw form, oddities included, against the Record it must become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_gen.converters import CONVERTERS, from_columns, guess
from data_gen.fields import clean
from data_gen.records import DataError, Record


def said(record: Record) -> tuple[Any, ...]:
    return record.instruction, record.input, record.output, record.system, record.history, record.meta


def answer(q: str, a: str) -> str:
    return json.dumps({"Q": q, "A": a}, ensure_ascii=False)


CASES: list[tuple[str, Any, tuple[Any, ...]]] = [
    ("alpaca", {"instruction": "问", "input": "", "output": "答"}, ("问", "", "答", "", [], {})),
    ("alpaca", {"instruction": "问", "output": "答"}, ("问", "", "答", "", [], {})),
    ("alpaca", {"instruction": "问", "input": None, "output": 42, "id": 7}, ("问", "", "42", "", [], {})),
    ("alpaca", {"instruction": " 两端 ", "input": "x", "output": ""}, (" 两端 ", "x", "", "", [], {})),
    ("alpaca", {"instruction": "问", "input": float("nan"), "output": "答"}, ("问", "", "答", "", [], {})),
    ("translated", {"instruction": "Ask", "instruction_zh": "问", "output": "答"}, ("问", "", "答", "", [], {})),
    (
        "translated",
        {
            "instruction": "Ask",
            "instruction_zh": " ",
            "input": "Text",
            "input_zh": None,
            "output": "No",
            "output_zh": "不",
        },
        ("Ask", "Text", "不", "", [], {}),
    ),
    (
        "translated",
        {
            "instruction": "Ask",
            "context": "",
            "response": "Yes",
            "instruction_zh": "问",
            "context_zh": "文",
            "category": "qa",
        },
        ("问", "文", "Yes", "", [], {"category": "qa"}),
    ),
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
    (
        "belle",
        {"conversations": [{"from": "human", "value": "问"}, {"from": "assistant", "value": "答"}]},
        (*("问", "", "答"), "", [], {}),
    ),
    (
        "pclue",
        {"input": "问", "target": "甲", "answer_choices": ["甲", "乙"], "type": "mrc"},
        ("问", "", "甲", "", [], {"type": "mrc", "answer_choices": ["甲", "乙"]}),
    ),
    (
        "pclue",
        {"input": "问", "target": "甲", "answer_choices": "", "type": "generate"},
        ("问", "", "甲", "", [], {"type": "generate"}),
    ),
    (
        "wiki",
        {
            "id": "53",
            "url": "https://zh.wikipedia.org/wiki?curid=53",
            "title": "经济学",
            "text": "经济学\n\n是一门\n\n科学。",
        },
        (
            "介绍一下“经济学”。",
            "",
            "是一门\n\n科学。",
            "",
            [],
            {"id": "53", "url": "https://zh.wikipedia.org/wiki?curid=53"},
        ),
    ),
    ("wiki", {"title": "题", "url": "", "text": "题外话。"}, ("介绍一下“题”。", "", "题外话。", "", [], {})),
    (
        "news",
        {
            "news_id": "6",
            "keywords": "",
            "title": "题<br>",
            "desc": "正",
            "source": "新华网",
            "time": "03-22",
            "content": "正\r\r文",
        },
        ("以“题”为题写一篇新闻。", "", "正\n文", "", [], {"news_id": "6", "source": "新华网", "time": "03-22"}),
    ),
    (
        "translation",
        {"english": " A cat. ", "chinese": "猫。\n"},
        ("把下面的英文翻译成中文。", "A cat.", "猫。", "", [], {}),
    ),
    (
        "cnewsum",
        {"article": ["甲。", "乙。"], "summary": "丙"},
        ("用一句话概括下面的新闻。", "甲。乙。", "丙", "", [], {}),
    ),
    (
        "cnewsum",
        {"id": 7, "article": "甲。", "summary": ["乙", "丙"]},
        ("用一句话概括下面的新闻。", "甲。", "乙丙", "", [], {"id": 7}),
    ),
    (
        "coco_cn",
        {"text": "COCO_val2014_000000217153#0\t一个男人 在跑\r"},
        (
            *("写一句话，描述一张照片。", "", "一个男人 在跑", "", []),
            {"image": "COCO_val2014_000000217153", "number": 0},
        ),
    ),
    (
        "guanaco",
        {"instruction": "你是猫\nUser: 甲\nAssistant：一\n行\nUser:乙", "input": "System: 现在是夏天", "output": "二"},
        ("乙", "", "二", "你是猫\n\n现在是夏天", [["甲", "一\n行"]], {}),
    ),
    (
        "guanaco",
        {"instruction": "User: 甲\nAssistant: 一", "input": "乙", "output": "二"},
        ("乙", "", "二", "", [["甲", "一"]], {}),
    ),
    ("guanaco", {"instruction": "User: 甲", "input": "文", "output": "一"}, ("甲\n文", "", "一", "", [], {})),
    (
        "guanaco",
        {"instruction": "说 User: 是什么", "input": "", "output": "一"},
        ("说 User: 是什么", "", "一", "", [], {}),
    ),
    (
        "moss",
        {
            "meta_instruction": "You are an AI assistant whose name is MOSS.",
            "chat": {
                "turn_10": {"Human": "<|Human|>: 丙<eoh>\n", "MOSS": "<|MOSS|>: 三\n\n完<eom>\n"},
                "turn_2": {
                    "Human": "<|Human|>: 乙<eoh>",
                    "Inner Thoughts": "<|Inner Thoughts|>: None<eot>",
                    "MOSS": "二",
                },
                "turn_1": {"Human": "甲", "MOSS": "<|MOSS|>: 一<eom>"},
            },
            "category": "Writing",
        },
        ("丙", "", "三\n\n完", "", [["甲", "一"], ["乙", "二"]], {"category": "Writing"}),
    ),
    (
        "coqa",
        {
            "source": "race",
            "story": "A story. ",
            "questions": [{"input_text": "Who?", "turn_id": 1}, {"input_text": "Why?", "turn_id": 2}],
            "answers": [{"span_text": "He", "input_text": "he", "turn_id": 1}, {"input_text": "unknown", "turn_id": 2}],
        },
        ("Why?", "", "unknown", "", [["A story.\n\nWho?", "he"]], {"source": "race"}),
    ),
    ("coqa", {"story": "故事", "questions": ["谁？"], "answers": ["他"]}, ("谁？", "故事", "他", "", [], {})),
    (
        "panda",
        [{"inputs": "请提问", "targets": '{"Q": "天为何蓝？", "A": "散射。"}'}],
        ("天为何蓝？", "", "散射。", "", [], {}),
    ),
    ("panda", {"inputs": "写 JSON", "targets": '{"Q": 1}'}, ("写 JSON", "", '{"Q": 1}', "", [], {})),
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
    with pytest.raises(DataError, match=r"no field 'answers.0.text'"):
        convert(row | {"answers": []})
    with pytest.raises(DataError, match=r"no field 'data.question'"):
        convert(row | {"data": "问"})


def test_an_unknown_form_lists_its_columns() -> None:
    with pytest.raises(DataError, match=r"text, url; say which is which, as in --columns"):
        guess({"url": "u", "text": "t"})
    with pytest.raises(DataError, match=r"data, version \(the rows are the list 'data'\? .*'at: data'\)"):
        guess({"version": "1.0", "data": [{"story": "s"}]})


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
