"""The progress line of a job. It follows what arrives, not what is written.

Rows are written in the order of their requests, so that one early request that pauses holds up all that come after it;
the line counts them when they are answered. What the journal held is no speed: rate and remaining time come from what
this run has asked for and what it has still to ask. The job only adds up; a thread of its own puts the line together
now and then, also when nothing arrives, and then says what is waited for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType

from data_gen.budget import Budget
from data_gen.harvest import Harvest, Slot
from data_gen.progress import Progress, told_time

LOOK_S = 0.5
"""How often the thread looks; on a terminal the line changes as often"""
LINE_S = 5.0
"""Between two plain lines"""
BATCH_S = 600.0
"""The same while nothing arrives of a batch, which takes hours and tells by itself when something has changed"""
RECENT_S = 60.0
"""What came in so many seconds tells the pace"""
LONG_S = 5.0
"""Who has waited for less is not spoken of"""
PRIOR = 5
"""Answers that are taken to give all the rows they may, beside those that were read: the first ones tell too little"""


class JobProgress(Progress):
    """`answered` and `bought` are the job's to count, and `begin` is called with the first request."""

    def __init__(self, harvest: Harvest, budget: Budget, waiting: Mapping[str, list[Slot]]) -> None:
        strategy, rows = harvest.strategy, harvest.rows
        self._harvest, self._budget, self._waiting = harvest, budget, waiting
        self._requests = strategy.total
        self._rows = rows
        if rows is None or (self._requests is not None and self._requests * strategy.per_request <= rows):
            self._rows = None
            """None: all requests are made, however many rows they give"""
        unit = "requests" if self._rows is None and strategy.per_request != 1 else "rows"
        super().__init__("generate", self._requests if self._rows is None else self._rows, unit)
        self.answered = 0
        """Rows that have all their answers, or have failed; not all are read out yet"""
        self.bought = 0
        """Of those, the ones that this run has asked for"""
        self._begun: float | None = None
        self._seen: deque[tuple[float, int]] = deque()
        """(when, bought) of the last minute, and of the moment before it"""
        self._told = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)

    def __enter__(self) -> JobProgress:
        super().__enter__()
        self._thread.start()
        return self

    def begin(self, now: float) -> None:
        """Something is asked: from the first time on it is this run's own speed."""
        self._begun = self._begun or now

    def _look(self) -> None:
        batched = getattr(self._harvest.teacher, "batched", False)
        while not self._over.wait(LOOK_S):
            self.every_s = BATCH_S if batched and self._told == self.answered else LINE_S
            try:
                self._refresh()
            except OSError:  # nobody reads it any more
                return

    def _refresh(self) -> None:
        now = time.monotonic()
        self._see(now)
        self.advance(self._count() - self.done, self._said(now))

    def _print(self, now: float) -> None:
        self._told = self.answered
        super()._print(now)

    def _pending(self) -> int:
        """Answered, and not read out yet: one before them is still waited for."""
        report = self._harvest.report
        return max(0, self.answered - report.requests - report.failed)

    def _yield(self) -> float:
        """Rows that an answer gives, by those that were read."""
        report = self._harvest.report
        read = report.requests + report.failed
        return (report.accepted + PRIOR * self._harvest.strategy.per_request) / (read + PRIOR)

    def _count(self) -> int:
        if self._rows is None:
            return self.answered
        return min(self._rows, self._harvest.report.accepted + int(self._pending() * self._yield()))

    def _rate(self, now: float) -> str:
        if not self.bought:
            return ""
        each = 1.0 if self._rows is None else self._yield()
        return f"{self._pace(now) * each:,.1f} {self.unit}/s"

    def _pace(self, now: float) -> float:
        """Requests a second, all steps of a row taken as one: of the last minute, where something came in it, so that a
        long pause is forgotten again; of the whole run at its end."""
        at, before = (self._begun or now), 0
        if self._seen and not self._over.is_set() and self.bought > self._seen[0][1]:
            at, before = self._seen[0]
        return (self.bought - before) / max(now - at, 1e-9)

    def _see(self, now: float) -> None:
        """Remember how far it was; the first that is remembered lies a minute back, or where this run began."""
        if self._begun is not None:
            self._seen.append((now, self.bought) if self._seen else (self._begun, 0))
        while len(self._seen) > 1 and self._seen[1][0] <= now - RECENT_S:
            self._seen.popleft()

    def _left(self, now: float) -> str:
        if not self.bought or self._over.is_set():
            return ""
        to_ask = float("inf") if self._requests is None else self._requests - self.answered
        if self._rows is not None:
            to_ask = min(to_ask, (self._rows - self._harvest.report.accepted) / self._yield() - self._pending())
        pauses_s = getattr(self._harvest.teacher, "pauses_for", lambda: 0.0)()  # whoever pauses longest comes last
        return f"{told_time(max(0.0, to_ask / self._pace(now), pauses_s))} left"

    def _said(self, now: float) -> str:
        """What stands behind the numbers."""
        parts = [self._harvest.note(self._budget.note())]
        if self.answered > self.bought:
            parts.append(f"{self.answered - self.bought} from the journal")
        if pending := self._pending():
            parts.append(f"{pending} wait for their turn")
        return ", ".join(part for part in (*parts, self._awaited(now)) if part)

    def _awaited(self, now: float) -> str:
        """Whom the run waits for, once that takes long."""
        waiting = list(self._waiting.values())  # at once: the job goes on changing it
        oldest = min((slots[0].asked_at for slots in waiting), default=now)
        if now - oldest < LONG_S or self._over.is_set():
            return ""
        paused = getattr(self._harvest.teacher, "paused", lambda: "")()
        return f"waiting for {len(waiting)}, the longest for {told_time(now - oldest)}" + (paused and f" ({paused})")

    def _nothing_to_tell(self, failed: bool) -> bool:
        return not self.answered

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.every_s = float("inf")  # the last line comes anyway
        self._refresh()
        super().__exit__(kind, value, trace)
