"""Magpie (arXiv 2406.08464): a chat model given only what stands before a question writes the question itself.

Two requests a row: the bare start of the template at high temperature, up to where the answer would begin; then the
question that came out, asked as any other. The method needs a model that can be handed a raw prompt: a local one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

from data_gen.records import DataError, Record
from data_gen.strategies import Ask, State, request_seed
from data_gen.strategies.asking import Asking, failed
from data_gen.templates import Template
from teachers.base import Completion, Request


class Magpie(Asking):
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
        super().__init__(
            (), template, temperature, top_p, max_tokens, seed,
            instruction_temperature=instruction_temperature, max_instruction_tokens=max_instruction_tokens,
        )  # fmt: skip
        self.instruction_temperature, self.max_instruction_tokens = instruction_temperature, max_instruction_tokens
        self.ends = [end_of_question(self.template), *self.template.stop]

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
        return self.ask(f"magpie-{number}-answer", record, True, (number, "answer"), record=record)

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """Question and answer, or why there was no question to answer."""
        if not isinstance(request, Ask) or request.record is None:
            broke = completion.finish_reason == "length"
            return [failed("question broke off" if broke else "no question", self._question(completion.text))]
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
