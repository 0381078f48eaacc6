"""`kill -9` at a moment of which everything is known: what the server had written, and what nobody had read yet.

Answers that a kill makes be paid for twice were in flight: the server wrote them afterwards, or shortly before, and
they lay unread in a socket; or the process had read them and not written them down, which is what it is to blame for.
To tell the last two apart the process is stopped, looked at, and killed then: it never runs again, so to itself that is
one moment; but the server goes on meanwhile, so that more is answered afterwards than at a plain kill.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.fault_server import FaultServer

SOCKETS = Path("/proc/net/tcp")
"""Where the system tells what lies unread"""


@dataclass(slots=True)
class Kill:
    """One kill, and the answers that are paid for twice by it."""

    afterwards: int = 0
    before_s: list[float] = field(default_factory=list)
    """How long before the kill each of the others was written"""
    read: int = 0
    """Of those, the ones that had been read; only when it was looked"""

    @property
    def twice(self) -> int:
        return self.afterwards + len(self.before_s)


def kill(
    run: subprocess.Popen[Any], server: FaultServer, journal: Path, known: set[float], *, look: bool = False
) -> Kill:
    """Kill a run now. `known` are the moments of answers that earlier kills have cost; those of this one are added."""
    at, unread = time.monotonic(), set[int]()
    if look:
        os.kill(run.pid, signal.SIGSTOP)
        _wait(lambda: _stopped(run.pid))
        unread = _unread(urlsplit(server.url).port or 0)
    run.kill()
    run.communicate()
    _wait(lambda: not server.in_flight)
    there = {int(row["name"].split("-")[1]) for row in _rows(journal)}
    killed = Kill()
    for number, answers in list(server.answered_at.items()):
        when = answers[-1]
        if number in there or when in known:
            continue
        known.add(when)
        if when > at:
            killed.afterwards += 1
        else:
            killed.before_s.append(at - when)
            killed.read += look and server.answered_to[number] not in unread
    return killed


def _rows(journal: Path) -> list[dict[str, Any]]:
    return [orjson.loads(row) for row in journal.read_bytes().split(b"\n")[:-1]] if journal.exists() else []


def _stopped(pid: int) -> bool:
    """All of its threads stand still, or it has come to its end by itself."""
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return set(states) <= {"T", "Z"}


def _unread(port: int) -> set[int]:
    """The ports of those who are connected to this one and have not read what was sent to them."""
    found = set()
    for line in SOCKETS.read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        if int(remote.split(":")[1], 16) == port and int(queues.split(":")[1], 16):
            found.add(int(local.split(":")[1], 16))
    return found


def _wait(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)
