"""ChatGPT, and every endpoint that speaks its protocol, as a TextTeacher.

`generate` pulls requests one by one while fewer than `concurrency` are in flight, posts them from an event loop in a
thread of its own and yields completions as they finish. What another attempt may mend (connection errors, timeouts,
429, 5xx, bodies that are no JSON) is tried again with growing pauses, and never before the `Retry-After` a server asks
for; whoever pauses leaves its place to others. A refused request (400) is a completion with an error; a refused key, an
unknown model or a spent quota is a fatal one when no other key is left, after which nothing more is sent. Keys come
from the environment and are cut out of every error text.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from teachers.address import read_address
from teachers.base import Completion, Request, TeacherError
from teachers.calls import Calls
from teachers.efforts import told_pauses
from teachers.http_errors import Again, Never
from teachers.keys import Key, Keyring, read_keys

DEFAULT_URL = "https://api.openai.com/v1"
OURS = {
    "model",
    "messages",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "top_p",
    "seed",
    "stop",
    "n",
    "stream",
}
"""Parameters that a request sets itself, or that would change the shape of the answer"""
NO_MODEL = re.compile(
    r"\bmodel\b.{0,60}?not (?:exist|found|available)|(?:unknown|invalid|no such) model\b|模型.{0,9}不存在",
    re.IGNORECASE,
)
"""How some say with a 400 that they have no such model"""
IN_JSON = "请用 JSON 作答。"
SECRET = re.compile(
    r'"(?P<name>(?:\w*[_-])?(?:api[_-]?key|authorization|secret|password|headers))":|"sk-[\w-]{8}', re.I
)
"""A parameter that is a key, or the value of one that looks like it"""


class ChatGPTTeacher:
    """`ChatGPTTeacher("gpt-4o-mini")`, or `ChatGPTTeacher("/abs/model", base_url="http://127.0.0.1:8111/v1")`.

    `api_key_env` may name several variables, each may hold several keys; the paces are each key's own. `parameters` are
    sent with every request, `response_format` is `json` or the file of a JSON schema, `logprobs` keeps so many of the
    likeliest tokens a position (0: the one that was said).
    """

    local = False

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 16,
        timeout_s: float = 60.0,
        max_attempts: int = 6,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        parameters: Mapping[str, Any] | None = None,
        response_format: str | None = None,
        logprobs: int | None = None,
        backoff_s: float = 0.5,
    ) -> None:
        if not model:
            raise TeacherError("no model named; give --model, such as --model gpt-4o-mini")
        above_0 = {"concurrency": concurrency, "timeout_s": timeout_s, "max_attempts": max_attempts}
        paces = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
        for name, value in (above_0 | paces).items():
            if value is not None and value <= 0:
                raise TeacherError(f"{name} must be above 0, not {value}")
        self.name = model
        self.address = read_address(base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL)
        self.base_url = self.address.shown
        """For messages: its query is hidden"""
        self.concurrency, self.timeout_s, self.max_attempts = int(concurrency), timeout_s, max_attempts
        self.backoff_s = backoff_s
        self.on_this_machine = self.address.on_this_machine
        needed_by = "" if self.on_this_machine else self.base_url
        self.ring = Keyring(read_keys(api_key_env, needed_by), requests_per_minute, tokens_per_minute)
        self.settings = _settings(parameters, response_format, logprobs)
        self._limit_name = "max_tokens"
        self._answered = 0
        self.on_arrival: Callable[[Completion], None] | None = None
        """Is told of every good answer the moment it is there, in the sending thread, before `generate` yields it"""
        self._calls: Calls | None = None
        self.pauses: deque[tuple[float, str]] = deque(maxlen=1000)
        """(until when, why) of requests that pause, the latest ones"""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish, any order. At most `concurrency` requests are in flight, as many wait.

        Those that pause before another attempt do not count, up to three times as many. When there are no more
        requests, it asks for some again after each answer.
        """
        source = iter(requests)
        calls = self._calls = Calls(self)
        taken = 0
        try:
            while True:
                while calls.has_room(taken) and (request := next(source, None)) is not None:
                    calls.submit(request)
                    taken += 1
                if not taken:
                    return
                completion = calls.done.get()
                if completion is None:  # somebody went to pause: there may be room
                    continue
                taken -= 1
                if isinstance(completion, BaseException):
                    raise completion
                yield completion
        finally:
            self._calls = None
            calls.close()

    def wind_down(self) -> None:
        """Send nothing more, not even again; what is in flight still comes. A signal handler may call it."""
        if self._calls is not None:
            self._calls.wind_down()

    def paused(self) -> str:
        """What pauses before it is tried again, and why; "" when nothing does. Any thread may ask."""
        return self.scrub(told_pauses(self.pauses))[:120]

    def pauses_for(self) -> float:
        """Seconds until the last of those that pause is tried again."""
        return max([until for until, _ in list(self.pauses)], default=0.0) - time.monotonic()

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON of one request."""
        body: dict[str, Any] = {
            "model": self.name,
            "messages": request.messages,
            "temperature": request.temperature,
            self._limit_name: request.max_tokens,
        }
        if request.top_p != 1.0:
            body["top_p"] = request.top_p
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = request.stop[:4]  # the protocol takes no more
        for name, value in self.settings.items():
            if name == "logprobs":
                body["logprobs"] = True
                if value:
                    body["top_logprobs"] = value
            elif name == "parameters":
                body.update(value)
            else:
                body[name] = value
        if body.get("response_format", {}).get("type") == "json_object":
            body["messages"] = _asking_for_json(request.messages)
        return body

    @property
    def wants_json(self) -> bool:
        """Answers are to be JSON."""
        return "response_format" in self.settings

    def scrub(self, text: str) -> str:
        """`text` on one line without the keys, the values of the address's query, or anything that looks like a key."""
        for key in self.ring.keys:
            if key.secret:
                text = text.replace(key.secret, "***")
        text = self.address.scrub(text)
        return " ".join(re.sub(r"\bsk-[\w*-]{6,}", "sk-***", text).split())[:400]

    def refusal(self, error: Never, key: Key) -> Again | Never:
        """What a refused request means; `Again` when another key, or the other name of a parameter, mends it."""
        where, said = f"{self.name!r} at {self.base_url}", str(error)
        sentences = {
            401: f"{self.base_url} does not accept the key in {key.name}",
            402: f"the quota behind the key in {key.name} is spent",
            403: f"the key in {key.name} may not use {where}",
        }
        if error.status in sentences:
            key.dead = f"{sentences[error.status]}: {said}"
            if self.ring.alive():
                return Again(key.dead, wait_s=0.0, free=True)
            return Never(key.dead + (" (and no other key is left)" if len(self.ring.keys) > 1 else ""), fatal=True)
        if not self._answered and said == f"HTTP {error.status}: a web page" and error.status != 404:
            page = f"{self.base_url} answers with a web page ({error.status}) instead of JSON"
            return Never(f"{page}; a base url usually ends in /v1", fatal=True)
        if error.status == 404 and "model" not in said.lower():
            return Never(f"{self.base_url} has no chat/completions (404); a base url usually ends in /v1", fatal=True)
        if error.status == 404:
            return Never(f"there is no model {where}: {said}", fatal=True)
        if error.status == 400 and not self._answered and (f"'{self.name}'" in said or NO_MODEL.search(said)):
            return Never(f"{self.base_url} refuses the model {self.name!r}: {said}", fatal=True)
        if error.status == 400 and not self._answered and self.wants_json and "response_format" in said:
            return Never(f"{where} does not take this --response-format; leave it out: {said}", fatal=True)
        if error.status == 400 and "max_completion_tokens" in said and self._limit_name == "max_tokens":
            self._limit_name = "max_completion_tokens"  # newer models know it by this name only
            return Again(said, wait_s=0.0, free=True)
        if error.status == 400 and "max_completion_tokens" in said and "instead" in said:
            return Again(said, wait_s=0.0)  # it was on its way under the old name
        return error

    def heard(self) -> None:
        """There was a good answer: address, model and key are right."""
        self._answered += 1

    def reached_before(self) -> bool:
        """Whether this endpoint has ever answered."""
        return self._answered > 0


def _settings(
    parameters: Mapping[str, Any] | None, response_format: str | None, logprobs: int | None
) -> dict[str, Any]:
    """What decides answers besides the request itself; part of every request's hash. Only what was given."""
    settings: dict[str, Any] = {}
    if parameters:
        settings["parameters"] = _parameters(parameters)
    if response_format:
        settings["response_format"] = _response_format(response_format)
    if logprobs is not None:
        if isinstance(logprobs, bool) or not isinstance(logprobs, int) or not 0 <= logprobs <= 20:
            raise TeacherError(f"logprobs must be a whole number from 0 to 20, not {logprobs!r}")
        settings["logprobs"] = logprobs
    return settings


def _asking_for_json(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """OpenAI and others refuse this format unless a message has the word in it."""
    if any("json" in message["content"].casefold() for message in messages):
        return messages
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n{IN_JSON}"}, *messages[1:]]
    return [{"role": "system", "content": IN_JSON}, *messages]


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them: names are texts there, also those of `{logit_bias: {50256: -100}}`."""
    taken = sorted(OURS & given.keys())
    if taken:
        raise TeacherError(f"parameters may not hold {taken[0]!r}: it has an option of its own, or cannot be changed")
    try:
        text = json.dumps(dict(given), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TeacherError(f"parameters must be what JSON can say: {error}") from None
    if secret := SECRET.search(text):
        what = repr(secret.group("name")) if secret.group("name") else "a key"
        raise TeacherError(
            f"parameters may not hold {what}: they stand in every row that is written; keys come from the environment "
            "(--api-key-env)"
        )
    return dict(json.loads(text))


def _response_format(given: str) -> dict[str, Any]:
    """`json`, or the file of a JSON schema."""
    if given == "json":
        return {"type": "json_object"}
    path = Path(given)
    try:
        schema = orjson.loads(path.read_bytes())
    except OSError:
        raise TeacherError(f"response format {given!r} is neither 'json' nor the file of a JSON schema") from None
    except orjson.JSONDecodeError as error:
        raise TeacherError(f"{path} is no valid JSON, so no JSON schema: {error}") from None
    if not isinstance(schema, dict):
        raise TeacherError(f"{path} is no JSON schema: it must hold an object")
    name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:64] or "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
