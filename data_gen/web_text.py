"""Text of the web without its markup: line ends for `<br>` and paragraphs, characters for `&nbsp;` and its like.

Only what is surely markup goes: tags of a short list, written as tags are, and entities with their semicolon. A '<' of
a formula (`a<b`), of code (`vector<int>`, `#include <map>`) or of a question about HTML stays, and so does what was
escaped on purpose: `&lt;p&gt;` becomes `<p>`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5

_BREAK = re.compile(r"<\s*br\s*/?\s*>", re.IGNORECASE)
_RETURNS = re.compile(r"\r+\n?")
_BLOCKS = ("p", "div", "li", "ul", "ol", "center", "blockquote")
_INLINE = ("a", "b", "i", "u", "em", "strong", "font", "span", "img")
_VALUE = r"""(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+)"""
_TAG = re.compile(
    rf"<(?P<end>/?)(?P<name>{'|'.join(_BLOCKS + _INLINE)})(?P<said>(?:\s+[a-z][a-z0-9_:-]*\s*=\s*{_VALUE})*)\s*/?>",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|<!doctype\b|</?(?:html|head|body|script|style|table|form|input)\b", re.IGNORECASE)
"""Who writes these writes about HTML"""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|([A-Za-z][A-Za-z0-9]*));")
_MANY = re.compile(r"\n\s*\n\s*\n")
_NO_LETTERS = re.compile(r"[\W_]+")


def clean(text: str) -> str:
    """Web text without markup, with one newline for each run of `\\r`, trimmed."""
    if "<" in text:
        text = _BREAK.sub("\n", text)
        if "<" in text and not _CODE.search(text):
            text = _without_tags(text)
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    if "\r" in text:
        text = _RETURNS.sub("\n", text)
    return text.strip()


def _without_tags(text: str) -> str:
    ended = {match["name"].lower() for match in _TAG.finditer(text) if match["end"]}
    blocks = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal blocks
        name = match["name"].lower()
        if not (match["end"] or match["said"] or name in ended):
            before = text[match.start() - 1 : match.start()]
            # These need no end. The others are as likely `a<b>c`, or "what is <span> for?".
            if name not in ("p", "li") or (before.isascii() and (before.isalnum() or before in (")", "]"))):
                return match[0]
        blocks += name in _BLOCKS
        return "\n" if name in _BLOCKS else ""

    text = _TAG.sub(replaced, text)
    return _MANY.sub("\n\n", text) if blocks else text


def _character(match: re.Match[str]) -> str:
    if match[1] and f"{match[1]};" not in html5:
        return match[0]
    return html.unescape(match[0]).replace("\xa0", " ")


def same_words(one: str, other: str) -> bool:
    """Whether two texts are equal up to white space and punctuation."""
    # Letters first, which is quick, then whatever else is said: `1+1` is not `1-1`, nor `C++` `C`.
    return _NO_LETTERS.sub("", one) == _NO_LETTERS.sub("", other) and _said(one) == _said(other)


def _said(text: str) -> str:
    return "".join(char for char in text if char not in "~～" and unicodedata.category(char)[0] not in "PZC")
