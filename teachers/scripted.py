"""A teacher that follows a script: the same answer to the same request, always. For tests and dry runs.

`ScriptedTeacher({"你好": "您好！"})` answers by the last thing the user said (or by the prompt), a function answers
anything, and without a script every request gets a sentence that names it. Failures are scripted the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from teachers.base import Completion, Request

Script = Mapping[str, str] | Callable[[Request], str]


class ScriptedTeacher:
    """Deterministic answers; `asked` keeps every request in the order in which it was taken."""

    def __init__(
        self,
        answers: Script | None = None,
        failures: Mapping[str, int] | None = None,
        fatal_after: int | None = None,
        batch_size: int = 4,
        local: bool = False,
        name: str = "scripted",
    ) -> None:
        self.name, self.local = name, local
        self.asked: list[Request] = []
        self._answers = echo if answers is None else answers
        self._failures = dict(failures or {})
        """How often the request of that key fails before it is answered"""
        self._fatal_after = fatal_after
        """After so many answers every request fails for good, as a spent quota does"""
        self._batch_size = batch_size
        self._answered = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Takes `batch_size` requests, then answers them last first: no caller may count on the order."""
        source = iter(requests)
        while batch := list(islice(source, self._batch_size)):
            self.asked += batch
            yield from (self._complete(request) for request in reversed(batch))

    def _complete(self, request: Request) -> Completion:
        if self._fatal_after is not None and self._answered >= self._fatal_after:
            return Completion(request.key, error="the scripted quota is spent", finish_reason="error", fatal=True)
        if self._failures.get(request.key, 0) > 0:
            self._failures[request.key] -= 1
            return Completion(request.key, error="a scripted failure", finish_reason="error")
        self._answered += 1
        text = self._answers(request) if callable(self._answers) else self._answers.get(said(request), "")
        reason = "stop"
        if len(text) > request.max_tokens:  # one token a character
            text, reason = text[: request.max_tokens], "length"
        usage = {"prompt_tokens": len(said(request)), "completion_tokens": len(text)}
        return Completion(request.key, text, reason, model=self.name, usage=usage)


def said(request: Request) -> str:
    """The last message, or the prompt when there is none."""
    return request.messages[-1]["content"] if request.messages else request.prompt or ""


def echo(request: Request) -> str:
    """A sentence that is another one for another request."""
    number = int.from_bytes(hashlib.blake2b(f"{request.seed}:{said(request)}".encode(), digest_size=4).digest(), "big")
    return f"这是第{number}号回答：您说的是“{said(request)[:40].strip()}”。"
