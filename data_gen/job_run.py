"""One run of the job: what is asked when, who waits for which answer, and rows written in the order of their requests.

Everything is done in the caller's thread, but for one thing: an endpoint's answer is journaled in the thread that read
it. A question that several rows share is in flight once. What the journal holds is taken from there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from data_gen.budget import Budget
from data_gen.continuing import after
from data_gen.filters import Filters
from data_gen.harvest import Harvest, Slot
from data_gen.interrupt import GRACE_S, Interrupt
from data_gen.job_progress import JobProgress
from data_gen.journal import Journal, request_hash
from data_gen.output import Output, Report
from data_gen.strategies import State, Strategy
from teachers.base import Completion, Request, TeacherError, TextTeacher

FAILURES_IN_A_ROW = 50
"""So many without one answer between them: the run stops"""
MISSES_IN_A_ROW = 2_000
"""So many requests without an answer in the journal: reading it again is through with it"""
END = object()
WINDOW = 10_000
"""Requests that may be open at once, when one that hangs holds up the order"""


class _Feed:
    """Requests for a teacher. When there are none, a teacher may try again after the next answer: it may bring more."""

    def __init__(self, more: Callable[[], Request | None]) -> None:
        self._more = more

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> Request:
        request = self._more()
        if request is None:
            raise StopIteration
        return request


class Run:
    """One run: `_next_request` is asked, `_take` takes completions, `_emit` writes finished rows in order."""

    def __init__(
        self,
        strategy: Strategy,
        teacher: TextTeacher,
        journal: Journal,
        filters: Filters,
        state: State,
        requests: Iterator[Request | None],
        budget: Budget,
    ) -> None:
        self.strategy, self.teacher, self.journal, self.filters = strategy, teacher, journal, filters
        self.state, self.rows, self._requests = state, state.rows, requests
        self.report = Report()
        state.accepted_of = self.report.accepted_of
        self.budget, self.settings = budget, getattr(teacher, "settings", {})
        self.reparse = self.continues = False
        self._missed = self._misses_in_a_row = 0
        self._short = self._broke = False
        """The budget does not suffice for what is in flight and one more; for one more at all"""
        self.harvest = Harvest(strategy, teacher, filters, self.report, state.rows)
        self.halt = ""
        """Why nothing more is asked"""
        # What is in flight is paid for: it may take as long as the teacher gives any request.
        self._batched = getattr(teacher, "batched", False)
        goes_on = "the batches under way go on, and their answers will be fetched" if self._batched else ""
        self.interrupt = Interrupt(self._wind_down, max(GRACE_S, getattr(teacher, "timeout_s", 0.0)), goes_on)
        self._slots: dict[int, Slot] = {}
        self._next_slot = self._next_row = 0
        self._follow_ups: deque[Slot] = deque()
        self._waiting: dict[str, list[Slot]] = {}
        self._bar = JobProgress(self.harvest, budget, self._waiting)
        self._hash_of: dict[str, str] = {}
        """Of the requests in flight, by their keys"""
        self._written: dict[str, dict[str, Any]] = {}
        """Rows of the journal whose completions are on their way through the teacher"""
        self._failures_in_a_row = self._answers_in_round = 0
        self._committed: Callable[[Request], bool] = getattr(teacher, "committed", lambda request: False)
        """Whether a request is paid for already, by an earlier run"""
        self._window = getattr(teacher, "window", WINDOW)

    def go(self, output: Output) -> Report:
        """Ask until there is enough or no way on; then make the output final, unless it was stopped."""
        try:
            self._work(output)
        finally:
            report = self.report
            report.rejected = dict(self.filters.rejected.most_common())
            report.cost = self.budget.note()
            report.stopped = self.budget.over() if self._broke and not self.harvest.full() else ""
        if self._broke and not len(self.journal) and not report.failed:
            self.harvest.barren = self.budget.too_small()
        if not self._stopped():
            report.complete = self.harvest.full() or not (report.failed or self._missed)
            if report.requests and not (report.accepted or report.failed or report.stopped):
                self.harvest.come_to_nothing()
            else:
                output.finish(report)
        return report

    def _work(self, output: Output) -> None:
        """Rounds of asking, until there is enough or no way on."""
        with output.writers() as (kept, rejected), self._bar, self.interrupt:
            self.harvest.kept, self.harvest.rejected = kept, rejected
            while not self._stopped():
                asked = self._answers_in_round = 0
                self._short = False
                with self._answers() as answers:
                    for completion in answers:
                        asked += 1
                        self._take(completion)
                self._give_up_unanswered()
                if self._short and not asked:
                    self._broke = True  # what the journal holds is still read out
                elif self.harvest.full() or not (asked or self._follow_ups):
                    break
                if self.report.exhausted and not self._slots:  # all asked, all written
                    break

    @contextmanager
    def _answers(self) -> Iterator[Iterator[Completion]]:
        """The teacher's answers. One that can tells of each the moment it is there: it is in the journal at once."""
        if hasattr(self.teacher, "on_arrival"):
            self.teacher.on_arrival = self._arrived
        answers = self.teacher.generate(_Feed(self._next_request))
        try:
            yield answers
        finally:
            getattr(answers, "close", lambda: None)()

    def _arrived(self, completion: Completion) -> None:
        """In the teacher's own thread: write an answer down before anything else happens."""
        completion.price_factor = self.budget.factor
        key = self._hash_of.get(completion.key)
        if key is not None:
            self._written[completion.key] = self.journal.write(key, completion)

    def _stopped(self) -> bool:
        return bool(self.halt or self.harvest.barren) or self.interrupt.asked

    def _enough(self) -> bool:
        """What is accepted and what is open may already give all rows."""
        return self.rows is not None and (
            self.report.accepted + len(self._slots) * self.strategy.per_request >= self.rows
        )

    def _next_request(self) -> Request | None:
        """What to ask now: follow-ups first, then new rows; what is in the journal is answered from there."""
        while not self._stopped() and not self.harvest.full():
            if self._follow_ups:
                slot = self._follow_ups.popleft()
            elif self.report.exhausted or self._enough() or len(self._slots) >= self._window:
                return None
            else:
                request = next(self._requests, END)
                if request is END:
                    self.report.exhausted = True
                if not isinstance(request, Request):
                    return None
                slot = self._slots[self._next_slot] = Slot(request)
                self._next_slot += 1
            slot.hash = request_hash(self.teacher.name, slot.request, local=self.teacher.local, settings=self.settings)
            row = self.journal.get(slot.hash)
            if row is None and (self.reparse or self._broke):
                if not self._miss(slot):
                    return None
            elif row is not None:
                self._misses_in_a_row = 0
                self.budget.see(slot.request, row["usage"])
                self._answered(slot, row, bought=False)
                self._emit()
            elif slot.hash in self._waiting:  # the same question is in flight: one answer serves both
                self._waiting[slot.hash].append(slot)
            elif not (self._committed(slot.request) or self.budget.promise(slot.request)):
                self._follow_ups.appendleft(slot)
                self._short = True
                return None
            else:
                slot.asked_at = time.monotonic()
                self._bar.begin(slot.asked_at)
                self._waiting[slot.hash] = [slot]
                self._hash_of[slot.request.key] = slot.hash
                return slot.request
        return None

    def _miss(self, slot: Slot) -> bool:
        """An answer that is not in the journal, and not asked for: pass over a new row, give up one that has begun."""
        self._missed += 1
        self._misses_in_a_row += 1
        number = self._next_slot - 1
        if self._slots.get(number) is slot:
            del self._slots[number]
            self._next_slot = number
        else:
            slot.error = "its next answer is not in the journal"
            self._bar.answered += 1
            self._emit()
        return self.strategy.total is not None or self._misses_in_a_row < MISSES_IN_A_ROW

    def _take(self, completion: Completion) -> None:
        """Journal an answer and hand it to all who wait for it; note a failure."""
        key = self._hash_of.pop(completion.key, None)
        if key is None:
            raise TeacherError(
                f"{self.teacher.name} answered {completion.key!r}, which was not asked or answered before"
            )
        slots = self._waiting.pop(key)
        self.budget.settle(completion)
        self.report.prompt_tokens += completion.usage.get("prompt_tokens", 0)
        self.report.completion_tokens += completion.usage.get("completion_tokens", 0)
        if completion.error is None:
            self._failures_in_a_row = 0
            self._answers_in_round += 1
            row = self._written.pop(completion.key, None) or self.journal.write(key, completion)
            self.journal.sync_when_due()
            self.report.without_logprobs += "logprobs" in self.settings and completion.logprobs is None
            self.report.uncounted += bool(completion.usage.get("estimated"))
            for slot in slots:
                self._answered(slot, row)
        else:
            for slot in slots:
                slot.error = completion.error
            if not (self._stopped() or self.harvest.full()):  # then what waited to be sent comes back unsent
                self._failed(completion, len(slots))
        self._emit()
        if self._stopped() or self.harvest.full():
            self._wind_down()

    def _failed(self, completion: Completion, rows: int) -> None:
        """Whether a failure ends the run."""
        self._failures_in_a_row += 1
        if completion.fatal:
            self.halt = completion.error or "the teacher failed"
            return
        self._bar.answered += rows
        self._bar.bought += rows
        if self._batched and self._answers_in_round:  # a batch tells all its failures one after the other
            return
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            self.halt = f"{FAILURES_IN_A_ROW} requests in a row failed, the last one with: {completion.error}"

    def _wind_down(self) -> None:
        """Nothing more is to be sent, not even again."""
        getattr(self.teacher, "wind_down", lambda: None)()

    def _answered(self, slot: Slot, row: dict[str, Any], *, bought: bool = True) -> None:
        """A slot's request has its answer: ask on for the same row, or be done with it."""
        slot.usage.update(row["usage"])
        slot.attempts += row["attempts"]
        slot.bought |= bought
        more, row = after(self.strategy, slot, row, self.continues)
        if more is None:
            slot.row = row
            self._bar.answered += 1
            self._bar.bought += bought
        else:
            slot.request = more
            self._follow_ups.append(slot)

    def _give_up_unanswered(self) -> None:
        """The teacher is through: what it was asked and has not answered counts as failed."""
        for slots in self._waiting.values():
            for slot in slots:
                slot.error = "the teacher gave no answer"
            self._bar.answered += 0 if self._stopped() else len(slots)
        self._waiting.clear()
        self._hash_of.clear()
        self.budget.release()
        self._emit()

    def _emit(self) -> None:
        """Write the rows whose turn has come."""
        while not self.harvest.full() and (slot := self._slots.get(self._next_row)) is not None:
            if slot.row is None and slot.error is None:
                return
            if slot.error is not None and self._stopped():
                return
            del self._slots[self._next_row]
            self._next_row += 1
            if slot.row is None:
                self.harvest.failed(slot)
            else:
                self.harvest.read_out(slot, slot.row)
            self.state.accepted = self.report.accepted
