"""ChatGPT, and every endpoint that speaks its protocol, as a TextTeacher.

`generate` pulls requests one by one while fewer than `concurrency` are in flight, posts them from an event loop in a
thread of its own and yields completions as they finish. What another attempt may mend (connection errors, timeouts,
429, 5xx, bodies that are no JSON) is tried again with growing pauses, and never before the `Retry-After` a server asks
for. A refused request (400) is a completion with an error; a refused key, an unknown model or a spent quota is a
fatal one, after which nothing more is sent. The key comes from the environment and is cut out of every error text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson

from teachers.base import Completion, Request, TeacherError
from teachers.calls import Calls
from teachers.http_errors import Again, Never

DEFAULT_URL = "https://api.openai.com/v1"
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}


class ChatGPTTeacher:
    """`ChatGPTTeacher("gpt-4o-mini")`, or `ChatGPTTeacher("/abs/model", base_url="http://127.0.0.1:8111/v1")`."""

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
        backoff_s: float = 0.5,
    ) -> None:
        if not model:
            raise TeacherError("no model named; give --model, such as --model gpt-4o-mini")
        for name, value in (("concurrency", concurrency), ("timeout_s", timeout_s), ("max_attempts", max_attempts)):
            if value <= 0:
                raise TeacherError(f"{name} must be above 0, not {value}")
        if requests_per_minute is not None and requests_per_minute <= 0:
            raise TeacherError(f"requests_per_minute must be above 0, not {requests_per_minute}")
        self.name = model
        self.base_url = _clean_url(base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL)
        self.concurrency, self.timeout_s, self.max_attempts = int(concurrency), timeout_s, max_attempts
        self.backoff_s = backoff_s
        self.slot_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._on_this_machine = (urlsplit(self.base_url).hostname or "") in LOCAL_HOSTS
        self._key_env = api_key_env
        self._key = self._read_key()
        self._limit_name = "max_tokens"
        self._answered = 0

    def _read_key(self) -> str:
        key = os.environ.get(self._key_env, "").strip()
        if not key and not self._on_this_machine:
            raise TeacherError(
                f"no API key for {self.base_url}: set the environment variable {self._key_env}, or give --base-url "
                "of a server on this machine, which needs none"
            )
        if not all(33 <= ord(char) < 127 for char in key):
            raise TeacherError(f"{self._key_env} holds characters that no API key has; set it again")
        return key

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish, any order; at most `concurrency` requests are taken ahead of them."""
        source = iter(requests)
        calls = Calls(self)
        in_flight, more = 0, True
        try:
            while True:
                while more and in_flight < self.concurrency and not calls.over.is_set():
                    request = next(source, None)
                    if request is None:
                        more = False
                    else:
                        calls.submit(request)
                        in_flight += 1
                if not in_flight:
                    return
                completion = calls.done.get()
                in_flight -= 1
                if isinstance(completion, BaseException):
                    raise completion
                yield completion
        finally:
            calls.close()

    def client(self) -> Any:
        """The `openai` client: no retries of its own; no proxy in front of this machine."""
        import httpx2
        from openai import AsyncOpenAI

        limits = httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        # The whole answer has `timeout_s` (see Calls); a limit on each read as well would only cost time.
        timeout = httpx2.Timeout(None, connect=min(self.timeout_s, 20.0))
        http = httpx2.AsyncClient(
            limits=limits, timeout=timeout, follow_redirects=True, trust_env=not self._on_this_machine
        )
        key = self._key or "none-needed"
        return AsyncOpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=timeout, http_client=http)

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
        return body

    def scrub(self, text: str) -> str:
        """`text` on one line without the key, or anything that looks like one."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(re.sub(r"\bsk-[\w*-]{6,}", "sk-***", text).split())[:400]

    def refusal(self, error: Never) -> Again | Never:
        """What a refused request means for the user; `Again` when the other name of a parameter mends it."""
        where = f"{self.name!r} at {self.base_url}"
        sentences = {
            401: f"{self.base_url} does not accept the key in {self._key_env}",
            402: f"the quota behind the key in {self._key_env} is spent",
            403: f"the key in {self._key_env} may not use {where}",
            404: f"there is no model {where}",
        }
        if error.status == 404 and "model" not in str(error).lower():
            return Never(f"{self.base_url} has no chat/completions (404); a base url usually ends in /v1", fatal=True)
        if error.status in sentences:
            return Never(f"{sentences[error.status]}: {error}", fatal=True)
        if error.status == 400 and not self._answered and f"'{self.name}'" in str(error):
            return Never(f"{self.base_url} refuses the model {self.name!r}: {error}", fatal=True)
        if error.status == 400 and "max_completion_tokens" in str(error):
            self._limit_name = "max_completion_tokens"  # newer models know it by this name only
            return Again(str(error), wait_s=0.0)
        return error

    def read(self, content: bytes, content_type: str) -> tuple[str, str, str, dict[str, int]]:
        """(text, finish reason, model, usage) of an answer's body."""
        if content.lstrip()[:1] == b"<" or "text/html" in content_type:
            sentence = f"{self.base_url} answers with a web page instead of JSON; a base url usually ends in /v1"
            # After good answers it is a gateway's passing page; before any, the address is wrong.
            raise Again(sentence) if self._answered else Never(sentence, fatal=True)
        try:
            body = orjson.loads(content)
            choice = body["choices"][0]
            said = choice["message"]["content"]
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            shown = content[:120].decode("utf-8", "replace")
            raise Again(f"{self.base_url} answered with no valid completion: {shown!r}") from None
        if isinstance(said, list):  # some servers answer in parts
            said = "".join(part.get("text") or "" for part in said if isinstance(part, dict))
        if choice.get("finish_reason") == "content_filter":
            raise Never("the endpoint's content filter held the answer back")
        self._answered += 1
        counted = body.get("usage") or {}
        usage = {name: int(counted.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}
        reason = "length" if choice.get("finish_reason") == "length" else "stop"
        return said or "", reason, str(body.get("model") or self.name), usage

    def reached_before(self) -> bool:
        """Whether this endpoint has ever answered."""
        return self._answered > 0


def _clean_url(url: str) -> str:
    url = url.strip().rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TeacherError(f"base url {url!r} is no address; it looks like http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise TeacherError(f"the base url of {parts.hostname} holds a password; put the key into the environment")
    return url
