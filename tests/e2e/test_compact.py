"""`distill generate --compact`: a journal with one row a request; nothing that was paid for is lost by it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from data_gen.journal import Journal
from distill.cli import main
from tests.fault_server import FaultServer

COMPACT = ["generate", "--compact", "-o", "out.jsonl"]
JOURNAL = Path("out.jsonl.journal")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def generate(server: FaultServer, count: int = 20) -> int:
    rows = (json.dumps({"instruction": f"#{n}# 请回答第{n}个问题"}, ensure_ascii=False) for n in range(count))
    Path("in.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    asked = ["generate", "--strategy", "answer", "--teacher", "chatgpt", "--model", "mock", "--base-url", server.url]
    return main([*asked, "--instructions", "in.jsonl", "-o", "out.jsonl"])


def journal() -> list[Any]:
    return [json.loads(line) for line in JOURNAL.read_text(encoding="utf-8").splitlines()]


def test_a_damaged_journal_is_tidied_and_the_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """As a run tells whoever has one: what is whole is kept, and only what was lost is asked again."""
    with FaultServer() as server:
        assert generate(server) == 0
        before = {row["key"]: row for row in journal()}
        lines = JOURNAL.read_bytes().splitlines(keepends=True)
        gone = [json.loads(lines[k])["key"] for k in (3, 7)]
        lines[3], lines[7] = b"\0" * 400 + b"\n", lines[7][: len(lines[7]) // 2] + b"\n"
        JOURNAL.write_bytes(b"".join([*lines, lines[5], lines[0], b"[]\n", lines[9][:30]]))
        assert generate(server, 22) == 2
        said = capsys.readouterr().err
        assert "out.jsonl.journal, line 4 is damaged" in said
        assert "'distill generate --compact -o out.jsonl' does" in said
        assert server.asked.total() == 20

        assert main(COMPACT) == 0
        assert capsys.readouterr().out == "out.jsonl.journal: 18 answers kept, 6 lines dropped\n"
        assert {row["key"]: row for row in journal()} == {k: row for k, row in before.items() if k not in gone}
        assert len(journal()) == 18
        assert not list(Path().glob("*.part"))

        assert generate(server, 22) == 0
        assert server.asked.total() == 24, "two that were lost, two that are new"
    rows = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["instruction"].split(" ")[0] for row in rows] == [f"#{n}#" for n in range(22)]
    assert all(row["output"].startswith(row["instruction"].split(" ")[0]) for row in rows)


def test_a_tidy_journal_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer() as server:
        assert generate(server, 5) == 0
        before = JOURNAL.read_bytes()
        capsys.readouterr()
        assert main(COMPACT) == 0
        assert capsys.readouterr().out == "out.jsonl.journal: 5 answers kept, 0 lines dropped\n"
        assert JOURNAL.read_bytes() == before
        assert generate(server, 5) == 0, "and the output is complete, as it was"
        assert server.asked.total() == 5


def test_what_it_cannot_tidy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMPACT) == 2
    assert "out.jsonl has no journal out.jsonl.journal" in capsys.readouterr().err
    assert main(["generate", "--compact"]) == 2
    assert "--output is needed" in capsys.readouterr().err
    with Journal(JOURNAL):
        assert main(COMPACT) == 2
    assert "out.jsonl.journal is in use by a run; wait for its end" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == [JOURNAL.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_one(
    step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultServer() as server:
        assert generate(server, 5) == 0
    before = JOURNAL.read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        assert main(COMPACT) == 2
    assert "no space left on the disk" in capsys.readouterr().err
    assert JOURNAL.read_bytes() == before
    assert not list(Path().glob("*.part"))
