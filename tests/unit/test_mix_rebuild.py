"""Building again: nothing when nothing changed, and of what changed only what depends on it; tables."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from data_gen import mixes, tables
from data_gen.mixes import build_mix
from data_gen.records import DataError, Record, read_records, write_records
from data_gen.tables import arrow_of, as_dataset, as_frame


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        records(f"{name}.jsonl", *(f"{name}{i}" for i in range(30)), "共有")


def records(path: str, *texts: str) -> None:
    write_records(path, [Record(text, output=f"{text}的答案") for text in texts])


def recipe(dedup: str = "none", **keys: Any) -> str:
    sources = {
        f"./{name}.jsonl": {"rows": 20, "file": f"{name}.{end}"}
        for name, end in zip("abc", ("json", "jsonl", "json"), strict=True)
    }
    Path("mix.yaml").write_text(
        yaml.safe_dump({"name": "mine", "sources": sources, "dedup": dedup, **keys}, sort_keys=False)
    )
    return "mix.yaml"


def build(made: list[str], monkeypatch: pytest.MonkeyPatch, **keys: Any) -> dict[str, Any]:
    """Build, noting of which sources rows were read."""
    whole = mixes._Build._make

    def make(self: Any, name: str, *more: Any) -> Any:
        made.append(name[2])
        return whole(self, name, *more)

    with monkeypatch.context() as patched:
        patched.setattr(mixes._Build, "_make", make)
        return build_mix("mix.yaml", "out.jsonl", **keys)


def fresh(**keys: Any) -> bytes:
    """What a build from nothing gives."""
    build_mix("mix.yaml", "fresh.jsonl", force=True, **keys)
    return Path("fresh.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("dedup", "change", "expected"),
    [
        ("none", "b", ["b"]),
        ("none", "", []),
        ("exact", "c", ["c"]),
        ("exact", "b", ["b", "c"]),
        ("near", "a", ["a", "b", "c"]),
    ],
)
def test_only_what_depends_on_a_change_is_made_anew(
    dedup: str, change: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if dedup == "near":
        pytest.importorskip("rensa")
    recipe(dedup)
    made: list[str] = []
    build(made, monkeypatch)
    assert made == ["a", "b", "c"]
    if change:
        records(f"{change}.jsonl", *(f"新的{change}{i}" for i in range(29)), "共有", "a3")
    made.clear()
    manifest = build(made, monkeypatch)
    assert made == expected
    assert [part["reused"] for part in manifest["sources"]] == [name not in expected for name in "abc"] or not change
    assert Path("out.jsonl").read_bytes() == fresh()


def test_a_change_that_changes_no_row_taken_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe("exact")
    made: list[str] = []
    build_mix("mix.yaml", "out.jsonl")
    text = Path("a.jsonl").read_text(encoding="utf-8")
    Path("a.jsonl").write_text(text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    build(made, monkeypatch)
    assert made == ["a"]


def test_a_changed_recipe_makes_anew_what_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe()
    made: list[str] = []
    build_mix("mix.yaml", "out.jsonl")
    values = yaml.safe_load(Path("mix.yaml").read_text())
    values["sources"]["./c.jsonl"]["rows"] = 5
    Path("mix.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert build(made, monkeypatch)["rows"] == 45
    assert made == ["c"]
    made.clear()
    build(made, monkeypatch, seed=9)
    assert made == ["a", "b", "c"]
    made.clear()
    build(made, monkeypatch, seed=9, force=True)
    assert made == ["a", "b", "c"]


def test_reports_and_held_out_rows_of_kept_parts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("eval.jsonl").write_text('{"question": "a7"}\n{"question": "b3"}\n')
    recipe(decontaminate=["eval.jsonl"], heldout=0.3)
    values = yaml.safe_load(Path("mix.yaml").read_text())
    for part in values["sources"].values():
        part["rows"] = "all"
    Path("mix.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    build_mix("mix.yaml", "out.jsonl")
    report, held = Path("out.decontamination.jsonl").read_bytes(), Path("out.heldout.jsonl").read_bytes()
    assert report.count(b"\n") == 2
    records("c.jsonl", "丙")
    made: list[str] = []
    manifest = build(made, monkeypatch)
    assert made == ["c"]
    assert Path("out.decontamination.jsonl").read_bytes() == report
    assert Path("out.heldout.jsonl").read_bytes()[:500] == held[:500]
    assert manifest["decontamination"]["removed"] == 2
    assert Path("out.jsonl").read_bytes() == fresh()
    assert Path("out.heldout.jsonl").read_bytes() == Path("fresh.heldout.jsonl").read_bytes()


def test_a_report_that_is_gone_is_made_again_with_all_that_it_told() -> None:
    """The parts that are as they were could be copied, but not what was left out of them."""
    Path("eval.jsonl").write_text('{"question": "a7"}\n')
    recipe(decontaminate=["eval.jsonl"])
    values = yaml.safe_load(Path("mix.yaml").read_text())
    values["sources"]["./a.jsonl"]["rows"] = "all"
    Path("mix.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    build_mix("mix.yaml", "out.jsonl")
    report = Path("out.decontamination.jsonl")
    before = report.read_bytes()
    report.unlink()
    assert build_mix("mix.yaml", "out.jsonl")["built"]
    assert report.read_bytes() == before
    report.unlink()
    records("c.jsonl", *(f"新的{i}" for i in range(30)))
    assert build_mix("mix.yaml", "out.jsonl")["decontamination"]["removed"] == 1
    assert report.read_bytes() == before
    report.write_bytes(before + b'{"mine": 1}\n')
    with pytest.raises(DataError, match=r"out.decontamination.jsonl exists already"):
        build_mix("mix.yaml", "out.jsonl")


def test_an_input_that_is_broken_leaves_the_last_build() -> None:
    build_mix(recipe(), "out.jsonl")
    before = {name: Path(name).read_bytes() for name in ("out.jsonl", "out.manifest.json")}
    with open("c.jsonl", "a") as file:
        file.write('{"torn')
    with pytest.raises(DataError, match=r"c.jsonl, line 32: the last line is torn"):
        build_mix("mix.yaml", "out.jsonl")
    assert {name: Path(name).read_bytes() for name in before} == before
    assert not [name for name in os.listdir() if name.endswith(".part")]


def test_a_mix_as_a_dataset_and_a_frame() -> None:
    rows = [
        Record("甲", "物", "一", history=[["前", "后"]], source="s", meta={"star": 3}),
        Record("乙", output="二", meta={"star": "many", "tags": ["x"]}),
    ]
    write_records("mix.jsonl", rows)
    data = as_dataset("mix.jsonl")
    assert data.num_rows == 2
    assert data[0]["history"] == [["前", "后"]]
    assert [json.loads(meta) for meta in data["meta"]] == [{"star": 3}, {"star": "many", "tags": ["x"]}]
    assert data.cache_files[0]["filename"].endswith("mix.arrow")  # memory-mapped
    frame = as_frame("mix.jsonl")
    assert list(frame["instruction"]) == ["甲", "乙"]
    assert set(frame.columns) == set(orjson.loads(orjson.dumps(rows[0].to_dict())))
    before = arrow_of(Path("mix.jsonl")).stat().st_mtime_ns
    assert arrow_of(Path("mix.jsonl")).stat().st_mtime_ns == before
    write_records("mix.jsonl", rows[1:])
    assert as_dataset("mix.jsonl").num_rows == 1
    Path("other.arrow").write_text("mine")
    write_records("other.jsonl", rows)
    with pytest.raises(DataError, match=r"other.arrow is in the way"):
        as_dataset("other.jsonl")


def test_processes_that_ask_at_once_make_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a training on several devices: none reads what another has half written."""
    write, made = tables._write, []

    def slow(*given: Any) -> None:
        made.append(given)
        time.sleep(0.1)
        write(*given)

    monkeypatch.setattr(tables, "_write", slow)
    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(lambda n: as_dataset("a.jsonl").num_rows, range(3)))
    assert (rows, len(made)) == ([31] * 3, 1)
    assert sorted(os.listdir()) == ["a.arrow", "a.jsonl", "b.jsonl", "c.jsonl"]


def test_the_records_of_a_mix_are_what_training_reads() -> None:
    manifest = build_mix(recipe(), "out.jsonl")
    found = list(read_records("out.jsonl"))
    assert len(found) == manifest["rows"] == 60
    assert [record.instruction[0] for record in found[::20]] == ["a", "b", "c"]
