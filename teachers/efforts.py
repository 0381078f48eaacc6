"""When a request is tried again: what it has cost so far, how long it pauses, and when it is given up."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from teachers.base import Request
from teachers.http_errors import Again
from teachers.replies import Reply, charged

if TYPE_CHECKING:
    from teachers.chatgpt import ChatGPTTeacher

CONNECT_S = 20.0
"""How long a connection may take to come about, and how long a host is tried that never answered"""
LONGEST_PAUSE_S = 30.0
PATIENCE_S = 600.0
"""How long a rate limit may put one request off, all its 429 together"""
SPREAD_S = 2.0
"""Over how long those who were told the same Retry-After spread out"""
USELESS_ANSWERS = 3
"""So often an empty answer, or one that is no JSON, is taken for a fault; then it is what the model has to say"""


@dataclass(slots=True)
class Effort:
    """What one request has cost so far."""

    start: float = 0.0
    sent: int = 0
    failed: int = 0
    put_off_s: float = 0.0
    first: Again | None = None
    direct: bool = True
    """It went over a connection of our own, which follows no redirect"""
    useless: int = 0
    usage: dict[str, int] = field(default_factory=lambda: {"prompt_tokens": 0, "completion_tokens": 0})

    def objection(self, reply: Reply, request: Request, wants_json: bool) -> str:
        """Count what an answer has cost; why it is not taken, "" when it is."""
        for name, count in charged(reply, request).items():
            self.usage[name] = self.usage.get(name, 0) + count
        why = useless(reply, wants_json)
        self.useless += bool(why)
        return why if self.useless < USELESS_ANSWERS else ""


def useless(reply: Reply, wants_json: bool) -> str:
    """Why an answer is not taken at once; "" when it is."""
    if not reply.text.strip():  # cut off before its first word, by its thoughts, it would be so again
        return "" if reply.reason == "length" else "the answer was empty"
    if wants_json and reply.reason != "length":
        try:
            orjson.loads(reply.text)
        except orjson.JSONDecodeError:
            return "the answer was no JSON"
    return ""


def pause(state: Any) -> float:
    """Seconds before the next attempt: what the server asks for, or doubled each time; spread out either way."""
    error, effort, teacher = _of(state)
    doubled = min(teacher.backoff_s * 2.0 ** min(effort.sent - 1, 10), LONGEST_PAUSE_S)
    seconds = doubled * random.uniform(0.5, 1.0)
    if error.free:
        return 0.0
    if error.wait_s is not None:  # never early; those who were told the same moment spread out more each time
        seconds = error.wait_s + 0.03 + random.uniform(0.0, min(doubled, SPREAD_S) if effort.sent > 1 else 0.1)
    effort.put_off_s += seconds if error.limited else 0.0
    teacher.pauses.append((time.monotonic() + seconds, str(error)))
    return seconds


def told_pauses(pauses: Iterable[tuple[float, str]]) -> str:
    """How many requests pause, how long the first of them still does, and why; "" when none does."""
    now = time.monotonic()
    left = [pause for pause in list(pauses) if pause[0] > now]
    if not left:
        return ""
    until, why = min(left)
    return f"{len(left)} to be tried again, the first in {until - now:.0f} s: {why}"


def enough(state: Any) -> bool:
    """Rate limits are waited for; every other failure counts. A host that never answered is given up early."""
    error, effort, teacher = _of(state)
    if error.free:
        return False
    if error.limited:
        return effort.put_off_s >= PATIENCE_S or (error.wait_s or 0.0) > PATIENCE_S
    effort.failed += 1
    if error.no_endpoint and not teacher.reached_before():
        return given_up(effort.failed, time.monotonic() - effort.start, teacher.max_attempts)
    return effort.failed >= teacher.max_attempts


def given_up(attempts: int, seconds: float, most: int) -> bool:
    """Whether a host that never answered has had its chances."""
    return attempts >= min(3, most) or seconds >= CONNECT_S


def _of(state: Any) -> tuple[Again, Effort, ChatGPTTeacher]:
    _, effort, teacher = state.args
    return state.outcome.exception(), effort, teacher
