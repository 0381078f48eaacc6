"""Raw rows of the sets in the field -> Record: one short function each, in the plain dict `CONVERTERS`.

A converter takes what the file says (a dict; for dialogs also a list) and returns a Record or raises a DataError that
says what is missing; the caller adds file and line. Text is taken as it stands, except for baike and webtext, whose
pages still carry `<br>` and `\\r`. A new form is one function and one line at the end of this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from data_gen.records import DataError, Record
from teachers.base import nearest

Converter = Callable[[Any], Record]
COLUMNS = ("instruction", "input", "output", "system")
"""What `--columns` can fill"""


def text_of(row: Mapping[str, Any], name: str, required: bool = False) -> str:
    """A field as text: numbers are written out, null and (unless required) a missing field are empty."""
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None and not (required and name not in row):
        return ""
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise DataError(f"no field {name!r}{nearest(name, map(str, row))}")
    raise DataError(f"field {name!r} is a {type(value).__name__}, not text")


def _dict(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"expected a JSON object, found a {type(row).__name__}")
    return row


def record(row: Any) -> Record:
    """This project's own JSONL."""
    return Record.from_dict(_dict(row))


def alpaca(row: Any) -> Record:
    """`instruction, input, output`, with `system` and `history` where there are any."""
    row = _dict(row)
    history = row.get("history") or []
    if not all(isinstance(turn, list | tuple) and len(turn) == 2 for turn in history):
        raise DataError("field 'history' must be a list of [question, answer] pairs")
    return Record(
        instruction=text_of(row, "instruction", required=True),
        input=text_of(row, "input"),
        output=text_of(row, "output", required=True),
        system=text_of(row, "system"),
        history=[[str(q), str(a)] for q, a in history],
    )


def _paragraphs(*parts: str) -> str:
    """The parts that say something, with a blank line between them."""
    return "\n\n".join(part for part in parts if part.strip())


def coig_textbox(row: Any) -> Record:
    """COIG's exams and values: instruction, context and question are one question; answer and analysis one answer."""
    row = _dict(row)
    fields = ("textbox_q_instruction", "textbox_q_context", "textbox_question")
    return Record(
        instruction=_paragraphs(*(text_of(row, name) for name in fields[:2]), text_of(row, fields[2], required=True)),
        output=_paragraphs(text_of(row, "textbox_answer", required=True), text_of(row, "textbox_answer_analysis")),
        meta=_kept(row, "subject"),
    )


def coig_trans(row: Any) -> Record:
    """COIG's translations: `trans_instruction, trans_input, trans_output`."""
    row = _dict(row)
    return Record(
        instruction=text_of(row, "trans_instruction", required=True),
        input=text_of(row, "trans_input"),
        output=text_of(row, "trans_output", required=True),
    )


def coig_dialog(row: Any) -> Record:
    """COIG's chats: `round_0 .. round_k`, whose `response` is itself JSON, `{"Q": question, "A": answer}`."""
    row = _dict(row)
    names = sorted((name for name in row if re.fullmatch(r"round_\d+", name)), key=lambda name: int(name[6:]))
    if not names:
        raise DataError(f"no field 'round_0', found {', '.join(map(str, row)) or 'nothing'}")
    return _dialog([_question_answer(name, row[name]) for name in names])


def _question_answer(name: str, turn: Any) -> list[str]:
    inner = _dict(turn).get("response")
    if isinstance(inner, str):
        inner = re.sub(r"^\s*```(?:json)?\s*|\s*```\s*$", "", inner)
        try:
            inner = json.loads(inner, strict=False)
        except ValueError as error:
            raise DataError(f"the response of {name} is not the JSON it should be: {error}") from None
    if not isinstance(inner, dict):
        raise DataError(f"the response of {name} is no object with 'Q' and 'A'")
    return [text_of(inner, "Q", required=True), text_of(inner, "A", required=True)]


def _dialog(turns: list[list[str]], system: str = "") -> Record:
    """A record of whole turns: the last one is asked, the others are its history."""
    if not turns:
        raise DataError("a dialog without a question and its answer")
    question, answer = turns[-1]
    return Record(instruction=question, output=answer, system=system, history=turns[:-1])


_BREAK = re.compile(r"<\s*br\s*/?\s*>", re.IGNORECASE)
_RETURNS = re.compile(r"\r+\n?")
_NO_LETTERS = re.compile(r"[\W_]+")


def clean(text: str) -> str:
    """Web text without `<br>`, with one newline for each run of `\\r`, trimmed."""
    if "<" in text:
        text = _BREAK.sub("\n", text)
    if "\r" in text:
        text = _RETURNS.sub("\n", text)
    return text.strip()


def _titled(row: Any, answer: str, *keep: str) -> Record:
    row = _dict(row)
    title, desc = clean(text_of(row, "title", required=True)), clean(text_of(row, "desc"))
    repeats = not desc or _NO_LETTERS.sub("", desc) in _NO_LETTERS.sub("", title)
    return Record(
        instruction=title,
        input="" if repeats else desc,
        output=clean(text_of(row, answer, required=True)),
        meta=_kept(row, *keep),
    )


def baike(row: Any) -> Record:
    """baike2018qa: `qid, category, title, desc, answer`; a description that only repeats the title is left out."""
    return _titled(row, "answer", "qid", "category")


def webtext(row: Any) -> Record:
    """webtext2019zh: `qid, title, desc, topic, star, content, answer_id, answerer_tags`; `star` counts the likes."""
    return _titled(row, "content", "qid", "topic", "star")


def _kept(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names if row.get(name) not in (None, "")}


def belle(row: Any) -> Record:
    """BELLE's older `input, target` and its newer Alpaca form; Firefly's `kind, input, target`."""
    row = _dict(row)
    if "target" not in row:
        return alpaca(row)
    return Record(
        instruction=text_of(row, "input", required=True), output=text_of(row, "target"), meta=_kept(row, "kind")
    )


def panda(row: Any) -> Record:
    """Panda's unified `{inputs, targets}`; a list of such is a dialog."""
    turns = row if isinstance(row, list) else [row]
    return _dialog(
        [[text_of(_dict(turn), "inputs", required=True), text_of(turn, "targets", required=True)] for turn in turns]
    )


ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bot", "model"), "assistant"),
    "system": "system",
}


def sharegpt(row: Any) -> Record:
    """`conversations: [{from, value}]` or `messages: [{role, content}]`.

    What the assistant says before the first question and questions after the last answer are left out; messages of one
    side that follow each other are one message.
    """
    row = _dict(row)
    messages = row.get("conversations") or row.get("messages")
    if not isinstance(messages, list):
        raise DataError(f"no list 'conversations' or 'messages', found {', '.join(map(str, row))}")
    system, last = text_of(row, "system"), ""
    turns: list[list[str]] = []
    for message in messages:
        role, said = _message(_dict(message))
        if role == "system":
            system = _paragraphs(system, said)
        elif role == "user" and last == "user":
            turns[-1][0] += "\n" + said
        elif role == "user":
            turns.append([said])
        elif turns and last == "assistant":
            turns[-1][1] += "\n" + said
        elif turns:
            turns[-1].append(said)
        last = last if role == "system" else role
    return _dialog([turn for turn in turns if len(turn) == 2], system)


def _message(message: dict[str, Any]) -> tuple[str, str]:
    who = text_of(message, "from") or text_of(message, "role")
    if who not in ROLES:
        raise DataError(f"unknown speaker {who!r}{nearest(who, ROLES)}")
    content = message.get("value", message.get("content"))
    if isinstance(content, list):  # the parts form of chat endpoints
        content = "".join(text_of(_dict(part), "text") for part in content)
    return ROLES[who], text_of({"content": content}, "content")


def curriculum(row: Any) -> Record:
    """An item of `data_gen.curriculum` as a row: its family, difficulty and checkable key go to `meta`."""
    made = alpaca(row)
    made.meta = _kept(row, "family", "difficulty", "key")
    return made


def from_columns(columns: Mapping[str, str]) -> Converter:
    """A converter for the user's own column names: `{"instruction": "title", "output": "answer"}`."""
    for target in columns:
        if target not in COLUMNS:
            raise DataError(f"--columns: a record has no {target!r}{nearest(target, COLUMNS)}")
    if "output" not in columns:
        raise DataError("--columns must say which column is the output, as in output=answer")

    def convert(row: Any) -> Record:
        named = _dict(row)
        said = {to: text_of(named, name, required=True) for to, name in columns.items()}
        return Record(said.get("instruction", ""), said.get("input", ""), said["output"], said.get("system", ""))

    return convert


_FORMS: tuple[tuple[set[str], str], ...] = (
    ({"instruction", "output", "history", "meta"}, "record"),
    ({"instruction", "output"}, "alpaca"),
    ({"input", "target"}, "belle"),
    ({"inputs", "targets"}, "panda"),
    ({"conversations"}, "sharegpt"),
    ({"messages"}, "sharegpt"),
    ({"textbox_question", "textbox_answer"}, "coig_textbox"),
    ({"trans_instruction", "trans_output"}, "coig_trans"),
    ({"round_0"}, "coig_dialog"),
    ({"title", "answer"}, "baike"),
    ({"title", "content", "star"}, "webtext"),
)


def guess(row: Any) -> str:
    """The converter's name for a row of an unnamed file; DataError that lists the columns when none fits."""
    keys = set(row) if isinstance(row, dict) else {"inputs", "targets"} if isinstance(row, list) else set()
    for needed, name in _FORMS:
        if needed <= keys:
            return name
    raise DataError(
        f"these columns are no known form: {', '.join(sorted(map(str, keys)))}; "
        "say which is which, as in --columns instruction=title,output=answer"
    )


CONVERTERS: dict[str, Converter] = {
    "record": record,
    "alpaca": alpaca,
    "coig_textbox": coig_textbox,
    "coig_trans": coig_trans,
    "coig_dialog": coig_dialog,
    "baike": baike,
    "webtext": webtext,
    "belle": belle,
    "panda": panda,
    "sharegpt": sharegpt,
    "curriculum": curriculum,
}
