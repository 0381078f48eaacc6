"""Two hundred rows to draw from, in a folder of their own, and what a sample of them holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_gen.sampling import sample_rows

N = 200


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixture of every module that says `in_empty_folder = samples.in_empty_folder`."""
    monkeypatch.chdir(tmp_path)


def rows_of(n: int = N) -> list[dict[str, Any]]:
    return [{"instruction": f"问{i}", "input": "", "output": f"答{i}", "star": i % 10} for i in range(n)]


def write(path: str = "in.jsonl", rows: list[dict[str, Any]] | None = None) -> str:
    """JSON lines with spaces that no writer of ours would leave, to see that bytes are copied."""
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(" , ", " : ")) + "\n" for row in rows or rows_of())
    Path(path).write_text(text, encoding="utf-8")
    return f"./{path}"


def questions(path: str) -> list[str]:
    return [orjson.loads(line)["instruction"] for line in Path(path).read_bytes().splitlines()]


def sample(inputs: list[str], out: str = "out.jsonl", **options: Any) -> list[str]:
    sample_rows(inputs, out, force=True, **options)
    return questions(out)
