"""A polite end: the first Ctrl-C ends the asking and waits for what is in flight, the second ends at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

GRACE_S = 15.0
"""How long answers in flight are waited for at least; then as if Ctrl-C were pressed again"""


class Interrupt:
    """`with Interrupt() as interrupt: while not interrupt.asked: ...`; outside the main thread it does nothing."""

    def __init__(self, then: Callable[[], None] = lambda: None, grace_s: float = GRACE_S, goes_on: str = "") -> None:
        """`goes_on`: what is in flight and is not waited for, such as batches."""
        self.asked = False
        self._goes_on = goes_on
        self._then = then
        """Called by the signal handler the first time"""
        self._grace_s = grace_s
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._stop)
        return self

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._then()
        said = f"waiting up to {self._grace_s:g} s for the answers in flight (Ctrl-C again: at once)"
        print(f"\nstopping: {self._goes_on or said}", file=sys.stderr, flush=True)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, self._grace_s)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
