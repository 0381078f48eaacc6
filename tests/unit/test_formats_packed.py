"""Archives and packed files are read where they lie, each member in its form, and none without end."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_gen import archives, columnar, json_rows, rows
from data_gen.formats import read_rows
from data_gen.records import DataError
from data_gen.registry import open_source
from data_gen.rows import Tally
from tests.raw_forms import write_zip
from tests.row_files import ROWS, lines_of, values, zipped


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


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_tables_hold_no_more_than_texts_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of one repeated character is packed into next to nothing."""
    path = tmp_path / name
    table = pa.table({"output": pa.array(["短", "b" * 300_000, None], pa.string())})
    if name.endswith("parquet"):
        pq.write_table(table, path, compression="zstd", use_dictionary=False)
    else:
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table)
    assert [len(row["output"] or "") for row in values(path)] == [1, 300_000, 0]
    monkeypatch.setattr(columnar, "ROW_LIMIT", 200_000)
    with pytest.raises(DataError, match=rf"{name}: a row longer than 200,000 bytes, which is no row"):
        values(path)
    if name.endswith("parquet"):
        monkeypatch.setattr(columnar, "UNPACKED_LIMIT", 1000)
        with pytest.raises(DataError, match=r"rows.parquet unpacks to 300,... bytes, which no text does"):
            values(path)


def test_texts_of_every_kind_of_column_are_read(tmp_path: Path) -> None:
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    table = pa.table({f"c{n}": pa.array(["甲", None]).cast(kind) for n, kind in enumerate(kinds)})
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as file:
        file.write_table(table)
    assert values(tmp_path / "rows.arrow") == [dict.fromkeys(table.column_names, text) for text in ("甲", None)]


def test_each_member_of_an_archive_has_a_form_of_its_own(tmp_path: Path) -> None:
    """And one that has none is a fault of its rows, not of the archive."""
    members: dict[str, list[Any]] = {
        "a.jsonl": [{"instruction": "甲", "output": "一"}],
        "b.jsonl": [{"trans_instruction": "乙", "trans_input": "", "trans_output": "二"}],
        "c.jsonl": [{"nothing": "known"}],
        "d.jsonl": [{"conversations": [{"from": "human", "value": "丙"}, {"from": "gpt", "value": "三"}]}],
    }
    write_zip(tmp_path / "all.zip", members)
    tally = Tally("skip")
    found = open_source(str(tmp_path / "all.zip"), tally=tally)
    assert [(record.instruction, record.output) for record in found] == [("甲", "一"), ("乙", "二"), ("丙", "三")]
    assert "1 unreadable row skipped, the first at member c.jsonl, line 1: no field" in tally.report()
