"""When a mix is built at all: not before something changes, never over another file, and never by halves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from data_gen import mix_parts
from data_gen.mix_recipe import load_mix
from data_gen.mixes import build_mix
from data_gen.records import DataError, Record, write_records
from data_gen.registry import load_registry
from tests import mixing
from tests.mixing import recipe, records, taken
from tests.raw_files import write_raw

in_empty_folder = mixing.in_empty_folder


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


@pytest.mark.parametrize("name", ["out.manifest.json", "out.decontamination.jsonl", "out.heldout.jsonl"])
def test_what_lies_beside_the_output_is_not_overwritten(name: str) -> None:
    mix = recipe({records("a.jsonl", "甲", "乙"): "all"}, decontaminate=[records("e.jsonl", "丙")[2:]], heldout=0.5)
    Path(name).write_text("precious")
    with pytest.raises(DataError, match=rf"{name} exists already.*--force"):
        build_mix(mix, "out.jsonl")
    assert Path(name).read_text() == "precious"
    assert not Path("out.jsonl").exists()
    assert build_mix(mix, "out.jsonl", force=True)["built"]
    assert not build_mix(mix, "out.jsonl")["built"]


def test_what_the_build_before_left_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Its held-out rows may be among those that are trained on now."""
    sources, more = {records("a.jsonl", "甲", "乙"): "all"}, {"decontaminate": [records("e.jsonl", "丙")[2:]]}
    build_mix(recipe(sources, heldout=0.5, **more), "out.jsonl")
    assert "note" not in capsys.readouterr().err
    build_mix(recipe(sources, **more), "out.jsonl")
    said = capsys.readouterr().err
    assert "note: out.heldout.jsonl is of the build before; this one has none" in said
    assert "note: out.decontamination" not in said
    build_mix(recipe(sources), "out.jsonl")
    assert "note: out.decontamination.jsonl is of the build before" in capsys.readouterr().err


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
        with pytest.raises(DataError, match=r"is one of the files that are read.*give the output another name"):
            build_mix("mix.yaml", out, force=True)
    assert (tmp_path / "mine.jsonl").read_bytes() == before
