"""`distill generate` under `kill -9`, again and again: nothing lost, nothing doubled, little paid for twice."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import killing
from tests.fault_server import FaultServer

ROWS, KILLS, IN_FLIGHT = 1000, 14, 16


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    rows = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(ROWS))
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def start(server: FaultServer, in_flight: int = IN_FLIGHT) -> subprocess.Popen[str]:
    asked = ["generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--base-url", server.url]
    argv = [sys.executable, "-m", "distill", *asked, "--instructions", "in.jsonl", "-o", "out.jsonl"]
    return subprocess.Popen(
        [*argv, "--concurrency", str(in_flight)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def to_the_end(server: FaultServer, in_flight: int = IN_FLIGHT) -> str:
    """What the last run says, which nobody kills."""
    last = start(server, in_flight)
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    return out


def all_there(server: FaultServer) -> None:
    """Every row is there once, with its own answer, in the output and in the journal."""
    got, journal = rows("out.jsonl"), rows("out.jsonl.journal")
    assert [row["instruction"].split(" ")[0] for row in got] == [f"#{n}#" for n in range(ROWS)]
    assert all(row["output"].split(" ")[0] == row["instruction"].split(" ")[0] for row in got)
    assert len(journal) == len({row["key"] for row in journal}) == ROWS
    assert set(server.answered) == set(range(ROWS))


@pytest.mark.skipif(not killing.SOCKETS.exists(), reason="the system does not tell what lies unread in its sockets")
def test_kill_9_at_random_loses_nothing_and_pays_little_twice() -> None:
    """At every kill what is paid for twice was in flight; what had been read is in the journal, but for the one that
    was being written down. Whatever the machine does meanwhile: what it did not let be read is not held against it."""
    draw, known, kills = random.Random(5), set[float](), list[killing.Kill]()
    with FaultServer(delay_s=0.03) as server:
        for n in range(KILLS):
            until = server.answered.total() + draw.randint(1, 40)
            run = start(server)
            while server.answered.total() < until and run.poll() is None:
                time.sleep(0.002)
            time.sleep(draw.random() * 0.03)
            if run.poll() is not None:  # a machine that is so busy that it was through before it could be killed
                break
            kills.append(killing.kill(run, server, Path("out.jsonl.journal"), known, look=n % 2 == 0))
            assert not Path("out.jsonl").exists()
        assert len(kills) > KILLS // 2, run.communicate()
        out = to_the_end(server)
    all_there(server)
    if len(kills) == KILLS:
        assert re.search(rf"answers: {ROWS} \(\d+ from the journal\)", out)

    assert server.answered.total() - ROWS == sum(kill.twice for kill in kills)
    assert max(kill.twice for kill in kills) <= IN_FLIGHT
    assert max(kill.read for kill in kills) <= 1
    assert sum(kill.read for kill in kills) <= 0.01 * ROWS


def test_kill_9_at_a_teachers_pace_costs_one_percent_at_most() -> None:
    """Teachers take half a second and more. A killed process takes a millisecond or two until its sockets are closed,
    so faster answers cost more: `benchmarks/drill_generate.py kill --delay-ms 50` measures that."""
    draw, known, kills, in_flight = random.Random(6), set[float](), list[killing.Kill](), 32
    with FaultServer(delay_s=1.0) as server:
        server.spread = 0.5
        for _ in range(20):
            run = start(server, in_flight)
            before = server.answered.total()
            while server.answered.total() == before and run.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.random())
            assert run.poll() is None, run.communicate()
            kills.append(killing.kill(run, server, Path("out.jsonl.journal"), known))
        to_the_end(server, 2 * in_flight)
    all_there(server)
    assert server.answered.total() - ROWS == sum(kill.twice for kill in kills) <= 0.01 * ROWS
    assert max(kill.twice for kill in kills) <= in_flight
