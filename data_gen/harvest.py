"""What becomes of an answer: records with their provenance, through the filters, into one file or the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson

from data_gen.filters import Filters
from data_gen.journal import completion_of
from data_gen.output import Report
from data_gen.records import Record
from data_gen.strategies import Strategy
from teachers.base import Request, TextTeacher

BARREN_ANSWERS = 300
"""So many answers in a row without one row that passes: the run stops"""
BARREN_FROM_THE_START = 100
"""So many when there was no such row at all"""
NO_ANSWER = {"model": "", "finish_reason": "error", "time": ""}
"""In the place of a journal's row, for rows that only stand beside a request that failed"""
SHOWN = 100
"""Characters of the last failure in the progress line"""


@dataclass(slots=True)
class Slot:
    """One row in the making: its current request, and in the end its last completion or error."""

    request: Request
    hash: str = ""
    row: dict[str, Any] | None = None
    error: str | None = None
    usage: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    first: Request | None = None
    """Of an answer in several parts, the request for the first one, its hash, what they say together, their number"""
    first_hash: str = ""
    said: str = ""
    parts: int = 0
    bought: bool = False
    """One of its answers was asked for by this run"""
    asked_at: float = 0.0
    """When its current request was handed to the teacher"""


class Harvest:
    """Reads finished slots out, in the order in which the job hands them over; counts into the report."""

    kept: BinaryIO
    rejected: BinaryIO

    def __init__(
        self, strategy: Strategy, teacher: TextTeacher, filters: Filters, report: Report, rows: int | None
    ) -> None:
        self.strategy, self.teacher, self.filters, self.report, self.rows = strategy, teacher, filters, report, rows
        self.barren = ""
        """The sentence when nothing passes the filters any more"""
        self._wants_json = bool(getattr(teacher, "wants_json", False))
        self._without_row = 0
        self._reasons: Counter[str] = Counter()
        """Why rows were turned down since the last one that passed"""

    def full(self) -> bool:
        """All rows that were wanted are there."""
        return self.rows is not None and self.report.accepted >= self.rows

    def failed(self, slot: Slot) -> None:
        """A request without an answer: it stands among the rejected rows."""
        self.report.failed += 1
        self.report.last_failure = slot.error or ""
        before, after = self._beside(slot)
        self._sort(before, slot, NO_ANSWER)
        self._set_aside("failed", slot, error=slot.error)
        self._sort(after, slot, NO_ANSWER)

    def read_out(self, slot: Slot, row: dict[str, Any]) -> None:
        """Records of an answer through the filters, into one file or the other."""
        self.report.requests += 1
        self.report.reused += not slot.bought
        self._without_row += 1
        if not row["text"].strip():  # whatever the filters say
            before, after = self._beside(slot)
            self._sort(before, slot, row)
            self._turned_down("cut off before it began" if row["finish_reason"] == "length" else "empty", slot)
            self._sort(after, slot, row)
        elif records := self.strategy.parse(slot.request, completion_of(row, slot.request.key)):
            self._sort(records, slot, row)
        else:
            self._turned_down("no task in the answer", slot, text=row["text"])
        most = BARREN_ANSWERS if self.report.accepted else min(BARREN_ANSWERS, BARREN_FROM_THE_START)
        if self._without_row >= most and not self.full() and self.strategy.total is None:
            self._give_up(f"the last {self._without_row} answers gave no row")

    def come_to_nothing(self) -> None:
        """All was asked, and nothing came of it: whoever reads the output next would not know what to do with it."""
        self._give_up(f"of {self.report.requests} answers none gave a row")

    def _give_up(self, what: str) -> None:
        (reason, count), of = self._reasons.most_common(1)[0], self._reasons.total()
        self.barren = (
            f"{what} that passes the filters ({reason!r} {count} of {of} times); look at the rejected rows, then "
            "change the filters or what is asked"
        )

    def _beside(self, slot: Slot) -> tuple[list[Record], list[Record]]:
        """Rows that come before and after the request's own, whatever its answer."""
        beside = getattr(self.strategy, "beside", None)
        return beside(slot.request) if beside is not None else ([], [])

    def _sort(self, records: Iterable[Record], slot: Slot, row: Mapping[str, Any]) -> None:
        """Each record into the one file or the other."""
        report = self.report
        for record in records:
            if self.full():
                return
            record.meta = {**self._provenance(slot, row), **record.meta}
            if self._wants_json and row["finish_reason"] == "stop" and _is_text(record.output, row["text"]):
                record.meta.setdefault("failed", "no JSON")
            reason = self.filters.check(record)
            if reason:
                self._reasons[reason] += 1
                _write(self.rejected, {"reason": reason, **record.to_dict()})
            else:
                # orjson is faster with the dataclass; other kinds of records have a form of their own
                _write(self.kept, record if type(record) is Record else record.to_dict())
                report.accepted += 1
                name = record.meta["strategy"]
                report.accepted_of[name] = report.accepted_of.get(name, 0) + 1
                self._without_row = 0
                self._reasons.clear()

    def _set_aside(self, reason: str, slot: Slot, **about: Any) -> None:
        """A request of which nothing came, with what is known of its row."""
        record = getattr(slot.request, "record", None) or Record(instruction="")
        _write(self.rejected, {"reason": reason, **about, "key": slot.request.key, **record.to_dict()})

    def _turned_down(self, reason: str, slot: Slot, **about: Any) -> None:
        self.filters.rejected[reason] += 1
        self._reasons[reason] += 1
        self._set_aside(reason, slot, **about)

    def _provenance(self, slot: Slot, row: Mapping[str, Any]) -> dict[str, Any]:
        request = slot.request
        return {
            "strategy": self.strategy.name,
            "teacher": self.teacher.name,
            "model": row["model"],
            "template": self.strategy.settings.get("template"),
            "template_hash": self.strategy.settings.get("prompt"),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            **getattr(self.teacher, "settings", {}),
            "seed": self.strategy.settings.get("seed"),
            "request": request.key,
            "request_seed": request.seed,
            "prompt_hash": slot.hash,
            "finish_reason": row["finish_reason"],
            "usage": dict(slot.usage),
            "attempts": slot.attempts,
            "time": row["time"],
        }

    def note(self, spent: str) -> str:
        """What the progress line says besides the rows."""
        report = self.report
        why = report.last_failure if len(report.last_failure) <= SHOWN else f"{report.last_failure[:SHOWN]}..."
        failed = f", {report.failed} failed (the last: {why})" if report.failed else ""
        rejected = self.filters.rejected.total()
        return f"{report.accepted} accepted, {rejected} rejected{failed}, {spent}"


def _is_text(output: str, answer: str) -> bool:
    """The output is the whole answer, and no JSON."""
    if output != answer.strip():
        return False
    try:
        orjson.loads(output)
    except orjson.JSONDecodeError:
        return True
    return False


def _write(file: BinaryIO, row: dict[str, Any] | Record) -> None:
    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
