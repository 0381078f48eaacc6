"""Two long drills of `distill generate`; the test suite runs the first one smaller.

    python benchmarks/drill_generate.py kill      20 random `kill -9` over 1,000 rows, 64 in flight
    python benchmarks/drill_generate.py memory    100,000 rows: resident memory every 10,000

`kill` counts at the server: rows lost, rows doubled, answers paid for twice. `memory` asks the fast server of
bench_generate.py and prints how much memory the process holds as the rows go by.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from bench_generate import question, server  # noqa: E402

from tests.fault_server import FaultServer  # noqa: E402


def start(folder: Path, url: str, in_flight: int) -> subprocess.Popen[bytes]:
    """The command, in a process of its own."""
    argv = [sys.executable, "-m", "distill", "generate", "--strategy", "answer", "--teacher", "chatgpt"]
    argv += ["--model", "mock", "--base-url", url, "--instructions", "in.jsonl", "-o", "out.jsonl"]
    argv += ["--concurrency", str(in_flight)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill(rows: int, kills: int, in_flight: int) -> None:
    """Kill it at random moments, let the last run end, compare with what the server has seen."""
    draw = random.Random(7)
    with tempfile.TemporaryDirectory() as name, FaultServer(delay_s=0.05) as faults:
        folder = Path(name)
        lines = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(rows))
        (folder / "in.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for _ in range(kills):
            until = faults.answered.total() + draw.randint(1, rows // kills)
            run = start(folder, faults.url, in_flight)
            while faults.answered.total() < until and run.poll() is None:
                time.sleep(0.002)
            time.sleep(draw.random() * 0.05)
            run.kill()
            run.communicate()
        out, _ = (last := start(folder, faults.url, in_flight)).communicate()
        assert last.returncode == 0, out.decode()
        got = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        numbers = [row["instruction"].split(" ")[0] for row in got if row["output"].startswith(row["instruction"][:3])]
        twice = faults.answered.total() - len(faults.answered)
    print(f"{kills} kills over {rows} rows, {in_flight} in flight")
    print(f"rows lost: {rows - len(set(numbers))}, doubled: {len(numbers) - len(set(numbers))}")
    print(f"answers that arrived twice: {twice} in all, {100 * twice / rows:.1f} % of the rows")
    assert len(numbers) == len(set(numbers)) == rows
    assert twice <= kills * in_flight


def memory(rows: int, in_flight: int) -> None:
    """Resident memory of a run, read from outside."""
    with tempfile.TemporaryDirectory() as name, server(0.0) as url:
        folder = Path(name)
        with (folder / "in.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"instruction": question(n)}, ensure_ascii=False) + "\n" for n in range(rows))
        run = start(folder, url, in_flight)
        journal, step, seen = folder / "out.jsonl.journal", rows // 10, 0
        print("| rows | MB resident |\n|---|---|")
        while run.poll() is None:
            time.sleep(0.5)
            done = _lines(journal)
            if done >= seen + step:
                seen = done
                print(f"| {done:,} | {_resident_mb(run.pid):.0f} |", flush=True)
        out: Any = run.communicate()[0]
        print(out.decode().splitlines()[-2:])


def _lines(path: Path) -> int:
    """About how many lines a growing file has, from its size and its first line."""
    if not path.exists() or not (size := path.stat().st_size):
        return 0
    with path.open("rb") as file:
        return size // max(1, len(file.readline()))


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drill", choices=["kill", "memory"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=64)
    args = parser.parse_args()
    if args.drill == "kill":
        kill(args.rows or 1000, args.kills, args.in_flight)
    else:
        memory(args.rows or 100_000, args.in_flight)
