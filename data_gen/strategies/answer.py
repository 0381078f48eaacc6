"""Given instructions, the teacher's responses: how most answer sets of strong teachers were made.

The instructions are rows of a JSON-lines or JSON file in Alpaca's form; whatever output they have is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from data_gen.records import DataError, Record, iter_rows
from data_gen.strategies import Ask, State
from data_gen.strategies.asking import Asking, Draws, fingerprint
from teachers.base import Completion, Request


class Answer(Asking):
    """One request an instruction, in the order of the file."""

    name = "answer"
    per_request = 1
    filters: ClassVar[dict[str, Any]] = {"novelty": False}  # which instructions there are is the user's business

    def __init__(
        self,
        instructions: str,
        template: str = "qa",
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 512,
        seed: int = 0,
    ) -> None:
        self.path = Path(instructions)
        # Counting also finds every bad row before anything is paid.
        self.total: int | None = sum(1 for _ in read_tasks(self.path))
        if not self.total:
            raise DataError(f"{self.path} holds no instructions")
        super().__init__((), template, temperature, top_p, max_tokens, seed)
        self.inputs = {"instructions": fingerprint(self.path)}

    def requests(self, state: State) -> Iterator[Request]:
        """Each row's question; greedy asking carries no seed, so that equal questions are paid for once."""
        draws = Draws()
        for number, record in enumerate(read_tasks(self.path)):
            draw = draws.of(record) if self.temperature > 0 else None
            yield self.ask(f"answer-{number}", record, state.local, draw, record=record)

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """The row as it was given, with the answer."""
        if not isinstance(request, Ask) or request.record is None:
            return []
        asked = request.record
        return [replace(asked, output=completion.text.strip(), id="", history=[list(turn) for turn in asked.history])]


def read_tasks(path: Path) -> Iterator[Record]:
    """Rows as records with an empty output; DataError names file and place of a row that is no task."""
    for place, row in iter_rows(path):
        try:
            record = Record.from_dict({**row, "output": "", "id": ""})
        except DataError as error:
            raise DataError(f"{path}, {place}: {error}") from None
        if not record.instruction.strip():
            raise DataError(f"{path}, {place}: the instruction is empty")
        yield record
