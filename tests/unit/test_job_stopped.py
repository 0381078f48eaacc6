"""The job with a teacher that fails, dies, falls silent or is stopped: nothing is paid for twice or goes on and on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_gen import harvest
from data_gen.job import run
from data_gen.records import DataError
from data_gen.strategies.magpie import Magpie
from data_gen.strategies.self_instruct import SelfInstruct
from teachers.base import Completion, Request, TeacherError
from teachers.scripted import ScriptedTeacher
from tests.asking import lines, questions


class Killed(BaseException):
    pass


class Dying(ScriptedTeacher):
    """Falls over, as a killed process does, after so many answers."""

    def __init__(self, after: int, **options: Any) -> None:
        super().__init__(**options)
        self.after = after

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for n, completion in enumerate(super().generate(requests)):
            if n == self.after:
                raise Killed
            yield completion


@settings(max_examples=25, deadline=None)
@given(
    deaths=st.lists(st.integers(0, 12), max_size=4), batch=st.integers(1, 6), wants=st.sampled_from(["qa", "magpie"])
)
def test_any_deaths_give_the_same_output_and_pay_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], batch: int, wants: str
) -> None:
    folder = tmp_path_factory.mktemp("job")
    local = wants == "magpie"

    def outcome(out: Path, teachers: list[ScriptedTeacher]) -> list[dict[str, Any]]:
        strategy = Magpie() if local else questions(folder / "in.jsonl", 12)
        for teacher in teachers[:-1]:
            with suppress(Killed):
                run(strategy, teacher, out, rows=12, filters={"novelty": False})
        run(strategy, teachers[-1], out, rows=12, filters={"novelty": False})
        rows = lines(out)
        for row in rows:
            row["meta"].pop("time")
        return rows

    expected = outcome(folder / "a.jsonl", [ScriptedTeacher(local=local, batch_size=batch)])
    teachers = [Dying(after, local=local, batch_size=batch) for after in deaths]
    teachers.append(ScriptedTeacher(local=local, batch_size=batch))  # type: ignore[arg-type]
    assert outcome(folder / "b.jsonl", teachers) == expected  # type: ignore[arg-type]
    journal = [row["key"] for row in lines(folder / "b.jsonl.journal")]
    assert len(set(journal)) == len(journal)
    paid = sum(teacher._answered for teacher in teachers)
    assert paid - len(journal) <= len(deaths)  # only what a dying teacher had answered and not handed over


def test_failed_rows_are_named_and_asked_again(tmp_path: Path) -> None:
    strategy, out = questions(tmp_path / "in.jsonl", 8), tmp_path / "out.jsonl"
    report = run(strategy, ScriptedTeacher(failures={"answer-3": 1}), out)
    assert (report.accepted, report.failed, report.complete) == (7, 1, False)
    (row,) = lines(tmp_path / "out.rejected.jsonl")
    assert (row["reason"], row["error"], row["instruction"]) == ("failed", "a scripted failure", "第3个问题是什么？")
    teacher = ScriptedTeacher()
    report = run(strategy, teacher, out)
    assert [request.key for request in teacher.asked] == ["answer-3"]
    assert (report.accepted, report.failed, report.complete, report.reused) == (8, 0, True, 7)
    assert [row["instruction"] for row in lines(out)] == [f"第{n}个问题是什么？" for n in range(8)]


def test_nothing_but_empty_answers_stop_an_endless_strategy(tmp_path: Path) -> None:
    teacher = ScriptedTeacher(lambda request: "")
    with pytest.raises(
        DataError, match=r"the last 100 answers gave no row that passes the filters \('empty' 100 of 100"
    ):
        run(SelfInstruct(), teacher, tmp_path / "out.jsonl", rows=100)
    assert len(teacher.asked) <= 104


def test_a_spent_quota_stops_with_a_sentence_and_goes_on(tmp_path: Path) -> None:
    strategy, out = questions(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    teacher = ScriptedTeacher(fatal_after=6, batch_size=4)
    with pytest.raises(TeacherError, match=r"quota is spent; 6 answers are safe in .*out\.jsonl\.journal"):
        run(strategy, teacher, out)
    assert len(teacher.asked) == 8
    assert not out.exists()
    report = run(strategy, ScriptedTeacher(), out)
    assert (report.accepted, report.reused) == (20, 6)


def test_endless_failures_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the last one said stands in the progress line, the beginning of it at least."""
    notes: list[str] = []
    monkeypatch.setattr("data_gen.progress.Progress.advance", lambda bar, n=1, note="": notes.append(note))

    class Broken(ScriptedTeacher):
        def _complete(self, request: Request) -> Completion:
            return Completion(request.key, error="HTTP 400: no" + "!" * 200, finish_reason="error")

    teacher = Broken()
    with pytest.raises(TeacherError, match="50 requests in a row failed, the last one with: HTTP 400: no"):
        run(questions(tmp_path / "in.jsonl", 500), teacher, tmp_path / "out.jsonl")
    assert len(teacher.asked) < 60
    shown = "HTTP 400: no" + "!" * 88
    assert any(f" failed (the last: {shown}...), " in note for note in notes)


@pytest.mark.parametrize(("timeout_s", "kept"), [(5.0, 4), (0.05, 2)])
def test_ctrl_c_waits_as_long_as_an_answer_may_take(
    timeout_s: float, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes while the third of four answers takes 0.3 s."""
    monkeypatch.setattr("data_gen.job_run.GRACE_S", 0.05)

    class Slow(ScriptedTeacher):
        def _complete(self, request: Request) -> Completion:
            if self._answered == 2:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.3)
            return super()._complete(request)

    teacher = Slow()
    teacher.timeout_s = timeout_s  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        run(questions(tmp_path / "in.jsonl", 20), teacher, tmp_path / "out.jsonl")
    assert len(lines(tmp_path / "out.jsonl.journal")) == kept


def test_what_was_not_sent_any_more_is_no_failure(tmp_path: Path) -> None:
    """Answers bring twice the tasks that were asked for: the rows are full with half of the requests unsent."""

    class Waits(ScriptedTeacher):
        over = False

        def wind_down(self) -> None:
            self.over = True

        def _complete(self, request: Request) -> Completion:
            if self.over:
                return Completion(request.key, error="not sent", finish_reason="error", fatal=request.key.endswith("7"))
            return super()._complete(request)

    def two(request: Request) -> str:
        tasks = (f"{n}. 指令：说说{request.seed}的第{n}个汉字写法\n{n}. 输入：无\n{n}. 输出：好的。" for n in (4, 5))
        return "\n".join(tasks)

    teacher = Waits(two, batch_size=200)
    filters = {"novelty": False}
    report = run(SelfInstruct(tasks_per_request=1), teacher, tmp_path / "out.jsonl", rows=200, filters=filters)
    assert (report.accepted, report.complete, report.failed, teacher.over) == (200, True, 0, True)


def test_nothing_that_passes_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harvest, "BARREN_ANSWERS", 20)
    with pytest.raises(
        DataError, match=r"the last 20 answers gave no row that passes the filters \('no task in the answer'"
    ):
        run(SelfInstruct(), ScriptedTeacher(), tmp_path / "out.jsonl", rows=5)


def test_a_silent_teacher_is_no_endless_loop(tmp_path: Path) -> None:
    class Silent(ScriptedTeacher):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            return (completion for completion in super().generate(requests) if completion.key != "answer-1")

    report = run(questions(tmp_path / "in.jsonl", 3), Silent(), tmp_path / "out.jsonl")
    assert (report.accepted, report.failed, report.last_failure) == (2, 1, "the teacher gave no answer")


def test_the_first_ctrl_c_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    class Interrupted(ScriptedTeacher):
        def _complete(self, request: Request) -> Completion:
            if request.key == "answer-5":
                os.kill(os.getpid(), signal.SIGINT)
            return super()._complete(request)

    strategy, out = questions(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    before = signal.getsignal(signal.SIGINT)  # a shell's background job starts with it ignored
    with pytest.raises(KeyboardInterrupt):
        run(strategy, Interrupted(batch_size=4), out)
    assert len(lines(tmp_path / "out.jsonl.journal")) == 8  # the batch it fell into was finished
    assert signal.getsignal(signal.SIGINT) is before
    report = run(strategy, ScriptedTeacher(), out)
    assert (report.accepted, report.reused) == (40, 8)


def test_an_answer_is_in_the_journal_before_the_job_has_seen_it(tmp_path: Path) -> None:
    class Telling(ScriptedTeacher):
        on_arrival: Any = None

        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            for request in requests:
                completion = self._complete(request)
                self.on_arrival(completion)
                assert request.key in {row["name"] for row in lines(tmp_path / "out.jsonl.journal")}
                if request.key == "answer-2":
                    raise Killed
                yield completion

    with pytest.raises(Killed):
        run(questions(tmp_path / "in.jsonl", 5), Telling(), tmp_path / "out.jsonl")
    teacher = ScriptedTeacher()
    report = run(questions(tmp_path / "in.jsonl", 5), teacher, tmp_path / "out.jsonl")
    assert (report.accepted, report.reused, len(teacher.asked)) == (5, 3, 2)
    assert len(lines(tmp_path / "out.jsonl.journal")) == 5
