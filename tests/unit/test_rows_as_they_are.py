"""A sample's rows are those of the file, whatever its form, until somebody asks for records."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_gen.mixes import build_mix
from data_gen.records import DataError, read_records
from data_gen.registry import open_source
from data_gen.sampling import sample_rows
from tests import samples
from tests.raw_files import write_raw
from tests.samples import write

in_empty_folder = samples.in_empty_folder
ROWS = [{"instruction": f"问{n}", "input": "", "output": "答", "score": n / 8, "tags": ["甲", None]} for n in range(40)]
UNKNOWN = [{"文": f"第{n}行", "数": 2**70 + n} for n in range(40)]


def lines(path: str = "out.jsonl") -> list[Any]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def array(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return f"./{name}"


def parquet(name: str, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), name)
    return f"./{name}"


@pytest.mark.parametrize("make", [array, parquet])
def test_no_field_is_lost(make: Any) -> None:
    source = make("in.json" if make is array else "in.parquet", ROWS)
    summary = sample_rows([source], "out.jsonl")
    assert (lines(), summary.as_records) == (ROWS, False)
    sample_rows([source], "few.jsonl", rows=9, seed=3, where=["score>=2"])
    sample_rows([write(rows=ROWS)], "same.jsonl", rows=9, seed=3, where=["score>=2"])
    assert lines("few.jsonl") == lines("same.jsonl")


def test_cells_stay_texts() -> None:
    Path("in.csv").write_text("instruction,output,star\n问,答,03\n", encoding="utf-8")
    sample_rows(["./in.csv"], "out.jsonl")
    assert Path("out.jsonl").read_text(encoding="utf-8") == '{"instruction":"问","output":"答","star":"03"}\n'


@pytest.mark.parametrize("make", [array, write], ids=["array", "lines"])
def test_rows_of_unknown_columns_can_be_drawn_and_split(make: Any) -> None:
    """Also whole numbers that fit into no 64 bits."""
    source = make("in.json", UNKNOWN)
    sample_rows([source], "out.jsonl", heldout=0.3, heldout_out="held.jsonl")
    assert 0 < len(lines("held.jsonl")) < 40
    assert sorted(lines() + lines("held.jsonl"), key=str) == sorted(UNKNOWN, key=str)
    sample_rows([source], "few.jsonl", rows=5, where=["文~3"])
    assert len(lines("few.jsonl")) == 5


def test_two_files_of_the_same_unknown_columns_are_alike() -> None:
    sources = [array("a.json", UNKNOWN[:9]), write("b.jsonl", UNKNOWN[9:])]
    assert not sample_rows(sources, "out.jsonl").as_records
    assert lines() == UNKNOWN
    with pytest.raises(DataError, match=r"a.json, line 2: these columns are no known form: 文, 数; say which is which"):
        sample_rows([sources[0], array("c.json", [{"段": "x"}])], "both.jsonl")


@pytest.mark.parametrize("options", [{"convert": True}, {"budget": 9, "measure": len}], ids=str)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_records_of_unknown_columns_say_what_to_do(options: dict[str, Any], on_error: str) -> None:
    """Once for the file: no row of it can be passed over."""
    source = array("in.json", UNKNOWN)
    with pytest.raises(
        DataError,
        match=r"in.json, line 2: these columns are no known form: 文, 数; .*--columns 'output=文'",
    ):
        sample_rows([source], "out.jsonl", on_error=on_error, **options)
    with pytest.raises(DataError, match="no known form"):
        next(iter(open_source(source)))
    Path("mix.yaml").write_text(f"name: m\nsources: {{{source}: 5}}\n")
    with pytest.raises(DataError, match="no known form"):
        build_mix("mix.yaml", "mix.jsonl")


def test_mapped_columns_give_records() -> None:
    columns = {"instruction": "文", "output": "数"}
    source = array("in.json", UNKNOWN)
    assert sample_rows([source], "out.jsonl", columns=columns).as_records
    Path("sources").mkdir()
    said = {"id": "mine", "title": "Mine", "licence": {"spdx": "MIT"}, "columns": columns, "files": [{"path": source}]}
    Path("sources/mine.yaml").write_bytes(orjson.dumps(said))
    assert sample_rows(["mine"], "mine.jsonl").as_records
    assert [record.instruction for record in read_records("mine.jsonl")] == [row["文"] for row in UNKNOWN]


def test_rows_that_are_made_on_the_spot_and_unlike_forms_are_records() -> None:
    assert sample_rows(["curriculum"], "made.jsonl", rows=3).as_records
    panda = array("panda.json", [{"inputs": "问", "targets": "答"}])
    assert sample_rows([panda, array("in.json", ROWS)], "both.jsonl").as_records
    assert {record.source for record in read_records("both.jsonl")} == {"panda.json", "in.json"}


def test_what_tables_hold_and_json_does_not() -> None:
    row = {"text": "文", "price": decimal.Decimal("1.10"), "day": datetime.date(2024, 2, 29), "nan": float("nan")}
    sample_rows([parquet("in.parquet", [row])], "out.jsonl")
    assert lines() == [{"text": "文", "price": "1.10", "day": "2024-02-29", "nan": None}]
    with pytest.raises(DataError, match=r"bytes.parquet, row 1: a column of bytes, .* --columns output=answer"):
        sample_rows([parquet("bytes.parquet", [{"picture": b"\xff\xd8"}])], "bytes.jsonl")
    assert not Path("bytes.jsonl").exists()


def test_files_of_unlike_forms_give_records() -> None:
    """Rows of all of COIG's forms in one file would be read by no converter."""
    write_raw(Path("data"), "coig", rows=20)
    summary = sample_rows(["coig"], "out.jsonl", rows=50)
    assert summary.as_records
    assert len(list(read_records("out.jsonl"))) == 50
    (kept,) = Path("data/coig").glob("exam*")
    Path("corpus").mkdir()
    for name in "ab":
        Path("corpus", f"{name}.jsonl").write_bytes(kept.read_bytes())
    assert not sample_rows(["./corpus/"], "alike.jsonl", rows=30).as_records


def test_files_of_unknown_and_unlike_columns_are_copied() -> None:
    Path("corpus").mkdir()
    array("corpus/a.json", UNKNOWN)
    array("corpus/b.json", [{"列": n} for n in range(40)])
    write("corpus/c.jsonl", ROWS)
    assert not sample_rows(["./corpus/"], "out.jsonl", rows=60).as_records
    assert {len(row) for row in lines()} == {1, 2, 5}
