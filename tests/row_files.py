"""Rows for tests of files: as JSON lines, as members of a zip, and read back."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from data_gen.formats import read_rows
from data_gen.rows import Tally

ROWS = [
    {"instruction": "你好", "output": "第一行\u2028同一行\u0085也是"},
    {"instruction": 'a "quoted", cell', "output": "两\n行"},
    {"instruction": "\ufeff中间的BOM", "output": "🐪"},
]


def values(path: Path, format: str | None = None, tally: Tally | None = None) -> list:
    return [row.value for row in read_rows(path, format, tally)]


def lines_of(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path
