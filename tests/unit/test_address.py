"""An endpoint whose key stands in the query of its address: it is sent with every request, and never said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from teachers.address import hidden, read_address
from teachers.base import Request, TeacherError
from teachers.batches import BatchTeacher
from teachers.chatgpt import ChatGPTTeacher
from teachers.post import Client
from tests.batch_server import BatchServer
from tests.fault_server import FaultServer

SECRET = "abcdef%2Fsecret"
SAID = ("abcdef", "secret")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def requests(count: int = 3) -> Iterator[Request]:
    for n in range(count):
        yield Request(f"r{n}", [{"role": "user", "content": f"#{n}#"}], max_tokens=10)


@pytest.mark.parametrize(
    ("given", "shown", "whole"),
    [
        ("http://h/v1", "http://h/v1", "http://h/v1/x"),
        (" http://h:80/v1/?key=abc ", "http://h:80/v1?key=***", "http://h:80/v1/x?key=abc"),
        ("https://h/v1?key=a&version=2", "https://h/v1?key=***&version=***", "https://h/v1/x?key=a&version=2"),
        ("http://h/v1?abcdef", "http://h/v1?***", "http://h/v1/x?abcdef"),
        ("http://h/v1/chat/completions?key=a#b", "http://h/v1?key=***", "http://h/v1/x?key=a"),
        ("http://h/v1?", "http://h/v1", "http://h/v1/x"),
        ("http://h/sk-abcdefghij/v1", "http://h/sk-***/v1", "http://h/sk-abcdefghij/v1/x"),
    ],
)
def test_whole_for_the_sender_hidden_for_all_others(given: str, shown: str, whole: str) -> None:
    address = read_address(given)
    assert (address.shown, address.whole("/x")) == (shown, whole)


@pytest.mark.parametrize("url", ["h/v1?key=abcdef", "ftp://h?key=abcdef", "http://[::1?key=abcdef",
                                 "http://h:99999/v1?key=abcdef", "http://h/v1?key=abcdef&x=中"])  # fmt: skip
def test_what_is_no_address_is_not_quoted_whole(url: str) -> None:
    with pytest.raises(TeacherError) as caught:
        read_address(url)
    assert "key=***" in str(caught.value)
    assert "abcdef" not in str(caught.value)


def test_what_others_say_is_scrubbed() -> None:
    address = read_address(f"http://h/v1?key={SECRET}&v=1")
    assert address.scrub(f"no key {SECRET} (abcdef/secret) 1") == "no key *** (***) 1", "what is short is no secret"
    assert hidden("nothing at all") == "nothing at all"


def test_it_goes_with_every_request() -> None:
    with FaultServer() as server:
        got = list(ChatGPTTeacher("mock", f"{server.url}?key={SECRET}&v=1").generate(requests()))
    assert [completion.error for completion in got] == [None] * 3
    assert server.query == f"key={SECRET}&v=1"


@pytest.mark.parametrize("fault", ["401", "404", "html", "junk", "501", "400", "500", "gone"])
@pytest.mark.parametrize("through_the_client", [False, True])
def test_no_failure_tells_it(
    fault: str, through_the_client: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    if through_the_client:
        monkeypatch.setattr("teachers.calls.way_to", Client)
    with FaultServer(lambda n, attempt: fault) as server:
        url = "http://127.0.0.1:9/v1" if fault == "gone" else server.url
        teacher = ChatGPTTeacher("mock", f"{url}?key={SECRET}", max_attempts=2, backoff_s=0.01)
        got = list(teacher.generate(requests()))
    assert fault == "gone" or unquote(server.query) == f"key={unquote(SECRET)}"
    assert all(completion.error for completion in got)
    said = f"{got}{caplog.text}"
    assert not any(part in said for part in SAID), said
    assert teacher.base_url.endswith("?key=***")


def test_batches_send_it_and_their_state_and_logs_do_not_hold_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with BatchServer(looks=3) as server:
        teacher = BatchTeacher("mock", f"{server.url}?key={SECRET}", state=str(tmp_path / "state"), poll_s=0.01)
        answers = teacher.generate(requests())
        got = [next(answers)]
        state = "".join(path.read_text("utf-8") for path in tmp_path.iterdir())
        got += list(answers)
    assert [completion.error for completion in got] == [None] * 3
    assert {unquote(query.partition("&")[0]) for query in server.queries} == {f"key={unquote(SECRET)}"}
    assert state
    assert not any(part in state + caplog.text for part in SAID), caplog.text
