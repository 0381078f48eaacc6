"""Raw rows of the sets in the field -> Record: one short function each, in the plain dict `CONVERTERS`.

A converter takes what the file says (a dict; for dialogs also a list) and returns a Record or raises a DataError that
says what is missing; the caller adds file and line. Text is taken as it stands, except for web pages, which still carry
`<br>` and `\\r`. Sets of questions and answers are here, conversations in dialogs.py, pages and the like in corpora.py.
A new form is one function and one line at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data_gen.columns import unknown_form
from data_gen.corpora import baike, cnewsum, coco_cn, news, translation, webtext, wiki
from data_gen.dialogs import coig_dialog, coqa, guanaco, moss, panda, sharegpt
from data_gen.fields import as_dict, first_of, kept, paragraphs, present, text_of
from data_gen.records import DataError, Record

Converter = Callable[[Any], Record]


def record(row: Any) -> Record:
    """This project's own JSONL."""
    row = as_dict(row)
    for name in ("input", "system", "id", "source"):
        if not isinstance(row.get(name), str | None):
            raise DataError(f"field {name!r} is a {type(row[name]).__name__}, not text")
    if not isinstance(row.get("meta"), dict | None) or not isinstance(row.get("history"), list | tuple | None):
        raise DataError("field 'meta' must be an object and 'history' a list of [question, answer] pairs")
    return Record.from_dict(row)


def alpaca(row: Any) -> Record:
    """`instruction, input, output`, with `system` and `history` where there are any."""
    row = as_dict(row)
    history = row.get("history") or []
    pairs = isinstance(history, list | tuple) and all(isinstance(t, list | tuple) and len(t) == 2 for t in history)
    if not pairs:
        raise DataError("field 'history' must be a list of [question, answer] pairs")
    return Record(
        instruction=text_of(row, "instruction", required=True),
        input=text_of(row, "input"),
        output=text_of(row, "output", required=True),
        system=text_of(row, "system"),
        history=[[str(q), str(a)] for q, a in history],
    )


def translated(row: Any) -> Record:
    """English sets with their translation beside them: `instruction_zh`, `output_zh` where they say something.

    WizardLM-zh and Luotuo's Alpaca; Dolly-zh, whose names are `context` and `response`, its answers still English.
    """
    row = as_dict(row)
    return Record(
        instruction=first_of(row, "instruction_zh", "instruction", required=True),
        input=first_of(row, "input_zh", "context_zh", "input", "context"),
        output=first_of(row, "output_zh", "response_zh", "output", "response", required=True),
        meta=kept(row, "category"),
    )


def coig_textbox(row: Any) -> Record:
    """COIG's exams and values: instruction, context and question are one question; answer and analysis one answer."""
    row = as_dict(row)
    asked = text_of(row, "textbox_q_instruction"), text_of(row, "textbox_q_context"), present(row, "textbox_question")
    return Record(
        instruction=paragraphs(*asked),
        output=paragraphs(present(row, "textbox_answer"), text_of(row, "textbox_answer_analysis")),
        meta=kept(row, "subject"),
    )


def coig_trans(row: Any) -> Record:
    """COIG's translations: `trans_instruction, trans_input, trans_output`."""
    row = as_dict(row)
    return Record(
        instruction=text_of(row, "trans_instruction", required=True),
        input=text_of(row, "trans_input"),
        output=text_of(row, "trans_output", required=True),
    )


def belle(row: Any) -> Record:
    """BELLE's older `input, target`, its Alpaca form and its conversations; Firefly's `kind, input, target`."""
    row = as_dict(row)
    if "conversations" in row:
        return sharegpt(row)
    if "target" not in row:
        return alpaca(row)
    return Record(
        instruction=text_of(row, "input", required=True),
        output=text_of(row, "target", required=True),
        meta=kept(row, "kind"),
    )


def pclue(row: Any) -> Record:
    """pCLUE: `input, target, type, answer_choices`."""
    row = as_dict(row)
    return Record(
        instruction=text_of(row, "input", required=True),
        output=text_of(row, "target", required=True),
        meta=kept(row, "type", "answer_choices"),
    )


def curriculum(row: Any) -> Record:
    """An item of `data_gen.curriculum` as a row: its family, difficulty and checkable key go to `meta`."""
    made = alpaca(row)
    made.meta = kept(row, "family", "difficulty", "key")
    return made


_FORMS: tuple[tuple[set[str], str], ...] = (
    ({"instruction", "output", "history", "meta"}, "record"),
    ({"instruction_zh"}, "translated"),
    ({"instruction", "output"}, "alpaca"),
    ({"instruction", "response"}, "translated"),
    ({"input", "target", "type"}, "pclue"),
    ({"input", "target"}, "belle"),
    ({"inputs", "targets"}, "panda"),
    ({"conversations"}, "sharegpt"),
    ({"messages"}, "sharegpt"),
    ({"chat", "meta_instruction"}, "moss"),
    ({"story", "questions", "answers"}, "coqa"),
    ({"textbox_question", "textbox_answer"}, "coig_textbox"),
    ({"trans_instruction", "trans_output"}, "coig_trans"),
    ({"round_0"}, "coig_dialog"),
    ({"title", "answer"}, "baike"),
    ({"title", "content", "star"}, "webtext"),
    ({"news_id", "title", "content"}, "news"),
    ({"title", "text", "url"}, "wiki"),
    ({"english", "chinese"}, "translation"),
    ({"article", "summary"}, "cnewsum"),
)


def guess(row: Any, path: str = "FILE") -> str:
    """The converter's name for a row of an unnamed file; DataError that says what to do when none fits."""
    keys = set(row) if isinstance(row, dict) else {"inputs", "targets"} if isinstance(row, list) else set()
    for needed, name in _FORMS:
        if needed <= keys:
            return name
    raise unknown_form(row, path)


CONVERTERS: dict[str, Converter] = {
    "record": record,
    "alpaca": alpaca,
    "translated": translated,
    "coig_textbox": coig_textbox,
    "coig_trans": coig_trans,
    "coig_dialog": coig_dialog,
    "baike": baike,
    "webtext": webtext,
    "wiki": wiki,
    "news": news,
    "translation": translation,
    "cnewsum": cnewsum,
    "coco_cn": coco_cn,
    "belle": belle,
    "pclue": pclue,
    "panda": panda,
    "sharegpt": sharegpt,
    "guanaco": guanaco,
    "moss": moss,
    "coqa": coqa,
    "curriculum": curriculum,
}
