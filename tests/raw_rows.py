"""A row of each raw form, oddities included, and what its Record must say."""

from __future__ import annotations

import json
from typing import Any


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
"""(converter, raw row, what its Record says: instruction, input, output, system, history, meta)"""
