"""A folder with all that a report tells of, and a reader of the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

SCORES = {
    "data": "curriculum",
    "rows": 500,
    "models": [
        {"name": "teacher", "parameters": 5_000_000, "exact_match": 0.962, "bits_per_character": 0.31, "seconds": 9.0},
        {
            "name": "student-sft",
            "parameters": 500_000,
            "exact_match": 0.741,
            "bits_per_character": 0.62,
            "teacher_agreement": 0.75,
            "by_family": {"乘法": 0.5, "加法": 1.0},
        },
        {
            "name": "student-kd",
            "parameters": 500_000,
            "exact_match": 0.832,
            "bits_per_character": 0.47,
            "teacher_agreement": 0.85,
            "spread": {"exact_match": 0.012, "bits_per_character": 0.004},
            "seeds": [0, 1, 2],
            "by_family": {"乘法": 0.75, "加法": None},
        },
    ],
}
SAMPLES = [
    {
        "instruction": "把下面的数相加。",
        "input": "37 + 45",
        "output": "82",
        "answers": {"teacher": "82。", "student-sft": "<script>alert('x')</script>"},
    }
]
MANIFEST = {
    "name": "mini",
    "rows": 40,
    "seed": 42,
    "licence": {"summary": "non-commercial use only"},
    "sources": [
        {"id": "coig", "rows_in": 100, "taken": 30, "dropped": {"empty": 2}, "licence": {"spdx": "Apache-2.0"}},
        {"id": "other", "taken": 10, "licence": "CC-BY-NC-4.0"},
    ],
}
CSV = """epoch,loss,loss/ce,loss/forward_kl,step,val_bpc
0,4.0,4.5,3.5,0,
0,2.0,2.5,1.5,10,
0,,,,10,1.25
0,1.0,1.5,0.5,20,
"""


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A fixture of every module that says `demo = report_folder.demo`."""
    folder = tmp_path / "demo"
    put(folder / "scores.json", SCORES)
    put(folder / "samples.json", SAMPLES)
    put(folder / "data" / "train.manifest.json", MANIFEST)
    for name in ("sft-0", "sft-10", "sft-2", "kd-0"):
        put(folder / name / "logs" / "csv" / "metrics.csv", CSV)
        put(folder / name / "recipe.yaml", f"model:\n  student: tiny # {name} <b>\n")
    return folder


class Balance(HTMLParser):
    """Collects tags and attributes; every tag that opens must close, in order."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)
