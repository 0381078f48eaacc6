"""Prompt templates: the one place that renders a Record.

A rendered record is a list of segments `(text, supervised)`. Teacher and student may wear different templates, yet the
supervised text, the answers, is the same for both. A template's end of a turn is said by the tokenizer's EOS, which
`distill.data` appends after every supervised segment; it is no text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_gen.errors import of_yaml
from data_gen.records import DataError, Record
from teachers.base import nearest

Segment = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Template:
    """The strings around a conversation. `{q}` in `user` is the question, `{s}` in `system` the system text."""

    name: str
    user: str
    """Once a turn: what stands before the answer"""
    user_with_input: str = ""
    """The same when a record has an input: `{q}` and `{i}`; empty: the input follows the question on a new line"""
    system: str = ""
    """Once, at the start, when the record has a system text"""
    turn_end: str = ""
    """What stands between an answer and the next question"""
    stop: tuple[str, ...] = ()
    """Strings that end an answer even when EOS is not said"""

    def render(self, record: Record) -> list[Segment]:
        """Segments of a record: every answer is supervised, history's too."""
        segments: list[Segment] = [
            part
            for n, (question, answer) in enumerate(record.history)
            for part in (
                (self._question(record.system if n == 0 else "", question, "", n), False),
                (answer, True),
            )
        ]
        n = len(record.history)
        system = record.system if n == 0 else ""
        segments += [
            (self._question(system, record.instruction, record.input, n), False),
            (record.output, True),
        ]
        return segments

    def prompt(self, record: Record) -> str:
        """Everything before the last answer, with `</s>`-like ends left to `turn_end`: for asking a local model."""
        return "".join(text for text, _ in self.render(record)[:-1])

    @property
    def told(self) -> str:
        """What a folder keeps of it: its name, or all of one of the user's own, whose file may be elsewhere or another
        by then. `get_template` takes either."""
        return self.name if TEMPLATES.get(self.name) == self else json.dumps(asdict(self), ensure_ascii=False)

    def user_prefix(self) -> str:
        """What stands before a question: a chat model that goes on from here writes the question itself."""
        return self.user.split("{q}", 1)[0]

    def user_suffix(self) -> str:
        """What stands between question and answer: where a self-written question ends."""
        return self.user.split("{q}", 1)[1]

    def _question(self, system: str, question: str, given: str, turn: int) -> str:
        start = self.turn_end if turn else ""
        if system:
            start += self.system.replace("{s}", system) if self.system else system + "\n"
        if given and self.user_with_input:
            return start + self.user_with_input.replace("{q}", question, 1).replace("{i}", given)
        return start + self.user.replace("{q}", f"{question}\n{given}" if given else question)


_ALPACA = "Below is an instruction that describes a task"
_ALPACA_INPUT = (
    _ALPACA + ", paired with an input that provides further context. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{q}\n\n### Input:\n{i}\n\n### Response:"
)
_ALPACA_PLAIN = (
    _ALPACA + ". Write a response that appropriately completes the request.\n\n### Instruction:\n{q}\n\n### Response:"
)

TEMPLATES: dict[str, Template] = {
    t.name: t
    for t in (
        Template("qa", "问：{q}\n答：", system="{s}\n", turn_end="\n", stop=("\n问：",)),
        Template("alpaca", _ALPACA_PLAIN + "\n", _ALPACA_INPUT + "\n", turn_end="\n\n", stop=("### Instruction:",)),
        Template("llama-x", _ALPACA_PLAIN, _ALPACA_INPUT, turn_end="\n\n", stop=("### Instruction:",)),
        Template("chinese-alpaca", _ALPACA_PLAIN + " ", turn_end="\n\n", stop=("### Instruction:",)),
        Template(
            "chatml",
            "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n",
            system="<|im_start|>system\n{s}<|im_end|>\n",
            turn_end="<|im_end|>\n",
            stop=("<|im_end|>",),
        ),
        Template("llama2", "[INST] {q} [/INST] ", system="<<SYS>>\n{s}\n<</SYS>>\n\n", turn_end=" "),
    )
}


def get_template(name: str) -> Template:
    """The template of that name, of a YAML file with its fields, or as `told`; else DataError with the nearest name.

    user: "USER: {q}\\nASSISTANT: "
    system: "{s}\\n\\n"
    turn_end: "\\n"
    stop: ["\\nUSER:"]
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    if Path(name).suffix in {".yaml", ".yml"}:
        return _read_template(Path(name))
    if name.startswith("{"):
        return _told(name)
    raise DataError(f"unknown template {name!r}{nearest(name, TEMPLATES)}; or name a YAML file with the fields of one")


def _read_template(path: Path) -> Template:
    """A template of the user's own; DataError names the field that is missing, unknown or without its place."""
    import yaml

    if not path.is_file():
        raise DataError(f"no template file {path}")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML, {of_yaml(error)}") from None
    if not isinstance(fields, dict):
        raise DataError(f'{path} must hold the fields of a template, such as user: "问：{{q}}\\n答："')
    return _checked(fields, path.stem, path)


def _told(text: str) -> Template:
    """A template as a folder tells it."""
    try:
        fields = json.loads(text)
        return _checked(fields, str(fields.pop("name")), "the template in that folder")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"what the folder says of its template is damaged: {error}; name one with --template") from None


def _checked(fields: dict[str, Any], name: str, path: Path | str) -> Template:
    places = {"user": ("{q}",), "user_with_input": ("{q}", "{i}"), "system": ("{s}",), "turn_end": ()}
    for field, value in fields.items():
        if field not in {*places, "stop"}:
            raise DataError(f"{path}: a template has no field {field!r}{nearest(str(field), [*places, 'stop'])}")
        if field != "stop" and not isinstance(value, str):
            raise DataError(f"{path}: field {field!r} must be a text, not {value!r}")
        for place in places.get(field, ()):
            if value and value.count(place) != 1:
                raise DataError(f"{path}: field {field!r} must say once where {place} stands, found {value!r}")
        if field == "user" and "{i}" in value:
            raise DataError(f"{path}: {{i}}, the input, stands in field 'user_with_input'; 'user' is for rows without")
    if not fields.get("user"):
        raise DataError(
            f"{path}: field 'user' is missing; it says what stands around a question, as \"问：{{q}}\\n答：\""
        )
    stop = fields.pop("stop", [])
    if not isinstance(stop, list) or not all(isinstance(end, str) and end for end in stop):
        raise DataError(f"{path}: field 'stop' must be a list of texts, not {stop!r}")
    return Template(name, stop=tuple(stop), **fields)
