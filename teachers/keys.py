"""The keys of one endpoint: whose turn it is, how fast each may go, which one is spent.

Every key has its own pace (requests and tokens a minute), counted from the moment a request really leaves. A rate limit
pauses the one request that met it; a key rests as a whole only when several requests in a row meet a 429 again after
that pause. A key that is refused or whose quota is spent is left out from then on; only when the last one is gone is
the run over.
"""

from __future__ import annotations

import asyncio
import os
import time
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
BURST_S = 6.0
"""Tokens of so many seconds may go out at once"""


@dataclass(slots=True)
class Lateness:
    """How late this machine woke lately, whichever key it was to wake for."""

    seconds: float | None = None
    """None: it has not had to wait yet"""

    def saw(self, seconds: float) -> None:
        self.seconds = max(seconds, FORGETS * (self.seconds or 0.0))


@dataclass(slots=True, eq=False)
class Key:
    """One key and its pace."""

    secret: str
    name: str
    """How messages call it: the variable that holds it"""
    slot_s: float = 0.0
    """Between two requests"""
    tokens_s: float = 0.0
    """Tokens that become free every second; 0: no limit"""
    dead: str = ""
    """Why it is used no more"""
    machine: Lateness = field(default_factory=Lateness)
    """One for all the keys of a ring"""
    _next: float = 0.0
    _new: bool = True
    _slower: float = SLOWER
    _resting: float = 0.0
    _limited: int = 0
    _level: float = field(default=-1.0, repr=False)
    _filled: float = 0.0

    def ready(self, tokens: int, now: float) -> float:
        """The moment at which it may send a request of so many tokens."""
        at = max(self._next, self._resting)
        if self.tokens_s:
            self._fill(now)
            # What is larger than a burst goes when the bucket is full, and leaves a debt.
            at = max(at, now + (min(tokens, self.tokens_s * BURST_S) - self._level) / self.tokens_s)
        return at

    def take(self, tokens: int) -> None:
        """So many tokens are going to be used."""
        if self.tokens_s:
            self._level -= tokens

    def left(self, now: float) -> None:
        """A request has really left: the next one waits from here."""
        if self.slot_s:
            late_s = self.machine.seconds
            margin = max(min(LATER_S, 0.1 * self.slot_s), min(LAGS * ((late_s or 0.0) - TICK_S), self.slot_s))
            first_s = FIRST_S if self._new or late_s is None else 0.0
            self._next = now + self.slot_s * self._slower + margin + first_s
            self._new = False

    def give_back(self, tokens: int) -> None:
        """So many of the tokens that were taken have not been used."""
        self._level += tokens

    def _fill(self, now: float) -> None:
        most = self.tokens_s * BURST_S
        if self._level < 0 and not self._filled:
            self._level = most
        self._level = min(most, self._level + (now - self._filled) * self.tokens_s)
        self._filled = now

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
        tokens_s = (tokens_per_minute or 0.0) / 60.0
        self.keys = [Key(secret, name, slot_s, tokens_s, machine=self.machine) for name, secret in keys]
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
            if at <= now or await sleep(at - now):
                key.take(tokens)
                return key
            self.machine.saw(time.monotonic() - at)


def read_keys(names: str, needed_by: str) -> list[tuple[str, str]]:
    """(variable, key) of every key in the variables `NAME` or `NAME,NAME`, each of which may hold several.

    TeacherError when there is none and `needed_by`, an address, wants one; keys themselves are never in a message.
    """
    keys: list[tuple[str, str]] = []
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
