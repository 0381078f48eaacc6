"""How `distill generate` ends when it cannot go on: what it says of the rows that are there, and what it leaves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from data_gen.budget import Budget
from data_gen.output import Report
from data_gen.records import DataError
from distill.cli import main
from distill.commands.generate import summary
from tests.fault_server import FaultServer

SO_FAR = re.compile(
    r"^so far: (\d+) rows in out\.jsonl\.part; rejected: truncated (\d+) \(in out\.rejected\.jsonl\.part\); "
    r"[\d,]+ tokens in all runs\n"
    r"the same command with --reparse makes out\.jsonl of all (\d+) answers, and asks nothing$",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    rows = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(120))
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def arguments(url: str, *more: str, out: str = "out.jsonl") -> list[str]:
    return [
        *("generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--base-url", url),
        *("--instructions", "in.jsonl", "--concurrency", "4", "--filters", "{novelty: false}", "-o", out, *more),
    ]


def count(name: str) -> int:
    return len(Path(name).read_bytes().splitlines())


def every_fifth_is_cut(number: int, attempt: int) -> str | None:
    return "length" if number % 5 == 0 else None


def check(said: str) -> None:
    """The numbers are those of the files."""
    found = SO_FAR.search(said)
    assert found, said
    assert [int(number) for number in found.groups()] == [
        count("out.jsonl.part"),
        count("out.rejected.jsonl.part"),
        count("out.jsonl.journal"),
    ]


def test_a_spent_quota_counts_by_reason_and_the_rows_can_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer(every_fifth_is_cut) as server:
        cut = server.plan
        server.plan = lambda number, attempt: "quota" if server.answered.total() >= 40 else cut(number, attempt)
        assert main(arguments(server.url)) == 2
        err = capsys.readouterr().err
        check(err)
        assert err.index("so far:") < err.index("distill: the quota")
        asked, answers = server.asked.total(), count("out.jsonl.journal")
        assert main(arguments(server.url, "--reparse")) == 0
        assert "so far" not in capsys.readouterr().err
        assert server.asked.total() == asked
        assert count("out.jsonl") + count("out.rejected.jsonl") == answers
        server.plan = every_fifth_is_cut
        assert main(arguments(server.url)) == 0
        assert (count("out.jsonl"), count("out.jsonl.journal")) == (96, 120)


def test_too_many_failures_count_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer() as server:
        server.plan = lambda number, attempt: "400" if number >= 30 else every_fifth_is_cut(number, attempt)
        assert main(arguments(server.url)) == 2
    err = capsys.readouterr().err
    found = SO_FAR.search(err)
    assert found
    assert [int(number) for number in found.groups()] == [24, 6, 30]
    assert "50 requests in a row failed" in err


def test_ctrl_c_counts_by_reason() -> None:
    with FaultServer(every_fifth_is_cut, delay_s=0.05) as server:
        command = [sys.executable, "-m", "distill", *arguments(server.url)]
        run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 20
        while server.asked.total() < 30 and time.monotonic() < end:
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
    assert run.returncode == 130
    check(err)
    assert err.index("so far:") < err.index("the same 'distill generate' command goes on")


def test_what_gives_no_row_counts_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Three tasks an answer that were all there before; an earlier answer with some rejected ones is not counted in."""

    def tasks(body: dict[str, Any]) -> str:
        number = 0 if server.asked.total() > 30 else server.asked.total() // 2
        return "\n".join(
            f"{n}. 指令：请写出数字{number * 10 + n}的汉字写法\n{n}. 输入：无\n{n}. 输出：好的。" for n in (4, 5, 6)
        )

    argv = ["generate", "--strategy", "self_instruct", "--teacher", "chatgpt", "--model", "mock", "--rows", "5000"]
    argv += ["--concurrency", "1", "--filters", "{novelty: false}", "-o", "out.jsonl", "--base-url"]
    with FaultServer() as server:
        server.answer = tasks
        assert main([*argv, server.url]) == 2
    err = capsys.readouterr().err
    rejected = count("out.rejected.jsonl.part")
    assert re.search(rf"so far: (4\d) rows in out\.jsonl\.part; rejected: duplicate {rejected} \(in out\.rej", err)
    assert "--reparse" not in err
    found = re.search(
        r"the last (\d+) answers gave no row that passes the filters \('duplicate' (\d+) of (\d+) times\)", err
    )
    assert found
    answers, times, of = (int(number) for number in found.groups())
    assert rejected > times == of == 3 * answers >= 900


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [("answer", "output too long"), ("translate", "translation is too long"), ("augment", "no task in the answer"),
     ("evolve", "evolution broke off")],
)  # fmt: skip
def test_an_output_without_a_row_is_none(strategy: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file that was gone through to its end, too; with other filters its answers may be rows."""
    row = {"instruction": "Count from one to three.", "input": "One, two, three.", "output": "1 2 3"}
    Path("in.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with FaultServer(lambda number, attempt: "length" if strategy == "evolve" else None) as server:
        command = [part if part != "answer" else strategy for part in arguments(server.url)]
        server.answer = lambda body: "多" * 9000
        for more in ([], [], ["--reparse"]):
            assert main([*command, *more]) == 2
            err = capsys.readouterr().err
            assert re.search(rf"of 1 answers none gave a row that passes the filters \('{reason}", err), err
            assert not Path("out.jsonl").exists()
        if strategy == "answer":
            assert main([*command, "--filters", "{length: false, repetition: false}"]) == 0
            assert count("out.jsonl") == 1
        assert server.asked.total() == 1


def test_all_rows_that_were_wanted_are_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever failed on the way; without a number all of the file are wanted."""
    with FaultServer(lambda number, attempt: "400" if number in {3, 7} else None) as server:
        assert main(arguments(server.url, "--rows", "20")) == 0
        said = capsys.readouterr().out
        assert "out.jsonl: 20 rows\n" in said
        assert re.search(r"^failed: 2, the last one with: HTTP 400: This prompt is too long$", said, re.MULTILINE)
        assert main(arguments(server.url, "--rows", "20")) == 0
        assert "out.jsonl is complete: 20 rows" in capsys.readouterr().out
        assert main(arguments(server.url)) == 1
        assert "too long; the same command asks for them again" in capsys.readouterr().out


def test_there_is_nothing_to_read_again_before_the_first_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments("http://127.0.0.1:9/v1", "--reparse")) == 2
    assert "out.jsonl.journal holds no answers to read" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]


class Page(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><html></html>")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def page() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("url", ["page", "http://127.0.0.1:9/v1"])
def test_where_nothing_was_answered_nothing_is_left(
    url: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(url) if url == "page" else url
    assert main(arguments(url, out="runs/first/out.jsonl")) == 2
    err = capsys.readouterr().err
    assert err.startswith("distill: ")
    assert err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]


def test_an_output_that_was_there_stays(capsys: pytest.CaptureFixture[str]) -> None:
    """All answers of a finished output are taken away, then it is extended with a server that is gone."""
    with FaultServer() as server:
        assert main(arguments(server.url, "--rows", "5")) == 0
    Path("out.jsonl.journal").unlink()
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.suffix == ".jsonl"}
    assert main(arguments("http://127.0.0.1:9/v1", "--rows", "9")) == 2
    assert "cannot reach" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.suffix == ".jsonl"} == before
    assert sorted(path.name for path in Path().iterdir() if path.suffix != ".jsonl") == ["out.recipe.json"]


def test_an_unfinished_output_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer() as server:
        server.plan = lambda number, attempt: "quota" if server.answered.total() >= 10 else None
        assert main(arguments(server.url)) == 2
    answers = Path("out.jsonl.journal").read_bytes()
    assert main(arguments("http://127.0.0.1:9/v1")) == 2
    assert "so far: " in capsys.readouterr().err
    assert Path("out.jsonl.journal").read_bytes() == answers
    assert Path("out.recipe.json").exists()


def test_a_budget_ends_at_a_server_that_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer() as server:
        server.usage = None
        assert main([*arguments(server.url, "--budget-tokens", "1000", "--max-tokens", "50")]) == 1
        out = capsys.readouterr().out
        answered = server.answered.total()
        assert f"{answered} answers came without a count of tokens: what they cost is estimated" in out
        assert "stopped at the budget" in out
        assert 15 < answered < 35
        assert main([*arguments(server.url, "--budget-tokens", "1000", "--max-tokens", "50")]) == 1
        assert server.answered.total() == answered, "what the journal holds was paid for"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--budget-tokens", "5"], "--budget-tokens 5 does not suffice for one request, which may take 5"),
        (["--budget", "0.000001"], "--budget 1e-06 does not suffice for one request, which may cost 0.00"),
    ],
)
def test_a_budget_for_not_even_one_request_leaves_nothing(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("prices.yaml").write_text("models: {mock: {input: 1, output: 2}}", encoding="utf-8")
    before = sorted(path.name for path in Path().iterdir())
    with FaultServer() as server:
        assert main([*arguments(server.url, *options)]) == 2
        assert server.asked.total() == 0
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == before


def test_tokens_of_a_budget_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text("budget_tokens: 2.5\n")
    assert main(arguments("http://127.0.0.1:9/v1", "--config", "recipe.yaml")) == 2
    assert "must be a whole number, not 2.5" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"--budget-tokens must be a whole number, not 2\.5"):
        Budget(None, None, 2.5)  # type: ignore[arg-type]


def test_a_spent_budget_is_not_the_end_of_what_there_is_to_ask() -> None:
    """One of the two is said, not both."""
    report = Report(ran=True, accepted=18, exhausted=True)
    assert summary("out.jsonl", report, 100).startswith("out.jsonl: 18 rows of 100 (there is nothing more to ask)\n")
    report.stopped = "stopped at the budget: 1.00 USD; the same command with more --budget goes on"
    assert "nothing more to ask" not in summary("out.jsonl", report, 100)
