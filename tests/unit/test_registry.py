"""The sources that ship, where files are looked for, rows that do not convert."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.cards import card
from data_gen.mix_recipe import load_mix
from data_gen.records import DataError
from data_gen.registry import SHIPPED, get_source, load_registry, locate, open_source, raw_rows
from data_gen.rows import Tally
from data_gen.source_yaml import load_source
from tests.raw_files import write_raw

YAMLS = sorted(SHIPPED.glob("*.yaml"))


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINITUO_DATA", raising=False)


def shown(path: str, **keys: Any) -> Path:
    values: dict[str, Any] = {
        "id": "mine",
        "title": "Mine",
        "converter": "alpaca",
        "files": [{"name": "a.jsonl"}],
        "licence": {"spdx": "MIT"},
    }
    values.update(keys)
    file = Path(path)
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}, allow_unicode=True))
    return file


@pytest.mark.parametrize("path", YAMLS, ids=[path.stem for path in YAMLS])
def test_a_shipped_source_is_whole(path: Path) -> None:
    source = load_source(path)
    assert source.id == path.stem
    assert source.title
    assert source.fields
    assert source.licence.spdx
    assert source.licence.noncommercial or "-NC" not in source.licence.spdx
    assert source.verified or source.unverified
    assert source.generated or source.home.startswith("https://")
    for file in source.files:
        assert source.address(file).startswith("https://") or source.get
        # A revision or digest is whole or absent: nothing shortened, nothing made up.
        assert len(source.revision) in (0, 40)
        assert len(file.git_blob) in (0, 40)
        assert len(file.sha256) in (0, 64)


ROWS = {
    "alpaca-zh": 48_818,
    "cnewsum": 304_307,
    "coco-cn": 27_218,
    "coig": 165_531,
    "coig-dialogs": 13_649,
    "coqa": 7_699,
    "luotuo": 168_886,
    "luotuo-alpaca": 51_672,
    "panda-coig": 179_180,
    "pclue": 1_200_705,
    "wiki": 1_043_224,
}
UNCOUNTED = {"baike", "webtext", "news", "translation", "guanaco", "luotuo-alpaca-gpt4", "wizardlm-zh", "dolly-zh"} | {
    *(
        "coqa-zh",
        "belle-0.5m",
        "belle-1m",
        "belle-2m",
        "belle-3.5m",
        "firefly",
        "moss",
        "sharegpt",
        "curriculum",
    )
}


def test_the_shipped_sources_and_their_rows() -> None:
    known = load_registry()
    assert {name: source.rows for name, source in known.items() if source.rows} == ROWS
    assert set(known) == set(ROWS) | UNCOUNTED
    assert known["luotuo"].files[0].git_blob == "4616e8d69f1df5269190f881ad17b3a256d0290d"
    assert {"c3", "cmrc2018", "ocnli"} <= set(known["pclue"].contains)


def test_the_arithmetic_of_coig() -> None:
    """Mini-Luotuo's coig_data.json is COIG without its dialogs; Panda's has them, too."""
    known = load_registry()
    parts = [file.rows for file in known["coig"].files]
    assert parts == [63_532, 3_000, 19_464, 11_737, 67_798]
    assert sum(n or 0 for n in parts) == 165_531 == known["coig"].rows
    assert [(file.rows, file.unreadable) for file in known["coig-dialogs"].files] == [(13_653 - 4, 4)]
    assert known["panda-coig"].rows == 165_531 + 13_649
    assert [file.unreadable for file in known["coig"].files] == [0, 0, 6, 0, 0]
    assert sum([168_886, 48_818, 165_531, 150_000, 150_000]) == 683_235


@pytest.mark.parametrize("name", [path.stem for path in YAMLS if path.stem != "curriculum"])
def test_every_shipped_source_reads_its_raw_form(name: str, tmp_path: Path) -> None:
    expected = write_raw(tmp_path / "data", name)
    records = list(open_source(name))
    assert [(r.instruction, r.input, r.output, r.history) for r in records] == expected
    assert {record.source for record in records} == {name}


def test_the_curriculum_is_made_on_the_spot() -> None:
    first, again = (list(open_source("curriculum", rows=20, seed=3)) for _ in range(2))
    assert first == again
    assert len(first) == 20
    assert first != list(open_source("curriculum", rows=20, seed=4))
    assert all(record.output and {"family", "difficulty", "key"} <= set(record.meta) for record in first)


def test_data_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_registry()["alpaca-zh"]
    file = source.files[0]
    with pytest.raises(DataError) as caught:
        locate(source, file)
    said = str(caught.value)
    assert f"https://huggingface.co/datasets/shibing624/alpaca-zh/resolve/{source.revision}/{file.name}" in said
    assert f"data/alpaca-zh/{file.name}" in said
    for root in ("env", "data", "given"):
        write_raw(tmp_path / root, "alpaca-zh")
    monkeypatch.setenv("MINITUO_DATA", str(tmp_path / "env"))
    assert locate(source, file) == Path("data/alpaca-zh") / file.name
    assert locate(source, file, "given") == Path("given/alpaca-zh") / file.name
    (tmp_path / "data/alpaca-zh" / file.name).unlink()
    assert locate(source, file) == tmp_path / "env/alpaca-zh" / file.name
    with pytest.raises(DataError, match=r"needs"):
        locate(source, file, tmp_path / "elsewhere")


def test_a_packed_file_is_found_too(tmp_path: Path) -> None:
    expected = write_raw(tmp_path / "data", "alpaca-zh")
    path = next((tmp_path / "data/alpaca-zh").iterdir())
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert [record.output for record in open_source("alpaca-zh")] == [row[2] for row in expected]


def test_a_missing_file_without_an_address_says_how_to_come_by_it() -> None:
    with pytest.raises(
        DataError,
        match=r"baike_qa_train.json: download https://drive.*in a browser .*data/baike/.*baike2018qa.zip may stay",
    ):
        next(open_source("baike"))


def test_all_files_are_looked_for_before_any_is_read(tmp_path: Path) -> None:
    write_raw(tmp_path / "data", "coig")
    (tmp_path / "data/coig/translated_instructions.jsonl").unlink()
    with pytest.raises(DataError, match=r"needs translated_instructions.jsonl"):
        raw_rows(get_source("coig"))


def test_known_broken_lines_are_passed_over_up_to_their_number(tmp_path: Path) -> None:
    expected = write_raw(tmp_path / "data", "coig", broken=6)
    tally = Tally()
    assert len(list(open_source("coig", tally=tally))) == len(expected)
    assert tally.total == 6
    write_raw(tmp_path / "data", "coig", broken=7)
    with pytest.raises(DataError, match=r"part2.json, line "):
        list(open_source("coig"))


def test_a_path_is_a_source() -> None:
    Path("my.json").write_text(json.dumps([{"title": "问", "answer": "答", "n": 1}]))
    (record,) = open_source("./my.json", columns={"instruction": "title", "output": "answer"})
    assert (record.instruction, record.output, record.source) == ("问", "答", "my.json")
    assert next(open_source("my.json")).output == "答"  # a data file's name needs no ./
    with pytest.raises(DataError, match=r"no file .*none.csv"):
        next(open_source("./none.csv"))
    Path("folder.json").mkdir()
    with pytest.raises(DataError, match=r"is a folder"):
        next(open_source("folder.json"))


def test_a_row_that_does_not_convert_is_named_or_counted() -> None:
    Path("a.jsonl").write_text('{"instruction": "问", "output": "答"}\n{"instruction": "问"}\n')
    with pytest.raises(DataError, match=r"a.jsonl, line 2: no field 'output'"):
        list(open_source("./a.jsonl"))
    tally = Tally("skip")
    assert len(list(open_source("./a.jsonl", tally=tally))) == 1
    assert tally.total == 1


def test_an_unknown_source_gets_the_nearest_name() -> None:
    with pytest.raises(DataError, match=r"no source 'alpacazh' \(did you mean 'alpaca-zh'\?\).*\./alpacazh"):
        get_source("alpacazh")
    Path("alpaca.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"no source 'alpaca' \(did you mean .*; a file is named as ./alpaca.jsonl$"):
        get_source("alpaca")


def test_a_mix_is_no_source_nor_a_source_a_mix() -> None:
    with pytest.raises(DataError, match=r"no source 'demo', that is a mix: distill sample --mix demo -o demo.jsonl"):
        get_source("demo")
    with pytest.raises(DataError, match=r"no mix 'coig', that is a source: distill sample coig -o coig.jsonl"):
        load_mix("coig")
    with pytest.raises(DataError, match=r"no source and no mix './x.csv'; .*: distill datasets add ./x.csv --id NAME"):
        card("./x.csv")
