"""Two long drills of `distill generate`; the test suite runs the first one smaller.

    python benchmarks/drill_generate.py kill      20 random `kill -9` over 1,000 rows, 64 in flight
    python benchmarks/drill_generate.py memory    100,000 rows: resident memory every 10,000

`kill` compares what the server has seen with the journal after every kill. Answers that are paid twice are of two
kinds: those that the server had written before the signal was sent, and that are not in the journal (delivered and
lost: what the command is to blame for), and those that it wrote afterwards, to a process that was still being torn down
(in flight at the kill: nobody was there any more to write them down). `memory` asks a teacher that answers at once and
prints how much memory the process holds as the rows go by.
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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from bench_generate import TEXT, question  # noqa: E402

from teachers.base import Completion, Request  # noqa: E402
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
    lost, died, sent = 0, list[int](), list[int]()
    counted: set[float] = set()
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
            asked, at = faults.in_flight, time.monotonic()
            run.kill()
            run.communicate()
            time.sleep(0.1)  # the server finds out
            times = unwritten(folder / "out.jsonl.journal", faults) - counted
            counted |= times
            before, after = sum(time <= at for time in times), sum(time > at for time in times)
            lost, died, sent = lost + before, [*died, after], [*sent, asked]
        out, _ = (last := start(folder, faults.url, in_flight)).communicate()
        assert last.returncode == 0, out.decode()
        got = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        numbers = [row["instruction"].split(" ")[0] for row in got if row["output"].startswith(row["instruction"][:3])]
        twice = faults.answered.total() - len(faults.answered)
    print(f"{kills} kills over {rows} rows, {in_flight} in flight ({sum(sent) / kills:.0f} when it was killed)")
    print(f"rows lost: {rows - len(set(numbers))}, doubled: {len(numbers) - len(set(numbers))}")
    print(f"delivered before the kill and lost: {lost} in all, {100 * lost / rows:.1f} % of the rows")
    print(f"in flight at the kill, answered while it died: {sum(died)} in all, {max(died)} at most a kill")
    print(f"paid twice: {twice} in all, {twice / kills:.1f} a kill")
    assert len(numbers) == len(set(numbers)) == rows
    assert all(after <= asked for after, asked in zip(died, sent, strict=True))
    assert twice == lost + sum(died)


def unwritten(journal: Path, faults: FaultServer) -> set[float]:
    """When the server wrote its last answer to each question that has none in the journal."""
    rows = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    there = {int(json.loads(row)["name"].split("-")[1]) for row in rows}
    return {times[-1] for number, times in list(faults.answered_at.items()) if number not in there}


class Talker:
    """A teacher that answers at once and keeps nothing."""

    name, local = "talker", False

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for request in requests:
            usage = {"prompt_tokens": 64, "completion_tokens": 80}
            said = request.messages[-1]["content"][6:16] + TEXT
            yield Completion(request.key, said, model=self.name, usage=usage)


def memory(rows: int) -> None:
    """Resident memory of a run as its rows go by; the novelty filter is off: its index grows with the rows kept."""
    from data_gen import harvest
    from data_gen.job import run
    from data_gen.strategies.answer import Answer

    print("| rows | MB resident |\n|---|---|")
    write, count = harvest._write, 0

    def counted(file: Any, row: Any) -> None:
        nonlocal count
        write(file, row)
        count += 1
        if count % (rows // 10) == 0 or count == 100:
            print(f"| {count:,} | {_resident_mb():.1f} |", flush=True)

    harvest._write = counted
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "in.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"instruction": question(n)}, ensure_ascii=False) + "\n" for n in range(rows))
        start = time.process_time()
        report = run(Answer(str(path)), Talker(), Path(name) / "out.jsonl", filters={"novelty": False})
    assert report.accepted == rows, report.rejected
    print(f"\n{1000 * (time.process_time() - start) / rows:.2f} ms of processor time a row without the network")


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


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
        memory(args.rows or 100_000)
