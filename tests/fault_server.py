"""An OpenAI-compatible server that misbehaves on demand, in a thread of the test itself.

`with FaultServer(plan) as server:` listens on a free port of this machine; `plan(number, attempt)` says what happens to
the `attempt`-th sending (from 0) of the question that holds `#number#`: the name of a fault, or None for a good answer.
The server counts what it was asked and what it answered, so that a test can prove that nothing was paid for twice.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

Plan = Callable[[int, int], str | None]
Reply = tuple[int, bytes, dict[str, str]]

PAGE = b"<!DOCTYPE html><html><body>Welcome to the gateway</body></html>"


def good(number: int, attempt: int) -> str | None:
    return None


class FaultServer:
    """Faults: 429 500 503 400 404 401 quota html cut other empty length thoughts filter drop hang."""

    def __init__(self, plan: Plan = good, delay_s: float = 0.0, retry_after: str = "0.2") -> None:
        self.plan, self.delay_s, self.retry_after = plan, delay_s, retry_after
        self.spread = 0.0
        """Answers take from `1 - spread` to `1 + spread` times `delay_s`, drawn anew for each"""
        self.says = "This prompt is too long"
        """With a 400"""
        self.usage: Any = "counted"
        """What answers say about tokens; "counted": how many they are"""
        self.key: str | None = None
        """When set, any other key is refused, quoting it"""
        self.answer: Callable[[dict[str, Any]], str] | None = None
        """Makes the text of a good answer out of the request's body"""
        self.asked: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()
        """Good answers that were sent to a client that was still there"""
        self.answered_at: dict[int, list[float]] = {}
        """When each of them was written"""
        self.answered_to: dict[int, int] = {}
        """The port of whoever was told the last one"""
        self.bodies: list[dict[str, Any]] = []
        self.faults: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        """Good answers by key"""
        self.refused: dict[str, str] = {}
        """{key: fault} for keys that have one of their own"""
        self.rpm: float | None = None
        """Requests a minute and key; each too many is a 429"""
        self.tpm: float | None = None
        """Tokens a minute and key, counted by what a good answer uses"""
        self.minute_s = 60.0
        """How long a minute takes here"""
        self.used: dict[str, list[tuple[float, int]]] = {}
        """(when, tokens) of all that was let in, by key"""
        self.query = ""
        """Of the last request"""
        self.in_flight = self.most_in_flight = self.too_early = 0
        self._allowance: dict[str, tuple[float, float]] = {}
        self._not_before: dict[int, float] = {}
        self._readers: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(5)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        self._readers[writer] = reader
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
                length = re.search(r"content-length:\s*(\d+)", head, re.IGNORECASE)
                content = await reader.readexactly(int(length.group(1)) if length else 0)
                path = head.split(" ", 2)[1]
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    done = await self._reply(path, head, content, writer)
                finally:
                    self.in_flight -= 1
                if not done:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            del self._readers[writer]
            writer.close()

    async def _reply(self, path: str, head: str, content: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, well or badly; False ends the connection."""
        body = json.loads(content) if content[:1] == b"{" else {}
        said = json.dumps(body.get("messages", ""), ensure_ascii=False)
        tag = re.search(r"#(\d+)#", said)
        number = int(tag.group(1)) if tag else -1
        attempt = self.asked[number]
        self.asked[number] += 1
        self.bodies.append(body)
        if time.monotonic() < self._not_before.get(number, 0.0):
            self.too_early += 1
        key = re.search(r"authorization: bearer (\S+)", head, re.IGNORECASE)
        where, _, self.query = path.partition("?")
        fault = "404" if not where.endswith("/v1/chat/completions") else self.plan(number, attempt)
        if self.key is not None and (key is None or key.group(1) != self.key):
            fault = "401"
        secret = key.group(1) if key else ""
        fault = self.refused.get(secret) or ("429" if self._too_fast(secret) else fault)
        if fault is None and self._too_much(secret, number, body):
            fault = "429"
        if fault:
            self.faults[fault] += 1
        if fault == "hang":
            await asyncio.sleep(30)
            return False
        await asyncio.sleep(self.delay_s * random.uniform(1 - self.spread, 1 + self.spread))
        if fault == "junk":
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        if fault in {"drop", "junk"}:
            return False
        status, data, headers = self._what(fault, number, body, key.group(1) if key else "")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if writer.is_closing() or self._readers[writer].at_eof():  # whoever asked is gone
            return False
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        at = time.monotonic()  # it is in the socket of whoever asked
        await writer.drain()
        if fault is None:
            self.answered[number] += 1
            self.answered_to[number] = writer.get_extra_info("peername")[1]
            self.answered_at.setdefault(number, []).append(at)
            self.keys[secret] += 1
        return True

    def _too_fast(self, key: str) -> bool:
        """A bucket of one request, filled at the key's pace."""
        if self.rpm is None:
            return False
        now = time.monotonic()
        level, at = self._allowance.get(key, (1.0, now))
        level = min(1.0, level + (now - at) * self.rpm / 60)
        self._allowance[key] = (level - (level >= 1), now)
        return level < 1

    def _too_much(self, key: str, number: int, body: dict[str, Any]) -> bool:
        """No minute, wherever it begins, may hold more tokens than the limit."""
        if self.tpm is None:
            return False
        now, used = time.monotonic(), self.used.setdefault(key, [])
        needs = json.loads(self._good(number, body, None))["usage"]["total_tokens"]
        if needs + sum(tokens for at, tokens in used if at > now - self.minute_s) > self.tpm:
            return True
        used.append((now, needs))
        return False

    def _what(self, fault: str | None, number: int, body: dict[str, Any], key: str) -> Reply:
        kind = {"Content-Type": "application/json"}
        if fault == "429":
            self._not_before[number] = time.monotonic() + float(self.retry_after)
            return 429, error("Rate limit reached", "rate_limit_exceeded"), {**kind, "Retry-After": self.retry_after}
        if fault == "quota":
            return 429, error("You exceeded your current quota, please check your plan.", "insufficient_quota"), kind
        if fault == "401":
            return 401, error(f"Incorrect API key provided: {key}.", "invalid_api_key"), kind
        if fault == "404":
            return 404, error("The model does not exist", "model_not_found"), kind
        if fault in {"501", "405"}:
            return int(fault), PAGE, {"Content-Type": "text/html"}
        if fault == "400":
            return 400, error(self.says, "context_length_exceeded"), kind
        if fault == "pinned":
            return 400, error(f"Server is pinned to 'other'; requested '{body.get('model')}'.", "bad_request"), kind
        if fault == "limit name":
            if "max_tokens" in body:
                return 400, error("Use 'max_completion_tokens' instead of 'max_tokens'.", "unsupported_parameter"), kind
            fault = None
        if fault in {"500", "503"}:
            return int(fault), error("The server had an error", "server_error"), kind
        if fault == "html":
            return 200, PAGE, {"Content-Type": "text/html"}
        if fault == "other":
            return 200, b'{"status": "ok"}', kind
        data = self._good(number, body, fault)
        return 200, data[: len(data) // 2] if fault == "cut" else data, kind

    def _good(self, number: int, body: dict[str, Any], fault: str | None) -> bytes:
        text = self.answer(body) if self.answer else f"#{number}# 这是第{number}个问题的回答，祝您一切顺利。"
        text = {"empty": "", "thoughts": "", "length": text[:6]}.get(fault or "", text)
        reason = {"length": "length", "thoughts": "length", "filter": "content_filter"}.get(fault or "", "stop")
        message = {"role": "assistant", "content": text}
        told: dict[str, Any] = {"content": [logprob(char) for char in text]} if body.get("logprobs") else {}
        answer = {
            "id": "x",
            "object": "chat.completion",
            "model": body.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": told or None}],
            "usage": {"prompt_tokens": 7, "completion_tokens": len(text), "total_tokens": 7 + len(text)},
        }
        if self.usage != "counted":
            answer["usage"] = self.usage
        return json.dumps(answer, ensure_ascii=False).encode()


def logprob(char: str) -> dict[str, Any]:
    """A position as the protocol tells it: the character, and its first byte as the other candidate."""
    raw = list(char.encode())
    half = {"token": "\ufffd", "logprob": -2.5, "bytes": raw[:1]}
    return {
        "token": char,
        "logprob": -0.1234567,
        "bytes": raw,
        "top_logprobs": [{"token": char, "logprob": -0.1, "bytes": raw}, half],
    }


def error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}}).encode()
