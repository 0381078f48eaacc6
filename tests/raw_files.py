"""Small files in exactly the raw form, and under the names, of the sources that ship."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

Expected = list[tuple[str, str, str, list[list[str]]]]


def write_raw(root: Path, source: str, rows: int = 2, broken: int = 0) -> Expected:
    """Write a source's files below `root`; what its records must say: (instruction, input, output, history)."""
    folder = root / source
    folder.mkdir(parents=True, exist_ok=True)
    return WRITERS[source](folder, rows, broken)


def _lines(path: Path, rows: list[Any], broken: int = 0) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text + '{"broken\n' * broken, encoding="utf-8")


def _array(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=4), encoding="utf-8")


def _alpaca_rows(name: str, n: int) -> tuple[list[dict[str, str]], Expected]:
    rows = [
        {"instruction": f"{name}的第{i}问", "input": f"物{i}" if i % 2 else "", "output": f"第{i}答"} for i in range(n)
    ]
    return rows, [(row["instruction"], row["input"], row["output"], []) for row in rows]


def _luotuo(folder: Path, n: int, broken: int) -> Expected:
    rows, expected = _alpaca_rows("骆驼", n)
    _array(folder / "luotuo_all_data.json", rows)
    return expected


def _alpaca_zh(folder: Path, n: int, broken: int) -> Expected:
    rows, expected = _alpaca_rows("羊驼", n)
    _array(folder / "alpaca_gpt4_data_zh.json", rows)
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
    _lines(folder / "exam_instructions.jsonl", exam)
    values, said = _alpaca_rows("价值", n)
    _array(folder / "human_value_alignment_instructions_part1.json", values)
    more, said_more = _textbox("价值", n)
    _lines(folder / "human_value_alignment_instructions_part2.json", more, broken)
    code, said_code = _alpaca_rows("代码", n)
    _lines(folder / "leetcode_instructions.jsonl", code)
    translated = [{"trans_instruction": f"译{i}", "trans_input": "", "trans_output": f"文{i}"} for i in range(n)]
    _lines(folder / "translated_instructions.jsonl", translated)
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


def _baike(folder: Path, n: int, broken: int) -> Expected:
    expected: Expected = []
    for part in ("train", "valid"):
        rows = [
            {
                "qid": f"qid_{i}",
                "category": "教育-学习",
                "title": f"{part}题{i}",
                "desc": f"{part}题{i}" if i % 2 else "详情",
                "answer": f"第一行<br>第{i}行\r\r",
            }
            for i in range(n)
        ]
        _lines(folder / f"baike_qa_{part}.json", rows)
        expected += [(f"{part}题{i}", "" if i % 2 else "详情", f"第一行\n第{i}行", []) for i in range(n)]
    return expected


def _webtext(folder: Path, n: int, broken: int) -> Expected:
    expected: Expected = []
    for part in ("train", "valid", "testa"):
        rows = [
            {
                "qid": i,
                "title": f"{part}题{i}",
                "desc": "",
                "topic": "生活",
                "star": i,
                "content": f"内容{i}\r\n",
                "answer_id": i,
                "answerer_tags": "无",
            }
            for i in range(n)
        ]
        _lines(folder / f"web_text_zh_{part}.json", rows)
        expected += [(f"{part}题{i}", "", f"内容{i}", []) for i in range(n)]
    return expected


WRITERS = {
    "luotuo": _luotuo,
    "alpaca-zh": _alpaca_zh,
    "coig": _coig,
    "coig-dialogs": _dialogs,
    "baike": _baike,
    "webtext": _webtext,
}
