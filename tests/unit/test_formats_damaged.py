"""Every kind of damage is a sentence with file and line; what is written is whole or not there."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from data_gen import formats, json_rows, rows
from data_gen.outputs import block_writer
from data_gen.records import DataError
from data_gen.rows import Tally
from tests.row_files import ROWS, lines_of, values

FAULTS = {
    "broken.jsonl": (b'{"a": 1}\n{"a": \n{"a": 3}\n', 2, "not valid JSON", [{"a": 1}, {"a": 3}]),
    "torn.jsonl": (b'{"a": 1}\n{"a": 2}\n{"a": "\xe4\xbd', 3, "torn", [{"a": 1}, {"a": 2}]),
    "bytes.jsonl": (b'{"a": 1}\n{"a": "\xc4\xe3\xba\xc3"}\n', 2, "not UTF-8", [{"a": 1}]),
    "number.jsonl": (b'{"a": 1}\n\n7\n', 3, "expected a JSON object, found a int", [{"a": 1}]),
    "half.jsonl": (b'{"a": "\\ud800"}\n{"a": 1}\n', 1, "surrogate", [{"a": 1}]),
    "torn.json": (b'[{"a": 1},\n{"a": 2},\n{"a": "b', 3, "torn", [{"a": 1}, {"a": 2}]),
    "unclosed.json": (b'[{"a": 1},\n{"a": 2}\n', 3, "cut off", [{"a": 1}, {"a": 2}]),
    "bytes.json": (b'[{"a": 1},\n{"a": "\xc4\xe3"},\n{"a": 3}]', 2, "not UTF-8", [{"a": 1}, {"a": 3}]),
    "cells.csv": (b"a,b\n1,2\n1,2,3\n4,5\n", 3, "3 cells under 2", [{"a": "1", "b": "2"}, {"a": "4", "b": "5"}]),
    "bytes.csv": (b"a,b\n\xc4\xe3,2\n4,5\n", 2, "not UTF-8", [{"a": "4", "b": "5"}]),
    "quote.csv": (b'a,b\n1,2\n"4,5', 3, "not valid CSV", [{"a": "1", "b": "2"}]),
    "nan.jsonl": (b'{"a": 1}\n{"a": NaN}\n', 2, "NaN is no JSON", [{"a": 1}]),
    "nan.json": (b'[{"a": 1},\n{"a": [-Infinity]},\n{"a": 2}]', 2, "-Infinity is no JSON", [{"a": 1}, {"a": 2}]),
    "half.json": (b'[{"a": "\\ud800"},\n{"a": 1}]', 1, "half of a surrogate pair", [{"a": 1}]),
    "wide.jsonl": ('{"a": 1}'.encode("utf-16-le") + b'\n{"a": 2}\n', 1, "not valid JSON", [{"a": 2}]),
    "stray.csv": (
        b'a,b\n1,2\n"3,4\n5,6\n7,8\n',
        3,
        "a quote opened here takes in 2 more lines",
        [{"a": "1", "b": "2"}],
    ),
    "bytes.txt": ("好\n".encode() + b"\xc4\xe3\n", 2, "not UTF-8", [{"text": "好"}]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_row_stops_with_its_line_or_is_counted(tmp_path: Path, name: str) -> None:
    content, line, why, rest = FAULTS[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}, line {line}: .*{why}.*--on-error skip"):
        values(path)
    tally = Tally("skip")
    assert values(path, tally=tally) == rest
    assert tally.total == 1
    assert f"{name}: 1 unreadable row skipped, the first at line {line}: " in tally.report()


FATAL = {
    "empty.jsonl": (b"", "line 1: the file is empty"),
    "blank.jsonl": (b"\n \n", "line 1: the file holds no rows"),
    "none.json": (b"[]", "line 1: the file holds no rows"),
    "middle.json": (b'[{"a": 1},\n{"a" 2},\n' + b'{"a": 3},\n' * 20 + b'{"a": 4}]', "line 2: not valid JSON"),
    "two.json": (b'[{"a": 1}]\n[{"a": 2}]', "line 2: text after the end of the array; .*jsonl"),
    "comma.json": (b'[{"a": 1} {"a": 2}]', "line 1: expected ',' or ']'"),
    "numbers.json": (b"[1, 2]", "line 1: expected a row"),
    "head.csv": (b"a,a\n1,2\n", "line 1: the first line must name every column once"),
    "unclosed.csv": (b'a,b\n"1,2\n' + b"3,4\n" * 200, "line 2: a quote opened here is never closed"),
    "cut.jsonl.gz": (gzip.compress(lines_of(ROWS) * 50)[:-20], "damaged or cut off"),
    "not.parquet": (b"PAR1 but no more", "not readable as Parquet"),
    "not.arrow": (b"nothing of the kind", "not readable as Parquet or Arrow"),
    "not.tar.gz": (gzip.compress(b"no archive" * 100), "damaged or cut off"),
    "odd.docx": (b"x", "unknown kind of file '.docx'"),
    "odd.xlsx": (b"PK", "is a spreadsheet: save it as CSV UTF-8"),
}


@pytest.mark.parametrize("name", FATAL)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_what_no_skipping_can_mend(tmp_path: Path, name: str, on_error: str) -> None:
    content, why = FATAL[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{why}"):
        values(path, tally=Tally(on_error))


def test_missing_file_folder_and_format_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*none.jsonl"):
        values(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"is a folder"):
        values(tmp_path)
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"unknown format 'jsonll'.*'jsonl'"):
        values(tmp_path / "a.jsonl", "jsonll")


def test_known_unreadable_rows_are_passed_over_but_no_more(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\nx\n{"a": 2}\ny\n')
    assert values(path, tally=Tally(allowed={str(path): 2})) == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match=r"line 4"):
        values(path, tally=Tally(allowed={str(path): 1}))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_a_row_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rows, json_rows, formats):
        monkeypatch.setattr(module, "ROW_LIMIT", 1000)
    monkeypatch.setattr(json_rows, "CHUNK", 500)
    start = {"a.jsonl": '{"a": "', "a.json": '[{"a": "', "a.csv": 'a\n"', "a.txt": ""}[name]
    (tmp_path / name).write_text(start + "x" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}, line [12]: .*no row"):
        values(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '{"a": "\\u0022", "a": ""}', '{"x": [{"b": "1", "b": "2"}]}', '{"a": {"": 1, "": null}}'],
)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_key_with_two_values_is_a_fault(tmp_path: Path, text: str, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    good = '{"a": 3, "a": 3}'  # said twice, but nothing is lost
    path.write_text(f"[{good},\n{text},\n{good}]" if form == "json" else f"{good}\n{text}\n{good}\n")
    with pytest.raises(DataError, match=r"line 2: the key '[ab]?' is there twice, with two values"):
        values(path)
    assert values(path, tally=Tally("skip")) == [{"a": 3}, {"a": 3}]


def test_text_that_is_not_utf_8_at_all(tmp_path: Path) -> None:
    path = tmp_path / "excel.tsv"
    path.write_bytes("题目\t答案\n甲\t乙\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"excel.tsv: UTF-16 text; iconv"):
        values(path)


def test_columns_with_broken_text_or_one_name(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.array(["好".encode(), b"\xc4\xe3", b"x"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"a": text}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet, line 2: text that is not UTF-8"):
        values(tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet", tally=Tally("skip")) == [{"a": "好"}, {"a": "x"}]
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet: two columns have one name"):
        values(tmp_path / "b.parquet")


def test_a_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    with block_writer(out) as write:
        write(b"1\n")
        assert not out.exists()
    assert out.read_bytes() == b"1\n"
    with pytest.raises(TypeError), block_writer(out) as write:
        write(None)  # type: ignore[arg-type]
    assert out.read_bytes() == b"1\n"
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left") as caught, block_writer(out) as write:
        write(b"x" * (2 * rows.CHUNK))
    assert (caught.value.errno, caught.value.filename) == (28, str(out))
    assert not out.exists()
