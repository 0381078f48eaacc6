"""Self-Instruct (arXiv 2212.10560) in the Chinese form: three seed tasks are shown, the teacher writes more like them.

Request k shows three seeds of different kinds, drawn by (seed, k) alone, and asks for `per_request` numbered tasks,
each with 指令 / 输入 / 输出. The answer is read forgivingly: numbers, headings, bold, either width or script, JSON.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from data_gen.records import DataError, Record, iter_rows
from data_gen.strategies import State, messages_of, request_seed
from data_gen.strategies.answer import fingerprint
from data_gen.templates import get_template
from teachers.base import Completion, Request

SEEDS = Path(__file__).parent.parent / "seeds" / "tasks_zh.jsonl"
SHOWN = 3
NO_INPUT = "无"

ASK = """\
请你写出{n}个新的、各不相同的中文任务，并给出每个任务的正确解答。要求：
1. 任务的类型、主题和说法要多样，不要与示例重复，动词也尽量不重复；
2. 任务只靠文字就能完成，不需要图片、音频、视频或上网；
3. “指令”用一两句话说清要做什么；“输入”是完成任务所需的具体材料，不需要时写“{none}”；
4. “输出”直接给出准确、完整的解答，用简体中文（翻译、代码等任务除外）；
5. 严格按照示例的格式，从第{first}个任务写到第{last}个任务，不要写别的话。

示例：
{examples}"""

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
        rf"^[ \t#>*\-]*(?:[（(]?\d+[.、)）:：]+[ \t]*)?[*【\[]*(?:{names})[*】\]]*[ \t]*\d*[*]*[ \t]*[:：][*]*[ \t]*",
        re.MULTILINE | re.IGNORECASE,
    )


_STRICT_FIELDS, _LOOSE_FIELDS = _fields_of(_LABELS), _fields_of(_LOOSE)


class SelfInstruct:
    """Endless requests for `tasks_per_request` new tasks each."""

    name = "self_instruct"
    total: int | None = None

    def __init__(
        self,
        seeds: str | None = None,
        template: str = "qa",
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 2048,
        seed: int = 0,
        tasks_per_request: int = 5,
    ) -> None:
        path = Path(seeds) if seeds else SEEDS
        self.seeds = read_seeds(path)
        self.template = get_template(template)
        self.temperature, self.top_p, self.max_tokens, self.seed = temperature, top_p, max_tokens, seed
        if tasks_per_request < 1:
            raise DataError(f"tasks_per_request must be above 0, not {tasks_per_request}")
        self.per_request = tasks_per_request
        self.settings: dict[str, Any] = {
            "template": template,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            "tasks_per_request": tasks_per_request,
            "seeds": fingerprint(path),
        }

    def requests(self, state: State) -> Iterator[Request]:
        """Another three seeds each time."""
        for number in count():
            record = Record(instruction=self._ask(number))
            yield Request(
                key=f"self_instruct-{number}",
                messages=messages_of(record),
                prompt=self.template.prompt(record) if state.local else None,
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=request_seed(self.seed, number),
                stop=list(self.template.stop) if state.local else [],
            )

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        return None

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """All tasks in an answer; when it broke off, its last task is marked as truncated."""
        records = parse_tasks(completion.text)
        for n, record in enumerate(records, 1):
            broken = completion.finish_reason == "length" and n == len(records)
            record.meta["finish_reason"] = "length" if broken else "stop"
        return records

    def _ask(self, number: int) -> str:
        draw = random.Random(f"{self.seed}:{number}")
        kinds = draw.sample(sorted(self.seeds), min(SHOWN, len(self.seeds)))
        shown = [draw.choice(self.seeds[kind]) for kind in kinds]
        examples = "\n\n".join(
            f"{n}. 指令：{task.instruction}\n{n}. 输入：{task.input or NO_INPUT}\n{n}. 输出：{task.output}"
            for n, task in enumerate(shown, 1)
        )
        first = len(shown) + 1
        return ASK.format(
            n=self.per_request, none=NO_INPUT, first=first, last=first + self.per_request - 1, examples=examples
        )


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
    """Rows of a JSON array of objects with these fields; none when it is no such array."""
    if not text.lstrip().startswith("["):
        return []
    try:
        items = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    labels = {name: re.compile(words, re.IGNORECASE) for name, words in _LABELS.items()}
    return [
        {
            name: str(value or "")
            for key, value in item.items()
            for name, label in labels.items()
            if label.fullmatch(key)
        }
        for item in items
        if isinstance(item, dict)
    ]
