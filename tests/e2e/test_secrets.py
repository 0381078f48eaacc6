"""Keys never show: not in the process list, not in the environment of children, not in a file, log or message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fault_server import FaultServer

KEY = "sk-secret-abcdefghijklmnop0123456789"
IN_THE_QUERY = "queryabcdefsecret"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(40))
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def start(*more: str, **environment: str) -> subprocess.Popen[str]:
    asked = ["generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--max-attempts", "1"]
    argv = [sys.executable, "-m", "distill", *asked, "--instructions", "in.jsonl", "-o", "out.jsonl", *more]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "OPENAI_LOG": "debug", **environment}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it is gone
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no process list to read here")
def test_a_key_of_the_environment_is_in_no_process_list() -> None:
    """What `ps` shows of the command and of all it starts; and no child is handed the key on."""
    seen: set[int] = set()
    with FaultServer(delay_s=0.2) as server:
        run = start("--base-url", server.url, "--concurrency", "4", OPENAI_API_KEY=KEY)
        while run.poll() is None:
            for pid in family(run.pid):
                try:
                    line, held = Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes()
                except OSError:  # it is gone
                    continue
                if line and server.asked.total():
                    seen.add(pid)
                assert KEY.encode() not in line
                assert pid == run.pid or KEY.encode() not in held
            time.sleep(0.02)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert run.pid in seen
    assert server.keys == {KEY: 40}
    assert KEY not in out + err


@pytest.mark.parametrize("fault", [None, "401", "400", "500", "html"])
def test_a_key_in_the_addresss_query_is_sent_and_never_shows(fault: str | None) -> None:
    with FaultServer(lambda number, attempt: fault) as server:
        url = f"{server.url}?key={IN_THE_QUERY}"
        run = start(OPENAI_BASE_URL=url) if fault else start("--base-url", url)
        out, err = run.communicate(timeout=60)
        assert server.query == f"key={IN_THE_QUERY}"
    assert (run.returncode == 0) == (fault is None), err
    assert ("process list" in err) == (fault is None)
    if fault in {"401", "html"}:
        assert "/v1?key=***" in err
    assert IN_THE_QUERY not in out + err
    written = [path for path in Path().iterdir() if path.name != "in.jsonl"]
    assert written or fault in {"401", "html"}
    for path in written:
        assert IN_THE_QUERY not in path.read_text(encoding="utf-8")


def test_an_address_that_cannot_be_reached_is_told_without_its_query() -> None:
    run = start("--base-url", f"http://127.0.0.1:9/v1?key={IN_THE_QUERY}&version=2")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "cannot reach http://127.0.0.1:9/v1?key=***&version=***" in err
    assert "a key in --base-url can be seen in the process list; OPENAI_BASE_URL" in err
    assert IN_THE_QUERY not in out + err
