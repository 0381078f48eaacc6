"""What an endpoint's answer holds: text, why it ended, usage, and the probabilities when they were asked for."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson

from teachers.base import Request, estimated_tokens, tokens_of
from teachers.http_errors import Again, Never, NoApi

HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""One of the two parts of a character, alone"""
NO_CHANCE = -9999.0
"""The logprob of what cannot be"""
CACHED = ("prompt_cache_hit_tokens", "cached_tokens")


@dataclass(slots=True)
class Reply:
    """One answer, read."""

    text: str
    reason: str
    model: str
    usage: dict[str, int]
    logprobs: list[Any] | None = None


def read(content: bytes, content_type: str, url: str, model: str) -> Reply:
    """A chat completion's body; raises Again for one that is none, NoApi for a web page, Never for an answer that was
    held back."""
    if content.lstrip()[:1] == b"<" or "text/html" in content_type:
        raise NoApi(f"{url} answers with a web page instead of JSON; a base url usually ends in /v1")
    try:
        return of_body(_parsed(content), model)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        shown = repr(content[:120].decode("utf-8", "replace"))
        if b'"choices"' in content:
            raise Again(f"{url} answered with no valid completion: {shown}") from None
        other = f"{url} answers with something else than completions ({shown}); a base url usually ends in /v1"
        raise Again(other, no_endpoint=True) from None


def _parsed(content: bytes) -> Any:
    """JSON, also with half a character or -Infinity in it, as some servers write it: what was paid for is not asked
    again for that."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(HALF.sub(rb"\\ufffd", content), parse_constant=lambda name: NO_CHANCE)


def of_body(body: dict[str, Any], model: str) -> Reply:
    """The same of a body that is parsed already."""
    choice = body["choices"][0]
    said = choice["message"]["content"]
    if isinstance(said, list):  # some servers answer in parts
        said = "".join(part.get("text") or "" for part in said if isinstance(part, dict))
    if said is not None and not isinstance(said, str):
        raise TypeError("the content is no text")
    if choice.get("finish_reason") == "content_filter":
        raise Never("the endpoint's content filter held the answer back")
    reason = "length" if choice.get("finish_reason") == "length" else "stop"
    logprobs = (choice.get("logprobs") or {}).get("content")
    kept = [_position(told) for told in logprobs] if logprobs else None
    return Reply(said or "", reason, str(body.get("model") or model), _usage(body.get("usage") or {}), kept)


def _usage(counted: dict[str, Any]) -> dict[str, int]:
    usage = {name: _count(counted.get(name)) for name in ("prompt_tokens", "completion_tokens")}
    details = counted.get("prompt_tokens_details") or {}
    cached = next((found for name in CACHED if (found := _count(counted.get(name) or details.get(name)))), 0)
    return usage | ({"cached_tokens": cached} if cached else {})


def _count(told: Any) -> int:
    return max(0, int(told)) if isinstance(told, int | float) else 0


def charged(reply: Reply, request: Request) -> dict[str, int]:
    """The tokens of an answer; where a server does not count, roughly as many as there must have been (`estimated`)."""
    if reply.usage["prompt_tokens"] or reply.usage["completion_tokens"]:
        return reply.usage
    written = math.ceil(tokens_of(reply.text))
    return {"prompt_tokens": estimated_tokens(request), "completion_tokens": written, "estimated": 1}


def _position(told: dict[str, Any]) -> list[Any]:
    """One position: the token that was said, its logprob, and the likeliest ones with theirs."""
    top = [[_token(other), round(other["logprob"], 5)] for other in told.get("top_logprobs") or ()]
    return [_token(told), round(told["logprob"], 5), top]


def _token(told: dict[str, Any]) -> str | list[int]:
    """A token as text, or as its bytes where they are part of a character only."""
    raw = told.get("bytes")
    if not raw:
        return told["token"]
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        return list(raw)
