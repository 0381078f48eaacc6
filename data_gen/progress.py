"""One progress line for everything that takes more than a few seconds.

On a terminal it is a `rich` bar with rate and remaining time, the note below it; anywhere else a plain line every few
seconds, so that logs stay readable. Where an error comes before anything was counted, the error alone is told.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_EVERY_S = 10.0
LATE_S = 2.0


class Progress:
    """`with Progress("generate", total=100) as bar: bar.advance(1, note="0.12 $")`. `total=None`: unknown; `late`: what
    is over in a moment leaves no trace."""

    def __init__(
        self, title: str, total: int | None = None, unit: str = "rows", done: int = 0, *, late: bool = False
    ) -> None:
        self.title, self.total, self.unit, self.done, self.late = title, total, unit, done, late
        self.note = ""
        self.every_s = PLAIN_EVERY_S
        self._start = self._last = time.monotonic()
        self._at_start = done
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self.late:
            self._show()
        return self

    def _show(self) -> None:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as RichProgress
            from rich.text import Text

            class Bar(RichProgress):
                def get_renderables(self) -> Iterator[RenderableType]:
                    """The note has a line of its own: a long one would take the room of the bar."""
                    yield self.make_tasks_table(self.tasks)
                    yield from (Text(f"  {task.fields['note']}") for task in self.tasks if task.fields["note"])

            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[left]}"),
            )  # fmt: skip
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(
                self.title, total=self.total, completed=self.done, rate="", left="", note=""
            )

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Count `n` more; `note` stands at the end of the line until the next one."""
        self.done += n
        self.note = self.note if note is None else note
        now = time.monotonic()
        if self.late and now - self._start >= LATE_S:
            self.late = False
            self._show()
        if self._bar is not None:
            fields = {"rate": self._rate(now), "left": self._left(now), "note": self.note}
            self._bar.update(self._task, completed=self.done, **fields)
        elif now - self._last >= self.every_s:
            self._last = now
            self._print(now)

    def _rate(self, now: float) -> str:
        return f"{(self.done - self._at_start) / max(now - self._start, 1e-9):,.1f} {self.unit}/s"

    def _left(self, now: float) -> str:
        """The remaining time, where it can be told."""
        made = self.done - self._at_start
        return f"{told_time((self.total - self.done) * (now - self._start) / made)} left" if self.total and made else ""

    def _print(self, now: float) -> None:
        of = f"/{told_count(self.total)}" if self.total is not None else ""
        parts = (f"{told_count(self.done)}{of} {self.unit}", self._rate(now), self._left(now), self.note)
        print(f"{self.title}: {', '.join(part for part in parts if part)}", file=sys.stderr, flush=True)

    def _nothing_to_tell(self, failed: bool) -> bool:
        return failed and self.done == self._at_start

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        nothing = self._nothing_to_tell(kind is not None)
        if self._bar is not None:
            self._bar.live.transient = nothing
            self._bar.stop()
        elif not self.late and not nothing:
            self._print(time.monotonic())


def told_count(count: int) -> str:
    """A number whose digits can still be counted."""
    return f"{count:,}" if count >= 10_000 else str(count)


def told_time(seconds: float) -> str:
    """A time that is not over yet, as exactly as anybody wants to know."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
