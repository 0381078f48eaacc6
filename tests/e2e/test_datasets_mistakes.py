"""Mistakes in `datasets` and `sample` commands end in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import test_datasets_sample
from tests.e2e.test_datasets_sample import run

folder = test_datasets_sample.folder


FAULTS: list[tuple[tuple[str, ...], str]] = [
    (("sample", "./in.jsonl"), "-o is needed"),
    (("sample", "-o", "x.jsonl"), "name a source or a file"),
    (("sample", "coigg", "-o", "x.jsonl"), "(did you mean 'coig'?)"),
    (("sample", "baike", "-o", "x.jsonl"), "put it at data/baike/baike_qa_train.json"),
    (("sample", "./none.jsonl", "-o", "x.jsonl"), "no file"),
    (("sample", "./in.jsonl", "--rows", "101", "-o", "x.jsonl"), "has 100 rows to draw from"),
    (("sample", "./in.jsonl", "--row", "1", "-o", "x.jsonl"), "(did you mean '--rows'?)"),
    (("sample", "./in.jsonl", "-o", "in.jsonl"), "in.jsonl exists already"),
    (("sample", "./my.csv", "--convert", "-o", "x.jsonl"), "--columns 'instruction=题目,input=材料,output=答案'"),
    (("sample", "./my.csv", "--columns", "title", "-o", "x.jsonl"), "must look like"),
    (("sample", "./in.jsonl", "--where", "star", "-o", "x.jsonl"), "'field op value'"),
    (("sample", "./in.jsonl", "--tokens", "5", "-o", "x.jsonl"), "--tokens needs --tokenizer"),
    (("sample", "./in.jsonl", "--rows", "5", "--characters", "5", "-o", "x.jsonl"), "give no --rows"),
    (("sample", "./in.jsonl", "--rows", "5", "--by", "strar", "-o", "x.jsonl"), "(did you mean 'star'?)"),
    (("sample", "./in.jsonl", "--parts", "p", "-o", "x.jsonl"), "--parts goes with --mix"),
    (("sample", "--mix", "demmo", "-o", "x.jsonl"), "(did you mean 'demo'?)"),
    (("sample", "--mix", "demo", "--rows", "5", "-o", "x.jsonl"), "--rows is said in a mix's recipe"),
    (("sample", "--mix", "demo", "./in.jsonl", "-o", "x.jsonl"), "cannot be added"),
    (("sample", "--mix", "mini_luotuo", "-o", "x.jsonl"), "also missing: alpaca-zh/"),
    (("datasets", "lst"), "(did you mean 'ls'?)"),
    (("datasets", "show", "cog"), "(did you mean 'coig'?)"),
    (("datasets", "card", "demoo"), "(did you mean 'demo'?)"),
    (("datasets", "add", "my.csv", "--id", "a b", "--columns", "output=答案"), "letters, digits"),
    (("datasets", "add", "my.csv", "--id", "mine"), "--columns"),
    (("datasets", "add", "my.csv", "--id", "mine", "--columns", "output=答"), "no field '答'"),
    (("datasets", "add", "in.jsonl", "--id", "mine", "--converter", "alpacca"), "(did you mean 'alpaca'?)"),
    (("datasets", "add", "in.jsonl", "--id", "mine", "--at", "data"), "no list of rows at 'data', found instruction"),
    (("datasets", "check", "none.jsonl"), "no file none.jsonl"),
    (("datasets", "fetch", "curiculum"), "(did you mean 'curriculum'?)"),
    (("datasets", "stats", "./in.jsonl", "--svg", "my.csv"), "my.csv exists already"),
    (("datasets", "stats", "./nan.jsonl"), "nan.jsonl, line 2: NaN is no JSON"),
    (("datasets", "stats", "./null.jsonl"), "null.jsonl, line 1: field 'output' is null"),
    (("datasets", "stats", "./empty.jsonl"), "empty.jsonl, line 1: the file is empty"),
    (("datasets", "stats", "./cut.zip"), "cut.zip is damaged or cut off"),
]


@pytest.mark.parametrize(("argv", "sentence"), FAULTS, ids=[" ".join(argv) for argv, _ in FAULTS])
def test_a_mistake_ends_in_one_sentence(folder: Path, argv: tuple[str, ...], sentence: str) -> None:
    assert sentence in run(folder, *argv, code=2)
    assert not (folder / "x.jsonl").exists()
    assert not (folder / "sources").exists() or not list((folder / "sources").iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_in_one_sentence(folder: Path) -> None:
    (folder / "out.jsonl.part").symlink_to("/dev/full")
    said = run(folder, "sample", "--mix", "demo", "-o", "out.jsonl", code=2)
    assert "no space left on the disk while writing out.jsonl" in said
    assert not (folder / "out.jsonl").exists()
