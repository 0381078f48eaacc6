"""The journal after a kill at any byte, two runs at once, and the hash of a request."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_gen.journal import Journal, compact, completion_of, request_hash
from data_gen.records import DataError
from teachers.base import Completion, Request


def answer(n: int) -> Completion:
    return Completion(f"r{n}", f"回答\n{n}", model="m", usage={"prompt_tokens": 1, "completion_tokens": n}, attempts=2)


def filled(path: Path, count: int = 5) -> bytes:
    with Journal(path) as journal:
        for n in range(count):
            journal.append(f"key{n}", answer(n))
    return path.read_bytes()


def test_what_was_appended_is_found_again(tmp_path: Path) -> None:
    filled(tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 5
        assert "key3" in journal
        row = journal.get("key3")
        assert row is not None
        assert completion_of(row, "r3") == replace(answer(3), seconds=0.0)
        assert journal.get("other") is None
        journal.append("key9", answer(9))
    assert [orjson.loads(line)["key"] for line in (tmp_path / "j").read_bytes().splitlines()][-1] == "key9"


def test_a_row_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append("key0", answer(0))
        assert orjson.loads((tmp_path / "j").read_bytes())["text"] == "回答\n0"


def test_cut_at_every_byte(tmp_path: Path) -> None:
    whole = filled(tmp_path / "j", 3)
    ends = [n + 1 for n, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        rows = sum(end <= cut for end in ends)
        with Journal(path) as journal:
            assert len(journal) == rows
            assert journal.repaired == cut - max([end for end in ends if end <= cut], default=0)
            if cut % 25:  # a sync each is what takes time here
                continue
            journal.append("new", answer(7))
        assert [orjson.loads(line)["key"] for line in path.read_bytes().splitlines()] == [
            *(f"key{n}" for n in range(rows)),
            "new",
        ]


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    lines = filled(tmp_path / "j").splitlines(keepends=True)
    (tmp_path / "j").write_bytes(lines[0] + b"{broken}\n" + lines[2])
    with pytest.raises(DataError, match="line 2 is damaged"):
        Journal(tmp_path / "j")


@pytest.mark.parametrize("field", ["name", "finish_reason", "attempts", "seconds", "time", "text", "usage", "model"])
def test_rows_that_somebody_made_shorter(field: str, tmp_path: Path) -> None:
    """What a row cannot do without is named; the rest is as of an answer that came at once."""
    rows = [orjson.loads(line) for line in filled(tmp_path / "j").splitlines()]
    del rows[1][field]
    (tmp_path / "j").write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    if field in {"text", "usage", "model"}:
        with pytest.raises(DataError, match="line 2 is damaged"):
            Journal(tmp_path / "j")
        return
    with Journal(tmp_path / "j") as journal:
        row = journal.get("key1")
        assert row is not None
        assert {"name", "time", "text"} <= row.keys()
        assert completion_of(row, "r1").text == "回答\n1"


def test_compact_keeps_the_last_row_of_each_request(tmp_path: Path) -> None:
    lines = filled(tmp_path / "j").splitlines(keepends=True)
    changed = lines[1].replace(b'"m"', b'"n"')
    (tmp_path / "j").write_bytes(lines[0] + lines[1] + b"{broken}\n" + lines[2] + changed + b"[1]\n" + lines[3][:20])
    assert compact(tmp_path / "j") == (3, 4)
    assert (tmp_path / "j").read_bytes() == lines[0] + lines[2] + changed
    assert [path.name for path in tmp_path.iterdir()] == ["j"]
    with Journal(tmp_path / "j") as journal:
        assert (len(journal), journal.repaired) == (3, 0)
        with pytest.raises(DataError, match="in use by a run"):
            compact(tmp_path / "j")


def test_what_was_paid_is_summed_by_its_rate(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append("a", answer(5))
        journal.append("b", replace(answer(7), price_factor=0.5))
        journal.append("c", answer(9))
    with Journal(tmp_path / "j") as journal:
        assert {rate: dict(usage) for rate, usage in journal.paid.items()} == {
            1.0: {"prompt_tokens": 2, "completion_tokens": 14},
            0.5: {"prompt_tokens": 1, "completion_tokens": 7},
        }


def test_rows_longer_than_a_read(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append("a", replace(answer(1), text="长" * 50_000))
        journal.append("b", answer(2))
        assert (journal.get("a") or {})["text"] == "长" * 50_000
        assert (journal.get("b") or {})["name"] == "r2"


def test_two_runs_never_share_it(tmp_path: Path) -> None:
    code = "import sys; from data_gen.journal import Journal; Journal(sys.argv[1])"
    with Journal(tmp_path / "j"):
        got = subprocess.run([sys.executable, "-c", code, tmp_path / "j"], capture_output=True, text=True, check=False)
        assert "is in use by another run" in got.stderr
    Journal(tmp_path / "j").close()  # the lock went with its holder


def test_a_full_disk_leaves_no_torn_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append("key0", answer(0))
        before = (tmp_path / "j").read_bytes()
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(OSError, match="No space left"):
            journal.append("key1", answer(1))
        monkeypatch.undo()
        assert (tmp_path / "j").read_bytes() == before
        assert "key1" not in journal


def test_starting_again_keeps_what_was_paid(tmp_path: Path) -> None:
    whole = filled(tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        journal.start_again()
        assert len(journal) == 0
        journal.append("key0", answer(0))
    assert (tmp_path / "j.old").read_bytes() == whole
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 1


def test_the_hash_covers_what_decides_and_nothing_else() -> None:
    base = Request("a", [{"role": "user", "content": "问"}], "问：问\n答：", 10, 0.5, 0.9, 1, ["x"])
    same = {
        request_hash("m", base, local=False),
        request_hash("m", replace(base, key="b"), local=False),
        request_hash("m", replace(base, prompt="other"), local=False),
    }
    assert len(same) == 1
    changes: tuple[dict[str, Any], ...] = (
        {"messages": [{"role": "user", "content": "问？"}]},
        {"max_tokens": 11},
        {"temperature": 0.6},
        {"top_p": 1.0},
        {"seed": 2},
        {"stop": []},
    )
    others = [
        request_hash("n", base, local=False),
        request_hash("m", base, local=True),
        request_hash("m", replace(base, prompt="other"), local=True),
        *(request_hash("m", replace(base, **change), local=False) for change in changes),
    ]
    assert len(same.union(others)) == 1 + len(others)
    assert same == {"f183a1b2bbcdfdf0eb43e68c68f4a906"}  # as older journals have it
