"""What is said before training on a file of a mix: the mix itself, what it holds out, its parts, wherever these lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.inputs import open_input
from data_gen.mixes import build_mix
from data_gen.provenance import licence_notice, manifest_naming
from data_gen.records import DataError, Record, read_records, write_records
from distill.cli import main
from distill.training_data import manifest_of
from tests.raw_files import write_raw

PARTS = {"closed.jsonl": "cc-by-nc-4.0", "free.jsonl": "MIT"}


@pytest.fixture(autouse=True)
def mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """out.jsonl and out.heldout.jsonl of two sources, and a recipe of both."""
    monkeypatch.chdir(tmp_path)
    sources: dict[str, Any] = {}
    for name, licence in PARTS.items():
        write_records(name, [Record(f"{name}的第{n}个问题", output="回答") for n in range(40)])
        sources[f"./{name}"] = {"rows": "all", "licence": licence}
    sources["./free.jsonl"]["file"] = "free.json"
    Path("mix.yaml").write_text(yaml.safe_dump({"name": "m", "sources": sources, "heldout": 0.2}), encoding="utf-8")


def notices(*paths: str) -> list[bool]:
    """Of which files something is said, and that it names file and part."""
    said = [licence_notice(Path(path)) for path in paths]
    for path, text in zip(paths, said, strict=True):
        assert text in ("", f"{Path(path).name}: non-commercial use only, and so is what is trained on it, because of "
                        "./closed.jsonl")  # fmt: skip
    return [bool(text) for text in said]


@pytest.mark.parametrize("folder", ["parts", "."])
def test_files_of_a_mix_are_known(folder: str) -> None:
    Path("raw").mkdir()
    for name in PARTS:  # the inputs lie elsewhere, so that parts may have their names
        Path(name).rename(f"raw/{name}")
    text = Path("mix.yaml").read_text(encoding="utf-8")
    Path("mix.yaml").write_text(text.replace("./closed", "./raw/closed").replace("./free", "./raw/free"))
    build_mix("mix.yaml", "out.jsonl", parts=folder)
    closed, free = f"{folder}/closed.jsonl", f"{folder}/free.json"
    assert Path(closed).is_file()
    assert Path(free).is_file()
    said = [licence_notice(Path(path)) for path in ("out.jsonl", "out.heldout.jsonl", closed)]
    assert [text.split(":")[0] for text in said] == ["out.jsonl", "out.heldout.jsonl", "closed.jsonl"]
    assert all(text.endswith("because of ./raw/closed.jsonl") for text in said)
    assert licence_notice(Path(free)) == ""
    assert licence_notice(Path("raw/closed.jsonl")) == ""  # nobody names it


def test_parts_that_are_written_later_and_again() -> None:
    build_mix("mix.yaml", "out.jsonl")
    assert notices("out.heldout.jsonl", "more/closed.jsonl") == [True, False]
    assert not build_mix("mix.yaml", "out.jsonl", parts="more")["built"]
    assert notices("more/closed.jsonl", "more/free.json") == [True, False]
    found = json.loads(Path("more/out.parts.manifest.json").read_bytes())
    rows = len(list(read_records("more/closed.jsonl")))
    assert {part["part"]: part["taken"] for part in found["sources"]}["closed.jsonl"] == rows
    assert found["mix"]["sha256"] == json.loads(Path("out.manifest.json").read_bytes())["output"]["sha256"]


def test_held_out_rows_of_a_sample(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sources").mkdir()
    values = {"id": "mine", "title": "Mine", "files": [{"path": "closed.jsonl"}], "licence": {"spdx": "CC BY NC 4.0"}}
    Path("sources/mine.yaml").write_text(yaml.safe_dump(values))
    options = ["--heldout", "0.3", "--heldout-out", "valid.jsonl", "--manifest"]
    assert main(["sample", "mine", "--rows", "20", *options, "-o", "train.jsonl"]) == 0
    assert "non-commercial use only, because of mine" in capsys.readouterr().out
    for name in ("train.jsonl", "valid.jsonl"):
        assert licence_notice(Path(name)).endswith("because of mine")
    assert licence_notice(Path("closed.jsonl")) == ""


@pytest.mark.parametrize("options", [[], ["--convert"]], ids=["plain", "converted"])
def test_a_manifest_of_before_is_told_of(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Training reads licences off the manifest beside a file, whatever stands in the file now."""
    write_records("a.jsonl", [Record("问", output="答")] * 3)
    argv = ["sample", "./a.jsonl", "--rows", "2", "-o", "few.jsonl", *options]
    assert main([*argv, "--manifest"]) == 0
    assert "note" not in capsys.readouterr().err
    assert main([*argv, "--force"]) == 0
    assert "note: few.manifest.json is of an earlier few.jsonl; delete it, or add" in capsys.readouterr().err
    assert main([*argv, "--force", "--manifest"]) == 0
    assert "note" not in capsys.readouterr().err


def test_what_names_nothing() -> None:
    """Damaged and foreign files beside are no reason not to train."""
    build_mix("mix.yaml", "out.jsonl")
    texts = ("{torn", "[]", '{"output": "out.heldout.jsonl", "heldout": 3, "sources": [1, {"part": 2}]}', "{}")
    for n, text in enumerate(texts):
        Path(f"a{n}.manifest.json").write_text(text)
    assert notices("out.heldout.jsonl", "other.jsonl", "a1.jsonl", "none/none.jsonl") == [True, False, False, False]
    assert manifest_naming(Path("other.jsonl")) is None


def test_a_run_knows_the_licence_of_a_part() -> None:
    """Its rows say where they come from, and the manifest of the parts under which licence that stands."""
    build_mix("mix.yaml", "out.jsonl", parts="parts")
    for path in ("parts/closed.jsonl", "out.heldout.jsonl"):
        found = json.loads(manifest_of([path], list(read_records(path))))
        licences = {source["id"]: source["licence"]["noncommercial"] for source in found["sources"]}
        assert licences["closed.jsonl"] is True
        assert not any(licences[name] for name in licences if name != "closed.jsonl")


def test_a_sample_of_a_mix_and_a_mix_of_a_mix_are_no_freer_than_it() -> None:
    build_mix("mix.yaml", "out.jsonl", parts="parts")
    assert main(["sample", "out.jsonl", "--rows", "9", "--manifest", "-o", "small.jsonl"]) == 0
    assert licence_notice(Path("small.jsonl")).endswith("because of out.jsonl")
    assert main(["sample", "./parts/", "--rows", "9", "--manifest", "-o", "both.jsonl"]) == 0
    (part,) = json.loads(Path("both.manifest.json").read_bytes())["sources"]
    assert (part["licence"]["spdx"], part["licence"]["noncommercial"]) == ("MIT AND cc-by-nc-4.0", True)
    Path("parts/mine.jsonl").write_bytes(Path("small.jsonl").read_bytes())
    assert open_input("./parts/").licence.spdx == "LicenseRef-unclear AND MIT AND cc-by-nc-4.0"
    Path("parts/mine.manifest.json").write_bytes(Path("small.manifest.json").read_bytes())
    assert open_input("./parts/").licence.spdx == "MIT AND cc-by-nc-4.0"  # each of them once
    assert main(["sample", "parts/free.json", "--rows", "9", "--manifest", "-o", "free.sample.jsonl"]) == 0
    (part,) = json.loads(Path("free.sample.manifest.json").read_bytes())["sources"]
    assert (part["licence"]["spdx"], part["licence"]["noncommercial"]) == ("MIT", False)
    for name, closed in (("small.jsonl", True), ("parts/free.json", False)):
        recipe = {"name": "again", "sources": {f"./{name}": "all"}, "licence": "commercial"}
        Path("again.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        if closed:
            with pytest.raises(DataError, match=r"small.jsonl forbids commercial use \(MIT AND cc-by-nc-4.0\)"):
                build_mix("again.yaml", "again.jsonl")
        else:
            assert build_mix("again.yaml", "again.jsonl")["licence"]["summary"].startswith("no part forbids")
    Path("out.manifest.json").write_text("[]")  # one that says nothing
    assert main(["sample", "out.jsonl", "--rows", "9", "--manifest", "-o", "again.sample.jsonl"]) == 0
    assert not licence_notice(Path("again.sample.jsonl"))


def test_records_say_where_they_are_from_when_no_manifest_does() -> None:
    write_raw(Path("data"), "alpaca-zh", rows=30)
    assert main(["sample", "alpaca-zh", "--rows", "9", "--convert", "-o", "nc.jsonl"]) == 0
    assert licence_notice(Path("nc.jsonl")).endswith("because of alpaca-zh")
    long = [Record("问" * n, output="答" * 3000, source="moss" if n == 700 else "mine") for n in range(800)]
    write_records("seam.jsonl", long)
    assert licence_notice(Path("seam.jsonl")).endswith("because of moss")
    write_records(
        "free.jsonl", [Record("问", output='"source": "alpaca-zh"', source=name) for name in ("wiki", "新浪", "")]
    )
    assert licence_notice(Path("free.jsonl")) == ""
    assert licence_notice(Path("none.jsonl")) == ""
