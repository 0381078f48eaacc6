"""Tasks as text: seed tasks from a file, and tasks out of what a teacher wrote.

A teacher numbers, bolds, translates and fences the labels it was asked for as it likes; all of that is read. A label
out of turn is text of the field it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_gen.normal import characters
from data_gen.novelty import similarity
from data_gen.records import DataError, Record, iter_rows
from data_gen.strategies.asking import json_items

FOLDER = Path(__file__).parent.parent / "seeds"
SEEDS = FOLDER / "tasks_zh.jsonl"
NO_INPUT = "无"
COPIED = 0.9
"""ROUGE-L from which on a text counts as the other one again"""

_LABELS = {"instruction": "指令|instruction", "input": "输入|輸入|input", "output": "输出|輸出|output"}
_LOOSE = {
    "instruction": "任务|任務|问题|問題|题目|題目|task|question",
    "input": _LABELS["input"] + "|材料",
    "output": _LABELS["output"] + "|解答|回答|答案|answer",
}
_NUMBER = "[0-9一二三四五六七八九十]+"
_BETWEEN = re.compile(
    rf"[-*=_]{{3,}}|[#*\s]*|[#*\s]*第?\s*(?:任[务務]|示例)\s*{_NUMBER}\W*"
    rf"|[#*\s]*第\s*{_NUMBER}\s*个?(?:任[务務]|示例)\W*|[#*\s]*{_NUMBER}[.、)）:：]+[*]*|#+\s*{_NUMBER}"
)
"""A line between two tasks: a rule, a heading, a number of its own"""
_NOTHING = re.compile(
    r"[<（(\[【“\"]*(?:无|無|没有|沒有|空|none|n/a|noinput|无需?输入|無需?輸入)[>）)\]】”\"]*[。.]?", re.IGNORECASE
)


def _fields_of(labels: dict[str, str]) -> re.Pattern[str]:
    """A label at the start of a line: `4. 指令：`, `**输入**:`, `### 输出 4：`."""
    names = "|".join(f"(?P<{name}>{words})" for name, words in labels.items())
    return re.compile(
        rf"^[ \t#>*\-]{{0,12}}(?:[（(]?\d{{1,4}}[.、)）:：]{{1,3}}[ \t]{{0,4}})?[*【\[]{{0,4}}(?:{names})"
        r"[*】\]]{0,4}[ \t]{0,4}\d{0,4}[*]{0,4}[ \t]{0,4}[:：][*]{0,4}[ \t]{0,4}",
        re.MULTILINE | re.IGNORECASE,
    )


_STRICT_FIELDS, _LOOSE_FIELDS = _fields_of(_LABELS), _fields_of(_LOOSE)


def read_seeds(path: Path) -> dict[str, list[Record]]:
    """Seed tasks by kind (rows without one make a kind each); DataError names a row that is no task."""
    kinds: dict[str, list[Record]] = {}
    for number, row in iter_rows(path):
        try:
            record = Record.from_dict(row)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        if not record.instruction.strip() or not record.output.strip():
            raise DataError(f"{path}, line {number}: a seed task needs an instruction and an output")
        kinds.setdefault(str(row.get("kind") or f"line {number}"), []).append(record)
    if not kinds:
        raise DataError(f"{path} holds no seed tasks")
    return kinds


def shown(task: Record, number: int) -> str:
    """A task as an example in a prompt."""
    return (
        f"{number}. 指令：{task.instruction}\n{number}. 输入：{task.input or NO_INPUT}\n{number}. 输出：{task.output}"
    )


def copied(text: str, of: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, Any] | None:
    """The first of the others, each with what is known of it, that says all a text does; as `novelty` notes it."""
    said = characters(text)
    for other, known in of:
        if (score := similarity(said, there := characters(other))) >= COPIED:
            return {**known, "text": there, "rouge_l": round(score, 4)}
    return None


def parse_tasks(text: str) -> list[Record]:
    """Tasks in a teacher's answer; those without an instruction or an output are left out."""
    text = _unfenced(text)
    rows = _from_json(text) or _from_fields(text, _STRICT_FIELDS) or _from_fields(text, _LOOSE_FIELDS)
    tasks = []
    for row in rows:
        instruction, given, output = (row.get(name, "").strip() for name in _LABELS)
        if instruction and output:
            tasks.append(Record(instruction, "" if _NOTHING.fullmatch(given) else given, output))
    return tasks


def _unfenced(text: str) -> str:
    """The text inside a code fence that holds all of it."""
    lines = text.strip().split("\n")
    fenced = len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```"
    return "\n".join(lines[1:-1] if fenced else lines)


def _from_fields(text: str, labels: re.Pattern[str]) -> list[dict[str, str]]:
    """Fields in their order; a label out of turn (an answer may say "输入：") is text of its field."""
    rows: list[dict[str, str]] = []
    order = list(_LABELS)
    starts: list[tuple[str, int, int]] = []
    for match in labels.finditer(text):
        name = match.lastgroup or ""
        last = starts[-1][0] if starts else "output"
        if name == "instruction" or (starts and order.index(name) > order.index(last)):
            starts.append((name, match.start(), match.end()))
    ends = [start for _, start, _ in starts[1:]] + [len(text)]
    for (name, _, start), end in zip(starts, ends, strict=False):
        if name == "instruction":
            rows.append({})
        lines = text[start:end].strip().split("\n")
        while len(lines) > 1 and _BETWEEN.fullmatch(lines[-1].strip()):
            lines.pop()
        rows[-1][name] = "\n".join(lines)
    return rows


def _from_json(text: str) -> list[dict[str, str]]:
    """Rows of the JSON array that an answer is, alone or inside an object; none when it is no JSON."""
    if text.lstrip()[:1] not in {"[", "{"}:
        return []
    labels = {name: re.compile(words, re.IGNORECASE) for name, words in _LABELS.items()}
    return [
        {
            name: str(value or "")
            for key, value in item.items()
            for name, label in labels.items()
            if label.fullmatch(key)
        }
        for item in json_items(text)
        if isinstance(item, dict)
    ]
