"""The index of a file: the same rows as reading gives, kept beside the file, and never trusted when it is stale."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen import line_index
from data_gen.line_index import NoIndex, index_path, open_index
from data_gen.records import DataError
from data_gen.sampling import sample_rows

LINES = [f'{{"instruction": "第{i}问", "output": "{"答" * (i % 7)}"}}' for i in range(300)]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(line_index, "KEEP_FROM", 0)
    monkeypatch.setattr(line_index, "TICK_NS", 0)
    monkeypatch.setattr(line_index, "_last", {})


def write(text: str = "\n".join(LINES) + "\n", name: str = "in.jsonl") -> Path:
    path = Path(name)
    path.write_bytes(text.encode())
    time.sleep(0.02)  # past the tick of the file's time
    return path


def lines(path: Path) -> list[str]:
    index = open_index(path)
    return [line.decode() for line in index.lines(range(len(index)))]


def sample(rows: int, index: bool = True, seed: int = 3) -> bytes:
    sample_rows(["./in.jsonl"], "out.jsonl", rows=rows, seed=seed, force=True, index=index)
    return Path("out.jsonl").read_bytes()


FORMS = {
    "plain": "\n".join(LINES) + "\n",
    "no last newline": "\n".join(LINES),
    "crlf": "\r\n".join(LINES) + "\r\n",
    "bom": "\ufeff" + "\n".join(LINES) + "\n",
    "blank lines": "\n \n\n".join(LINES) + "\n\n\t\n",
    "blank first": "\ufeff\r\n\n" + "\n".join(LINES),
    "spaces": "  \n".join(LINES) + " \n",
    "indented": "\n  ".join(LINES) + "\n",
    "lists": "\n".join([*LINES[:20], '[["问", "答"]]', *LINES[20:]]),
    "other line ends inside": "\n".join([*LINES, '{"instruction": "甲\u2028乙\u0085丙", "output": "丁"}']) + "\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_those_that_reading_gives(form: str) -> None:
    write(FORMS[form])
    for rows in (1, 50, 299, 300):
        assert sample(rows) == sample(rows, index=False)
    assert sample(300).count(b"\n") == 300


@given(
    st.lists(
        st.sampled_from(["", " ", "\t", '{"a": 1}', '{"a": "' + "长" * 30 + '"}', " {}", '{"b": 2} ']), max_size=40
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_rows_are_the_lines_that_are_not_blank(some: list[str], end: str, last: bool) -> None:
    path = Path("some.jsonl")
    path.write_bytes((end.join(some) + (end if last else "")).encode())
    expected = [line for line in some if line.strip()]
    if not expected:
        with pytest.raises(NoIndex):
            line_index._starts(path, path.open("rb"))
        return
    starts = line_index._starts(path, path.open("rb"))
    index = line_index.LineIndex(path, starts, {}, False)
    found = [index._line(piece).decode() for piece in _pieces(path, starts)]
    assert found == expected


def _pieces(path: Path, starts: object) -> list[bytes]:
    whole, places = path.read_bytes(), list(starts)  # type: ignore[call-overload]
    return [whole[a:b] for a, b in pairwise(places)]


def test_it_is_kept_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    assert open_index(path).kept
    assert index_path(path).name == ".in.jsonl.rows"
    monkeypatch.setattr(line_index, "_last", {})
    monkeypatch.setattr(line_index, "_starts", None)  # going through the file again would fail
    assert lines(path) == LINES
    assert len(open_index(path)) == 300


def test_small_files_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "KEEP_FROM", 1 << 20)
    sample(5) if write() else None
    assert sorted(os.listdir()) == ["in.jsonl", "out.jsonl"]


def test_a_file_changed_a_moment_ago_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_index, "TICK_NS", 10**18)
    assert not open_index(write()).kept
    assert not index_path(Path("in.jsonl")).exists()


def test_same_size_and_time_but_other_content_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    before, info = sample(40), path.stat()
    changed = [*LINES[1:], LINES[0]]  # other places of line ends, the same size
    path.write_bytes(("\n".join(changed) + "\n").encode())
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert path.stat().st_mtime_ns == info.st_mtime_ns
    assert "has changed" not in capsys.readouterr().err
    assert sample(40) == sample(40, index=False) != before
    assert "in.jsonl has changed since it was indexed: it is indexed again" in capsys.readouterr().err
    path.chmod(0o600)
    sample(40)
    assert "has changed" not in capsys.readouterr().err


def test_where_times_say_nothing_the_probes_and_the_rows_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that keeps no times: the size is the same, and a change is found by its content."""
    whole = line_index._key
    monkeypatch.setattr(line_index, "_key", lambda file: whole(file) | {"mtime_ns": 0, "ctime_ns": 0})
    path = write()
    sample(40)
    write("\n".join(reversed(LINES)) + "\n")
    assert sample(40) == sample(40, index=False)
    # Even with probes that look nowhere: rows that do not begin and end as rows do give it away.
    monkeypatch.setattr(line_index, "_key", lambda file: {"format": 1, "bytes": os.fstat(file.fileno()).st_size})
    index_path(path).unlink()
    sample(40)
    write("\n".join([*LINES[150:], *LINES[:150]]) + "\n")
    assert sample(250) == sample(250, index=False)


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"{ torn", b"[1]\n", b"\xff\n"])
def test_a_damaged_index_is_made_anew(damage: bytes) -> None:
    path = write()
    expected = sample(40)
    good = index_path(path).read_bytes()
    line_index._last.clear()
    index_path(path).write_bytes(damage)
    assert sample(40) == expected
    assert index_path(path).read_bytes() == good
    line_index._last.clear()
    index_path(path).write_bytes(good[:-9])
    assert sample(40) == expected


def test_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    index_path(path).mkdir()  # nothing can be renamed onto it
    assert not open_index(path).kept
    assert lines(path) == LINES
    assert sorted(os.listdir()) == [".in.jsonl.rows", "in.jsonl"]


def test_a_file_that_is_changed_while_it_is_read() -> None:
    path = write()
    index = open_index(path)
    found = index.lines(range(300))
    next(found)
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(DataError, match=r"in.jsonl was changed while it was read"):
        list(found)


def test_a_torn_last_line_is_found_even_when_it_is_not_drawn() -> None:
    write("\n".join([*LINES, '{"instruction": "断']))
    with pytest.raises(DataError, match=r"in.jsonl, line 301: the last line is torn"):
        sample(1)
    assert not Path("out.jsonl").exists()


def test_a_broken_line_that_is_drawn_is_named() -> None:
    write("\n".join([*LINES[:9], '{"instruction": "断', *LINES[9:]]) + "\n")
    with pytest.raises(DataError, match=r"in.jsonl, line 10: not valid JSON"):
        sample(301)


def test_a_row_that_does_not_convert_is_named_by_its_line() -> None:
    write("\n\n".join([*LINES[:9], '{"instruction": "问", "output": {"x": 1}}', *LINES[9:]]) + "\n")
    with pytest.raises(DataError, match=r"in.jsonl, line 19: "):
        sample_rows(["./in.jsonl"], "out.jsonl", rows=301, convert=True)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b rest", b"[1, 2]", b"\n \n"])
def test_no_index_of_what_is_not_lines(content: bytes) -> None:
    Path("x.json").write_bytes(content)
    with pytest.raises(NoIndex):
        open_index(Path("x.json"))


def test_the_index_says_of_which_file_it_is() -> None:
    path = write()
    open_index(path)
    head = orjson.loads(index_path(path).read_bytes().splitlines()[0])
    assert (head["bytes"], head["rows"], head["format"]) == (path.stat().st_size, 300, 1)
    assert len(index_path(path).read_bytes().split(b"\n", 1)[1]) == 8 * 301
