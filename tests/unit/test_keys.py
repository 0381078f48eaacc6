"""Several keys: whose turn it is, each one's pace, which rests and which is out; and what goes with every request."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen.journal import Journal, request_hash
from data_gen.logprobs import read_logprobs
from data_gen.records import DataError
from teachers.base import Completion, Request, TeacherError
from teachers.chatgpt import ChatGPTTeacher
from teachers.keys import CLUSTER, LATER_S, Key, Keyring, read_keys
from tests.fault_server import FaultServer

A, B, C = "sk-aaaaaaaaaaaa", "sk-bbbbbbbbbbbb", "sk-cccccccccccc"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", f"{A}, {B}")
    monkeypatch.setenv("ANOTHER", C)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def requests(count: int) -> Iterator[Request]:
    for n in range(count):
        yield Request(f"r{n}", [{"role": "user", "content": f"#{n}# 问题"}], max_tokens=50)


def ask(server: FaultServer, count: int, **options: Any) -> dict[str, Completion]:
    options = {"concurrency": 8, "backoff_s": 0.02, "timeout_s": 2.0, "api_key_env": "KEYS,ANOTHER", **options}
    return {c.key: c for c in ChatGPTTeacher("mock", server.url, **options).generate(requests(count))}


def test_keys_take_turns() -> None:
    with FaultServer() as server:
        got = ask(server, 30)
    assert all(c.error is None for c in got.values())
    assert server.keys == {A: 10, B: 10, C: 10}


def test_a_refused_and_a_spent_key_are_left_out() -> None:
    with FaultServer() as server:
        server.refused = {A: "401", C: "quota"}
        got = ask(server, 40)
    assert all(c.error is None for c in got.values())
    assert server.keys == {B: 40}
    assert server.faults.total() <= 8 * 2


def test_the_last_key_ends_the_run_and_no_key_is_said() -> None:
    with FaultServer() as server:
        server.refused = {A: "401", B: "quota", C: "401"}
        got = ask(server, 40)
    fatal = [c for c in got.values() if c.fatal]
    assert fatal
    assert "and no other key is left" in (fatal[0].error or "")
    assert not any(key in repr(got) for key in (A, B, C))


@pytest.mark.parametrize("keys", ["ANOTHER", "KEYS"])
def test_below_the_servers_limit_there_is_no_429(keys: str) -> None:
    """The server's bucket holds one request: whoever is early even once is told so."""
    with FaultServer() as server:
        server.rpm = 750
        start = time.monotonic()
        got = ask(server, 14, api_key_env=keys, requests_per_minute=600)
        took = time.monotonic() - start
    assert all(c.error is None for c in got.values())
    assert server.faults == {}
    assert took >= 13 * 0.1 if keys == "ANOTHER" else 6 * 0.1


def test_the_pace_counts_from_when_a_request_left() -> None:
    """One that was late does not let the next one be early; and a key that meets a 429 all the same slows down."""
    key = Key("s", "K", slot_s=0.1)
    key.left(10.0)
    assert key.ready(0, 10.0) == pytest.approx(10.0 + 0.104 + 0.008 + 0.3)
    key.left(11.0)
    assert key.ready(0, 11.0) == pytest.approx(11.0 + 0.412), "nobody knows yet how late this machine wakes"
    key.machine.saw(0.0)
    for left in (20.0, 20.2, 20.31):
        key.left(left)
        assert key.ready(0, left) == pytest.approx(left + 0.112)
    key.machine.saw(0.022)
    key.left(21.0)
    assert key.ready(0, 21.0) == pytest.approx(21.0 + 0.104 + 0.04), "a machine that wakes late needs more"
    key.machine.saw(9.0)
    key.left(22.0)
    assert key.ready(0, 22.0) == pytest.approx(22.0 + 0.104 + 0.1), "but never more than another slot"
    for _ in range(100):
        key.machine.saw(0.0)
    key.limited(None)
    key.left(30.0)
    assert key.ready(0, 30.0) > 30.115


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("rpm", [60, 600, 3000])
@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("keys", [1, 3])
@given(seed=st.integers(0, 2**20))
@settings(max_examples=12, deadline=None)
def test_own_pace_is_the_servers_pace_and_there_is_no_429(rpm: float, busy: bool, keys: int, seed: int) -> None:
    """A server with no burst at all, at the very pace that was given; a machine that wakes late, opens connections at
    the wrong moment and lets requests travel unevenly: all by a clock of our own."""
    draw, clock, arrivals = random.Random(seed), Clock(), {n: list[float]() for n in range(keys)}
    slot = 60.0 / rpm
    calm_s = min(LATER_S, 0.1 * slot) + 0.04 * slot
    late_s = slot / 3 if busy else 0.0

    async def oversleeps(seconds: float) -> bool:
        clock.now += seconds + (0.8 + 0.2 * draw.random()) * late_s
        return False

    async def go() -> None:
        ring = Keyring([(str(n), f"sk-{n}") for n in range(keys)], rpm, None)
        ring.renew()
        for _ in range(60 * keys):
            async with ring.turn(0, oversleeps) as key:
                clock.now += draw.choice([0.0, 0.0, 0.0, 3 * slot])  # a connection is opened anew
            # What left is on its way for as long as the machine's own lateness, and some milliseconds, let it be.
            arrivals[int(key.name)].append(clock.now + draw.random() * max(calm_s, min(1.2 * late_s, slot)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("teachers.keys.time", clock)
        asyncio.run(go())
    for times in arrivals.values():
        assert min(after - before for before, after in itertools.pairwise(times)) >= slot
        assert all(sum(start <= at < start + 60 for at in times) <= rpm for start in times), "in any 60 seconds"
    assert sum(map(len, arrivals.values())) == 60 * keys


def test_a_calm_machine_is_hardly_slower_than_it_may_be() -> None:
    key, now = Key("s", "K", slot_s=0.6), 0.0
    for _ in range(100):
        key.left(now)
        now = key.ready(0, now) + 0.001
        key.machine.saw(0.001)
    assert 60.0 / 0.6 * 0.9 < 60 * 100 / now <= 100


def test_faster_than_the_server_all_come_through() -> None:
    with FaultServer(retry_after="0.05") as server:
        server.rpm = 3000
        got = ask(server, 20, api_key_env="ANOTHER")
    assert all(c.error is None for c in got.values())
    assert server.faults["429"] > 0


def test_a_429_pauses_its_request_and_three_in_a_row_the_key() -> None:
    key = Key("s", "K")
    for n in range(CLUSTER):
        assert key.ready(0, time.monotonic()) <= time.monotonic(), n
        key.limited(5.0)
    assert 4.5 < key.ready(0, time.monotonic()) - time.monotonic() <= 5.0
    calm = Key("s", "K")
    for _ in range(10):
        calm.limited(5.0)
        calm.answered()
        calm.limited(5.0, again=False)
    assert calm.ready(0, time.monotonic()) <= time.monotonic()


def test_a_first_429_pauses_nobody_else() -> None:
    """60 requests are told to wait half a second, once each: that is one pause and not one a cluster."""
    with FaultServer(lambda n, attempt: "429" if attempt == 0 else None, retry_after="0.5") as server:
        start = time.monotonic()
        got = ask(server, 60, api_key_env="ANOTHER", concurrency=16)
        took = time.monotonic() - start
    assert all(c.error is None and c.attempts == 2 for c in got.values())
    assert server.too_early == 0
    assert took < 3


def test_a_resting_key_lets_the_others_work() -> None:
    ring = Keyring([("A", A), ("B", B)], None, None)
    for _ in range(CLUSTER):
        ring.keys[0].limited(60.0)

    async def never(seconds: float) -> bool:
        raise AssertionError("nothing to wait for")

    async def places() -> set[str]:
        ring.renew()
        names = set()
        for _ in range(6):
            async with ring.turn(0, never) as key:
                names.add(key.name)
        return names

    assert asyncio.run(places()) == {"B"}


def test_reading_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_keys("KEYS,ANOTHER,MISSING", "") == [("KEYS (1 of 2)", A), ("KEYS (2 of 2)", B), ("ANOTHER", C)]
    assert read_keys("MISSING", "") == [("MISSING", "")]
    monkeypatch.setenv("ANOTHER", A)
    assert [key for _, key in read_keys("KEYS ANOTHER", "")] == [A, B]
    with pytest.raises(TeacherError, match="set the environment variable MISSING"):
        read_keys("MISSING", "https://api")


def test_whoever_pauses_leaves_its_place() -> None:
    """12 of 16 requests meet a Retry-After; with 4 places in flight, all have their first try before any second one."""

    def plan(n: int, attempt: int) -> str | None:
        return "429" if 1 <= n <= 12 and attempt == 0 else None

    with FaultServer(plan, retry_after="1.5", delay_s=0.02) as server:
        got = ask(server, 16, concurrency=4, timeout_s=10.0)
    assert all(c.error is None for c in got.values())
    asked = [body["messages"][0]["content"] for body in server.bodies]
    assert len(set(asked[:16])) == 16
    assert (len(asked), server.too_early, server.most_in_flight <= 4) == (28, 0, True)


def test_winding_down_sends_nothing_more() -> None:
    with FaultServer(lambda n, attempt: "429" if n == 0 else None, retry_after="30") as server:
        teacher = ChatGPTTeacher("mock", server.url, concurrency=4)
        start = time.monotonic()
        got = []
        for completion in teacher.generate(requests(3)):
            got.append(completion)
            while not server.asked[0]:
                time.sleep(0.005)
            teacher.wind_down()
        assert time.monotonic() - start < 5
    assert {each.key: each.error for each in got}["r0"] == "not sent: the run was stopped"
    assert server.asked[0] == 1


def test_parameters_and_formats_go_with_every_request(tmp_path: Path) -> None:
    schema = tmp_path / "任务.json"
    schema.write_text('{"type": "object"}')
    with FaultServer() as server:
        server.answer = lambda body: '{"答": 1}'
        ask(server, 1, parameters={"frequency_penalty": 0.3}, response_format="json")
        ask(server, 1, response_format=str(schema))
    assert server.bodies[0]["frequency_penalty"] == 0.3
    assert server.bodies[0]["response_format"] == {"type": "json_object"}
    assert [message["role"] for message in server.bodies[0]["messages"]] == ["system", "user"]
    assert "JSON" in server.bodies[0]["messages"][0]["content"]
    assert [message["role"] for message in server.bodies[1]["messages"]] == ["user"]
    told = server.bodies[1]["response_format"]["json_schema"]
    assert (told["name"], told["schema"], told["strict"]) == ("__", {"type": "object"}, True)


def test_an_answer_that_is_no_json_is_asked_again() -> None:
    with FaultServer() as server:
        server.answer = lambda body: "不是JSON" if len(server.bodies) < 2 else "[1]"
        got = ask(server, 1, response_format="json")
        server.answer = lambda body: "不是JSON"
        stubborn = ask(server, 1, response_format="json")
    assert (got["r0"].text, got["r0"].attempts) == ("[1]", 2)
    assert (stubborn["r0"].text, stubborn["r0"].attempts) == ("不是JSON", 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"parameters": {"temperature": 1}}, "may not hold 'temperature'"),
        ({"parameters": {"api_key": "abcdefghij"}}, "may not hold 'api_key'.*keys come from the environment"),
        ({"parameters": {"extra_headers": {"X-A": "abcdefghij"}}}, "may not hold 'extra_headers'"),
        ({"parameters": {"metadata": {"mine": "sk-abcdefghij"}}}, "may not hold a key"),
        ({"parameters": {"x": float("nan")}}, "must be what JSON can say"),
        ({"parameters": {"x": b"y"}}, "must be what JSON can say"),
        ({"api_key_env": "sk-abcdefghij"}, "--api-key-env takes the names of environment variables"),
        ({"api_key_env": "abcdefghij0123456789"}, "--api-key-env takes the names of environment variables"),
        ({"response_format": "yaml"}, "neither 'json' nor the file of a JSON schema"),
        ({"logprobs": 21}, "from 0 to 20"),
        ({"tokens_per_minute": 0}, "tokens_per_minute must be above 0"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TeacherError, match=says) as told:
        ChatGPTTeacher("m", "http://localhost:1/v1", **options)
    assert "abcdefghij" not in str(told.value)


def test_names_inside_a_parameter_are_texts_as_in_json() -> None:
    teacher = ChatGPTTeacher("m", "http://localhost:1/v1", parameters={"logit_bias": {50256: -100}})
    request = Request("r", [{"role": "system", "content": "短"}, {"role": "user", "content": "#0#"}])
    assert request_hash("m", request, local=False, settings=teacher.settings)
    assert teacher.body(request)["logit_bias"] == {"50256": -100}
    teacher = ChatGPTTeacher("m", "http://localhost:1/v1", response_format="json")
    assert teacher.body(request)["messages"] == [
        {"role": "system", "content": "短\n请用 JSON 作答。"},
        {"role": "user", "content": "#0#"},
    ]
    assert len(teacher.body(Request("r", [{"role": "user", "content": "写成json"}]))["messages"]) == 1


def test_logprobs_are_kept_in_the_journal(tmp_path: Path) -> None:
    with FaultServer() as server:
        server.answer = lambda body: "好的"
        completion = ask(server, 1, logprobs=2)["r0"]
        assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 2)
        assert ask(server, 1)["r0"].logprobs is None
    positions = [["好", -0.12346, [["好", -0.1], [[0xE5], -2.5]]], ["的", -0.12346, [["的", -0.1], [[0xE7], -2.5]]]]
    assert completion.logprobs == positions
    with Journal(tmp_path / "j") as journal:
        journal.append("k", completion)
        assert (journal.get("k") or {})["logprobs"] == positions
    assert json.loads((tmp_path / "j").read_text(encoding="utf-8"))["logprobs"] == positions
    (told,) = read_logprobs(tmp_path / "j")
    assert (told.key, told.text, [position.said.decode() for position in told.positions]) == ("k", "好的", ["好", "的"])
    assert told.positions[0].likely == [("好".encode(), -0.1), (b"\xe5", -2.5)]
    with_end = json.loads((tmp_path / "j").read_text(encoding="utf-8"))
    with_end["logprobs"].append(["<|im_end|>", -0.01, []])
    (tmp_path / "e").write_text(json.dumps(with_end).replace('": ', '":') + "\n", encoding="utf-8")
    assert [len(told.positions) for told in read_logprobs(tmp_path / "e")] == [2]
    (tmp_path / "j").write_text((tmp_path / "j").read_text(encoding="utf-8").replace("好的", "好吗"), encoding="utf-8")
    with pytest.raises(DataError, match="line 1: the tokens of r0 do not add up"):
        list(read_logprobs(tmp_path / "j"))


def test_what_goes_with_every_request_is_in_its_hash() -> None:
    request = next(requests(1))
    plain = request_hash("m", request, local=False)
    assert plain == request_hash("m", request, local=False, settings={})
    assert len({plain, *(request_hash("m", request, local=False, settings={"logprobs": n}) for n in (0, 5))}) == 3
