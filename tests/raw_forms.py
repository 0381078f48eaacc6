"""Files that raw sources come in: lines, arrays, zips; and plain rows of instruction, input and output."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Expected = list[tuple[str, str, str, Any]]
"""(instruction, input, output, history) of each record"""
Writer = Callable[[Path, int, int], Expected]


def write_lines(path: Path, rows: list[Any], broken: int = 0) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text + '{"broken\n' * broken, encoding="utf-8")


def write_array(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=4), encoding="utf-8")


def alpaca_rows(name: str, n: int) -> tuple[list[dict[str, str]], Expected]:
    rows = [
        {"instruction": f"{name}的第{i}问", "input": f"物{i}" if i % 2 else "", "output": f"第{i}答"} for i in range(n)
    ]
    return rows, [(row["instruction"], row["input"], row["output"], []) for row in rows]


def write_zip(path: Path, members: dict[str, list[Any]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in members.items():
            archive.writestr(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
