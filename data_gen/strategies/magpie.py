"""Magpie (arXiv 2406.08464): a chat model given only what stands before a question writes the question itself.

Two requests a row: the bare start of the template at high temperature, up to where the answer would begin; then the
question that came out, asked as any other. The method needs a model that can be handed a raw prompt: a local one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from data_gen.records import DataError, Record
from data_gen.strategies import Ask, State, messages_of, request_seed
from data_gen.templates import Template, get_template
from teachers.base import Completion, Request


class Magpie:
    """Questions at `instruction_temperature`, their answers at `temperature`."""

    name = "magpie"
    per_request = 1
    total: int | None = None

    def __init__(
        self,
        template: str = "qa",
        temperature: float = 0.7,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
        instruction_temperature: float = 1.0,
        max_instruction_tokens: int = 128,
    ) -> None:
        self.template = get_template(template)
        self.temperature, self.top_p, self.max_tokens, self.seed = temperature, top_p, max_tokens, seed
        self.instruction_temperature, self.max_instruction_tokens = instruction_temperature, max_instruction_tokens
        self.ends = [end_of_question(self.template), *self.template.stop]
        self.settings: dict[str, Any] = {
            "template": template,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            "instruction_temperature": instruction_temperature,
            "max_instruction_tokens": max_instruction_tokens,
        }

    def requests(self, state: State) -> Iterator[Request]:
        """The same prompt again and again; its seed makes each one another question."""
        if not state.local:
            raise DataError(
                "strategy 'magpie' needs a local teacher (--teacher embedded or local): an endpoint wraps every prompt "
                "into a template of its own; ask an endpoint with --strategy self_instruct"
            )
        return self._questions()

    def _questions(self) -> Iterator[Request]:
        for number in count():
            yield Ask(
                key=f"magpie-{number}-question",
                messages=[],
                prompt=self.template.user_prefix(),
                max_tokens=self.max_instruction_tokens,
                temperature=self.instruction_temperature,
                top_p=self.top_p,
                seed=request_seed(self.seed, number, "question"),
                stop=self.ends,
            )

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        """The question that came out, unless it broke off or is none."""
        question = self._question(completion.text)
        if not request.key.endswith("-question") or completion.finish_reason == "length" or len(question) < 2:
            return None
        number = int(request.key.split("-")[1])
        record = Record(instruction=question)
        return Ask(
            key=f"magpie-{number}-answer",
            messages=messages_of(record),
            prompt=self.template.prompt(record),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=request_seed(self.seed, number, "answer") if self.temperature > 0 else None,
            stop=list(self.template.stop),
            record=record,
        )

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """Question and answer; nothing when it ended with the question."""
        if not isinstance(request, Ask) or request.record is None:
            return []
        return [Record(instruction=request.record.instruction, output=completion.text.strip())]

    def _question(self, text: str) -> str:
        """What was written up to the first end, for teachers that leave it in."""
        for end in self.ends:
            text = text.split(end, 1)[0]
        return text.strip()


def end_of_question(template: Template) -> str:
    r"""The first thing that shows that the question is over: "\n答：", "<|im_end|>", "[/INST]"."""
    suffix = template.user_suffix().rstrip()
    token = re.search(r"<\|[^|>]+\|>", suffix)
    if token:
        return token.group()
    shown = suffix.strip()
    return "\n" + shown if suffix.startswith("\n") else shown
