"""The parts of a mix in files of their own: written, left alone, replaced, and never in place of anything else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from data_gen.mixes import build_mix
from data_gen.records import DataError
from tests import mixing
from tests.mixing import records

in_empty_folder = mixing.in_empty_folder
NAMES = ["a.json", "b.jsonl", "out.parts.manifest.json"]


def recipe(**keys: Any) -> str:
    Path("raw").mkdir(exist_ok=True)
    paths = [records(f"raw/{name}.jsonl", *(f"{name}{i}" for i in range(9))) for name in "ab"]
    return mixing.recipe({paths[0]: {"rows": 5, "file": "a.json"}, paths[1]: 5}, dedup="none", **keys)


def build(**options: Any) -> bool:
    return bool(build_mix("mix.yaml", "out.jsonl", **{"parts": "parts"} | options)["built"])


def times() -> list[int]:
    return [os.stat(f"parts/{name}").st_mtime_ns for name in NAMES]


def test_parts_get_files_of_their_own() -> None:
    recipe()
    assert build()
    assert sorted(os.listdir("parts")) == NAMES
    rows = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    first = json.loads(Path("parts/a.json").read_text(encoding="utf-8"))
    assert first == [{name: row[name] for name in ("instruction", "input", "output")} for row in rows[:5]]
    assert Path("parts/b.jsonl").read_bytes() == b"".join(Path("out.jsonl").read_bytes().splitlines(True)[5:])


def test_the_same_command_again_does_nothing() -> None:
    recipe()
    build()
    before = times()
    assert not build()
    assert times() == before
    os.utime("parts/a.json")  # touched, but the same
    assert not build()
    assert times()[1:] == before[1:]


def test_parts_follow_the_mix_and_come_back() -> None:
    recipe()
    build()
    records("raw/b.jsonl", *(f"新{i}" for i in range(9)))
    assert build()
    assert "新" in Path("parts/b.jsonl").read_text(encoding="utf-8")
    Path("parts/a.json").unlink()
    assert not build()
    assert sorted(os.listdir("parts")) == NAMES
    text = Path("mix.yaml").read_text(encoding="utf-8")
    Path("mix.yaml").write_text(text.replace("rows: 5", "rows: 5\n    licence: CC-BY-NC-4.0"), encoding="utf-8")
    assert build()
    said = json.loads(Path("parts/out.parts.manifest.json").read_bytes())
    assert [one["licence"]["noncommercial"] for one in said["sources"]] == [True, False]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_mix_did_not_write_stays_and_nothing_is_built_before_that_is_known(name: str) -> None:
    recipe()
    Path("parts").mkdir()
    Path("parts", name).write_text("precious")
    with pytest.raises(DataError, match=rf"parts/{name} exists already.*--force"):
        build()
    assert (os.listdir("parts"), Path("out.jsonl").exists()) == ([name], False)
    assert Path("parts", name).read_text() == "precious"
    assert build(force=True)
    Path("parts/b.jsonl").write_text("edited by hand")
    before = Path("out.jsonl").read_bytes()
    records("raw/a.jsonl", *(f"新{i}" for i in range(9)))
    with pytest.raises(DataError, match=r"parts/b.jsonl exists already"):
        build()
    assert Path("out.jsonl").read_bytes() == before


def test_a_part_never_replaces_an_input_or_the_mix_itself() -> None:
    """Not even with --force: the parts of files are named after these."""
    recipe()
    before = Path("raw/b.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"raw/b.jsonl is one of the files that are read"):
        build(parts="raw", force=True)
    assert Path("raw/b.jsonl").read_bytes() == before
    text = Path("mix.yaml").read_text(encoding="utf-8")
    for name in ("out.jsonl", "out.manifest.json"):
        Path("mix.yaml").write_text(text.replace("a.json\n", f"{name}\n"), encoding="utf-8")
        with pytest.raises(DataError, match=rf"--parts: ./raw/a.jsonl would be {name}, as the mix itself"):
            build(parts=".", force=True)
    assert not Path("out.jsonl").exists()
