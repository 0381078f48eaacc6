"""What strategies share when they read an answer: labels, numbers, JSON, and what stands around them.

A teacher writes `4. 指令：`, `４．指令：`, `【指令】`, `**Instruction 4:**`, in either script, inside a fence, as JSON,
with a word before and after, and breaks off anywhere. `plain` makes these alike, character for character, so that a
pattern has to know one form only and what it finds is cut out of the text itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from data_gen.normal import simplified

_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(
    map(ord, "\u3000\xa0\u200b\ufeff"), " "
)
COUNT = "(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3}|[①-⑳])"
_INDENT = r"[ \t#>*\-•]{0,12}"
_NUMBERED = rf"(?:第?[ \t]{{0,2}}[(\[]?{COUNT}[ \t]{{0,2}}[轮题条个项]?[ \t]{{0,2}}[.、):\]]{{0,3}}[ \t]{{0,4}})?"
_THING = "(?:任务|示例|例子|问题|问答|对话|指令|task|example|question|instruction|round|turn)"
_BETWEEN = re.compile(
    rf"[-*=_~]{{3,}}|[#*>\s]*|#{{1,6}}\s.{{0,9}}?(?:{_THING}|轮).{{0,40}}|[#*\s【\[(]*{_THING}\s*#?{COUNT}\W*"
    rf"|[#*\s【\[(]*第\s*{COUNT}\s*(?:[个组轮条题]{_THING}?|{_THING})\W*|[#*\s]*{COUNT}[.、):]+[*]*|#+\s*{COUNT}",
    re.IGNORECASE,
)
"""A line between two parts of an answer: a rule, a heading, a number of its own"""
_FAREWELL = re.compile(
    rf"[(\[【*]*(?:对话|全文|以上)?(?:结束|完|完毕)[)\]】*。.!]*|希望(?:这些|以上|上述).{{0,12}}?{_THING}.{{0,30}}"
    rf"|以上(?:就?是|为).{{0,12}}?{_THING}.{{0,30}}|如(?:果|有|需).{{0,20}}?更多的?{_THING}.{{0,30}}"
)
"""A last line that speaks of the answer and is no part of it"""
_JSON = re.compile(r"\s*(?:```\w*\s*)?[\[{]")
_OPENS = re.compile(r"[\[{]")
_TEXT_ITEM = re.compile(r'\s*("(?:[^"\\]|\\.)*")\s*(?:,|\Z)')
_MOST_TRIES = 64
"""Brackets that begin no JSON, until the rest is not looked at"""
_DECODER = json.JSONDecoder(strict=False)


def said(text: str) -> str:
    """What an answer says, without the thoughts that some models put before it."""
    text = text.replace("\r\n", "\n").strip()
    thinks = text.startswith("<think>")
    if thinks or "</think>\n" in text:
        return text.partition("</think>")[2].strip()
    return text


def plain(text: str) -> str:
    """The same number of characters, in one width and one script."""
    return simplified(text.translate(_WIDTH))


def labels(words: Mapping[str, str], *, inline: bool = False, dotted: bool = False) -> re.Pattern[str]:
    """Finds in a plain text where labels stand, a named group a kind: `4. 指令:`, `**输入**:`, `### 输出 4:`, `【问】`.

    They begin a line; `inline` ones may also come after a space or the end of a sentence. `dotted`: `Q1.` is one, too.
    """
    names = "|".join(f"(?P<{name}>{alike})" for name, alike in words.items())
    return re.compile(
        rf"{'(?:^|(?<=[ ?!。;]))' if inline else '^'}{_INDENT}{_NUMBERED}[*【\[(<]{{0,4}}(?:{names})"
        rf"[ \t]{{0,4}}(?:\(?第?{COUNT}轮?\)?)?[*】\])>]{{0,4}}"
        rf"(?:[ \t]{{0,4}}:[*]{{0,4}}{'|(?<=[0-9])[.、]' if dotted else ''}|(?<=】))[ \t]{{0,4}}",
        re.MULTILINE | re.IGNORECASE,
    )


def parts(text: str, starts: Iterable[re.Match[str]]) -> list[tuple[re.Match[str], str]]:
    """What follows each match, up to the next one, without what stands between them."""
    found = list(starts)
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [(match, trimmed(text[match.end() : end])) for match, end in zip(found, ends, strict=False)]


def trimmed(text: str) -> str:
    """A part of an answer without the rules, headings, numbers, fences and farewells behind it."""
    lines = text.strip().split("\n")
    fences = sum(map(_is_fence, lines))
    while len(lines) > 1:
        last = plain(lines[-1]).strip()
        if _is_fence(last):
            before = next((line for line in reversed(lines[:-1][-9:]) if line.strip()), "")
            if fences % 2 == 0 and not _is_fence(before):  # the end of a block that has something in it
                break
            fences -= 1
        elif not (_BETWEEN.fullmatch(last) or (_FAREWELL.fullmatch(last) and _BETWEEN.fullmatch(lines[-2].strip()))):
            break
        lines.pop()
    return "\n".join(lines)


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith("```")


def is_json(text: str) -> bool:
    """Whether an answer begins as JSON does, in a fence or not."""
    return bool(_JSON.match(text))


def json_items(text: str) -> list[Any]:
    """Items of all JSON in an answer: of arrays, of objects that hold one, or objects alone; of what broke off, the
    items that are whole."""
    items: list[Any] = []
    at = tries = 0
    while tries < _MOST_TRIES and (found := _OPENS.search(text, at)):
        try:
            value, at = _DECODER.raw_decode(text, found.start())
        except (json.JSONDecodeError, RecursionError):
            tries, at = tries + 1, found.end()
            while found.group() == "[" and (item := _TEXT_ITEM.match(text, at)):
                items += _read(item.group(1))
                at = item.end()
        else:
            items += _items_of(value)
    return items


def _items_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        inner = [held for held in value.values() if isinstance(held, list) and held]
        rows = next((held for held in inner if all(isinstance(item, dict) for item in held)), None)
        return rows or (inner[0] if inner and len(value) == 1 else [value])
    return value if isinstance(value, list) else []


def _read(item: str) -> list[Any]:
    try:
        return [json.loads(item, strict=False)]
    except json.JSONDecodeError:
        return []


def json_text(value: Any) -> str:
    """A value of an object as text: what is none is written as JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # half a character, which no file can hold
