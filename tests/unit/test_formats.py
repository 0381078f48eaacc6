"""Every file form gives the same rows, and every kind of damage a sentence with file and line."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import json_rows, rows
from data_gen.formats import detect_format, read_rows
from data_gen.records import DataError
from data_gen.rows import Tally, line_writer

ROWS = [
    {"instruction": "你好", "output": "第一行\u2028同一行"},
    {"instruction": 'a "quoted", cell', "output": "两\n行"},
    {"instruction": "\ufeff中间的BOM", "output": "🐪"},
]


def values(path: Path, format: str | None = None, tally: Tally | None = None) -> list:
    return [row.value for row in read_rows(path, format, tally)]


def lines_of(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write_forms(folder: Path) -> dict[str, Path]:
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame(ROWS)
    forms = {name: folder / f"rows.{name}" for name in ("jsonl", "json", "csv", "tsv", "parquet", "arrow")}
    forms["jsonl"].write_bytes(lines_of(ROWS))
    forms["json"].write_text(json.dumps(ROWS, ensure_ascii=False, indent=1), encoding="utf-8")
    frame.to_csv(forms["csv"], index=False)
    frame.to_csv(forms["tsv"], index=False, sep="\t")
    frame.to_parquet(forms["parquet"], index=False)
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(forms["arrow"]), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    for path in list(forms.values()):
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        forms[packed.name] = packed
    with pa.OSFile(str(folder / "file.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    forms["arrow file"] = folder / "file.arrow"
    return forms


def test_all_forms_hold_the_same_rows(tmp_path: Path) -> None:
    forms = write_forms(tmp_path)
    assert len(forms) == 13
    for name, path in forms.items():
        assert values(path) == ROWS, name


def test_json_lines_named_json_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf\n " + lines_of(ROWS))
    assert detect_format(path) == "jsonl"
    assert values(path) == ROWS


def test_bom_crlf_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines_of(ROWS).replace(b"\n", b"\r\n\r\n"))
    found = list(read_rows(path))
    assert [row.value for row in found] == ROWS
    assert [row.line for row in found] == [1, 3, 5]
    assert found[0].raw == lines_of(ROWS[:1]).rstrip()  # neither BOM nor line end


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_csv_with_bom_and_either_line_end(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(("\ufeff标题,答案" + ending + '甲,"乙\n丙"' + ending + ending + "丁,戊" + ending).encode())
    found = list(read_rows(path))
    assert [row.value for row in found] == [{"标题": "甲", "答案": "乙\n丙"}, {"标题": "丁", "答案": "戊"}]
    assert found[0].line == 2


def test_text_has_a_row_a_line(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_bytes("\ufeff床前明月光\r\n\r\n疑是地上霜".encode())
    assert values(path) == [{"text": "床前明月光"}, {"text": "疑是地上霜"}]


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=40) | st.integers() | st.floats(allow_nan=False)),
        min_size=1,
        max_size=8,
    ),
    chunk=st.integers(1, 50),
    indent=st.sampled_from([None, 0, 2]),
)
def test_an_array_is_the_same_however_it_is_cut_into_chunks(
    tmp_path_factory: pytest.TempPathFactory, data: list[dict], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(json.dumps(data, ensure_ascii=False, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        assert values(path, "json") == data


def test_an_array_names_the_line_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n {"a":\n 1},\n\n {"a": 2}, {"a": 3}]', encoding="utf-8")
    assert [row.line for row in read_rows(path)] == [2, 5, 5]


def test_an_array_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"n": n, "text": "字" * 100} for n in range(50_000)], ensure_ascii=False))
    import tracemalloc

    tracemalloc.start()
    assert sum(1 for _ in read_rows(path)) == 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 15_000_000
    assert peak < 8_000_000


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


def archive(path: Path, members: dict[str, bytes], link: bool = False) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo("link.json")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return path


def test_an_archive_is_read_in_its_order_and_never_unpacked(tmp_path: Path) -> None:
    members = {
        "d/2.json": b'{"n": 2}',
        "../../escape.json": b'{"n": 1}',
        "d/._2.json": b"\x00",
        "readme.txt": b"no row",
        "/abs.json": b'[{"n": 3}]',
    }
    path = archive(tmp_path / "dialogs.tar.gz", members, link=True)
    before = sorted(tmp_path.rglob("*"))
    assert values(path) == [{"n": 2}, {"n": 1}, [{"n": 3}]]
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent.parent / "escape.json").exists()


def test_a_broken_or_huge_member_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.tar.gz", {"1.json": b'{"n": 1}', "2.json": b"{", "3.json": b""})
    with pytest.raises(DataError, match=r"line 2: member 2.json"):
        values(path)
    tally = Tally("skip")
    assert values(path, tally=tally) == [{"n": 1}]
    assert tally.total == 2
    monkeypatch.setattr("data_gen.formats.MEMBER_LIMIT", 4)
    with pytest.raises(DataError, match=r"1.json is 8 bytes"):
        values(path)


def test_python_json_that_orjson_refuses_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": NaN, "big": 123456789012345678901234567890}\n')
    (value,) = values(path)
    assert value["a"] != value["a"]
    assert value["big"] == 123456789012345678901234567890


def test_line_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    with line_writer(out) as write:
        write(b"1")
        assert not out.exists()
    assert out.read_bytes() == b"1\n"
    with pytest.raises(TypeError), line_writer(out) as write:
        write(None)  # type: ignore[arg-type]
    assert out.read_bytes() == b"1\n"
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left") as caught, line_writer(out) as write:
        write(b"x" * (2 * rows.CHUNK))
    assert (caught.value.errno, caught.value.filename) == (28, str(out))
    assert not out.exists()
