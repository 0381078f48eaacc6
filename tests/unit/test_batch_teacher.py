"""The Batch API: out-of-order results, partial failure, and a run that dies at any moment pays for nothing twice."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from data_gen.budget import Budget
from data_gen.job import run
from data_gen.strategies.answer import Answer
from distill.cli import main
from teachers import batch_api, efforts
from teachers.base import Completion, Request, TeacherError
from teachers.batches import BatchTeacher
from tests.batch_server import BatchServer
from tests.fault_server import FaultServer


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("teachers.batches.TICK_S", 0.005)
    monkeypatch.chdir(tmp_path)


def requests(count: int) -> Iterator[Request]:
    for n in range(count):
        yield Request(f"r{n}", [{"role": "user", "content": f"#{n}# 问题"}], max_tokens=50)


def teacher(server: FaultServer, **options: Any) -> BatchTeacher:
    made = BatchTeacher("mock", server.url, poll_s=0.01, backoff_s=0.01, state="state", **options)
    made.tell = lambda said: None
    return made


def ask(server: FaultServer, count: int, **options: Any) -> dict[str, Completion]:
    return {c.key: c for c in teacher(server, **options).generate(requests(count))}


def test_every_question_has_its_own_answer() -> None:
    with BatchServer() as server:
        got = ask(server, 30)
    assert list(got) != sorted(got, key=lambda key: int(key[1:]))  # they came in another order
    assert {key: c.text.split(" ")[0] for key, c in got.items()} == {f"r{n}": f"#{n}#" for n in range(30)}
    assert got["r3"].usage["completion_tokens"] == len(got["r3"].text)
    assert len(server.batches) == 1
    assert not Path("state").exists()


def test_many_refusals_of_a_batch_with_answers_are_no_end() -> None:
    """They come one after the other. Where there is no answer at all they are one."""
    Path("in.jsonl").write_text("".join(f'{{"instruction": "#{n}# 请回答"}}\n' for n in range(140)), encoding="utf-8")
    with BatchServer(lambda number, attempt: "400" if number % 2 else None) as server:
        report = run(Answer("in.jsonl"), teacher(server), "out.jsonl")
        assert (report.accepted, report.failed, report.complete) == (70, 70, False)
        with pytest.raises(TeacherError, match="50 requests in a row failed"):
            run(Answer("in.jsonl"), teacher(server), "out.jsonl")


def test_empty_answers_go_into_another_batch() -> None:
    """Three times, as without batches; all of them were paid for."""
    with BatchServer(lambda number, attempt: "empty" if attempt < (1, 9, 0)[number] else None) as server:
        server.usage = {"prompt_tokens": 7, "completion_tokens": 1}
        got = ask(server, 3)
    assert [(c.attempts, c.usage["prompt_tokens"], c.error) for c in got.values()] == [
        (n, 7 * n, None) for n in (1, 2, 3)
    ]
    assert (got["r0"].text[:3], got["r1"].text) == ("#0#", "")
    assert len(server.batches) == 3


def test_a_host_that_never_answers_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """https to a server that waits for plain http; and nobody at all."""
    for module in (batch_api, efforts):
        monkeypatch.setattr(module, "CONNECT_S", 0.1)
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"127.0.0.1:{silent.getsockname()[1]}/v1"
        (got,) = BatchTeacher("mock", f"https://{url}", backoff_s=0.01).generate(requests(1))
        assert got.fatal
        assert f"cannot reach https://{url}" in str(got.error)
    (got,) = BatchTeacher("mock", f"http://{url}", backoff_s=0.01, max_attempts=1000).generate(requests(1))
    assert got.fatal
    assert f"cannot reach http://{url}" in str(got.error)
    assert time.monotonic() - start < 5


class Breaking(BatchServer):
    """Results are refused, then broken off, then there."""

    fetched = 0

    async def _reply(self, path: str, head: str, content: bytes, writer: asyncio.StreamWriter) -> bool:
        if not path.endswith("/content"):
            return await super()._reply(path, head, content, writer)
        self.fetched += 1
        data = self.files[path.split("/")[-2]]
        status, given = [(500, b""), (200, data[: len(data) // 2]), (200, data)][min(self.fetched, 3) - 1]
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data) if given else 0}\r\n\r\n".encode() + given)
        await writer.drain()
        return len(given) == len(data)


def test_a_large_result_is_never_whole_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in pieces, and from its beginning when it broke off."""
    written: list[int] = []

    class Kept(io.BytesIO):
        def write(self, data: Any) -> int:
            written.append(len(data))
            return super().write(data)

    monkeypatch.setattr("teachers.batch_api.tempfile.TemporaryFile", Kept)
    monkeypatch.setattr("teachers.batch_api.CHUNK", 1000)
    with Breaking() as server:
        got = ask(server, 30)
        whole = max(len(data) for name, data in server.files.items() if name.startswith("output"))
    assert {key: c.text.split(" ")[0] for key, c in got.items()} == {f"r{n}": f"#{n}#" for n in range(30)}
    assert server.fetched == 3
    assert max(written) <= 1000 < 3000 < whole
    assert whole < sum(written) < 2 * whole


def test_equal_requests_are_submitted_once() -> None:
    with BatchServer() as server:
        twice = [Request(key, [{"role": "user", "content": "#0#"}]) for key in ("a", "b")]
        got = {c.key: c for c in teacher(server).generate(twice)}
    assert got["a"].text == got["b"].text != ""
    assert got["b"].usage == {}
    assert server.asked == {0: 1}


def test_what_failed_goes_into_another_batch_and_refused_ones_fail_alone() -> None:
    def plan(number: int, attempt: int) -> str | None:
        if number == 7:
            return "400"
        return ["500", "drop", "429", None][number % 4] if attempt == 0 else None

    with BatchServer(plan) as server:
        got = ask(server, 20)
    assert len(server.batches) == 2
    assert got["r7"].error == "HTTP 400: This prompt is too long"
    assert all(got[f"r{n}"].text.startswith(f"#{n}#") for n in range(20) if n != 7)
    assert got["r0"].attempts == 2
    assert server.answered == {n: 1 for n in range(20) if n != 7} | {7: 0}


def test_attempts_end() -> None:
    with BatchServer(lambda number, attempt: "500" if number == 1 else None) as server:
        got = ask(server, 3, max_attempts=2)
    assert (got["r1"].error, got["r1"].attempts) == ("HTTP 500: The server had an error", 2)
    assert len(server.batches) == 2


def test_an_expired_batch_is_asked_on() -> None:
    with BatchServer() as server:
        server.statuses = ["expired"]
        got = ask(server, 10)
    assert all(c.error is None for c in got.values())
    assert server.answered == dict.fromkeys(range(10), 1)


@pytest.mark.parametrize(
    ("status", "says"), [("failed", "refused batch batch_0: The model does not exist"), ("cancelled", "was cancelled")]
)
def test_batches_that_end_badly_end_the_run(status: str, says: str) -> None:
    with BatchServer() as server:
        server.statuses = [status]
        got = ask(server, 10)
        fatal = [c for c in got.values() if c.fatal]
        assert len(fatal) == 1
        assert says in (fatal[0].error or "")
        assert all(c.error is None for c in ask(server, 10).values())  # and the next run starts another


def test_large_inputs_become_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("teachers.batches.MOST_REQUESTS", 4)
    with BatchServer() as server:
        got = ask(server, 10)
    assert len(got) == len([c for c in got.values() if c.text]) == 10
    inputs = [data for name, data in server.files.items() if name.startswith("file-")]
    assert sorted(data.count(b"custom_id") for data in inputs) == [2, 4, 4]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(8))
def test_dying_at_any_call_pays_for_nothing_twice(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies right after its call number `moment`, before it has learnt what came of it."""
    from teachers import batch_api

    called = []
    call = batch_api.BatchApi._call

    def dying(self: Any, function: Any) -> Any:
        result = call(self, function)
        called.append(1)
        if len(called) == moment + 1:
            raise Killed
        return result

    monkeypatch.setattr(batch_api.BatchApi, "_call", dying)
    got: dict[str, Completion] = {}
    with BatchServer(looks=3) as server:
        for _ in range(2):
            try:
                got |= {c.key: c for c in teacher(server).generate(requests(9))}
                break
            except Killed:
                pass
        assert server.asked == dict.fromkeys(range(9), 1)
    assert {key: c.text.split(" ")[0] for key, c in got.items()} == {f"r{n}": f"#{n}#" for n in range(9)}


def test_a_batch_that_was_lost_is_submitted_anew() -> None:
    Path("state").write_text(json.dumps([{"file": "file-9", "batch": "batch_9", "ids": []}]))
    with BatchServer() as server:
        known = teacher(server)
        names = [known._id(request) for request in requests(3)]
        Path("state").write_text(json.dumps([{"file": "file-9", "batch": "batch_9", "ids": names}]))
        assert all(c.error is None for c in ask(server, 3).values())
    assert server.asked == dict.fromkeys(range(3), 1)


def note_of_a_batch(server: FaultServer, count: int) -> list[str]:
    """As a run leaves it that was killed after it had started a batch of so many requests."""
    asking = teacher(server)
    asking.tell = lambda said: asking.wind_down()
    assert list(asking.generate(requests(count))) == []
    return json.loads(Path("state").read_text())[0]["ids"]


def test_answers_that_are_not_asked_for_now_are_kept_for_later() -> None:
    """A run that goes on with a smaller budget, or fewer rows, fetches a part of a batch that is paid for whole."""
    with BatchServer() as server:
        names = note_of_a_batch(server, 10)
        first = teacher(server)
        assert [first.committed(request) for request in requests(12)] == [True] * 10 + [False] * 2
        assert sorted(c.key for c in first.generate(requests(4))) == ["r0", "r1", "r2", "r3"]
        assert json.loads(Path("state").read_text())[0]["ids"] == names[4:]
        assert [first.committed(request) for request in requests(5)] == [False] * 4 + [True]
        assert [c.error for c in teacher(server).generate(islice(requests(10), 4, None))] == [None] * 6
    assert server.asked == dict.fromkeys(range(10), 1)
    assert not Path("state").exists()


def test_a_budget_does_not_stop_what_is_paid_for() -> None:
    rows = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(12))
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with BatchServer() as server:
        started = teacher(server)
        started.tell = lambda said: started.wind_down()
        run(Answer("in.jsonl"), started, "out.jsonl")
        report = run(Answer("in.jsonl"), teacher(server), "out.jsonl", budget=Budget(tokens=10))
    assert (report.accepted, report.complete) == (12, True)
    assert server.asked == dict.fromkeys(range(12), 1)


@pytest.mark.parametrize("answer", [b"<html>hello</html>", b'{"n": 1}', b"[1]", b"", b'{"id": 5}', b"{"])
def test_what_is_no_batch_api_is_one_sentence(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchServer, "_api", lambda *_: (200, answer))
    with BatchServer() as server:
        (got,) = ask(server, 3, max_attempts=2).values()
    assert got.fatal
    assert server.url in (got.error or "")


@pytest.mark.parametrize("damaged", ["no json", "{}", '[{"file": "x"}]'])
def test_a_damaged_note_of_batches_is_one_sentence(damaged: str) -> None:
    Path("state").write_text(damaged)
    with BatchServer() as server, pytest.raises(TeacherError, match=r"^state, which names the batches"):
        ask(server, 1)
    assert server.asked.total() == 0


def test_no_batch_api_is_one_sentence() -> None:
    with FaultServer() as server:
        got = ask(server, 5)
    assert [c.fatal for c in got.values()] == [True]
    assert "has no Batch API" in (got["r0"].error or "")


def test_waiting_ends_when_told() -> None:
    with BatchServer(looks=10_000) as server:
        asked = teacher(server)
        asked.tell = lambda said: asked.wind_down() if "in_progress" in said else None
        assert list(asked.generate(requests(3))) == []
        assert json.loads(Path("state").read_text())[0]["batch"] == "batch_0"


def test_bad_numbers() -> None:
    with pytest.raises(TeacherError, match="poll_s must be above 0"):
        BatchTeacher("m", "http://localhost:1/v1", poll_s=0)


def test_the_command_pays_half_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.jsonl").write_text("".join(f'{{"instruction": "#{n}# 问题是什么"}}\n' for n in range(6)), encoding="utf-8")
    Path("prices.yaml").write_text("models: {mock: {input: 1000000, output: 0, batch: 0.5}}\n")
    argv = ["generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--instructions", "in.jsonl"]
    argv += ["-o", "out.jsonl", "--concurrency", "8", "--base-url"]
    Path("out.jsonl.batches").write_text("[]")
    with BatchServer(lambda number, attempt: "400" if number == 5 else None) as server:
        assert main([*argv, server.url]) == 2
        assert "a batch is under way for out.jsonl; add --batch" in capsys.readouterr().err
        assert main([*argv, server.url, "--batch", "--poll", "0.01"]) == 1
        told = capsys.readouterr()
    assert "5 rows" in told.out
    assert f"{5 * 7 / 2:.2f} $" in told.out
    assert "batch batch_0 completed" in told.err
    rows = [json.loads(line) for line in Path("out.jsonl.journal").read_text(encoding="utf-8").splitlines()]
    assert {row["price_factor"] for row in rows} == {0.5}


def test_a_batch_job_in_python(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"instruction": "#{n}# 问题"}}\n' for n in range(5)), encoding="utf-8")
    with BatchServer() as server:
        assert run(Answer(str(path)), teacher(server), tmp_path / "out.jsonl").complete
