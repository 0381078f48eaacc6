"""Mixes: what is taken of each part, and what the manifest says of it."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import orjson
import pytest
import yaml

from data_gen.mix_recipe import SHIPPED
from data_gen.mixes import build_mix
from data_gen.records import DataError, Record, read_records, write_records
from data_gen.registry import SHIPPED as SOURCES
from tests import mixing
from tests.mixing import recipe, records, taken
from tests.raw_files import write_raw

in_empty_folder = mixing.in_empty_folder


def test_mini_luotuo_in_small(tmp_path: Path) -> None:
    """The shipped recipe with its numbers divided, over raw files in their real form."""
    mix = yaml.safe_load((SHIPPED / "mini_luotuo.yaml").read_text())
    expected = {name: write_raw(tmp_path / "data", name, rows=6, broken=6) for name in mix["sources"]}
    # A source of the user's own, without the digest of the real file, takes the place of the shipped one.
    luotuo = yaml.safe_load((SOURCES / "luotuo.yaml").read_text())
    del luotuo["files"][0]["git_blob"]
    Path("sources").mkdir()
    Path("sources/luotuo.yaml").write_text(yaml.safe_dump(luotuo, allow_unicode=True))
    mix["sources"] = {"luotuo": 6, "alpaca-zh": 6, "coig": 30, "baike": 5, "webtext": 5}
    Path("small.yaml").write_text(yaml.safe_dump(mix, sort_keys=False))
    manifest = build_mix("small.yaml", "out.jsonl")
    found = list(read_records("out.jsonl"))
    assert len(found) == manifest["rows"] == 52
    for name, rows in mix["sources"].items():
        got = [(r.instruction, r.input, r.output, r.history) for r in found if r.source == name]
        assert len(got) == rows
        assert [row for row in expected[name] if row in got] == got  # in the file's order
    assert [part["rows_in"] for part in manifest["sources"]] == [6, 6, 30, 12, 18]
    assert manifest["sources"][2]["dropped"] == {"unreadable": 6}
    assert manifest["licence"]["noncommercial"] == ["luotuo", "alpaca-zh"]
    assert manifest["licence"]["unclear"] == ["baike", "webtext"]


def test_the_demo_needs_no_download() -> None:
    manifest = build_mix("demo", "demo.jsonl")
    assert manifest["rows"] == 5_000
    assert len({record.id for record in read_records("demo.jsonl")}) == 5_000
    again = build_mix("demo", "again.jsonl")
    assert manifest["output"]["sha256"] == again["output"]["sha256"]
    assert build_mix("demo", "other.jsonl", seed=1)["output"]["sha256"] != again["output"]["sha256"]


def test_what_is_counted_of_a_source_without_an_end() -> None:
    manifest = build_mix(recipe({"curriculum": 50}), "out.jsonl")
    assert manifest["sources"][0]["rows_in"] == 50
    family = next(read_records("out.jsonl")).meta["family"]
    manifest = build_mix(recipe({"curriculum": {"rows": 50, "where": [f"family=={family}"]}}), "out.jsonl", force=True)
    (part,) = manifest["sources"]
    assert part["taken"] == 50
    assert part["rows_in"] == 50 + part["dropped"]["where"] > 100


def test_the_manifest_says_where_everything_comes_from() -> None:
    write_records("a.jsonl", [Record("甲", output="一"), Record("乙", output="二"), Record("丙", output=" ")])
    records("b.jsonl", "丁", "戊")
    build_mix(recipe({"./a.jsonl": "all", "./b.jsonl": {"rows": 1, "where": ["instruction==戊"]}}), "out.jsonl")
    manifest = orjson.loads(Path("out.manifest.json").read_bytes())
    a, b = manifest["sources"]
    assert (a["rows_in"], a["taken"], a["dropped"]) == (3, 2, {"empty": 1})
    assert (b["rows_in"], b["taken"], b["dropped"]) == (2, 1, {"where": 1})
    for part, path in ((a, "a.jsonl"), (b, "b.jsonl")):
        assert part["files"][0]["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        assert part["files"][0]["bytes"] == Path(path).stat().st_size
        assert part["licence"]["spdx"] == "LicenseRef-unclear"
    assert manifest["output"]["sha256"] == hashlib.sha256(Path("out.jsonl").read_bytes()).hexdigest()
    assert (manifest["seed"], manifest["rows"], manifest["name"]) == (0, 3, "mine")
    assert "minituo" in manifest["versions"]
    assert "built" not in manifest
    assert taken() == ["甲", "乙", "戊"]


def test_duplicates_are_left_out_within_and_across_sources() -> None:
    records("a.jsonl", "甲", "乙", "甲")
    records("b.jsonl", "乙", "丙", "丁")
    sources = {"./a.jsonl": "all", "./b.jsonl": "all"}
    manifest = build_mix(recipe(sources), "out.jsonl")
    assert taken() == ["甲", "乙", "丙", "丁"]
    assert [part["dropped"] for part in manifest["sources"]] == [{"duplicate": 1}, {"duplicate": 1}]
    build_mix(recipe(sources, dedup="none"), "out.jsonl")
    assert taken() == ["甲", "乙", "甲", "乙", "丙", "丁"]


def test_a_part_takes_the_memory_of_its_text() -> None:
    write_records("a.jsonl", (Record(f"第{i}个问题", output="答" * 300) for i in range(1000)))
    made = recipe({"./a.jsonl": 900})
    build_mix(made, "first.jsonl")  # what is imported and kept by the way
    tracemalloc.start()
    try:
        build_mix(made, "out.jsonl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * Path("out.jsonl").stat().st_size


def test_only_what_was_taken_counts_as_a_duplicate() -> None:
    questions = [f"第{i}问" for i in range(40)]
    records("a.jsonl", *questions)
    records("b.jsonl", *questions)
    manifest = build_mix(recipe({"./a.jsonl": 10, "./b.jsonl": "all"}), "out.jsonl")
    assert sorted(taken()) == sorted(questions)
    assert manifest["sources"][1]["dropped"] == {"duplicate": 10}


def test_a_draw_is_filled_up_past_duplicates_and_empty_records() -> None:
    write_records("a.jsonl", [Record(f"第{i % 20}问", output="答" if i % 20 else "") for i in range(60)])
    assert build_mix(recipe({"./a.jsonl": 19}), "out.jsonl")["rows"] == 19
    with pytest.raises(
        DataError, match=r"a.jsonl has 19 rows to draw from .38 left out: duplicate; 3 left out: empty., 20 are wanted"
    ):
        build_mix(recipe({"./a.jsonl": 20}), "out.jsonl")
    assert build_mix(recipe({"./a.jsonl": 20}, drop_empty=False), "out.jsonl")["rows"] == 20
    assert build_mix(recipe({"./a.jsonl": 99}), "out.jsonl", allow_fewer=True)["rows"] == 19


def test_weights_share_out_what_fixed_parts_leave() -> None:
    for name in "abc":
        records(f"{name}.jsonl", *(f"{name}{i}" for i in range(30)))
    sources = {"./a.jsonl": {"weight": 0.75}, "./b.jsonl": {"weight": 0.25}, "./c.jsonl": 4}
    build_mix(recipe(sources, rows=24), "out.jsonl")
    assert [sum(text[0] == name for text in taken()) for name in "abc"] == [15, 5, 4]


def test_a_part_may_name_its_file_and_columns() -> None:
    Path("t.csv").write_text("题,解\n问,答\n")
    build_mix(
        recipe({"mine": {"rows": 1, "path": "t.csv", "columns": {"instruction": "题", "output": "解"}}}), "out.jsonl"
    )
    (record,) = read_records("out.jsonl")
    assert (record.instruction, record.output, record.source) == ("问", "答", "mine")


def test_a_folder_or_a_pattern_is_one_part() -> None:
    Path("corpus").mkdir()
    records("corpus/b.jsonl", "丙", "丁")
    records("corpus/a.jsonl", "甲", "乙")
    records("c-1.jsonl", "戊")
    manifest = build_mix(recipe({"./corpus/": "all", "c-*.jsonl": {"rows": 1, "licence": "MIT"}}), "out.jsonl")
    assert taken() == ["甲", "乙", "丙", "丁", "戊"]
    assert [[file["file"] for file in part["files"]] for part in manifest["sources"]] == [
        ["a.jsonl", "b.jsonl"],
        ["c-1.jsonl"],
    ]
    assert manifest["licence"]["parts"]["c-*.jsonl"] == "MIT"
    assert not build_mix("mix.yaml", "out.jsonl")["built"]
    records("corpus/c.jsonl", "己")
    assert build_mix("mix.yaml", "out.jsonl")["rows"] == 6
    with pytest.raises(DataError, match=r"the pattern d-\*.jsonl holds no file"):
        build_mix(recipe({"d-*.jsonl": "all"}), "none.jsonl")
