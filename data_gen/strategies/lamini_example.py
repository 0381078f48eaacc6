"""LaMini-LM's example-guided generation (arXiv 2304.14402): three examples are shown, the teacher writes instructions
like them; each of these is then asked as a question of its own.

Of the rows 20k .. 20k + 19 (at 20 a list) every one begins with the same request, list k, which is paid for once; row
20k + j goes on with its j-th instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from data_gen.records import Record
from data_gen.refusals import is_refusal
from data_gen.strategies import Ask, State
from data_gen.strategies.asking import NO_MEDIA, failed
from data_gen.strategies.reading import COUNT, is_json, json_items, json_text, parts, plain, said, trimmed
from data_gen.strategies.seeded import FromSeeds
from teachers.base import Completion, Request

ASK = f"""\
请仿照下面的示例，再写出{{n}}条各不相同的中文指令{{about}}。要求：
1. 只写指令，不要写解答；指令如果需要材料，就把材料完整地写在指令里；
2. 指令{NO_MEDIA}；
3. 类型、说法和难度要多样，不要照抄示例；
4. 每条指令写在一对<例></例>之间，不要写别的话。

{{examples}}"""

_MARK = r"[ \t]{0,4}(?:例|示例|example)[ \t]{0,4}\d{0,4}[ \t]{0,4}[>】]"
_OPENS, _CLOSES = re.compile(rf"[<【]{_MARK}", re.I), re.compile(rf"[<【][ \t]{{0,4}}/{_MARK}", re.I)
_NUMBERED = re.compile(
    rf"^(?P<indent>[ \t#>*\-]{{0,12}})(?:第?[ \t]{{0,4}}{COUNT}[ \t]{{0,4}}[条个]?[ \t]{{0,4}}(?P<mark>[.、):])"
    rf"|(?P<round>[(\[])[ \t]{{0,4}}{COUNT}[ \t]{{0,4}}[)\]][.、:]?|(?P<circle>)[①-⑳])"
    r"[ \t]{0,4}[*]{0,4}(?:指令[ \t]{0,4}\d{0,4}[ \t]{0,4}:)?",
    re.M,
)
_FAREWELL = re.compile(r"\n\s*\n(?:希望|如需|以上)[^\n]{0,80}\Z")
_KEY = re.compile("指令|instruction", re.I)
_GREETING = re.compile(r"(?:好的?|当然|以下|下面|这里|根据|here|sure|okay).{0,60}:", re.I)


class LaminiExample(FromSeeds):
    """Endless rows; `tasks_per_request` instructions are asked for at a time."""

    name = "lamini_example"
    prompts = (ASK,)

    def __init__(self, *, tasks_per_request: int = 20, answer_temperature: float = 0.0, **options: Any) -> None:
        super().__init__(tasks_per_request=tasks_per_request, **options)
        self.per_request = 1  # each of them is a row's own
        self.answer_temperature = self.settings["answer_temperature"] = answer_temperature

    def requests(self, state: State) -> Iterator[Request]:
        """Each list as often as it is asked to be long."""
        for number in count():
            text, meta, shown = self._list(number)
            for item in range(self.listed):
                key = f"{self.name}-{number}-{item}"
                done = {"item": item, "shown": shown, "number": number}
                yield self.ask(key, text, state.local, (number, "list"), step="list", meta=meta, done=done)

    def _list(self, number: int) -> tuple[str, dict[str, Any], list[str]]:
        """What list `number` asks for, its provenance, and the instructions that it shows."""
        seeds = self.drawn(number)
        return self._text(seeds, ""), {"seed_ids": [task.id for task in seeds]}, [task.instruction for task in seeds]

    def _text(self, seeds: list[Record], about: str) -> str:
        examples = "\n".join(
            f"<例>{task.instruction}{chr(10) + task.input if task.input else ''}</例>" for task in seeds
        )
        return ASK.format(n=self.listed, about=about, examples=examples)

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        """The row's own instruction, unless the list has none or only a copy for it."""
        if not isinstance(request, Ask) or request.step != "list":
            return None
        instruction = self._mine(request, completion)
        if not instruction or self.copied(instruction, request):
            return None
        number, item = request.done["number"], request.done["item"]
        return self.ask(
            f"{request.key}-answer", instruction, request.prompt is not None, (number, f"answer-{item}"),
            temperature=self.answer_temperature, step="answer", meta=request.meta, record=Record(instruction),
        )  # fmt: skip

    def expected(self, request: Request) -> str:
        """A list as it may come."""
        return "".join(f"<例>{request.key}：{'要做的事' * 6}，第{n}件</例>" for n in range(self.listed))

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """The instruction with its answer, or why there is none."""
        if not isinstance(request, Ask):
            return []
        if request.step == "list":
            instruction = self._mine(request, completion)
            if not instruction:
                return [failed("fewer tasks than asked for", **request.meta)]
            example = self.copied(instruction, request)
            return [failed("copy of an example", instruction, **request.meta, neighbour=example)]
        asked = request.record.instruction if request.record else ""
        return [Record(asked, output=completion.text.strip(), meta=dict(request.meta))]

    def _mine(self, request: Ask, completion: Completion) -> str:
        items = parse_list(completion.text, broken=completion.finish_reason == "length")
        item: int = request.done["item"]
        return items[item] if item < len(items) else ""


def parse_list(text: str, broken: bool = False) -> list[str]:
    """Instructions in a list, wrapped, as JSON, numbered or a line each; of a list that broke off all but the last."""
    text = _FAREWELL.sub("", said(text))
    whole = _texts(json_items(text)) if is_json(text) else []
    if whole:  # of JSON only what is whole is read
        return _told(whole)
    items = _wrapped(text)
    if not items and (whole := _texts(json_items(text))):
        return _told(whole)
    items = items or _numbered(text) or _lines(text)
    return _told(items[:-1] if broken and not text.endswith((">", "＞", "】")) else items)


def _wrapped(text: str) -> list[str]:
    """What stands between <例> and </例>; a mark in the other width, or escaped, is one too."""
    text = text.replace("&lt;", "<").replace("&gt;", ">")
    found = parts(text, _OPENS.finditer(plain(text)))
    ends = ((_CLOSES.search(plain(words)), words) for _, words in found)
    return [words[: end.start()] if end else words for end, words in ends]


def _numbered(text: str) -> list[str]:
    """Items of a numbered list; another way of numbering inside one is part of it."""
    found = list(_NUMBERED.finditer(plain(text)))
    alike = [match for match in found if match.groupdict() == found[0].groupdict()]
    return [words for _, words in parts(text, alike)]


def _lines(text: str) -> list[str]:
    """A line each, without a greeting before them; none where somebody only apologises."""
    if is_refusal("", text):
        return []
    lines = [line.lstrip("-*• \t") for line in trimmed(text).splitlines() if not line.startswith("```")]
    return lines[1:] if len(lines) > 1 and _GREETING.fullmatch(plain(lines[0].strip())) else lines


def _texts(items: list[Any]) -> list[str]:
    """Texts of JSON: alone, in a list of its own, or what an object calls an instruction, or else says first."""
    texts: list[str] = []
    for item in items:
        if isinstance(item, dict):
            named = [value for key, value in item.items() if _KEY.search(plain(key))]
            item = next(iter([*named, *item.values()]), None)
        texts += [json_text(each) for each in (item if isinstance(item, list) else [item]) if isinstance(each, str)]
    return texts


def _told(items: Iterable[str]) -> list[str]:
    """Items without marks around them, each once."""
    return list(dict.fromkeys(item.strip().strip("*").strip() for item in items if len(item.strip()) > 1))
