"""The progress line of a job: what has arrived, this run's own speed, and what is still to be asked."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_gen import job_progress
from data_gen.budget import Budget
from data_gen.harvest import Harvest
from data_gen.job import run
from data_gen.job_progress import JobProgress
from data_gen.output import Report
from data_gen.progress import Progress, told_time
from teachers.base import Completion, Request
from teachers.efforts import told_pauses
from teachers.scripted import ScriptedTeacher
from tests.asking import lines, questions


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LOOK_S", 0.01), ("LINE_S", 0.05), ("LONG_S", 0.02)):
        monkeypatch.setattr(job_progress, name, seconds)


class Held(ScriptedTeacher):
    """Answers the first request last, after a while in which nothing happens."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        first, *others = list(requests)
        yield from (self._complete(request) for request in others)
        time.sleep(0.4)
        yield self._complete(first)

    def paused(self) -> str:
        return "1 to be tried again"


@pytest.mark.usefixtures("quick")
def test_the_line_follows_what_arrives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row holds up the order of all others: they are counted, and it is named what is waited for."""
    out = tmp_path / "out.jsonl"
    run(questions(tmp_path / "in.jsonl", 30), Held(), out)
    *during, last = capsys.readouterr().err.splitlines()
    seen = [line for line in during if line.startswith("generate: 29/30 rows, ")]
    assert len(seen) >= 2
    assert re.search(
        r"29/30 rows, \d+\.\d rows/s, 0 s left, 0 accepted, 0 rejected, \d[\d,]* tokens, 29 wait for their turn, "
        r"waiting for 1, the longest for \d+ s \(1 to be tried again\)$",
        seen[-1],
    )
    assert last.startswith("generate: 30/30 rows, ")
    assert ", 30 accepted, 0 rejected, " in last
    assert " left" not in last
    assert "wait" not in last
    assert [row["instruction"] for row in lines(out)] == [f"第{n}个问题是什么？" for n in range(30)]


@pytest.mark.usefixtures("quick")
def test_it_is_alive_while_nothing_arrives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Slow(Held):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            taken = list(requests)
            time.sleep(0.4)
            yield from (self._complete(request) for request in taken)

    run(questions(tmp_path / "in.jsonl", 3), Slow(), tmp_path / "out.jsonl")
    waits = [line for line in capsys.readouterr().err.splitlines() if "waiting for 3, the longest for" in line]
    assert len(waits) >= 2
    assert waits[0].startswith("generate: 0/3 rows, 0 accepted, 0 rejected, 0 tokens, ")


@pytest.mark.usefixtures("quick")
def test_a_batch_is_spoken_of_when_something_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = Held()
    teacher.batched = True  # type: ignore[attr-defined]
    run(questions(tmp_path / "in.jsonl", 30), teacher, tmp_path / "out.jsonl")
    told = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert told.count("generate: 29/30 rows") == 1, "nothing is said while nothing changes"
    assert told[-1] == "generate: 30/30 rows"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(job_progress.time, "monotonic", lambda: now[0])
    return now


def line_of(report: Report, rows: int | None, total: int | None, per_request: int = 1) -> JobProgress:
    strategy: Any = SimpleNamespace(total=total, per_request=per_request)
    teacher: Any = SimpleNamespace()
    filters: Any = SimpleNamespace(rejected=Counter(report.rejected))
    return JobProgress(Harvest(strategy, teacher, filters, report, rows), Budget(), {})


def told(bar: JobProgress, capsys: pytest.CaptureFixture[str]) -> str:
    """The numbers of its line."""
    bar.every_s = 0.0
    bar._refresh()
    return capsys.readouterr().err.split(" accepted")[0]


def test_what_the_journal_held_is_no_speed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """900 rows replayed in a second, then 4 a second: 80 of them are rejected, and nothing waits for a row of those."""
    report = Report(accepted=820, requests=900, rejected={"length": 80})
    bar = line_of(report, None, 1000)
    bar.answered = 900
    assert told(bar, capsys) == "generate: 900/1000 rows, 820"
    clock[0] += 1
    bar.begin(clock[0])
    clock[0] += 10
    bar.begin(clock[0])
    bar.answered, bar.bought, report.requests, report.accepted = 940, 40, 940, 850
    assert told(bar, capsys) == "generate: 940/1000 rows, 4.0 rows/s, 15 s left, 850"
    bar.answered, bar.bought = 1000, 100
    assert "1000/1000 rows, 10.0 rows/s, 0 s left" in told(bar, capsys)


def test_a_pause_is_waited_for_and_forgotten_again(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """20 rows a second, a pause of three minutes, 20 a second again."""
    report = Report()
    bar = line_of(report, None, 4000)
    teacher: Any = bar._harvest.teacher
    bar.begin(clock[0])
    begins, ends = clock[0] + 30, clock[0] + 210
    teacher.pauses_for = lambda: ends - clock[0] if begins < clock[0] else 0.0
    for second in range(280):
        clock[0] += 1
        if not 30 <= second < 210:
            bar.answered, bar.bought = bar.answered + 20, bar.bought + 20
            report.requests = report.accepted = bar.answered
        said = told(bar, capsys)
        if second == 29:
            assert "600/4000 rows, 20.0 rows/s, 3 min left" in said
        if second == 31:
            assert "600/4000 rows, 18.8 rows/s, 3 min left" in said
        if second == 200:
            assert "600/4000 rows, 3.0 rows/s, 19 min left" in said, "nothing came in a minute: of the whole run"
    assert "2000/4000 rows, 20.0 rows/s, 100 s left" in said
    bar.answered = bar.bought = report.requests = report.accepted = 3998
    teacher.pauses_for = lambda: 75.0
    assert "3998/4000 rows, 53.3 rows/s, 75 s left" in told(bar, capsys), "the last one pauses"


def test_rows_that_are_turned_down_are_asked_for_once_more(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of what comes passes: 300 rows more take 600 requests; those that wait for their turn are asked already."""
    report = Report(accepted=500, requests=1000)
    bar = line_of(report, 800, None)
    bar.begin(clock[0])
    clock[0] += 100
    bar.answered = bar.bought = 1000
    assert re.match(r"generate: 500/800 rows, 5\.0 rows/s, 60 s left", told(bar, capsys).replace("59 s", "60 s"))
    bar.answered, bar.bought = 1100, 1000
    assert re.match(r"generate: 550/800 rows, 5\.0 rows/s, (49|50) s left, 500", told(bar, capsys))


def test_where_the_requests_end_before_the_rows(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody waits for rows that no request is left for."""
    bar = line_of(Report(accepted=10, requests=20), 100, 40, per_request=5)
    assert bar.total == 100
    bar.begin(clock[0])
    clock[0] += 10
    bar.answered = bar.bought = 20
    assert "10 s left" in told(bar, capsys)
    bar = line_of(Report(accepted=10, requests=20), 500, 40, per_request=5)
    bar.answered = 20
    assert told(bar, capsys) == "generate: 20/40 requests, 10"


def test_an_error_before_anything_was_counted_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no file"), Progress("work", total=3):
        raise ValueError("no file")
    assert capsys.readouterr().err == ""
    bar = Progress("work", total=3)
    bar.advance()
    with pytest.raises(ValueError, match="no file"), bar:
        raise ValueError("no file")
    assert capsys.readouterr().err.startswith("work: 1/3 rows")


def test_on_a_terminal_it_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_gen.progress.sys.stderr.isatty", lambda: True, raising=False)
    bar = Progress("work", total=3)
    with pytest.raises(ValueError, match="no file"), bar:
        raise ValueError("no file")
    assert bar._bar.live.transient
    with Progress("work", total=3) as bar:
        bar.advance()
    assert not bar._bar.live.transient


def test_pauses_are_told_with_the_reason_of_the_first() -> None:
    now = time.monotonic()
    assert told_pauses([(now - 1, "over")]) == ""
    said = told_pauses([(now + 40.2, "HTTP 500"), (now - 1, "over"), (now + 20.2, "HTTP 429")])
    assert said == "2 to be tried again, the first in 20 s: HTTP 429"


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (9000, "2.5 h")])
def test_times(seconds: float, said: str) -> None:
    assert told_time(seconds) == said


def test_a_long_note_takes_no_room_from_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_gen.progress.sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    with Progress("work", total=30) as bar:
        bar.advance(3, "of which nobody knows what it is good for, " * 4)
        console = bar._bar.console
        shown = [
            "".join(part.text for part in line).rstrip() for line in console.render_lines(bar._bar.live.renderable)
        ]
    assert re.match(r"work .* 3/30 +[\d.,]+ rows/s \d+ s left$", shown[0])
    assert " ".join(line.strip() for line in shown[1:]) == ("of which nobody knows what it is good for, " * 4).strip()
