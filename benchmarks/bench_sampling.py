"""Drawing 150,000 of 1.5 million rows (1.25 GB of JSON lines): `sample-dataset` against what else draws rows.

    python benchmarks/bench_sampling.py                     # about 3 GB of disk in the system's temporary folder
    python benchmarks/bench_sampling.py --rows 100000 --draw 10000 --rounds 1

The file is made in a temporary folder and deleted at the end. Every peer that is installed is run as a process of its
own, all of them in turn, round after round; the CPU seconds (user and system) of the whole process count, and the
ratios printed are those of the medians. The first sample of a round finds no index, the next one does.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

READS_ONLY = "wc -l"
"""Draws nothing: what it costs to read the file once"""
OURS = [sys.executable, "-m", "distill", "sample"]
POLARS = """
import polars, sys
polars.read_ndjson(sys.argv[1]).sample(int(sys.argv[2]), seed=1).write_ndjson(sys.argv[3])
"""
DATASETS = """
import datasets, sys
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[3] + ".cache")
rows.shuffle(seed=1).select(range(int(sys.argv[2]))).to_json(sys.argv[3], force_ascii=False)
"""
DUCKDB = """
import duckdb, sys
one = "delim='\\x01', quote='', escape='', header=false"
lines = f"read_csv('{sys.argv[1]}', columns={{'line': 'VARCHAR'}}, {one})"
drawn = f"SELECT line FROM {lines} USING SAMPLE reservoir({sys.argv[2]} ROWS) REPEATABLE (1)"
duckdb.sql(f"COPY ({drawn}) TO '{sys.argv[3]}' (FORMAT csv, HEADER false, QUOTE '', DELIM '\\x01')")
"""


def main() -> None:
    """Make the file, run everything in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_500_000, help="rows of the file, of about 840 bytes")
    parser.add_argument("--draw", type=int, default=150_000, help="rows to draw")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-sampling-"))
    try:
        path = folder / "big.jsonl"
        write_file(path, options.rows)
        print(f"{path.stat().st_size / 1e9:.2f} GB, {options.rows:,} rows, {options.draw:,} drawn; CPU seconds")
        report(run_all(path, folder / "out.jsonl", options.draw, options.rounds))
    finally:
        shutil.rmtree(folder)


def write_file(path: Path, rows: int) -> None:
    """Rows in the form of webtext2019zh: Chinese of about 250 characters, exponentially distributed."""
    rng = random.Random(0)
    text = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(200_000)).encode()
    kinds = [kind.encode() for kind in ("教育", "健康", "生活", "游戏", "娱乐", "商业", "电脑")]
    with path.open("wb", buffering=1 << 20) as file:
        for number in range(rows):
            at, size = 3 * rng.randrange(190_000), 3 * min(int(rng.expovariate(1 / 215)) + 20, 9_000)
            values = (number, kinds[number % 7], text[at : at + 60], number % 23, text[at : at + size])
            file.write(b'{"qid": %d, "topic": "%s", "title": "%s", "star": %d, "content": "%s"}\n' % values)


def peers(path: Path, out: Path, draw: int) -> dict[str, list[str]]:
    """The command of everything that is installed."""
    ours = [*OURS, str(path), "--rows", str(draw), "-o", str(out), "--force", "--seed"]
    found = {"first sample": [*ours, "1"], "next sample": [*ours, "2"]}
    if shutil.which("shuf"):
        found["shuf"] = ["shuf", "-n", str(draw), str(path), "-o", str(out)]
    if shutil.which("wc"):
        found[READS_ONLY] = ["wc", "-l", str(path)]
    for name, code in (("polars", POLARS), ("datasets", DATASETS), ("duckdb", DUCKDB)):
        if importlib.util.find_spec(name):
            found[name] = [sys.executable, "-c", code, str(path), str(draw), str(out)]
    return found


def run_all(path: Path, out: Path, draw: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU seconds, memory in MB) of every run."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        path.with_name(f".{path.name}.rows").unlink(missing_ok=True)
        for name, command in peers(path, out, draw).items():
            out.unlink(missing_ok=True)
            found.setdefault(name, []).append(run(command))
            if name != READS_ONLY:
                with out.open("rb") as file:
                    rows = sum(1 for _ in file)
                assert rows == draw, f"{name} wrote {rows} rows"
            shutil.rmtree(f"{out}.cache", ignore_errors=True)
    return found


def run(command: list[str]) -> tuple[float, float]:
    """CPU seconds and memory of one process and its children."""
    root = Path(__file__).parents[1]
    env = os.environ | {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=env, **quiet)  # type: ignore[call-overload]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}"
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """One line each: seconds, memory, and how many times what a sample of ours takes."""
    seconds = {name: statistics.median(cpu for cpu, _ in runs) for name, runs in found.items()}
    for name, runs in found.items():
        times = [seconds[name] / seconds[mine] for mine in ("first sample", "next sample")]
        memory = max(size for _, size in runs)
        print(f"{name:<14}{seconds[name]:6.2f} s {memory:6.0f} MB   {times[0]:5.1f} x first {times[1]:6.1f} x next")


if __name__ == "__main__":
    main()
