"""The benchmark of sampling, in small: it runs, every peer draws what it should, nothing stays behind."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks/bench_sampling.py"
LINE = re.compile(r"(.{14}) *([0-9.]+) s +([0-9]+) MB +([0-9.]+) x first +([0-9.]+) x next")


def test_everything_that_is_installed_draws_its_rows(tmp_path: Path) -> None:
    """The benchmark itself counts the rows that each has written."""
    argv = [sys.executable, str(SCRIPT), "--rows", "3000", "--draw", "300", "--rounds", "1"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    head, *found = done.stdout.splitlines()
    assert head == "0.00 GB, 3,000 rows, 300 drawn; CPU seconds"
    read = [LINE.fullmatch(line) for line in found]
    assert all(read), found
    peers = ["shuf"] * bool(shutil.which("shuf")) + ["wc -l"] * bool(shutil.which("wc"))
    peers += [name for name in ("polars", "datasets", "duckdb") if importlib.util.find_spec(name)]
    assert [match[1].strip() for match in read if match] == ["first sample", "next sample", *peers]
    assert read[0]
    assert read[1]
    assert (read[0][4], read[1][5]) == ("1.0", "1.0")
    assert not list(tmp_path.iterdir())
