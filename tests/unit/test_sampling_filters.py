"""Which rows a sample is drawn from: what filters keep, what is held out or skipped, and when they are too few."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from data_gen.records import DataError
from data_gen.sampling import sample_rows
from data_gen.where import Where
from distill.cli import main
from tests import samples
from tests.samples import questions, rows_of, sample, write

in_empty_folder = samples.in_empty_folder


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("star>=8", lambda star: star >= 8),
        ("star < 2", lambda star: star < 2),
        ("star==3", lambda star: star == 3),
        ("star = 3.0", lambda star: star == 3),
        ("star!=3", lambda star: star != 3),
    ],
)
def test_where_keeps_rows(where: str, kept: Any) -> None:
    expected = [row["instruction"] for row in rows_of() if kept(row["star"])]
    assert sample([write()], where=[where]) == expected


def test_filters_come_before_the_draw_and_all_must_hold() -> None:
    found = sample([write()], where=["star>=5", "star<7"], rows=10, seed=1)
    assert len(found) == 10
    assert all(5 <= int(question[1:]) % 10 < 7 for question in found)


@pytest.mark.parametrize(
    ("text", "row", "kept"),
    [
        ("star>=3", {"star": "10"}, True),
        ("star>=3", {"star": None}, False),
        ("star>=3", {"star": "many"}, False),
        ("star>=3", {}, False),
        ("star>=3", {"star": True}, False),
        ("n==00123", {"n": "00123"}, True),
        ('kind == "对联"', {"kind": "对联"}, True),
        ("kind!='对联'", {"kind": "诗"}, True),
        ("kind~联", {"kind": "对联"}, True),
        ("kind~联", {"kind": None}, False),
        ("meta.family==加法", {"meta": {"family": "加法"}}, True),
        ("meta.family==加法", {"meta": "x"}, False),
        ("answers.1.text~三", {"answers": [{"text": "二"}, {"text": "第三"}]}, True),
        ("answers.2.text~三", {"answers": [{"text": "二"}, {"text": "第三"}]}, False),
        ("a.b==1", {"a.b": "1"}, True),
        ("url==a=b>c", {"url": "a=b>c"}, True),
        ("x>=-1e3", {"x": -999}, True),
        ("good==true", {"good": True}, True),
        ("good==True", {"good": True}, True),
        ("good!=true", {"good": False}, True),
        ("good==1", {"good": True}, False),
        ("good!=null", {"good": "x"}, True),
        ("good!=null", {"good": None}, False),
        ("good==''", {"good": None}, True),
    ],
)
def test_where_compares(text: str, row: dict[str, Any], kept: bool) -> None:
    assert Where.parse(text)(row) is kept


@pytest.mark.parametrize("text", ["star", "star>=", ">=3", "__import__('os')", "a b > 3", ""])
def test_where_is_a_field_an_operator_and_a_value(text: str) -> None:
    with pytest.raises(DataError, match=r"is no 'field op value'"):
        Where.parse(text)


def test_where_no_row_passes() -> None:
    source = write()
    for options in ({}, {"heldout": 0.5, "heldout_out": "h.jsonl"}, {"convert": True}):
        with pytest.raises(DataError, match=r"no row passes \(200 of in.jsonl left out: where\); --allow-fewer writes"):
            sample([source], where=["star>9"], **options)
        assert os.listdir() == ["in.jsonl"]
    assert sample([source], where=["star>9"], allow_fewer=True) == []
    Path("a.jsonl").write_text('{"instruction": "甲", "output": "乙", "star": 99}\n')
    assert sample([source, "./a.jsonl"], where=["star>9"]) == ["甲"]


def test_where_errors_name_the_field() -> None:
    for text in ("star=>3", "star =< 3"):
        with pytest.raises(DataError, match=rf"write {'>' if '>' in text else '<'}=; .* in quotes, star='[<>] ?3'"):
            Where.parse(text)
    assert Where.parse("star='>3'")({"star": ">3"})
    with pytest.raises(DataError, match=r"--shares even is how --by shares out rows"):
        sample([write()], rows=5, shares="even")
    with pytest.raises(DataError, match=r"'many' is none"):
        Where.parse("star>=many")
    with pytest.raises(DataError, match=r"no row of in.jsonl has a field 'stars' \(did you mean 'star'\?\)"):
        sample([write()], where=["stars>=3"])
    with pytest.raises(DataError, match=r"no row of curriculum has a field 'famly'.*'family'"):
        sample(["curriculum"], where=["famly==x"], rows=1)


def test_what_is_held_out_is_apart_and_complete() -> None:
    rows = rows_of() + rows_of(50)  # fifty questions are there twice
    source = write(rows=rows)
    summary = sample_rows([source], "train.jsonl", heldout=0.1, heldout_out="valid.jsonl", seed=5)
    train, valid = questions("train.jsonl"), questions("valid.jsonl")
    assert (summary.rows, summary.heldout) == (len(train), len(valid))
    assert sorted(train + valid) == sorted(row["instruction"] for row in rows)
    assert 10 <= len(valid) <= 45
    assert not set(train) & set(valid)
    order = [row["instruction"] for row in rows]
    assert train == [question for question in order if question in set(train)]


def test_holding_out_does_not_change_what_is_drawn() -> None:
    source = write()
    drawn = sample([source], rows=100, seed=5)
    sample_rows([source], "train.jsonl", rows=100, heldout=0.3, heldout_out="valid.jsonl", seed=5)
    assert sorted(questions("train.jsonl") + questions("valid.jsonl")) == sorted(drawn)
    assert 15 <= len(questions("valid.jsonl")) <= 45


def test_more_rows_than_there_are() -> None:
    source = write()
    with pytest.raises(DataError, match=r"in.jsonl has 200 rows to draw from, 201 are wanted.*--allow-fewer"):
        sample([source], rows=201)
    assert not Path("out.jsonl").exists()
    assert not Path("out.jsonl.part").exists()
    assert len(sample([source], rows=201, allow_fewer=True)) == 200
    with pytest.raises(DataError, match=r"has 20 rows to draw from \(180 left out: where\), 21"):
        sample([source], rows=21, where=["star==3"])
    with pytest.raises(DataError, match=r"none of its rows passes \(200 left out: where\); 21 rows are wanted"):
        sample([source], rows=21, where=["star==33"])


def test_skipped_rows_do_not_shift_the_others_in_number() -> None:
    Path("bad.jsonl").write_bytes(Path(write()).read_bytes() + b"{\n")
    with pytest.raises(DataError, match=r"line 201"):
        sample(["./bad.jsonl"], rows=5)
    summary = sample_rows(["./bad.jsonl"], "skipped.jsonl", rows=200, on_error="skip")
    assert summary.tally.total == 1
    assert questions("skipped.jsonl") == [row["instruction"] for row in rows_of()]


def test_a_recipe_may_name_one_of_what_may_be_several(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    Path("a.jsonl").write_text('{"instruction": "甲", "output": "乙"}\n')
    Path("sample.yaml").write_text("inputs: ./in.jsonl\nwhere: star>=8\nrows: 7\nweights: 1.0\nout: out.jsonl\n")
    assert main(["sample", "--config", "sample.yaml"]) == 0
    assert all(int(question[1:]) % 10 >= 8 for question in questions("out.jsonl"))
    assert "licence" not in capsys.readouterr().out
    columns = ["--columns", "instruction=key,output=instruction"]
    assert main(["sample", "curriculum", "--rows", "3", *columns, "-o", "made.jsonl"]) == 0
    assert "no part forbids" in capsys.readouterr().out
    assert main(["sample", "curriculum", "./a.jsonl", "--rows", "2", "-o", "both.jsonl"]) == 0
    assert "licence: rights unclear for a.jsonl (parts: Apache-2.0, LicenseRef-unclear)" in capsys.readouterr().out
