"""Recipes of a mix and files for one, in a folder of their own, and what was taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.records import Record, read_records, write_records


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixture of every module that says `in_empty_folder = mixing.in_empty_folder`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINITUO_DATA", raising=False)


def recipe(sources: dict[str, Any], **keys: Any) -> str:
    Path("mix.yaml").write_text(
        yaml.safe_dump({"name": "mine", "sources": sources, **keys}, allow_unicode=True, sort_keys=False)
    )
    return "mix.yaml"


def records(path: str, *texts: str) -> str:
    write_records(path, [Record(text, output=f"{text}的答案") for text in texts])
    return f"./{path}"


def taken(path: str = "out.jsonl") -> list[str]:
    return [record.instruction for record in read_records(path)]
