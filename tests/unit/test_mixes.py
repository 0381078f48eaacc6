"""Mixes: what is taken, what the manifest says of it, and when there is nothing to do."""

from __future__ import annotations

import hashlib
import os
import re
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from data_gen import mix_parts, provenance
from data_gen.mix_recipe import SHIPPED, load_mix, mix_names
from data_gen.mixes import build_mix
from data_gen.provenance import effective_licence, licence_notice
from data_gen.records import DataError, Record, read_records, write_records
from data_gen.registry import SHIPPED as SOURCES
from data_gen.registry import load_registry
from tests.raw_files import write_raw

YAMLS = sorted(SHIPPED.glob("*.yaml"))


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("path", YAMLS, ids=[path.stem for path in YAMLS])
def test_a_shipped_mix_is_whole(path: Path) -> None:
    mix = load_mix(path.stem)
    known = load_registry()
    assert mix.name == path.stem
    assert mix.about
    assert set(mix.sources) <= set(known)
    for name, rows in mix.wanted().items():
        there = known[name].rows or sum(file.rows_about or 0 for file in known[name].files) or float("inf")
        assert rows is not None
        assert rows <= there


def test_the_numbers_of_the_shipped_mixes() -> None:
    assert mix_names() == ["commercial", "demo", "mini_luotuo", "panda_coig"]
    wanted = load_mix("mini_luotuo").wanted()
    assert wanted == {"luotuo": 168_886, "alpaca-zh": 48_818, "coig": 165_531, "baike": 150_000, "webtext": 150_000}
    assert sum(rows or 0 for rows in wanted.values()) == 683_235
    assert sum(rows or 0 for rows in load_mix("panda_coig").wanted().values()) == 179_180


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
    with pytest.raises(DataError, match=r"a.jsonl has 19 rows to draw from .3 left out: empty., 20 are wanted"):
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


def test_nothing_to_do_until_something_changes() -> None:
    path = records("a.jsonl", *(f"第{i}问" for i in range(20)))
    mix = recipe({path: 5})
    assert build_mix(mix, "out.jsonl")["built"]
    stamp = os.stat("out.jsonl").st_mtime_ns
    assert not build_mix(mix, "out.jsonl")["built"]
    os.utime("a.jsonl")  # touched, but the same
    assert not build_mix(mix, "out.jsonl")["built"]
    assert os.stat("out.jsonl").st_mtime_ns == stamp
    first = taken()
    records("a.jsonl", *(f"新第{i}问" for i in range(20)))
    assert build_mix(mix, "out.jsonl")["built"]
    assert taken() != first
    assert build_mix(mix, "out.jsonl", seed=7)["built"]
    assert build_mix(recipe({path: 6}), "out.jsonl")["built"]
    assert build_mix(recipe({path: 6}), "out.jsonl", force=True)["built"]
    assert not build_mix(recipe({path: 6}), "out.jsonl")["built"]


def test_same_size_and_other_content_is_seen() -> None:
    path = records("a.jsonl", "甲", "乙")
    build_mix(recipe({path: "all"}), "out.jsonl")
    records("a.jsonl", "丙", "丁")
    assert build_mix(recipe({path: "all"}), "out.jsonl")["built"]
    assert taken() == ["丙", "丁"]


def test_a_registry_change_builds_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    build_mix("demo", "out.jsonl")
    monkeypatch.setattr(provenance, "versions", lambda: {"minituo": "99"})
    assert build_mix("demo", "out.jsonl")["built"]


def test_foreign_or_edited_output_is_not_overwritten() -> None:
    path = records("a.jsonl", "甲", "乙")
    mix = recipe({path: "all"})
    Path("out.jsonl").write_text("precious")
    with pytest.raises(DataError, match=r"out.jsonl exists already.*--force"):
        build_mix(mix, "out.jsonl")
    build_mix(mix, "out.jsonl", force=True)
    Path("out.jsonl").write_text("edited by hand")
    with pytest.raises(DataError, match=r"exists already"):
        build_mix(mix, "out.jsonl")
    assert Path("out.jsonl").read_text() == "edited by hand"
    Path("out.jsonl").unlink()
    assert build_mix(mix, "out.jsonl")["built"]
    with pytest.raises(DataError, match=r"exists already"):
        build_mix("demo", "out.jsonl")  # another mix's output
    Path("out.manifest.json").write_text("{ torn")
    with pytest.raises(DataError, match=r"exists already"):
        build_mix(mix, "out.jsonl")


def test_a_wrong_digest_stops(tmp_path: Path) -> None:
    write_raw(tmp_path / "data", "luotuo")
    with pytest.raises(DataError, match=r"luotuo_all_data.json is not the file it should be: its git blob is"):
        build_mix(recipe({"luotuo": "all"}), "out.jsonl")


def test_all_missing_files_are_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        build_mix("mini_luotuo", "out.jsonl")
    said = str(caught.value)
    assert "data/luotuo/luotuo_all_data.json" in said
    others = set(load_mix("mini_luotuo").sources) - {"luotuo"}
    names = [f"{s.id}/{f.name}" for s in load_registry().values() for f in s.files if s.id in others]
    assert len(names) == 11
    assert all(name in said for name in names)


def test_an_interrupted_build_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    path = records("a.jsonl", *"甲乙丙丁")

    whole = mix_parts.Memory.why_not

    def stop(self: mix_parts.Memory, seen: Any) -> Any:
        if "丙".encode() in seen.line:
            raise KeyboardInterrupt
        return whole(self, seen)

    monkeypatch.setattr(mix_parts.Memory, "why_not", stop)
    with pytest.raises(KeyboardInterrupt):
        build_mix(recipe({path: "all"}), "out.jsonl")
    assert sorted(os.listdir()) == ["a.jsonl", "mix.yaml"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "key": ({"sources": {"coig": 5}, "sed": 1}, r"mix.yaml: unknown key 'sed' \(did you mean 'seed'\?\)"),
    "part key": ({"sources": {"coig": {"row": 5}}}, r"mix.yaml, coig: unknown key 'row' \(did you mean 'rows'\?\)"),
    "no sources": ({}, "'sources' must say"),
    "list": ({"sources": ["coig"]}, "'sources' must say"),
    "neither": ({"sources": {"coig": {"where": []}}}, "give either rows or a weight"),
    "both": ({"sources": {"coig": {"rows": 5, "weight": 1}}}, "give either rows or a weight"),
    "rows": ({"sources": {"coig": 0}}, "rows must be a whole number above 0 or 'all', found 0"),
    "share": ({"sources": {"coig": 0.5}}, "rows must be a whole number"),
    "weight": ({"sources": {"coig": {"weight": "x"}}}, "weight must be a number"),
    "total": ({"sources": {"coig": {"weight": 1.0}}}, "give 'rows'"),
    "sum": (
        {"sources": {"coig": {"weight": 0.5}, "baike": {"weight": 0.4}}, "rows": 9},
        "add up to 1, 0.5 \\+ 0.4 is 0.9",
    ),
    "over": ({"sources": {"coig": {"weight": 1.0}, "baike": 10}, "rows": 9}, "take 10 of 9 rows already"),
    "rows and parts": ({"sources": {"coig": 5}, "rows": 9}, "do not add up to 'rows: 9'"),
    "dedup": ({"sources": {"coig": 5}, "dedup": "exakt"}, "dedup is 'exact' or 'near' or 'none', found 'exakt'"),
    "where": ({"sources": {"coig": {"rows": 5, "where": ["star"]}}}, "is no 'field op value'"),
    "name": ({"sources": {"coig": 5}, "name": None}, "name must be str"),
    "source": ({"sources": {"coigg": 5}}, r"no source 'coigg' \(did you mean 'coig'\?\)"),
    "file": ({"sources": {"./none.jsonl": 5}}, "no file .*none.jsonl"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_recipe_is_told_what_is_wrong(what: str) -> None:
    values, why = WRONG[what]
    Path("mix.yaml").write_text(yaml.safe_dump({"name": "mine"} | values, sort_keys=False))
    with pytest.raises(DataError, match=why):
        build_mix("mix.yaml", "out.jsonl")
    assert not Path("out.jsonl").exists()


def test_a_source_twice_in_a_recipe() -> None:
    Path("mix.yaml").write_text("name: mine\nsources:\n  coig: 5\n  baike: 5\n  coig: 6\n")
    with pytest.raises(DataError, match=r"mix.yaml, line 5: 'coig' stands there twice"):
        load_mix("mix.yaml")


def test_what_is_said_before_training() -> None:
    path = records("a.jsonl", "甲")
    for licence, said in (("CC-BY-NC-4.0", "out.jsonl: non-commercial use only.*because of ./a.jsonl$"), ("MIT", "^$")):
        build_mix(recipe({path: {"rows": "all", "licence": licence}}), "out.jsonl")
        assert re.search(said, licence_notice(Path("out.jsonl")))
    assert licence_notice(Path("a.jsonl")) == ""
    Path("out.manifest.json").write_text("[]")
    assert licence_notice(Path("out.jsonl")) == ""


def test_an_unknown_mix_gets_the_nearest_name() -> None:
    with pytest.raises(DataError, match=r"no mix 'mini_luotou' \(did you mean 'mini_luotuo'\?\)"):
        load_mix("mini_luotou")
    with pytest.raises(DataError, match=r"no file none.yaml"):
        load_mix("none.yaml")


def test_the_effective_licence_names_the_parts() -> None:
    known = load_registry()
    said = effective_licence({name: known[name] for name in ("coig", "luotuo")})
    assert said["summary"] == "non-commercial use only, because of luotuo (parts: Apache-2.0, CC-BY-NC-4.0)"
    known["coig"].licence.spdx = "CC-BY-SA-4.0"
    assert effective_licence({"coig": known["coig"]})["share_alike"] == ["coig"]
    assert effective_licence({"curriculum": known["curriculum"]})["summary"].startswith("no part forbids")


def test_the_recipe_in_the_docs_loads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
    start = page.index("    name: my_mix")
    Path("docs.yaml").write_text(textwrap.dedent(page[start : page.index("\n\n", start)]))
    wanted = load_mix("docs.yaml").wanted()
    assert wanted == {"coig": 2000, "alpaca-zh": 4550, "webtext": 1950, "./my.csv": 500, "./corpus/": 1000}


def test_a_mix_never_replaces_what_it_is_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a source nor an evaluation file, whatever the name it is called by; --force is for results."""
    monkeypatch.chdir(tmp_path)
    rows = [Record(f"问题{n}", output=f"答案{n}") for n in range(5)]
    write_records(tmp_path / "mine.jsonl", rows)
    write_records(tmp_path / "eval.jsonl", rows[:1])
    (tmp_path / "same.jsonl").symlink_to("mine.jsonl")
    (tmp_path / "mix.yaml").write_text("name: m\nsources: {./mine.jsonl: all}\ndecontaminate: [eval.jsonl]\n")
    before = (tmp_path / "mine.jsonl").read_bytes()
    for out in ("mine.jsonl", "./mine.jsonl", "same.jsonl", "eval.jsonl"):
        with pytest.raises(DataError, match=r"is one of the mix's own inputs; give --out another name"):
            build_mix("mix.yaml", out, force=True)
    assert (tmp_path / "mine.jsonl").read_bytes() == before
