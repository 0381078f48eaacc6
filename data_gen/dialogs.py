"""Converters of sets whose rows are conversations: the last turn is asked, the earlier ones become `history`."""

from __future__ import annotations

import json
import re
from typing import Any

from data_gen.fields import as_dict, first_of, kept, of_messages, of_turns, text_of
from data_gen.records import DataError, Record
from teachers.base import nearest


def numbered(row: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """The fields `prefix_0, prefix_1 ..` in the order of their numbers."""
    names = [name for name in row if re.fullmatch(rf"{prefix}_\d+", name)]
    if not names:
        raise DataError(f"no field '{prefix}_0', found {', '.join(map(str, row)) or 'nothing'}")
    return [(name, row[name]) for name in sorted(names, key=lambda name: int(name[len(prefix) + 1 :]))]


def coig_dialog(row: Any) -> Record:
    """COIG's chats: `round_0 .. round_k`, whose `response` is itself JSON, `{"Q": question, "A": answer}`."""
    rounds = numbered(as_dict(row), "round")
    return of_turns([_question_answer(name, as_dict(turn).get("response")) for name, turn in rounds])


def _question_answer(name: str, inner: Any) -> list[str]:
    if isinstance(inner, str):
        inner = re.sub(r"^\s*```(?:json)?\s*|\s*```\s*$", "", inner)
        try:
            inner = json.loads(inner, strict=False)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the response of {name} is not the JSON it should be: {error}") from None
    if not isinstance(inner, dict):
        raise DataError(f"the response of {name} is no object with 'Q' and 'A'")
    return [text_of(inner, "Q", required=True), text_of(inner, "A", required=True)]


def panda(row: Any) -> Record:
    """Panda's unified `{inputs, targets}`; a list of such is a dialog, COIG's own with the raw `{"Q", "A"}` inside."""
    if not isinstance(row, list):
        return of_turns([_inputs_targets(row)])
    return of_turns([_inputs_targets(turn, f"turn {n}") for n, turn in enumerate(row, 1)])


_RAW_ANSWER = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*"(?:Q|A)"\s*:')


def _inputs_targets(turn: Any, name: str = "") -> list[str]:
    asked = text_of(as_dict(turn), "inputs", required=True)
    answer = text_of(turn, "targets", required=True)
    return _question_answer(name, answer) if name and _RAW_ANSWER.match(answer) else [asked, answer]


ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bot", "model"), "assistant"),
    "system": "system",
}


def sharegpt(row: Any) -> Record:
    """`conversations: [{from, value}]` or `messages: [{role, content}]`."""
    row = as_dict(row)
    messages = row.get("conversations") or row.get("messages")
    if not isinstance(messages, list):
        raise DataError(f"no list 'conversations' or 'messages', found {', '.join(map(str, row))}")
    return of_messages((_message(as_dict(message)) for message in messages), text_of(row, "system"))


def _message(message: dict[str, Any]) -> tuple[str, str]:
    who = text_of(message, "from") or text_of(message, "role")
    if who not in ROLES:
        raise DataError(f"unknown speaker {who!r}{nearest(who, ROLES)}")
    content = message.get("value", message.get("content"))
    if isinstance(content, list):  # the parts form of chat endpoints
        content = "".join(text_of(as_dict(part), "text") for part in content)
    return ROLES[who], text_of({"content": content}, "content")


_MARK = re.compile(r"^[ \t]*(User|Human|Assistant|System)[ \t]*[:：][ \t]*", re.MULTILINE)
_MARKED = {"User": "user", "Human": "user", "Assistant": "assistant", "System": "system"}


def guanaco(row: Any) -> Record:
    """`instruction, input, output` where a history stands in lines `User: ..`, `Assistant: ..`, `System: ..`."""
    row = as_dict(row)
    instruction, more = text_of(row, "instruction", required=True), text_of(row, "input")
    output = text_of(row, "output", required=True)
    if not any(match[1] in ("User", "Human") for match in _MARK.finditer(f"{instruction}\n{more}")):
        return Record(instruction=instruction, input=more, output=output)
    messages = [*_marked(instruction, "system"), *_marked(more, "user")]
    if next((role for role, _ in reversed(messages) if role != "system"), "") != "user":
        raise DataError("the dialog in 'instruction' and 'input' ends without a question")
    return of_messages([*messages, ("assistant", output)])


def _marked(text: str, otherwise: str) -> list[tuple[str, str]]:
    """(role, text) of the marked parts; what stands before the first mark is said by `otherwise`."""
    pieces = _MARK.split(text)
    parts = [
        (otherwise, pieces[0]),
        *((_MARKED[who], said) for who, said in zip(pieces[1::2], pieces[2::2], strict=True)),
    ]
    return [(role, said.strip()) for role, said in parts if said.strip()]


_MOSS_MARK = re.compile(r"^<\|[^|]+\|>\s*:?\s?|\s*<eo\w>\s*$")


def moss(row: Any) -> Record:
    """`chat: {turn_1: {Human, MOSS, ..}}`, texts marked `<|Human|>: ..<eoh>`.

    The same page about MOSS and its switched-off tools in front of every dialog, and what tools and inner thoughts say,
    are left out.
    """
    row = as_dict(row)
    turns = []
    for _, turn in numbered(as_dict(row.get("chat")), "turn"):
        turn = as_dict(turn)
        turns.append([_MOSS_MARK.sub("", text_of(turn, who, required=True)) for who in ("Human", "MOSS")])
    made = of_turns(turns)
    made.meta = kept(row, "category")
    return made


def coqa(row: Any) -> Record:
    """`story, questions, answers`, as objects with `input_text` or as plain text; Chinese fields (`story_zh`) first.

    The story stands before the first question, which is where somebody would show it. Of a question's paraphrases the
    first one is taken.
    """
    row = as_dict(row)
    story = first_of(row, "story_zh", "story", required=True).strip()
    questions, answers = (_texts(row, name) for name in ("questions", "answers"))
    if len(questions) != len(answers):
        raise DataError(f"{len(questions)} questions and {len(answers)} answers")
    made = of_turns([[question, answer] for question, answer in zip(questions, answers, strict=True)])
    if made.history:
        made.history[0][0] = f"{story}\n\n{made.history[0][0]}"
    else:
        made.input = story
    made = Record(made.instruction, made.input, made.output, history=made.history, meta=kept(row, "source"))
    return made


def _texts(row: dict[str, Any], name: str) -> list[str]:
    found = row.get(f"{name}_zh") or row.get(name)
    if not isinstance(found, list):
        raise DataError(f"no list {name!r}, found {', '.join(map(str, row)) or 'nothing'}")
    texts = []
    for one in found:
        one = one[0] if isinstance(one, list) and one else one
        texts.append(text_of(one if isinstance(one, dict) else {"input_text": one}, "input_text", required=True))
    return texts
