"""What the journal costs the system: one write a row, and the disk is waited for once for many rows."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_gen.job import run
from data_gen.journal import SYNC_ROWS, SYNC_SECONDS, Journal
from teachers.base import Completion, Request
from teachers.scripted import ScriptedTeacher, said
from tests.asking import questions

CALLS = ("write", "pwrite", "writev", "pwritev", "fsync", "fdatasync", "sync_file_range")


class Watch:
    """Counts what is written to one file, and by how many calls; the clock stands still until it is set."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.calls, self.written, self.now = path, Counter[str](), list[bytes](), 100.0
        self.unsynced = self.most_unsynced = 0
        for name in CALLS:
            if hasattr(os, name):
                monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))
        monkeypatch.setattr("data_gen.journal.time", SimpleNamespace(monotonic=lambda: self.now, time=time.time))

    def _counted(self, name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: int, *args: Any) -> Any:
            if self.path.exists() and os.path.samestat(os.fstat(file), os.stat(self.path)):
                self.calls[name] += 1
                if "write" in name:
                    self.written.append(bytes(args[0]))
                    self.unsynced += 1
                    self.most_unsynced = max(self.most_unsynced, self.unsynced)
                else:
                    self.unsynced = 0
            return really(file, *args)

        return call

    @property
    def writes(self) -> int:
        return sum(count for name, count in self.calls.items() if "write" in name)

    @property
    def syncs(self) -> int:
        return sum(count for name, count in self.calls.items() if "sync" in name)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(tmp_path / "out.jsonl.journal", monkeypatch)


def answer(n: int) -> Completion:
    return Completion(f"r{n}", "答" * n, model="m", usage={"prompt_tokens": 1, "completion_tokens": n})


def test_one_write_a_row_and_each_is_a_whole_line(watch: Watch) -> None:
    with Journal(watch.path) as journal:
        for n in range(0, 3000, 100):
            journal.append(f"key{n}", answer(n))
            assert watch.path.read_bytes() == b"".join(watch.written), "all of it, before append returns"
    assert watch.writes == 30
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in watch.written)


def test_the_disk_is_waited_for_after_so_many_rows(watch: Watch) -> None:
    with Journal(watch.path) as journal:
        for n in range(2 * SYNC_ROWS + 10):
            journal.append(f"key{n}", answer(1))
            assert watch.syncs == (n + 1) // SYNC_ROWS
    assert watch.syncs == 3, "and at the end"


def test_or_after_so_many_seconds(watch: Watch) -> None:
    """A slow teacher's answers are handed to the disk one by one, when each has come; without any, nothing is."""
    with Journal(watch.path) as journal:
        journal.append("key0", answer(1))
        for n in range(1, 6):
            watch.now += SYNC_SECONDS
            journal.append(f"key{n}", answer(1))
            assert (watch.syncs, watch.unsynced) == (n, 0)
        watch.now += 60
        journal.sync_when_due()
        assert watch.syncs == 5, "nothing new"
        journal.append("key7", answer(1))
        assert watch.syncs == 6
    assert watch.syncs == 6, "nor at the end"


def test_an_answer_is_written_down_without_waiting_for_the_disk(watch: Watch) -> None:
    """In the thread that reads an endpoint's answers."""
    with Journal(watch.path) as journal:
        for n in range(SYNC_ROWS + 5):
            watch.now += SYNC_SECONDS
            journal.write(f"key{n}", answer(1))
        assert (watch.writes, watch.syncs) == (SYNC_ROWS + 5, 0)
        journal.sync_when_due()
        assert watch.syncs == 1


@pytest.mark.parametrize("seconds_a_row", [0.0, 0.25, 5.0])
def test_a_whole_run(seconds_a_row: float, watch: Watch, tmp_path: Path) -> None:
    """What a power cut may cost, whatever the teacher's pace."""
    count = 1200 if not seconds_a_row else 60

    def later(request: Request) -> str:
        watch.now += seconds_a_row
        return f"好的，{said(request)}"

    report = run(questions(tmp_path / "in.jsonl", count), ScriptedTeacher(later, batch_size=1), tmp_path / "out.jsonl")
    assert report.accepted == watch.writes == count
    assert watch.most_unsynced <= min(SYNC_ROWS, 1 + SYNC_SECONDS / seconds_a_row if seconds_a_row else SYNC_ROWS)
    assert watch.unsynced == 0
    most = count // SYNC_ROWS + 1 if not seconds_a_row else 1 + count * min(1.0, seconds_a_row / SYNC_SECONDS)
    assert watch.syncs <= most
