"""Plain lines where there is no terminal: now and then, at the end, and nothing of what is over in a moment."""

from __future__ import annotations

import pytest

from data_gen import progress
from data_gen.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_every_ten_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("work", total=100, done=20) as bar:
        for _ in range(4):
            clock[0] += 4
            bar.advance(10, note="warm")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "work: 50/100 rows, 2.5 rows/s, 20 s left, warm",
        "work: 60/100 rows, 2.5 rows/s, 16 s left, warm",
    ]


@pytest.mark.parametrize(("seconds", "said"), [(0.4, ""), (1.0, "work: 4/4 rows, 1.0 rows/s, 0 s left\n")])
def test_what_is_over_in_a_moment_leaves_no_trace(
    seconds: float, said: str, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("work", total=4, late=True) as bar:
        for _ in range(4):
            clock[0] += seconds
            bar.advance()
    assert capsys.readouterr().err == said


def test_a_bar_on_a_terminal(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun at once, or late, and ends either way."""
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("work", total=4) as bar:
        assert bar._bar is not None
        bar.advance(2)
    with Progress("work", total=4, late=True) as bar:
        bar.advance()
        assert bar._bar is None
        clock[0] += 3
        bar.advance()
        assert bar._bar is not None
