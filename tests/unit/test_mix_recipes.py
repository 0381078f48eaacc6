"""Recipes of mixes: those that ship, what a wrong one is told, and the licence that the parts add up to."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.mix_recipe import SHIPPED, load_mix, mix_names
from data_gen.mixes import build_mix
from data_gen.provenance import effective_licence, licence_notice
from data_gen.records import DataError
from data_gen.registry import load_registry
from tests import mixing
from tests.mixing import recipe, records

in_empty_folder = mixing.in_empty_folder

YAMLS = sorted(SHIPPED.glob("*.yaml"))


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
    "name": ({"sources": {"coig": 5}, "name": None}, "name must be text"),
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
    assert said["summary"] == (
        "non-commercial use only, because of luotuo; share alike, because of coig "
        "(parts: Apache-2.0 AND MIT AND CC-BY-SA-4.0, CC-BY-NC-4.0)"
    )
    assert said["share_alike"] == ["coig"]
    assert effective_licence({"curriculum": known["curriculum"]})["summary"].startswith("no part forbids")


def test_the_recipe_in_the_docs_loads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
    start = page.index("    name: my_mix")
    Path("docs.yaml").write_text(textwrap.dedent(page[start : page.index("\n\n", start)]))
    wanted = load_mix("docs.yaml").wanted()
    assert wanted == {"coig": 2000, "alpaca-zh": 4550, "webtext": 1950, "./my.csv": 500, "./corpus/": 1000}
