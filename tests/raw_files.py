"""Small files in exactly the raw form, and under the names, of the sources that ship."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.raw_forms import Expected, Writer, alpaca_rows, write_array, write_lines, write_zip
from tests.raw_texts import TEXTS


def write_raw(root: Path, source: str, rows: int = 2, broken: int = 0) -> Expected:
    """Write a source's files below `root`; what its records must say: (instruction, input, output, history)."""
    folder = root / source
    folder.mkdir(parents=True, exist_ok=True)
    return WRITERS[source](folder, rows, broken)


def _luotuo(folder: Path, n: int, broken: int) -> Expected:
    rows, expected = alpaca_rows("骆驼", n)
    write_array(folder / "luotuo_all_data.json", rows)
    return expected


def _alpaca_zh(folder: Path, n: int, broken: int) -> Expected:
    rows, expected = alpaca_rows("羊驼", n)
    write_array(folder / "alpaca_gpt4_data_zh.json", rows)
    return expected


def _textbox(name: str, n: int) -> tuple[list[dict[str, str]], Expected]:
    rows = [
        {
            "textbox_q_instruction": "选择",
            "textbox_q_context": "",
            "textbox_question": f"{name}第{i}题",
            "textbox_answer": "A",
            "textbox_answer_analysis": f"解析{i}",
            "subject": "历史",
        }
        for i in range(n)
    ]
    return rows, [(f"选择\n\n{name}第{i}题", "", f"A\n\n解析{i}", []) for i in range(n)]


def _coig(folder: Path, n: int, broken: int) -> Expected:
    exam, expected = _textbox("考试", n)
    write_lines(folder / "exam_instructions.jsonl", exam)
    values, said = alpaca_rows("价值", n)
    write_array(folder / "human_value_alignment_instructions_part1.json", values)
    more, said_more = _textbox("价值", n)
    write_lines(folder / "human_value_alignment_instructions_part2.json", more, broken)
    code, said_code = alpaca_rows("代码", n)
    write_lines(folder / "leetcode_instructions.jsonl", code)
    translated = [{"trans_instruction": f"译{i}", "trans_input": "", "trans_output": f"文{i}"} for i in range(n)]
    write_lines(folder / "translated_instructions.jsonl", translated)
    return expected + said + said_more + said_code + [(f"译{i}", "", f"文{i}", []) for i in range(n)]


def _dialogs(folder: Path, n: int, broken: int) -> Expected:
    path = folder / "counterfactural_correction_multi_round_chat.tar.gz"
    expected: Expected = []
    with tarfile.open(path, "w:gz") as archive:
        for i in range(n + broken):
            turns = [[f"{i}问{k}", f"{i}答{k}"] for k in range(i + 1)]
            dialog = {
                f"round_{k}": {"prompt": "请提问", "response": json.dumps({"Q": q, "A": a}, ensure_ascii=False)}
                for k, (q, a) in enumerate(turns)
            }
            content = b"{" if i >= n else json.dumps(dialog, ensure_ascii=False).encode()
            info = tarfile.TarInfo(f"counterfactural_correction_multi_round_chat/{i}.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            if i < n:
                expected.append((turns[-1][0], "", turns[-1][1], turns[:-1]))
    return expected


def _guanaco(folder: Path, n: int, broken: int) -> Expected:
    rows, expected = alpaca_rows("原驼", n)
    write_array(folder / "guanaco_non_chat-utf8.json", rows)
    chats = [
        {"instruction": f"User: 你好{i}\nAssistant: 好。\n有什么事？\n", "input": "User: 再见", "output": "再见！"}
        for i in range(n)
    ]
    write_array(folder / "guanaco_chat_all-utf8.json", chats)
    return expected + [("再见", "", "再见！", [[f"你好{i}", "好。\n有什么事？"]]) for i in range(n)]


def _alpaca_array(name: str) -> Writer:
    def write(folder: Path, n: int, broken: int) -> Expected:
        rows, expected = alpaca_rows("译", n)
        (folder / name).write_text(json.dumps(rows, indent=2), encoding="ascii")  # non-ASCII text escaped
        return expected

    return write


def _beside(name: str, question: str, answer: str) -> Writer:
    def write(folder: Path, n: int, broken: int) -> Expected:
        rows = [
            {"instruction": f"Question {i}", question: "", answer: "Answer", "instruction_zh": f"问{i}"}
            | {f"{question}_zh": f"文{i}", f"{answer}_zh": f"答{i}"}
            for i in range(n)
        ]
        write_lines(folder / name, rows)
        return [(f"问{i}", f"文{i}", f"答{i}", []) for i in range(n)]

    return write


def _wizard(folder: Path, n: int, broken: int) -> Expected:
    write_lines(
        folder / "wizard_700k.jsonl",
        [
            {"instruction": "Ask", "instruction_zh": f"问{i}", "output_zh" if i else "output": f"答{i}"}
            for i in range(n)
        ],
    )
    return [(f"问{i}", "", f"答{i}", []) for i in range(n)]


def _dolly(folder: Path, n: int, broken: int) -> Expected:
    rows = [
        {
            "instruction": "Ask",
            "context": "Text" if i else "",
            "response": f"Answer {i}",
            "category": "closed_qa",
            "instruction_zh": f"问{i}",
            "context_zh": "文" if i else "",
        }
        for i in range(n)
    ]
    write_lines(folder / "chinese_dolly.jsonl", rows)
    return [(f"问{i}", "文" if i else "", f"Answer {i}", []) for i in range(n)]


def _pclue(folder: Path, n: int, broken: int) -> Expected:
    rows = [
        {
            "input": f"这是哪方面的新闻？{i}\n答案：",
            "target": "电竞",
            "answer_choices": ["故事", "电竞"],
            "type": "classify",
        }
        for i in range(n)
    ]
    for part in range(1, 10):
        write_lines(folder / f"pCLUE_train_{part}.json", rows)
    return [(f"这是哪方面的新闻？{i}\n答案：", "", "电竞", []) for i in range(n)] * 9


def _belle(name: str, old: bool = False) -> Writer:
    def write(folder: Path, n: int, broken: int) -> Expected:
        rows, expected = alpaca_rows("贝壳", n)
        if old:
            rows = [{"input": row["instruction"], "target": row["output"]} for row in rows]
            expected = [(q, "", a, []) for q, _, a, _ in expected]
        write_lines(folder / name, rows)
        return expected

    return write


def _belle_talks(folder: Path, n: int, broken: int) -> Expected:
    said = [("human", "甲"), ("assistant", "一"), ("human", "乙"), ("assistant", "二")]
    talk = [{"from": who, "value": text} for who, text in said]
    write_lines(folder / "train_3.5M_CN.json", [{"id": str(i), "conversations": talk} for i in range(n)])
    return [("乙", "", "二", [["甲", "一"]])] * n


def _firefly(folder: Path, n: int, broken: int) -> Expected:
    rows = [{"kind": "Couplet", "input": f"上联{i}", "target": f"下联{i}"} for i in range(n)]
    write_lines(folder / "firefly-train-1.1M.jsonl", rows)
    return [(f"上联{i}", "", f"下联{i}", []) for i in range(n)]


def moss_row(turns: list[list[str]]) -> dict[str, Any]:
    """A conversation as MOSS writes it."""
    return {
        "conversation_id": "1",
        "meta_instruction": "You are an AI assistant whose name is MOSS.\n",
        "num_turns": len(turns),
        "chat": {
            f"turn_{k}": {
                "Human": f"<|Human|>: {q}<eoh>\n",
                "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
                "Commands": "<|Commands|>: None<eoc>\n",
                "Tool Responses": "<|Results|>: None<eor>\n",
                "MOSS": f"<|MOSS|>: {a}<eom>\n",
            }
            for k, (q, a) in enumerate(turns, 1)
        },
        "category": "harmless_zh",
    }


def _moss(folder: Path, n: int, broken: int) -> Expected:
    all_turns = [[[f"问{k}", f"答{k}\n\n完"] for k in range(i + 1)] for i in range(n)]
    members = {"moss-003-sft-no-tools.jsonl": [moss_row(turns) for turns in all_turns]}
    write_zip(folder / "moss-003-sft-no-tools.jsonl.zip", members)
    return [(turns[-1][0], "", turns[-1][1], turns[:-1]) for turns in all_turns]


def _sharegpt(folder: Path, n: int, broken: int) -> Expected:
    rows = [
        {"id": i, "conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": f"{i}"}]}
        for i in range(n)
    ]
    write_array(folder / "sharegpt.json", rows)
    return [("问", "", f"{i}", []) for i in range(n)]


def _panda(folder: Path, n: int, broken: int) -> Expected:
    turns = [
        {"inputs": "请提问", "targets": json.dumps({"Q": f"问{k}", "A": f"答{k}"}, ensure_ascii=False)}
        for k in range(2)
    ]
    rows: list[Any] = [turns, *({"inputs": f"题{i}", "targets": f"A\n\n析{i}"} for i in range(n))]
    (folder / "coig_data.json").write_text(json.dumps(rows, indent=2), encoding="ascii")
    return [("问1", "", "答1", [["问0", "答0"]]), *((f"题{i}", "", f"A\n\n析{i}", []) for i in range(n))]


WRITERS: dict[str, Writer] = {
    "luotuo": _luotuo,
    "alpaca-zh": _alpaca_zh,
    "coig": _coig,
    "coig-dialogs": _dialogs,
    "panda-coig": _panda,
    "guanaco": _guanaco,
    "luotuo-alpaca": _alpaca_array("trans_chinese_alpaca_data.json"),
    "luotuo-alpaca-gpt4": _beside("Alpaca_data_gpt4_zh.jsonl", "input", "output"),
    "wizardlm-zh": _wizard,
    "dolly-zh": _dolly,
    "pclue": _pclue,
    "belle-0.5m": _belle("Belle_open_source_0.5M.json", old=True),
    "belle-1m": _belle("Belle_open_source_1M.json"),
    "belle-2m": _belle("train_2M_CN.json"),
    "belle-3.5m": _belle_talks,
    "firefly": _firefly,
    "moss": _moss,
    "sharegpt": _sharegpt,
    **TEXTS,
}
