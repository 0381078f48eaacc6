"""What all strategies share: how a request is dressed, and what its settings say of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from data_gen.places import Places
from data_gen.records import DataError, Record
from data_gen.strategies import Ask, messages_of, request_seed
from data_gen.templates import get_template
from teachers.base import Completion, Request

NO_MEDIA = "只靠文字就能完成，不需要图片、音频、视频，也不需要上网"
"""What every task that is asked for must be"""


class Asking:
    """Base of the strategies. A subclass says in `prompts` what texts it asks with, and in `more` what else decides."""

    def __init__(
        self,
        prompts: tuple[str, ...],
        template: str,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        **more: Any,
    ) -> None:
        self.template = get_template(template)
        self.temperature, self.top_p, self.max_tokens, self.seed = temperature, top_p, max_tokens, seed
        self.settings: dict[str, Any] = {
            "template": template,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            "prompt": text_hash(*prompts, repr(self.template)),
            **more,
        }
        self.inputs: dict[str, Any] = {}

    def ask(
        self,
        key: str,
        content: Record | str,
        local: bool,
        draw: tuple[int, str] | None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        **about: Any,
    ) -> Ask:
        """A request for the answer to a text or a record; `draw` seeds it unless it is greedy; `about` is Ask's."""
        content = Record(instruction=content) if isinstance(content, str) else content
        temperature = self.temperature if temperature is None else temperature
        return Ask(
            key=key,
            messages=messages_of(content),
            prompt=self.template.prompt(content) if local else None,
            max_tokens=max_tokens or self.max_tokens,
            temperature=temperature,
            top_p=self.top_p,
            seed=request_seed(self.seed, *draw) if draw is not None and temperature > 0 else None,
            stop=list(self.template.stop) if local else [],
            **about,
        )

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        """Most ask once."""
        return None


class Draws:
    """A draw for each row of a file by what it says, and how often that came before: rows that are put in between, or
    taken out, leave those of the others as they are."""

    def __init__(self) -> None:
        self._seen = Places()

    def of(self, record: Record) -> tuple[int, str]:
        """What seeds the request for this row."""
        before = self._seen.get(record.id) or 0
        self._seen.put(record.id, before + 1)
        return before, record.id


def failed(reason: str, instruction: str = "", **meta: Any) -> Record:
    """A record that says why nothing came of an answer; the filter `strategy` turns it down with that reason."""
    return Record(instruction, meta={**meta, "failed": reason})


def text_hash(*texts: str) -> str:
    """8 hex digits over prompts: another wording is another recipe."""
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=4).hexdigest()


def fingerprint(path: Path) -> str:
    """16 hex digits over a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()[:16]


def at_least_one(**counts: int) -> None:
    """DataError for a count below 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise DataError(f"{name} must be a whole number above 0, not {count!r}")


def fenced(text: str, what: str) -> str:
    """A text between marks that it does not hold itself, so that it cannot end its own quotation."""
    number = 0
    while (mark := text_hash(text, str(number))) in text:
        number += 1
    return f"<{what} {mark}>\n{text}\n</{what} {mark}>"
