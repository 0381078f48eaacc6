"""`distill generate` as a user runs it, against a server that misbehaves: nothing lost, doubled, overpaid or leaked."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests.fault_server import FaultServer, good

KEY = "sk-secret-abcdefghijklmnop0123456789"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def questions(count: int) -> None:
    rows = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(count))
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def arguments(server: FaultServer | str, *more: str) -> list[str]:
    url = server if isinstance(server, str) else server.url
    return [
        *("generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--base-url", url),
        *("--instructions", "in.jsonl", "--concurrency", "8", "-o", "out.jsonl", *more),
    ]


def start(argv: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "distill", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def rows(name: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def assert_all_good(count: int) -> None:
    """Row n answers question n, once, in order."""
    got = rows()
    assert [row["instruction"].split(" ")[0] for row in got] == [f"#{n}#" for n in range(count)]
    assert all(row["output"].split(" ")[0] == row["instruction"].split(" ")[0] for row in got)


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_ctrl_c_says_how_to_go_on() -> None:
    questions(200)
    with FaultServer(delay_s=0.05) as server:
        run = start(arguments(server))
        wait_for(lambda: server.answered.total() >= 20)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=20)
        assert run.returncode == 130
        assert "the same 'distill generate' command goes on" in err
        assert "Traceback" not in err
        assert len(rows("out.jsonl.journal")) == server.answered.total() < 200  # what was in flight was kept
        assert main(arguments(server)) == 0
    assert_all_good(200)
    assert server.answered.total() == 200


def test_two_runs_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    questions(50)
    with FaultServer(delay_s=0.2) as server:
        run = start(arguments(server))
        wait_for(lambda: server.asked.total() > 0)
        assert main(arguments(server)) == 2
        assert "out.jsonl.journal is in use by another run" in capsys.readouterr().err
        run.communicate(timeout=30)
        assert run.returncode == 0
    assert_all_good(50)


def test_every_row_failing_once_is_good_within_5_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ["500", "429", "cut", "drop", "empty", "503"]
    took = []
    for go in range(2):  # the machine may be busy once
        folder = tmp_path / str(go)
        folder.mkdir()
        monkeypatch.chdir(folder)
        questions(300)
        start = time.monotonic()
        with FaultServer(lambda n, k: faults[n % 6] if k == 0 else None, delay_s=0.05, retry_after="1") as server:
            assert main(arguments(server, "--concurrency", "64")) == 0
        took.append(time.monotonic() - start)
        assert_all_good(300)
        assert (server.faults.total(), server.too_early, server.most_in_flight <= 64) == (300, 0, True)
        assert len(rows("out.jsonl.journal")) == 300
        if took[-1] <= 5:
            break
    assert min(took) <= 5


def test_mixed_faults_leave_no_trace() -> None:
    """3 % each of everything that passes, first tries and later ones alike, and answers that break off."""
    kinds = ["429", "500", "hang", "drop", "cut", "empty", "length", "html", "503"]

    def mixed(number: int, attempt: int) -> str | None:
        draw = int(random.Random(f"{number}:{attempt}").random() / 0.03)
        fault = kinds[draw] if draw < len(kinds) else None
        return None if fault == "length" and attempt else fault

    questions(300)
    with FaultServer(mixed, delay_s=0.01, retry_after="0.1") as server:
        server.plan = lambda number, attempt: mixed(number, attempt) if server.answered.total() else None
        assert main(arguments(server, "--timeout", "0.5", "--concurrency", "64", "--on-length", "continue")) == 0
    got = rows()
    assert [row["instruction"].split(" ")[0] for row in got] == [f"#{n}#" for n in range(300)]
    assert all(row["output"] == f"#{n}# 这是第{n}个问题的回答，祝您一切顺利。" for n, row in enumerate(got))
    assert {kind for kind, count in server.faults.items() if count >= 3} == set(kinds)
    assert server.too_early == 0


def test_a_spent_quota_ends_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    questions(100)
    with FaultServer(delay_s=0.01) as server:
        server.plan = lambda number, attempt: "quota" if server.answered.total() >= 50 else None
        assert main(arguments(server)) == 2
        err = capsys.readouterr().err
        assert err.count("quota behind the key") == 1
        paid = server.answered.total()
        assert f"{paid} answers are safe in out.jsonl.journal, and the same command goes on from there" in err
        assert server.faults["quota"] <= 8
        server.plan = good
        assert main(arguments(server)) == 0
    assert_all_good(100)
    assert server.answered.total() == 100


def test_a_budget_is_kept_and_the_output_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    questions(100)
    Path("prices.yaml").write_text("models: {mock: {input: 1000, output: 1000}}\n")
    with FaultServer(delay_s=0.01) as server:
        assert main(arguments(server, "--max-tokens", "40", "--budget", "1.5")) == 1
        told = capsys.readouterr()
        assert "estimate: 100 requests" in told.err
        assert "stopped at the budget:" in told.out
        paid = server.answered.total()
        assert len(rows()) == paid
        spent = sum(sum(row["usage"].values()) for row in rows("out.jsonl.journal")) / 1000
        assert 1.4 < spent <= 1.5
        assert main(arguments(server, "--max-tokens", "40", "--budget", "9")) == 0
    assert_all_good(100)
    assert server.answered.total() == 100


def test_ctrl_c_does_not_wait_for_a_long_retry_after() -> None:
    questions(40)
    with FaultServer(lambda n, k: "429" if n % 2 else None, retry_after="60", delay_s=0.02) as server:
        run = start(arguments(server))
        wait_for(lambda: server.answered.total() >= 20)
        begun = time.monotonic()
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
    assert (run.returncode, time.monotonic() - begun < 10) == (130, True)
    assert "goes on" in err
    assert len(rows("out.jsonl.journal")) == server.answered.total()


def test_a_wrong_key_never_shows() -> None:
    questions(20)
    with FaultServer() as server:
        server.key = "right"
        run = start(arguments(server), OPENAI_API_KEY=KEY, OPENAI_LOG="debug")
        out, err = run.communicate(timeout=30)
        assert run.returncode == 2
        assert "does not accept the key in OPENAI_API_KEY" in err
        assert server.asked.total() <= 8
    assert KEY not in out + err
    for path in Path().iterdir():
        assert KEY not in path.read_text(encoding="utf-8")


def test_rows_that_fail_for_good_give_1(capsys: pytest.CaptureFixture[str]) -> None:
    questions(5)
    with FaultServer(lambda number, attempt: "400" if number == 2 else None) as server:
        assert main(arguments(server)) == 1
        assert "failed: 1, the last one with: HTTP 400: This prompt is too long" in capsys.readouterr().out
    assert len(rows()) == 4


def test_cut_answers_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    questions(5)
    with FaultServer(lambda number, attempt: "length" if number == 2 else None) as server:
        assert main(arguments(server)) == 0
        assert "rejected: truncated 1" in capsys.readouterr().out
        assert main(arguments(server)) == 0
        assert "out.jsonl is complete: 4 rows" in capsys.readouterr().out
        assert server.asked.total() == 5
        assert main(arguments(server, "--max-tokens", "99")) == 2
        assert "another recipe (max_tokens 512, now 99)" in capsys.readouterr().err
        assert main(arguments(server, "--max-tokens", "99", "--force")) == 0
    assert server.asked.total() == 10


def test_self_instruct_through_an_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    def tasks(body: dict[str, Any]) -> str:
        first = body["seed"] % 10_000
        return "\n".join(
            f"{n}. 指令：请说出数字{first * 5 + n}的汉字写法\n{n}. 输入：无\n{n}. 输出：好的，{n}。"
            for n in range(4, 9)
        )

    argv = ["generate", "--config", "recipe.yaml", "--base-url"]
    Path("recipe.yaml").write_text(
        "strategy: self_instruct\nteacher: chatgpt\nmodel: mock\nrows: 42\noutput: new.jsonl\n"
        "filters: {chinese_share: {least: 0.5}, novelty: false}\n"
    )
    with FaultServer() as server:
        server.answer = tasks
        assert main([*argv, server.url]) == 0
    assert len({row["instruction"] for row in rows("new.jsonl")}) == 42
    assert server.bodies[0]["temperature"] == 1.0


def test_an_unreachable_host(capsys: pytest.CaptureFixture[str]) -> None:
    questions(100)
    assert main(arguments("http://127.0.0.1:9/v1")) == 2
    assert "cannot reach http://127.0.0.1:9/v1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--budget": "0"}, "--budget must be above 0, not 0"),
        ({"--budget-tokens": "-5"}, "--budget-tokens must be above 0"),
        ({"--budget": "1", "--model": "my-own"}, "no price is known for model 'my-own'"),
        ({"--prices": "bad.jsonl", "--budget": "1"}, "bad.jsonl must hold 'models:'"),
        ({"--parameters": "[1]"}, "--parameters must look like"),
        ({"--parameters": "{model: x}"}, "parameters may not hold 'model'"),
        ({"--logprobs": "50"}, "logprobs must be a whole number from 0 to 20"),
        ({"--response-format": "nosuch.json"}, "neither 'json' nor the file of a JSON schema"),
        ({"--tokens-per-minute": "0"}, "--tokens-per-minute must be a number above 0"),
        ({"--poll": "3"}, "teacher 'chatgpt' takes no --poll"),
        ({"--strategy": "anser"}, "unknown strategy 'anser' (did you mean 'answer'?)"),
        ({"--teacher": "chatgtp"}, "unknown teacher 'chatgtp' (did you mean 'chatgpt'?)"),
        ({"--teacher": "local", "--base-url": None, "--concurrency": None, "--model": None}, "'local' needs --model"),
        ({"--teacher": "scripted"}, "teacher 'scripted' takes no --model"),
        ({"--instructions": "missing.jsonl"}, "no file missing.jsonl"),
        ({"--instructions": None}, "strategy 'answer' needs --instructions"),
        ({"--instructions": "bad.jsonl"}, "bad.jsonl, line 1: field 'instruction' is missing"),
        ({"--template": "qaa"}, "unknown template 'qaa' (did you mean 'qa'?)"),
        ({"--filters": "{lenght: false}"}, "unknown filter 'lenght' (did you mean 'length'?)"),
        ({"--filters": "3"}, "--filters must look like"),
        ({"--rows": "0"}, "--rows must be a whole number from 1 on"),
        ({"--temperature": "9"}, "--temperature must lie between 0 and 2"),
        ({"-o": "in.jsonl/out.jsonl"}, "in.jsonl is no folder"),
        ({"-o": "in.jsonl"}, "in.jsonl is read, and -o in.jsonl would write over it"),
        ({"-o": "bad.jsonl"}, "this command did not make it"),
        ({"-o": None}, "--output is needed"),
        ({"--base-url": "localhost:8000"}, "is no address"),
        ({"--base-url": None}, "set the environment variable OPENAI_API_KEY"),
        ({"--strategy": "self_instruct", "--seeds": "bad.jsonl"}, "takes no --instructions"),
        ({"--strategy": "self_instruct", "--instructions": None, "--seeds": "bad.jsonl"}, "bad.jsonl, line 1: field"),
        ({"--strategy": "self_instruct", "--instructions": None}, "say how many rows you want with --rows"),
        ({"--strategy": "magpie", "--instructions": None, "--rows": "3"}, "'magpie' needs a local teacher"),
    ],
)
def test_mistakes_end_in_one_sentence(
    changes: dict[str, str | None], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    questions(3)
    Path("bad.jsonl").write_text('{"text": "no task"}\n')
    options: dict[str, str | None] = {
        **{"--strategy": "answer", "--teacher": "chatgpt", "--model": "mock", "--base-url": "http://127.0.0.1:9/v1"},
        **{"--instructions": "in.jsonl", "--concurrency": "4", "-o": "out.jsonl", **changes},
    }
    argv = [word for name, value in options.items() if value is not None for word in (name, value)]
    assert main(["generate", *argv]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_a_class_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    questions(3)
    Path("my_teacher.py").write_text(
        "from teachers.scripted import ScriptedTeacher\n"
        "class Mine(ScriptedTeacher):\n"
        "    def __init__(self, model):\n"
        "        super().__init__(lambda request: f'{model}说：好的。', name=model)\n"
    )
    argv = ["generate", "--strategy", "answer", "--teacher", "my_teacher:Mine", "--model", "我的模型"]
    assert main([*argv, "--instructions", "in.jsonl", "-o", "out.jsonl"]) == 0
    assert rows()[0]["output"] == "我的模型说：好的。"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "--strategy",
            "'mine:Mine' is no strategy: it has no settings, no per_request, no total, no requests, no follow",
        ),
        ("--teacher", "'mine:Mine' is no teacher: it has no local, no generate"),
    ],
)
def test_a_class_that_is_none(option: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text("class Mine:\n    name = 'mine'\n")
    wants = {"--strategy": "self_instruct", "--teacher": "scripted", option: "mine:Mine"}
    argv = [word for pair in wants.items() for word in pair]
    assert main(["generate", *argv, "--rows", "3", "-o", "out.jsonl"]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["drop", "keep", "continue"])
def test_thoughts_that_take_all_tokens_are_paid_for_once(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    questions(4)
    with FaultServer(lambda number, attempt: "thoughts" if number == 2 else None) as server:
        argv = ["generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--base-url", server.url]
        assert main([*argv, "--instructions", "in.jsonl", "--on-length", policy, "-o", "out.jsonl"]) == 0
    assert server.asked == dict.fromkeys(range(4), 1)
    assert "rejected: cut off before it began 1" in capsys.readouterr().out


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys\ntry:\n from distill.cli import main; main(['generate', '--help'])\nexcept SystemExit:\n pass\n"
        "print([m for m in ('torch', 'openai', 'transformers', 'httpx2', 'tenacity') if m in sys.modules])"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--strategy" in got.stdout
    assert got.stdout.splitlines()[-1] == "[]"
