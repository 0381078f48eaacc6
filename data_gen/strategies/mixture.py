"""Several strategies in one run, with shares: what the `strategies` of a recipe become.

Requests of the members are interleaved by share, always in the same order. When the number of rows is known, a member
that has its share of them is asked no more; rows of it that were in flight then are turned down as `share is full`.
So what comes out depends on the answers alone, as with one strategy. A member with an end (a file of instructions)
takes no bigger share than it has rows for; the others take over what is left of it. When all is read out and too many
of its rows were turned down, another round asks the others for what is missing, from where each had its share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Any

from data_gen.records import DataError, Record
from data_gen.strategies import State, Strategy
from teachers.base import Completion, Request


@dataclass(slots=True)
class _Lane:
    """One member's requests while they last."""

    name: str
    requests: Iterator[Request | None]
    pace: float
    """Requests of it for one of the whole"""
    owed: float = 0.0


class Mixture:
    """`Mixture({"self_instruct": strategy, "answer": other}, {"self_instruct": 0.7, "answer": 0.3})`."""

    name = "mixture"

    def __init__(self, members: Mapping[str, Strategy], shares: Mapping[str, float]) -> None:
        for name in members:
            share = shares.get(name, 1.0)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < float("inf"):
                raise DataError(f"the share of strategy {name!r} must be a number above 0, not {share!r}")
        if not members:
            raise DataError("'strategies' names none; write one a line, such as 'self_instruct: {share: 0.7}'")
        whole = sum(shares.get(name, 1.0) for name in members)
        self.members = dict(members)
        self.shares = {name: shares.get(name, 1.0) / whole for name in members}
        self.per_request = round(1 / sum(share / members[name].per_request for name, share in self.shares.items()), 6)
        totals = [member.total for member in members.values()]
        self.total = None if None in totals else sum(total or 0 for total in totals)
        self.settings: dict[str, Any] = {
            "members": {name: {"strategy": m.name, **m.settings} for name, m in self.members.items()}
        }
        self.inputs: dict[str, Any] = {
            "shares": self.shares,
            **{name: inputs for name, m in members.items() if (inputs := getattr(m, "inputs", {}))},
        }
        self._state = State()
        self._quota: dict[str, int] = {}
        self._used: Counter[str] = Counter()
        """Requests of each member that were read out before it had its share"""
        self._open = 0
        """Requests that were given and are not read out"""

    def requests(self, state: State) -> Iterator[Request | None]:
        """The members' requests, each as often as its share of rows needs, under keys of their own; None for as long
        as nothing can be said before those that were given are read out."""
        self._used.clear()
        return self._rounds(self._lanes(list(self.members), state), state)

    def _lanes(self, names: list[str], state: State) -> list[_Lane]:
        """The requests of members from where they were left."""
        return [
            _Lane(
                name,
                islice(self.members[name].requests(state), self._used[name], None),
                self.shares[name] / self.members[name].per_request,
            )
            for name in names
        ]

    def _rounds(self, lanes: list[_Lane], state: State) -> Iterator[Request | None]:
        """Rounds until all rows are there: what a member with an end could not give in one goes to the others."""
        # From here on this is the run: an estimate may have looked at some requests before.
        self._state, self._quota, self._open = state, self._quotas(state.rows), 0
        self._used.clear()
        while True:
            yield from self._interleaved(lanes)
            if state.rows is None:
                return
            while self._open:
                yield None
            self._quota = self._quotas(state.rows)
            names = [name for name in self.members if not self._has_its_share(name)]
            if state.accepted >= state.rows or not names:
                return
            lanes = self._lanes(names, state)

    def _interleaved(self, lanes: list[_Lane]) -> Iterator[Request]:
        while lanes:
            pace = sum(lane.pace for lane in lanes)
            for lane in lanes:
                lane.owed += lane.pace / pace
            lane = max(lanes, key=lambda lane: lane.owed)
            lane.owed -= 1.0
            request = next(lane.requests, None)
            if request is None:
                lanes.remove(lane)
            elif not self._has_its_share(lane.name):
                self._open += 1
                yield replace(request, key=f"{lane.name}/{request.key}")
            elif all(self._has_its_share(other.name) for other in lanes):
                return

    def _quotas(self, rows: int | None) -> dict[str, int]:
        """Rows of each member: what it has, and its share of those that are missing, bounded by what it can give; the
        rest goes to the others."""
        if rows is None:
            return {}
        has = {name: self._state.accepted_of.get(name, 0) for name in self.members}
        most = {
            name: ceil((member.total - self._used[name]) * member.per_request)
            for name, member in self.members.items()
            if member.total is not None
        }
        quota: dict[str, int] = {}
        left, open_ones = max(0, rows - sum(has.values())), dict(self.shares)
        while open_ones:
            whole = sum(open_ones.values())
            small = {
                name: most[name] for name, share in open_ones.items() if most.get(name, left) < left * share / whole
            }
            if not small:
                quota |= {name: ceil(left * share / whole) for name, share in open_ones.items()}
                break
            quota |= small
            left -= sum(small.values())
            open_ones = {name: share for name, share in open_ones.items() if name not in small}
        return {name: has[name] + more for name, more in quota.items()}

    def _has_its_share(self, name: str) -> bool:
        return name in self._quota and self._state.accepted_of.get(name, 0) >= self._quota[name]

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        """What the member asks next for its row."""
        name, own = self._own(request)
        more = self.members[name].follow_up(own, completion)
        return None if more is None else replace(more, key=f"{name}/{more.key}")

    def expected(self, request: Request) -> str:
        """What the member expects."""
        name, own = self._own(request)
        member: Any = self.members[name]
        return member.expected(own) if hasattr(member, "expected") else ""

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """The member's records, under its name."""
        name, own = self._own(request)
        records = self.members[name].parse(own, completion)
        self._read_out(name)
        return self._named(name, records)

    def _read_out(self, name: str) -> None:
        self._open -= 1
        self._used[name] += not self._has_its_share(name)

    def beside(self, request: Request) -> tuple[list[Record], list[Record]]:
        """What stands beside a member's row of whose request nothing came."""
        name, own = self._own(request)
        member: Any = self.members[name]
        before, after = member.beside(own) if hasattr(member, "beside") else ([], [])
        self._read_out(name)
        return self._named(name, before), self._named(name, after)

    def _named(self, name: str, records: list[Record]) -> list[Record]:
        member = self.members[name]
        left = self._quota[name] - self._state.accepted_of.get(name, 0) if name in self._quota else len(records)
        for n, record in enumerate(records):
            settings = {option: member.settings.get(option) for option in ("template", "seed")}
            settings["template_hash"] = member.settings.get("prompt")
            record.meta = {"strategy": name, **settings, **record.meta}
            if n >= left:
                record.meta.setdefault("failed", "share is full")
        return records

    def _own(self, request: Request) -> tuple[str, Request]:
        name, _, key = request.key.partition("/")
        return name, replace(request, key=key)
