"""Two long drills of `distill generate`; the test suite runs both smaller.

    python benchmarks/drill_generate.py kill      20 random `kill -9` over 1,000 rows, 64 in flight
    python benchmarks/drill_generate.py memory    100,000 rows: resident memory every 10,000

`kill` compares what the server has seen with the journal after every kill. Answers that are paid twice were delivered
after the kill, to a process that was still being torn down, or before it and are not in the journal: because they lay
unread in a socket, or because the command had read them and not written them down. Only for the last ones it is to
blame: one a kill at most. `tests/killing.py` tells how they are told apart. `memory` asks a teacher that answers at
once and prints how much memory the process holds as the rows go by, and by how much it may grow.
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

OLD_S = 0.02
"""Delivered so long before the kill, an answer is in the journal unless the machine let nobody read it"""
A_ROW, SLACK_MB = 96, 3
"""Two tables of up to 48 bytes a row, the journal's and that of duplicates; and what an allocator keeps"""
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from bench_generate import TEXT, question  # noqa: E402

from teachers.base import Completion, Request  # noqa: E402
from tests import killing  # noqa: E402
from tests.fault_server import FaultServer  # noqa: E402
from tests.killing import Kill  # noqa: E402


def start(folder: Path, url: str, in_flight: int) -> subprocess.Popen[bytes]:
    """The command, in a process of its own."""
    argv = [sys.executable, "-m", "distill", "generate", "--strategy", "answer", "--teacher", "chatgpt"]
    argv += ["--model", "mock", "--base-url", url, "--instructions", "in.jsonl", "-o", "out.jsonl"]
    argv += ["--concurrency", str(in_flight)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill(rows: int, kills: int, in_flight: int, delay_s: float) -> None:
    """Plain kills, then as many at which it is looked what had been read."""
    for look in (False, True):
        done, twice = drill(rows, kills, in_flight, delay_s, look)
        before, after = [s for each in done for s in each.before_s], sum(each.afterwards for each in done)
        old, read = sum(s >= OLD_S for s in before), [each.read for each in done]
        oldest = f", the oldest written {1000 * max(before):.1f} ms before the kill" if before else ""
        settings = f"{rows} rows, {in_flight} in flight, {500 * delay_s:g} to {1500 * delay_s:g} ms an answer"
        print(f"{len(done)} kills over {settings}: no row lost, none doubled")
        print(f"answers paid twice: {twice}, {max(each.twice for each in done)} at most a kill")
        print(f"- delivered before the kill, and not in the journal: {len(before)}{oldest}")
        if look:
            print(f"- of these, read by the command and not written down: {sum(read)}")
        print(
            f"- delivered afterwards{', while it was being looked at,' if look else ''} to a dying process: {after}\n"
        )
        assert twice == sum(each.twice for each in done)
        assert max(each.twice for each in done) <= in_flight
        assert max(read) <= 1, "one is read and written down before the next is read"
        assert old <= 0.01 * rows, "what was delivered a while ago is in the journal"


def drill(rows: int, kills: int, in_flight: int, delay_s: float, look: bool) -> tuple[list[Kill], int]:
    """Kill it at random moments, let the last run end: the kills, and how many answers the server gave twice."""
    draw, done, known = random.Random(7), list[Kill](), set[float]()
    with tempfile.TemporaryDirectory() as name, FaultServer(delay_s=delay_s) as faults:
        folder, faults.spread = Path(name), 0.5
        lines = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(rows))
        (folder / "in.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for _ in range(kills):
            until = faults.answered.total() + draw.randint(1, rows // kills // 2)
            run = start(folder, faults.url, in_flight)
            while faults.answered.total() < until and run.poll() is None:
                time.sleep(0.002)
            time.sleep(draw.random() * delay_s)
            if run.poll() is not None:  # it was through
                break
            done.append(killing.kill(run, faults, folder / "out.jsonl.journal", known, look=look))
        out, _ = (last := start(folder, faults.url, in_flight)).communicate()
        assert last.returncode == 0, out.decode()
        got = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        numbers = [row["instruction"].split(" ")[0] for row in got if row["output"].startswith(row["instruction"][:3])]
        assert len(numbers) == len(set(numbers)) == rows
        return done, faults.answered.total() - len(faults.answered)


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
    write, count, held = harvest._write, 0, dict[int, float]()

    def counted(file: Any, row: Any) -> None:
        nonlocal count
        write(file, row)
        count += 1
        if count % (rows // 10) == 0 or count == 100:
            held[count] = _resident_mb()
            print(f"| {count:,} | {held[count]:.1f} |", flush=True)

    harvest._write = counted
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "in.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"instruction": question(n)}, ensure_ascii=False) + "\n" for n in range(rows))
        start = time.process_time()
        report = run(Answer(str(path)), Talker(), Path(name) / "out.jsonl", filters={"novelty": False})
    assert report.accepted == rows, report.rejected
    print(f"\n{1000 * (time.process_time() - start) / rows:.2f} ms of processor time a row without the network")
    first, *_, last = sorted(held)[1:]
    grown, most = held[last] - held[first], (last - first) * A_ROW / 2**20 + SLACK_MB
    print(f"grown by {grown:.1f} MB from {first:,} rows on; allowed: {most:.1f}, {A_ROW} bytes a row and {SLACK_MB} MB")
    assert grown <= most


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drill", choices=["kill", "memory"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--delay-ms", type=float, default=50.0, help="what an answer takes, +- 50 %%")
    args = parser.parse_args()
    if args.drill == "kill":
        kill(args.rows or 1000, args.kills, args.in_flight, args.delay_ms / 1000)
    else:
        memory(args.rows or 100_000)
