"""The endpoint teacher against a server that misbehaves: what is tried again, what ends the run, what is never said."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from teachers.base import Completion, Request, TeacherError, TextTeacher, estimated_tokens
from teachers.chatgpt import ChatGPTTeacher
from teachers.http_errors import Again, Never, of_status, retry_after, unreachable
from teachers.replies import read
from tests.fault_server import FaultServer

KEY = "sk-test-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def requests(count: int) -> Iterator[Request]:
    for n in range(count):
        yield Request(f"r{n}", [{"role": "user", "content": f"#{n}# 问题"}], max_tokens=50)


def teacher(server: FaultServer, **options: object) -> ChatGPTTeacher:
    options = {"concurrency": 8, "backoff_s": 0.02, "timeout_s": 10.0, **options}
    return ChatGPTTeacher("mock", server.url, **options)  # type: ignore[arg-type]


def ask(server: FaultServer, count: int = 1, **options: object) -> dict[str, Completion]:
    return {c.key: c for c in teacher(server, **options).generate(requests(count))}


def test_answers_carry_text_usage_and_model() -> None:
    with FaultServer(delay_s=0.02) as server:
        got = ask(server, 20)
    assert isinstance(teacher(server), TextTeacher)
    assert {key: c.text.split(" ")[0] for key, c in got.items()} == {f"r{n}": f"#{n}#" for n in range(20)}
    first = got["r0"]
    assert (first.model, first.finish_reason, first.attempts, first.error) == ("mock", "stop", 1, None)
    assert first.usage == {"prompt_tokens": 7, "completion_tokens": len(first.text)}
    assert 1 < server.most_in_flight <= 8


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": None, "completion_tokens": 0}, {"prompt_tokens": "many"}]
)
def test_tokens_that_nobody_counted_are_estimated(usage: object) -> None:
    """So that a budget comes to its end at a server that does not count."""
    with FaultServer() as server:
        server.usage = usage
        got = ask(server)["r0"]
    asked = next(requests(1))
    assert got.usage == {"prompt_tokens": estimated_tokens(asked), "completion_tokens": 16, "estimated": 1}


@pytest.mark.parametrize(
    ("content", "text", "logprob"),
    [
        (rb'"half \ud83d"', "half \ufffd", b"-0.5"),
        (rb'"\ude00 half"', "\ufffd half", b"-0.5"),
        (rb'"whole \ud83d\ude00, half \ud83d."', "whole 😀, half \ufffd.", b"-Infinity"),
        (b'"a"', "a", b"-Infinity"),
    ],
)
def test_what_is_nearly_json_is_not_paid_for_again(content: bytes, text: str, logprob: bytes) -> None:
    told = b'[{"token": "x\\ud83d", "logprob": %b, "top_logprobs": []}]' % logprob
    body = b'{"choices": [{"message": {"content": %b}, "logprobs": {"content": %b}}]}' % (content, told)
    reply = read(body, "application/json", "http://h/v1", "m")
    assert reply.text == text
    assert reply.logprobs == [["x\ufffd", -0.5 if logprob == b"-0.5" else -9999.0, []]]
    with pytest.raises(Again, match="no valid completion"):
        read(body[:-9], "application/json", "http://h/v1", "m")


@pytest.mark.parametrize(
    "said",
    [
        "Model Not Exist",
        "模型不存在，请检查模型代码。",
        "Invalid model: mock",
        "The requested model 'other' is not available",
    ],
)
def test_a_model_that_is_refused_with_a_400_ends_the_run(said: str) -> None:
    with FaultServer(lambda n, attempt: "400") as server:
        server.says = said
        got = ask(server, 3, concurrency=1)
    assert got["r0"].fatal
    assert "refuses the model 'mock'" in (got["r0"].error or "")
    assert server.asked.total() == 1


def test_a_very_long_pause_is_told() -> None:
    with FaultServer(lambda n, attempt: "429", retry_after="86400") as server:
        assert (ask(server)["r0"].error or "").endswith("Rate limit reached (asks for a pause of 24.0 hours)")


def test_parameters_travel() -> None:
    request = Request(
        "r", [{"role": "user", "content": "#0#"}], "local only", 33, 0.5, 0.9, 11, ["a", "b", "c", "d", "e"]
    )
    with FaultServer() as server:
        list(teacher(server).generate([request]))
    assert server.bodies == [
        {
            "model": "mock",
            "messages": request.messages,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 33,
            "seed": 11,
            "stop": ["a", "b", "c", "d"],
        }
    ]


@pytest.mark.parametrize("fault", ["500", "503", "cut", "drop", "empty", "429", "hang"])
def test_each_passing_fault_is_tried_again(fault: str) -> None:
    with FaultServer(lambda n, attempt: fault if attempt == 0 and n % 2 else None, retry_after="0.1") as server:
        got = ask(server, 6, timeout_s=0.5 if fault == "hang" else 10)
    assert [got[f"r{n}"].text.startswith(f"#{n}#") for n in range(6)] == [True] * 6
    assert [got[f"r{n}"].attempts for n in range(6)] == [1, 2] * 3
    assert server.faults == {fault: 3}


def test_retry_after_is_never_cut_short() -> None:
    with FaultServer(lambda n, attempt: "429" if attempt < 2 else None, retry_after="0.3") as server:
        start = time.monotonic()
        got = ask(server, 8)
    assert time.monotonic() - start >= 0.6
    assert server.too_early == 0
    assert all(c.error is None and c.attempts == 3 for c in got.values())


def test_rate_limits_do_not_use_up_the_attempts() -> None:
    with FaultServer(lambda n, attempt: "429" if attempt < 5 else None, retry_after="0.01") as server:
        assert ask(server, 1, max_attempts=2)["r0"].error is None


def test_an_answer_that_stays_empty_is_an_answer() -> None:
    with FaultServer(lambda n, attempt: "empty") as server:
        got = ask(server)["r0"]
    assert (got.text, got.error, got.attempts) == ("", None, 3)
    assert got.usage["prompt_tokens"] == 21  # all three were paid for


def test_attempts_end() -> None:
    with FaultServer(lambda n, attempt: "500" if n == 1 else None) as server:
        got = ask(server, 2, max_attempts=3)
    assert got["r0"].error is None
    assert (got["r1"].attempts, got["r1"].finish_reason, got["r1"].fatal) == (3, "error", False)
    assert got["r1"].error == "HTTP 500: The server had an error"


@pytest.mark.parametrize(("fault", "says"), [("400", "too long"), ("filter", "content filter")])
def test_refused_requests_fail_once_and_alone(fault: str, says: str) -> None:
    with FaultServer(lambda n, attempt: fault if n == 1 else None) as server:
        got = ask(server, 3)
    assert server.asked == {0: 1, 1: 1, 2: 1}
    assert says in (got["r1"].error or "")
    assert not got["r1"].fatal
    assert got["r2"].error is None


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("401", "does not accept the key in OPENAI_API_KEY"),
        ("quota", "the quota behind the key in OPENAI_API_KEY is spent"),
        ("404", "there is no model 'mock' at"),
        ("pinned", "refuses the model 'mock': HTTP 400: Server is pinned to 'other'"),
        ("html", "a base url usually ends in /v1"),
        ("junk", "does not speak http: is the address right"),
        ("405", "answers with a web page (405) instead of JSON; a base url usually ends in /v1"),
        ("501", "answers with a web page (501) instead of JSON"),
    ],
)
def test_fatal_failures_stop_the_sending(fault: str, says: str) -> None:
    with FaultServer(lambda n, attempt: fault, delay_s=0.02) as server:
        got = ask(server, 200)
    assert server.asked.total() <= 8
    assert all(count == 1 for count in server.asked.values())
    fatal = [c for c in got.values() if c.fatal]
    assert fatal
    assert says in (fatal[0].error or "")


@pytest.mark.parametrize("fault", ["html", "junk"])
def test_what_is_no_api_passes_after_good_answers(fault: str) -> None:
    with FaultServer(lambda n, attempt: fault if n >= 5 and attempt == 0 else None) as server:
        got = ask(server, 10, concurrency=1)
    assert [c.error for c in got.values()] == [None] * 10


def test_wrong_path_names_v1() -> None:
    with FaultServer() as server:
        bad = ChatGPTTeacher("mock", server.url.removesuffix("/v1"), backoff_s=0.01)
        (completion,) = bad.generate(requests(1))
    assert completion.fatal


def test_unreachable_is_fatal_and_quick() -> None:
    with FaultServer() as server:
        url = server.url
    start = time.monotonic()
    got = list(ChatGPTTeacher("mock", url, concurrency=4, backoff_s=0.05).generate(requests(50)))
    assert time.monotonic() - start < 5
    assert len(got) <= 4
    assert any(c.fatal and f"cannot reach {url}" in (c.error or "") for c in got)


def test_json_that_is_no_completion_ends_the_run_until_there_was_one() -> None:
    """A health check that answers every address; afterwards it is a passing trouble."""
    with FaultServer(lambda n, attempt: "other") as server:
        got = ask(server, 5, concurrency=1)
        assert [(c.fatal, c.attempts) for c in got.values()] == [(True, 3)]
        assert f'{server.url} answers with something else than completions (\'{{"status": "ok"}}\')' in str(
            got["r0"].error
        )
        server.plan = lambda n, attempt: "other" if n and attempt < 4 else None
        assert [c.error for c in ask(server, 5, concurrency=1).values()] == [None] * 5


def test_what_is_wrong_with_https_is_said() -> None:
    """A certificate of one's own, and an address that does not speak it."""
    url = "https://127.0.0.1/v1"
    said = unreachable(url, OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    assert "SSL_CERT_FILE" in str(said)
    assert "http://" in str(unreachable(url, OSError("[SSL: WRONG_VERSION_NUMBER] wrong version number")))
    assert str(unreachable(url, OSError("refused"))).endswith("is the server running and the address right?")


def test_the_key_is_sent_and_never_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultServer() as server:
        server.key = KEY
        assert ask(server)["r0"].error is None
        server.key = "another"
        failed = ask(server)["r0"]
    assert failed.fatal
    assert "***" in (failed.error or "")
    assert KEY not in repr(failed) + caplog.text


def test_keys_that_are_missing_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TeacherError, match="set the environment variable OPENAI_API_KEY"):
        ChatGPTTeacher("gpt-4o-mini")
    monkeypatch.setenv("MY_KEY", "sk-测试\nx")
    with pytest.raises(TeacherError, match="MY_KEY holds characters") as caught:
        ChatGPTTeacher("gpt-4o-mini", api_key_env="MY_KEY")
    assert "测试" not in str(caught.value)
    ChatGPTTeacher("m", base_url="http://localhost:1/v1")  # needs none


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://host/v1", "http://", "http://me:secret@host/v1"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(TeacherError) as caught:
        ChatGPTTeacher("m", base_url=url)
    assert "secret" not in str(caught.value)


def test_the_limit_goes_by_its_other_name() -> None:
    with FaultServer(lambda n, attempt: "limit name") as server:
        got = ask(server, 12)
    assert all(c.error is None for c in got.values())
    assert server.bodies[-1]["max_completion_tokens"] == 50


def test_requests_are_pulled_lazily_and_closing_cancels() -> None:
    pulled = []

    def counted() -> Iterator[Request]:
        for request in requests(1000):
            pulled.append(request.key)
            yield request

    with FaultServer(lambda n, attempt: "hang" if n else None) as server:
        answers = teacher(server, concurrency=5, timeout_s=30).generate(counted())
        assert next(answers).key == "r0"
        assert 5 <= len(pulled) <= 10
        start = time.monotonic()
        answers.close()  # type: ignore[attr-defined]
        assert time.monotonic() - start < 2
    assert len(pulled) <= 10


def test_what_an_answer_brings_is_asked_while_another_one_takes_its_time() -> None:
    """r0 has to wait; r1 brings r2, and r2 brings r3."""

    class Chain:
        def __init__(self) -> None:
            self.left, self.open = list(requests(4)), 2

        def __iter__(self) -> Chain:
            return self

        def __next__(self) -> Request:
            if not self.open:
                raise StopIteration
            self.open -= 1
            return self.left.pop(0)

    chain, keys = Chain(), []
    with FaultServer(lambda n, attempt: "429" if n == 0 and attempt == 0 else None, retry_after="0.6") as server:
        for completion in teacher(server).generate(chain):
            keys.append(completion.key)
            chain.open = int(completion.key in {"r1", "r2"})
    assert keys == ["r1", "r2", "r3", "r0"]


def test_pace() -> None:
    with FaultServer() as server:
        start = time.monotonic()
        ask(server, 6, requests_per_minute=1200)
    assert time.monotonic() - start >= 5 * 0.05 - 0.01


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_verdicts() -> None:
    quota = b'{"error": {"message": "x", "code": "insufficient_quota"}}'
    assert isinstance(of_status(429, {}, quota), Never)
    limited = of_status(429, {"retry-after": "1"}, b"slow down")
    assert isinstance(limited, Again)
    assert limited.limited
    again, never = (408, 409, 425, 500, 502, 503, 504, 529), (400, 403, 422, 501, 505)
    for status, kind in (*((status, Again) for status in again), *((status, Never) for status in never)):
        assert isinstance(of_status(status, {}, b"[]"), kind)
