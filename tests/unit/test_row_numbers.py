"""`distill datasets check` where a source knows exactly, about or not at all how many rows a file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.records import Record, write_records
from data_gen.registry import load_registry
from distill.cli import main


def checked(rows: int, capsys: pytest.CaptureFixture[str], known: dict[str, Any]) -> tuple[int, str]:
    write_records("mine.jsonl", [Record(f"问题{n}", output="回答") for n in range(rows)])
    Path("sources").mkdir(exist_ok=True)
    values = {"id": "mine", "title": "mine", "licence": {"spdx": "MIT"}, "files": [{"path": "mine.jsonl", **known}]}
    Path("sources/mine.yaml").write_text(yaml.safe_dump(values))
    code = main(["datasets", "check", "mine"])
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "known", "fault"),
    [
        (2, {"rows_about": 1000}, "2 rows, expected about 1,000: more than a tenth fewer; is this a part of it"),
        (89, {"rows_about": 100}, "89 rows, expected about 100: more than a tenth fewer"),
        (90, {"rows_about": 100}, ""),
        (110, {"rows_about": 100}, ""),
        (111, {"rows_about": 100}, "111 rows, expected about 100: more than a tenth more; is this a later"),
        (99, {"rows": 100}, "99 rows, expected 100"),
        (100, {"rows": 100, "rows_about": 500}, ""),
        (3, {}, ""),
    ],
)  # fmt: skip
def test_far_from_what_is_known_is_wrong(
    rows: int, known: dict[str, int], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, said = checked(rows, capsys, known)
    assert code == bool(fault)
    assert said.startswith("wrong " if fault else "good ")
    assert fault in said
    assert f"{rows:,} rows" in said
    assert ("(about" in said) == ("rows_about" in known and not fault)


def test_every_file_of_the_registry_has_a_number_or_its_source_has() -> None:
    """But for sharegpt, which is whatever its user puts there."""
    for source in load_registry().values():
        for file in source.files:
            assert file.rows or file.rows_about or source.total_rows or source.id == "sharegpt", (source.id, file.name)
