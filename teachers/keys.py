"""The keys of one endpoint: whose turn it is, how fast each may go, which one is spent.

Every key has its own pace (requests and tokens a minute), counted from the moment a request really leaves. A rate limit
pauses the one request that met it; a key rests as a whole only when several requests in a row meet a 429 again after
that pause. A key that is refused or whose quota is spent is left out from then on; only when the last one is gone is
the run over.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from teachers.base import TeacherError

CLUSTER = 3
"""So many requests in a row that have waited as they were told, and meet a 429 again, rest the key itself"""
SLOWEST = 2.0
"""A pace that is too fast for the server is slowed down, to this share of its slot at most"""
FIRST_REST_S = 1.0
LONGEST_REST_S = 30.0
SLOWER, LATER_S = 1.04, 0.008
"""A request may travel faster than the one before it: so much more between two, at most a tenth"""
LAGS, TICK_S, FORGETS = 2.0, 0.002, 0.9
"""On a machine that wakes late things travel unevenly: so many times what it was late lately is added, up to a slot"""
FIRST_S = 0.3
"""The first one wakes the other side up, and so takes longer on its way; so may any, until a wait has been measured"""
MINUTE_S, TRAVELS_S = 60.0, 1.0
"""No minute of the other side's may hold too many tokens, and a request may travel longer than the next one"""
LOOK_S = 0.05
"""So often whoever waits for tokens looks whether some were given back"""
BURST_S = 2.0
"""Tokens of so many seconds may go out at once, after a time in which fewer did"""
NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""What a variable is called as a rule. Anything else that is not set may be a key, given by mistake"""


@dataclass(slots=True)
class Lateness:
    """How late this machine woke lately, whichever key it was to wake for."""

    seconds: float | None = None
    """None: it has not had to wait yet"""

    def saw(self, seconds: float) -> None:
        self.seconds = max(seconds, FORGETS * (self.seconds or 0.0))


@dataclass(slots=True, eq=False)
class Sent:
    """Tokens of one request, by the moment it left: those it may use, and once they are counted those it did."""

    at: float
    tokens: int


class TokenPace:
    """Tokens a minute, evenly: a bucket of a few seconds, and a list of what the last minute holds.

    The bucket alone would do if every request were smaller than it and used what it may. The list holds for all: what
    a request gives back counts for the minute in which it left, not for the one in which that is known.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.rate = limit / (MINUTE_S + TRAVELS_S + BURST_S)
        """Tokens that become free every second: a full bucket and a minute of these are the limit"""
        self._most = self._level = self.rate * BURST_S
        self._filled = time.monotonic()
        self._sent: deque[Sent] = deque()
        self._sum = 0

    def ready(self, tokens: int, now: float) -> float:
        """The moment at which so many may leave. What is larger than the bucket waits until that is full."""
        self._fill(now)
        at = now + (min(tokens, self._most) - self._level) / self.rate
        while self._sent and self._sent[0].at <= now - MINUTE_S - TRAVELS_S:
            self._sum -= self._sent.popleft().tokens
        much = self._sum + tokens - self.limit
        for old in self._sent:
            if much <= 0:
                break
            much -= old.tokens
            at = max(at, old.at + MINUTE_S + TRAVELS_S)
        return at

    def take(self, tokens: int, now: float) -> Sent:
        """So many are going to be used."""
        sent = Sent(now, tokens)
        self._level -= tokens
        self._sum += tokens
        self._sent.append(sent)
        return sent

    def used(self, sent: Sent, tokens: int, now: float) -> None:
        """So many it were in the end."""
        back, sent.tokens = sent.tokens - tokens, tokens
        self._fill(now)
        self._level = min(self._most, self._level + back)
        if self._sent and sent.at >= self._sent[0].at:  # else it is in the list no more
            self._sum -= back

    def _fill(self, now: float) -> None:
        self._level = min(self._most, self._level + (now - self._filled) * self.rate)
        self._filled = now


@dataclass(slots=True, eq=False)
class Key:
    """One key and its pace."""

    secret: str
    name: str
    """How messages call it: the variable that holds it"""
    slot_s: float = 0.0
    """Between two requests"""
    pace: TokenPace | None = None
    """Of tokens; None: no limit"""
    dead: str = ""
    """Why it is used no more"""
    machine: Lateness = field(default_factory=Lateness)
    """One for all the keys of a ring"""
    _next: float = 0.0
    _new: bool = True
    _slower: float = SLOWER
    _resting: float = 0.0
    _limited: int = 0
    _sent: Sent | None = None

    def ready(self, tokens: int, now: float) -> float:
        """The moment at which it may send a request of so many tokens."""
        at = max(self._next, self._resting)
        return at if self.pace is None else max(at, self.pace.ready(tokens, now))

    def take(self, tokens: int, now: float) -> None:
        """So many tokens are going to be used by the request that leaves next."""
        if self.pace is not None:
            self._sent = self.pace.take(tokens, now)

    def left(self, now: float) -> None:
        """A request has really left: the next one waits from here."""
        if self._sent is not None:
            self._sent.at = now
        if self.slot_s:
            late_s = self.machine.seconds
            margin = max(min(LATER_S, 0.1 * self.slot_s), min(LAGS * ((late_s or 0.0) - TICK_S), self.slot_s))
            first_s = FIRST_S if self._new or late_s is None else 0.0
            self._next = now + self.slot_s * self._slower + margin + first_s
            self._new = False

    def sending(self) -> Sent | None:
        """What the request takes whose turn it is, to say later what it used."""
        return self._sent

    def used(self, sent: Sent | None, tokens: int) -> None:
        """A request has used so many of the tokens that it took."""
        if self.pace is not None and sent is not None:
            self.pace.used(sent, tokens, time.monotonic())

    def answered(self) -> None:
        """A good answer: whatever limit there was is over."""
        self._limited = 0

    def limited(self, wait_s: float | None, again: bool = True) -> None:
        """A 429. The third in a row that a request meets `again`, after its pause, rests the key, longer each time."""
        self._slower = min(self._slower * SLOWER, SLOWEST)  # the pace that was given is too fast
        self._limited += again
        if again and self._limited % CLUSTER == 0:
            grown = min(FIRST_REST_S * 2.0 ** (self._limited // CLUSTER - 1), LONGEST_REST_S)
            self._resting = max(self._resting, time.monotonic() + (grown if wait_s is None else wait_s))


class Keyring:
    """`async with ring.turn(tokens, sleep) as key:` send with the key that may send first, waited for."""

    def __init__(
        self, keys: list[tuple[str, str]], requests_per_minute: float | None, tokens_per_minute: float | None
    ) -> None:
        slot_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self.machine = Lateness()
        paces = [TokenPace(tokens_per_minute) if tokens_per_minute else None for _ in keys]
        self.keys = [
            Key(secret, name, slot_s, pace, machine=self.machine)
            for (name, secret), pace in zip(keys, paces, strict=True)
        ]
        self.paced = bool(requests_per_minute or tokens_per_minute)
        self._turn = 0
        self._queue: asyncio.Lock | None = None

    def renew(self) -> None:
        """For the event loop of another `generate`."""
        self._queue = asyncio.Lock()

    def alive(self) -> list[Key]:
        """Keys that are still of use."""
        return [key for key in self.keys if not key.dead]

    def _first(self, tokens: int, now: float) -> tuple[float, Key]:
        """The key that is ready first; among those that are ready, each in its turn."""
        alive = self.alive() or self.keys
        self._turn += 1
        turns = [alive[(self._turn + n) % len(alive)] for n in range(len(alive))]
        times = [max(now, key.ready(tokens, now)) for key in turns]
        best = min(range(len(turns)), key=times.__getitem__)
        return times[best], turns[best]

    @asynccontextmanager
    async def turn(self, tokens: int, sleep: Callable[[float], Awaitable[bool]]) -> AsyncIterator[Key]:
        """The key to send with, once it may; others wait until that is done. `sleep` says True to end all waiting."""
        if len(self.keys) == 1 and not self.paced and not self.keys[0]._resting:
            yield self.keys[0]
            return
        assert self._queue is not None
        async with self._queue:  # first come, first served; only the first one waits for the clock
            key = await self._wait(tokens, sleep)
            try:
                yield key
            finally:
                key.left(time.monotonic())

    async def _wait(self, tokens: int, sleep: Callable[[float], Awaitable[bool]]) -> Key:
        while True:
            now = time.monotonic()
            at, key = self._first(tokens, now)
            if key.pace is not None:  # an answer that is shorter than it might have been makes room meanwhile
                at = min(at, now + LOOK_S)
            if at <= now or await sleep(at - now):
                key.take(tokens, now)
                return key
            self.machine.saw(time.monotonic() - at)


def read_keys(names: str, needed_by: str) -> list[tuple[str, str]]:
    """(variable, key) of every key in the variables `NAME` or `NAME,NAME`, each of which may hold several.

    TeacherError when there is none and `needed_by`, an address, wants one; keys themselves are never in a message, nor
    what may be one, given instead of a name.
    """
    keys: list[tuple[str, str]] = []
    named = all(NAME.fullmatch(name) or name in os.environ for name in names.replace(",", " ").split())
    if not named:
        raise TeacherError(
            "--api-key-env takes the names of environment variables, such as OPENAI_API_KEY, and what was given is no "
            "such name and none that is set; keys themselves do not belong on the command line"
        )
    for name in names.replace(",", " ").split():
        held = os.environ.get(name, "").replace(",", " ").split()
        for n, key in enumerate(held, 1):
            if not all(33 <= ord(char) < 127 for char in key):
                raise TeacherError(f"{name} holds characters that no API key has; set it again")
            if key not in {known for _, known in keys}:
                keys.append((f"{name} ({n} of {len(held)})" if len(held) > 1 else name, key))
    if not keys and needed_by:
        raise TeacherError(
            f"no API key for {needed_by}: set the environment variable {names}, or give --base-url "
            "of a server on this machine, which needs none"
        )
    return keys or [(names, "")]
