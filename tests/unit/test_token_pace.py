"""Tokens a minute: no minute, wherever it begins, holds more than the limit; and nearly all of it is used."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachers import keys
from teachers.base import Request, estimated_tokens
from teachers.chatgpt import ChatGPTTeacher
from teachers.keys import Keyring, Sent
from tests.fault_server import FaultServer


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class World:
    """A ring by a clock of its own; its answers take a while, and use some of what their requests might."""

    def __init__(self, limit: float, ways: int, seed: int) -> None:
        self.clock, self.draw, self.limit = Clock(), random.Random(seed), limit
        self.sent: dict[str, list[tuple[float, int]]] = {}
        """(when it arrived, what it used in the end) by key"""
        self._open: list[tuple[float, keys.Key, Sent, int]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("teachers.keys.time", self.clock)
            self.ring = Keyring([(f"K{n}", f"sk-{n}") for n in range(ways)], None, limit)

    async def sleep(self, seconds: float) -> bool:
        self.clock.now += seconds + self.draw.random() * 0.05
        self.answer()
        return False

    def answer(self) -> None:
        """What has come meanwhile."""
        for each in [each for each in self._open if each[0] <= self.clock.now]:
            self._open.remove(each)
            _, key, sent, used = each
            key.used(sent, used)

    def go(self, sizes: list[tuple[int, int, float]], idle_s: float = 0.0) -> None:
        """Requests one after the other: (what it may use, what it does, how long its answer takes)."""

        async def all_of_them() -> None:
            self.ring.renew()
            for most, used, seconds in sizes:
                self.clock.now += idle_s * self.draw.random()
                self.answer()
                async with self.ring.turn(most, self.sleep) as key:
                    sent = key.sending()
                    assert sent is not None
                arrived = self.clock.now + self.draw.random() * keys.TRAVELS_S
                self.sent.setdefault(key.name, []).append((arrived, used))
                self._open.append((self.clock.now + seconds, key, sent, used))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("teachers.keys.time", self.clock)
            asyncio.run(all_of_them())

    def worst_minute(self) -> int:
        """The most tokens that any 60 seconds of any key hold."""
        return max(
            sum(used for at, used in sent if start <= at < start + 60)
            for sent in self.sent.values()
            for start, _ in sent
        )


@pytest.mark.parametrize("ways", [1, 3])
@pytest.mark.parametrize("largest", [0.02, 1.0])
@given(seed=st.integers(0, 2**20))
@settings(max_examples=15, deadline=None)
def test_no_minute_holds_more_than_the_limit(ways: int, largest: float, seed: int) -> None:
    """Small requests and such as take a whole minute's tokens; short answers and long ones; rests in between."""
    draw, limit = random.Random(seed), 60_000
    world = World(limit, ways, seed)
    fills, slow, idle_s = draw.random(), draw.choice([0.1, 5.0, 90.0]), draw.choice([0.0, 0.0, 0.5, 20.0])
    sizes = []
    for _ in range(ways * (300 if largest < 0.1 else 40)):
        most = draw.randint(1, int(largest * limit))
        fills = draw.random() if draw.random() < 0.02 else fills  # answers change their length, all at once
        sizes.append((most, max(1, int(fills * most)), slow * draw.random()))
    world.go(sizes, idle_s)
    assert world.worst_minute() <= limit


def test_nearly_all_of_the_limit_is_used() -> None:
    world = World(60_000, 1, 1)
    world.go([(600, 600, 1.0)] * 500)
    assert 0.9 * 60_000 < world.worst_minute() <= 60_000
    first, last = world.sent["K0"][0][0], world.sent["K0"][-1][0]
    assert 500 * 600 / (last - first) > 0.93 * 1000, "and evenly: there is no minute that stands still"
    gaps = [after - before for (before, _), (after, _) in zip(world.sent["K0"], world.sent["K0"][1:], strict=False)]
    assert max(gaps) < 3


def test_what_was_not_used_is_there_for_others() -> None:
    """Requests that may use ten times what they do: given back, it is asked with."""
    world = World(60_000, 1, 2)
    world.go([(600, 60, 0.05)] * 2000)
    span = world.sent["K0"][-1][0] - world.sent["K0"][0][0]
    assert 2000 * 60 / span > 700
    assert world.worst_minute() <= 60_000


def test_more_than_a_whole_minute_allows_goes_alone() -> None:
    world = World(1000, 1, 3)
    world.go([(100, 100, 1.0), (5000, 5000, 1.0), (100, 100, 1.0)])
    first, second, third = (at for at, _ in world.sent["K0"])
    assert second - first > 60
    assert third - second > 60


def requests(count: int) -> Iterator[Request]:
    for n in range(count):
        yield Request(f"r{n}", [{"role": "user", "content": f"#{n}# 问题"}], max_tokens=50)


def test_a_server_that_counts_tokens_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute takes 1.5 s, on both sides; what a request reads and writes is what it took."""
    need = estimated_tokens(next(requests(1))) + 50
    for name, seconds in (("MINUTE_S", 1.5), ("TRAVELS_S", 0.15), ("BURST_S", 0.3)):
        monkeypatch.setattr(keys, name, seconds)
    monkeypatch.setenv("KEYS", "sk-aaaaaaaaaaaa")
    with FaultServer() as server:
        server.answer = lambda body: "答" * (need - 7)
        server.tpm, server.minute_s = 30.0 * need, 1.5
        teacher = ChatGPTTeacher("mock", server.url, "KEYS", concurrency=8, tokens_per_minute=server.tpm)
        got = list(teacher.generate(requests(75)))
        used: list[Any] = server.used["sk-aaaaaaaaaaaa"]
    assert all(c.error is None for c in got)
    assert server.faults.total() <= 2, "0 where nothing holds a request up on its way; half of them without the pace"
    assert len(used) == 75
    took = used[-1][0] - used[0][0]
    assert 75 / 30 * 1.5 * 0.8 < took < 30
