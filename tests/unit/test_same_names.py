"""What has one name: two files, a file given twice, a source of the user's and one that ships, a key in a YAML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_gen.cards import card
from data_gen.inputs import open_inputs
from data_gen.mixes import build_mix
from data_gen.records import DataError, read_records
from data_gen.registry import SHIPPED, load_registry
from data_gen.sampling import sample_rows
from distill.cli import main
from tests import samples
from tests.samples import write

in_empty_folder = samples.in_empty_folder
MINE = "id: coig\ntitle: Mine\nlicence: {spdx: MIT}\nfiles:\n  - path: x/a.jsonl\n"


def row(text: str) -> dict[str, Any]:
    return {"instruction": text, "output": "答"}


@pytest.fixture
def two(in_empty_folder: None) -> list[str]:
    """x/a.jsonl and y/a.jsonl."""
    found = []
    for folder in "xy":
        Path(folder).mkdir()
        found.append(write(f"{folder}/a.jsonl", [row(f"{folder}{n}") for n in range(20)]))
    return found


def test_files_of_one_name_have_parts_of_their_own_in_a_manifest(two: list[str]) -> None:
    assert main(["sample", *two, "--rows", "10", "--manifest", "--convert", "-o", "out.jsonl"]) == 0
    manifest = orjson.loads(Path("out.manifest.json").read_bytes())
    assert [part["id"] for part in manifest["sources"]] == ["x/a.jsonl", "y/a.jsonl"]
    assert manifest["licence"]["unclear"] == ["x/a.jsonl", "y/a.jsonl"]
    assert "| y/a.jsonl | " in card("out.manifest.json")
    assert {record.source for record in read_records("out.jsonl") if record.instruction[0] == "y"} == {"y/a.jsonl"}


def test_records_of_a_mix_say_which_of_two_files_of_one_name_they_are_from(two: list[str]) -> None:
    Path("mix.yaml").write_text(f"name: m\nsources: {{{two[0]}: all, {two[1]}: all}}\n")
    build_mix("mix.yaml", "out.jsonl")
    assert {record.source for record in read_records("out.jsonl")} == {"x/a.jsonl", "y/a.jsonl"}
    for record in read_records("out.jsonl"):
        assert record.source[0] == record.instruction[0]


TAILS = {
    "one name": (["./x/a.jsonl", "./z/b.jsonl"], ["a.jsonl", "b.jsonl"]),
    "two of three": (["./x/a.jsonl", "./z/b.jsonl", "y/a.jsonl"], ["x/a.jsonl", "b.jsonl", "y/a.jsonl"]),
    "deeper": (["./z/x/a.jsonl", "./x/a.jsonl", "y/a.jsonl"], ["z/x/a.jsonl", "x/a.jsonl", "y/a.jsonl"]),
    "here and there": (["a.jsonl", "./x/a.jsonl"], ["a.jsonl", "x/a.jsonl"]),
    "folders": (["./x/", "./z/x"], ["x", "z/x"]),
    "a source": (["curriculum", "./z/curriculum/"], ["curriculum", "z/curriculum"]),
    "a source, here": (["curriculum", "./curriculum/"], ["curriculum", "./curriculum/"]),
}


@pytest.mark.parametrize("what", TAILS)
def test_the_shortest_tails_that_tell_paths_apart(what: str, two: list[str]) -> None:
    given, expected = TAILS[what]
    for path in ("a.jsonl", "z/b.jsonl", "z/x/a.jsonl", "z/curriculum/c.jsonl", "curriculum/d.jsonl"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(path, [row("问")])
    assert [source.id for source in open_inputs(given)] == expected


TWICE = [
    (["./x/a.jsonl", "./x/a.jsonl"], "./x/a.jsonl is given twice"),
    (["./x/a.jsonl", "./y/../x/a.jsonl"], "./x/a.jsonl and ./y/../x/a.jsonl both hold"),
    (["./x/", "./y/a.jsonl", "./x/a.jsonl"], "./x/ and ./x/a.jsonl both hold"),
    (["./x/a.jsonl", "./link.jsonl"], "./x/a.jsonl and ./link.jsonl both hold"),
    (["./*/a.jsonl", "./y/"], "./\\*/a.jsonl and ./y/ both hold"),
    (["curriculum", "curriculum"], "curriculum is given twice"),
]


@pytest.mark.parametrize(("given", "sentence"), TWICE, ids=[" ".join(given) for given, _ in TWICE])
def test_a_file_given_twice_is_refused(given: list[str], sentence: str, two: list[str]) -> None:
    os.symlink("x/a.jsonl", "link.jsonl")
    with pytest.raises(DataError, match=sentence):
        sample_rows(given, "out.jsonl", rows=4)
    assert not Path("out.jsonl").exists()


def test_members_of_one_archive_are_no_file_given_twice() -> None:
    ids = {source.id: {(file.archive, file.name) for file in source.files} for source in load_registry().values()}
    assert len(ids["webtext"]) == 3
    Path("data/webtext").mkdir(parents=True)
    Path("data/webtext/webtext2019zh.zip").touch()
    assert len(open_inputs(["webtext", "curriculum"])) == 2


def test_parts_of_one_name_are_refused_before_the_mix_is_built(two: list[str]) -> None:
    Path("mix.yaml").write_text(f"name: m\nsources: {{{two[0]}: all, {two[1]}: all}}\n")
    with pytest.raises(DataError, match=r"./x/a.jsonl and ./y/a.jsonl would both be parts/a.jsonl; give one a 'file"):
        build_mix("mix.yaml", "out.jsonl", parts="parts")
    assert not Path("out.jsonl").exists()
    Path("mix.yaml").write_text(f"name: m\nsources: {{{two[0]}: all, {two[1]}: {{rows: all, file: b.jsonl}}}}\n")
    build_mix("mix.yaml", "out.jsonl", parts="parts")
    assert {"a.jsonl", "b.jsonl"} <= set(os.listdir("parts"))


def test_a_source_of_yours_in_place_of_one_that_ships_is_told(
    two: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sources").mkdir()
    Path("sources/other.yaml").write_text(MINE)
    Path("sources/mine.yaml").write_text(MINE.replace("id: coig", "id: mine").replace("x/", "y/"))
    Path("mix.yaml").write_text("name: m\nsources: {coig: 5, mine: 5}\n")
    note = "note: 'coig' is what sources/other.yaml says, not the source that ships"
    for argv in (["coig", "mine", "--manifest"], ["--mix", "mix.yaml"], ["--mix", "mix.yaml"]):
        assert main(["sample", *argv, "-o", f"{argv[0].strip('-')}.jsonl"]) == 0
        said = capsys.readouterr().err.splitlines()
        assert [line for line in said if line.startswith("note:")] == [note]
    assert main(["sample", "mine", "-o", "mine.jsonl"]) == 0
    assert "note:" not in capsys.readouterr().err
    assert main(["datasets", "add", "x/a.jsonl", "--id", "baike"]) == 0
    assert "note: 'baike' is what sources/baike.yaml says" in capsys.readouterr().err


def test_files_of_shipped_sources_are_named_by_their_ids() -> None:
    """By which `tell_replaced` knows them."""
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == set(load_registry())


REPEATED = {
    "title": (MINE + "title: Other\n", r"line 6: 'title' stands there twice"),
    "inside": (MINE.replace("MIT", "MIT, spdx: CC0-1.0"), r"line 3: 'spdx' stands there twice"),
    "in a list": (MINE + "    path: y/a.jsonl\n", r"line 6: 'path' stands there twice"),
}


@pytest.mark.parametrize("what", REPEATED)
def test_a_key_that_stands_twice_in_a_source_is_refused(what: str, two: list[str]) -> None:
    Path("sources").mkdir()
    text, sentence = REPEATED[what]
    Path("sources/coig.yaml").write_text(text)
    with pytest.raises(DataError, match=f"^sources/coig.yaml, {sentence}"):
        load_registry()


def test_an_alias_that_leads_back_ends(two: list[str]) -> None:
    Path("sources").mkdir()
    Path("sources/coig.yaml").write_text("id: &a [*a]\n")
    with pytest.raises(DataError, match=r"coig.yaml"):
        load_registry()
