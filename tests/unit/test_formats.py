"""Every file form gives the same rows, whatever its line ends, chunks and layout."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import json_rows
from data_gen.formats import detect_format, read_rows
from data_gen.records import DataError
from tests.row_files import ROWS, lines_of, values, zipped


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
    path.write_bytes((ending * 2 + "标题,答案" + ending + "甲,乙" + ending).encode())
    assert [(row.line, row.value) for row in read_rows(path)] == [(4, {"标题": "甲", "答案": "乙"})]


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
