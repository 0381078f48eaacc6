"""Questions for a job, and the lines of what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from data_gen.strategies.answer import Answer


def questions(path: Path, count: int) -> Answer:
    path.write_text("".join(f'{{"instruction": "第{n}个问题是什么？"}}\n' for n in range(count)), encoding="utf-8")
    return Answer(str(path))


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
