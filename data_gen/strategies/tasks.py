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
from data_gen.strategies.reading import is_json, json_items, json_text, labels, parts, plain, said

FOLDER = Path(__file__).parent.parent / "seeds"
SEEDS = FOLDER / "tasks_zh.jsonl"
NO_INPUT = "无"
COPIED = 0.9
"""ROUGE-L from which on a text counts as the other one again"""

_LABELS = {"instruction": "指令|instruction", "input": "输入|input", "output": "输出|output"}
_LOOSE = {
    "instruction": "任务|问题|题目|task|question",
    "input": _LABELS["input"] + "|材料",
    "output": _LABELS["output"] + "|解答|回答|答案|answer",
}
_STRICT_FIELDS, _LOOSE_FIELDS, _INLINE_FIELDS = labels(_LABELS), labels(_LOOSE), labels(_LABELS, inline=True)
_KEYS = {name: re.compile(rf"[\W\d]*(?:{words})[\W\d]*", re.IGNORECASE) for name, words in _LABELS.items()}
_NOTHING = re.compile(r"[<(\[【“\"]*(?:无|没有|空|none|n/a|noinput|无需?输入)[>)\]】”\"]*[。.]?", re.IGNORECASE)


def read_seeds(path: Path) -> dict[str, list[Record]]:
    """Seed tasks by kind (rows without one make a kind each); DataError names a row that is no task."""
    kinds: dict[str, list[Record]] = {}
    for place, row in iter_rows(path):
        try:
            record = Record.from_dict(row)
        except DataError as error:
            raise DataError(f"{path}, {place}: {error}") from None
        if not record.instruction.strip() or not record.output.strip():
            raise DataError(f"{path}, {place}: a seed task needs an instruction and an output")
        kinds.setdefault(str(row.get("kind") or place), []).append(record)
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
    text = said(text)
    rows = _from_json(text) if is_json(text) else []
    for fields in (_STRICT_FIELDS, _LOOSE_FIELDS, _INLINE_FIELDS):
        rows = rows or _whole(_from_fields(text, fields))
    tasks = []
    for row in rows or _from_json(text):
        given = row.get("input", "").strip()
        tasks.append(Record(row["instruction"], "" if _NOTHING.fullmatch(plain(given)) else given, row["output"]))
    return tasks


def _whole(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those that say what is asked and what the answer is."""
    rows = [{name: words.strip() for name, words in row.items()} for row in rows]
    return [row for row in rows if row.get("instruction") and row.get("output")]


def _from_fields(text: str, fields: re.Pattern[str]) -> list[dict[str, str]]:
    """Fields in their order; a label out of turn (an answer may say "输入：") is text of its field."""
    rows: list[dict[str, str]] = []
    order, last = list(_LABELS), "output"
    starts: list[re.Match[str]] = []
    for match in fields.finditer(plain(text)):
        name = match.lastgroup or ""
        if name == "instruction" or (starts and order.index(name) > order.index(last)):
            starts.append(match)
            last = name
    for match, words in parts(text, starts):
        if match.lastgroup == "instruction":
            rows.append({})
        rows[-1][match.lastgroup or ""] = words
    return rows


def _from_json(text: str) -> list[dict[str, str]]:
    """Rows of JSON objects, wherever they stand in an answer."""
    return _whole(
        [
            {name: json_text(value) for key, value in item.items() for name, of in _KEYS.items() if of.fullmatch(key)}
            for item in json_items(text)
            if isinstance(item, dict)
        ]
    )
