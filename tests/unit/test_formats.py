"""Every file form gives the same rows, and every kind of damage a sentence with file and line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import archives, formats, json_rows, rows
from data_gen.formats import detect_format, read_rows
from data_gen.records import DataError
from data_gen.rows import Tally, line_writer

ROWS = [
    {"instruction": "你好", "output": "第一行\u2028同一行\u0085也是"},
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


def test_the_index_of_a_data_frame_is_a_column_like_others(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"题目": ["甲"], "答案": [None]}).to_csv(tmp_path / "rows.csv")
    assert values(tmp_path / "rows.csv") == [{"column_1": "0", "题目": "甲", "答案": ""}]


def test_text_has_a_row_a_line(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_bytes("\ufeff床前明月光\r\n\r\n疑是地上霜".encode())
    assert values(path) == [{"text": "床前明月光"}, {"text": "疑是地上霜"}]


VALUES = st.text(max_size=40) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.dictionaries(
            st.text(max_size=5), st.text(max_size=40) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        ),
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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells the memory")
def test_an_array_of_170000_rows_is_not_held_in_memory(tmp_path: Path) -> None:
    row = json.dumps({"instruction": "字" * 50, "input": "", "output": "字" * 50}, ensure_ascii=False)
    code = """if True:
        import re, sys; from pathlib import Path; from data_gen.formats import read_rows
        print(sum(1 for _ in read_rows(Path(sys.argv[1]))))
        print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    """
    peaks = {}
    for n in (10, 170_000):
        path = tmp_path / f"{n}.json"
        path.write_text("[\n" + ",\n".join([row] * n) + "\n]", encoding="utf-8")
        said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        count, peaks[n] = map(int, said.stdout.split())
        assert count == n
    assert path.stat().st_size > 55_000_000
    assert peaks[170_000] - peaks[10] < 12_000  # kilobytes


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
    "half.json": (b'[{"a": "\\ud800"},\n{"a": 1}]', 1, "not UTF-8", [{"a": 1}]),
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
    assert values(path) == [{"n": 2}, {"n": 1}, {"n": 3}]
    assert values(path, "document") == [{"n": 2}, {"n": 1}, [{"n": 3}]]
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent.parent / "escape.json").exists()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_a_broken_empty_or_huge_member_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.tar.gz", {"1.json": b'{"n": 1}', "2.json": b"{", "3.json": b""})
    with pytest.raises(DataError, match=r"a.tar.gz, member 2.json, line 1: .*torn"):
        values(path)
    tally = Tally("skip")
    assert values(path, tally=tally) == [{"n": 1}]
    assert tally.total == 2
    assert "2 unreadable rows skipped, the first at member 2.json, line 1" in tally.report()
    monkeypatch.setattr(json_rows, "DOCUMENT_LIMIT", 4)
    with pytest.raises(DataError, match=r"1.json is one JSON value of more than 4 bytes"):
        values(path, "document")


MEMBERS = {
    "__MACOSX/._rows.jsonl": b"\x00\x05",
    "set/README.txt": b"no rows",
    "set/picture.png": b"\x89PNG",
    "set/AA/wiki_00": lines_of(ROWS[:1]),
    "set/pretty.json": json.dumps(ROWS[1], ensure_ascii=False, indent=2).encode(),
    "set/array.json": json.dumps(ROWS[2:], ensure_ascii=False).encode(),
    "set/packed.jsonl.gz": gzip.compress(lines_of(ROWS)),
    "set/rows.csv": b"a,b\n1,2\n",
}


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar", "tar.zst", "tar.bz2"])
def test_members_are_read_each_in_its_form(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"all.{kind}"
    if kind == "zip":
        zipped(path, MEMBERS)
    else:
        archive(path, MEMBERS, link=True)
        plain = gzip.decompress(path.read_bytes())
        if kind == "tar.zst":
            import pyarrow as pa

            with pa.CompressedOutputStream(str(path), "zstd") as file:
                file.write(plain)
        elif kind != "tar.gz":
            path.write_bytes(bz2.compress(plain) if kind == "tar.bz2" else plain)
    found = list(read_rows(path))
    assert [row.value for row in found] == [*ROWS, *ROWS, {"a": "1", "b": "2"}]
    assert found[0].raw == lines_of(ROWS[:1]).rstrip()
    assert values(path, "jsonl", tally=Tally("skip"))[0] == ROWS[0]
    one = [row.value for row in read_rows(path, member="rows.csv")]
    assert one == [{"a": "1", "b": "2"}]
    with pytest.raises(DataError, match=rf"all.{kind} has no member 'other.csv'"):
        list(read_rows(path, member="other.csv"))


def test_a_zip_is_read_where_it_lies(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.jsonl")
    link.external_attr = 0o120777 << 16
    path = zipped(tmp_path / "a.zip", {"../../escape.jsonl": b'{"n": 1}\n', "/abs/b.jsonl": b'{"n": 2}\n'})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert values(path) == [{"n": 1}, {"n": 2}]
    assert [one.name for one in tmp_path.iterdir()] == ["a.zip"]
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a.zip is damaged or cut off"):
        values(path)
    assert not (tmp_path.parent.parent / "escape.jsonl").exists()


@pytest.mark.parametrize(
    ("field", "value", "why"), [(6, 1, "has a password"), (8, 93, "is packed in a way that is not read")]
)
def test_a_zip_that_is_closed_to_us(tmp_path: Path, field: int, value: int, why: str) -> None:
    path = zipped(tmp_path / "a.zip", {"a.jsonl": b'{"n": 1}\n'})
    content = bytearray(path.read_bytes())
    for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):  # the member's own header and the directory's
        content[content.index(mark) + field + shift] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a.zip, member a.jsonl {why}.*unpack it first"):
        values(path)


def test_what_unpacks_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "UNPACKED_LIMIT", 1 << 16)
    monkeypatch.setattr(archives, "UNPACKED_LIMIT", 1 << 16)
    bomb = b'{"a": 1}\n' * 500_000
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(bomb))
    zipped(tmp_path / "bomb.zip", {"bomb.jsonl": bomb})
    archive(tmp_path / "bomb.tar.gz", {"bomb.jsonl": bomb})
    for name in ("bomb.jsonl.gz", "bomb.zip", "bomb.tar.gz"):
        with pytest.raises(DataError, match=rf"{name}.* unpacks to .*which no text does"):
            for _ in read_rows(tmp_path / name):
                pass


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_a_row_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rows, json_rows, formats):
        monkeypatch.setattr(module, "ROW_LIMIT", 1000)
    monkeypatch.setattr(json_rows, "CHUNK", 500)
    start = {"a.jsonl": '{"a": "', "a.json": '[{"a": "', "a.csv": 'a\n"', "a.txt": ""}[name]
    (tmp_path / name).write_text(start + "x" * 100_000, encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}, line [12]: .*(no row|field larger)"):
        values(tmp_path / name)


ZSTD = ["jsonl", "json", "csv", "txt"]


@pytest.mark.parametrize("name", ZSTD)
def test_zstd_is_unpacked_and_damage_is_seen(tmp_path: Path, name: str) -> None:
    import pyarrow as pa

    content = {
        "jsonl": lines_of(ROWS) * 500,
        "json": json.dumps(ROWS * 500).encode(),
        "csv": b"a,b\n" + b"1,2\n" * 5000,
        "txt": "好\n".encode() * 5000,
    }[name]
    (tmp_path / f"rows.{name}").write_bytes(content)
    path = tmp_path / f"rows.{name}.zst"
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(content)
    assert values(path) == values(tmp_path / f"rows.{name}")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=rf"rows.{name}.zst is damaged or cut off"):
        values(path)


def test_rows_inside_of_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "CHUNK", 7)
    path = tmp_path / "coqa.json"
    for indent in (None, 1):
        path.write_text(json.dumps({"version": "1.0", "n": [12, {"data": []}], "data": ROWS, "end": 1}, indent=indent))
        assert [row.value for row in read_rows(path, at="data")] == ROWS
    zipped(tmp_path / "a.zip", {"coqa.json": path.read_bytes()})
    assert [row.value for row in read_rows(tmp_path / "a.zip", at="data")] == ROWS
    with pytest.raises(DataError, match=r"coqa.json, line .*: no list of rows at 'rows', found version, n, data, end"):
        list(read_rows(path, at="rows"))
    path.write_text('{"version": 1, "da')
    with pytest.raises(DataError, match=r"coqa.json, line 1: "):
        list(read_rows(path, at="data"))


def test_one_object_over_many_lines_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(ROWS[0], indent=4))
    assert detect_format(path) == "document"
    assert values(path) == ROWS[:1]


@settings(max_examples=200, deadline=None)
@given(
    row=st.recursive(
        st.text(max_size=8) | st.integers(-9, 9) | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    ascii_only=st.booleans(),
)
def test_json_without_repeated_keys_never_looks_like_it(row: object, ascii_only: bool) -> None:
    text = json.dumps({"row": row}, ensure_ascii=ascii_only)
    assert json_rows.parse_json(text.encode()) == {"row": row}


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
