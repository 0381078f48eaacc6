"""What a run is going to take, said before it starts: requests, tokens, money.

The first rows are gone through as the job will do it: what the journal holds is read from there, a question that
several rows share is counted once, and where an answer is not there yet the strategy makes one up (`expected`), so that
its own `follow_up` says what is asked next. Rows that were not looked at are taken to be like those that were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from data_gen.budget import KNOWN_AFTER, Budget, told_money
from data_gen.continuing import MOST_PARTS, after
from data_gen.harvest import Slot
from data_gen.journal import Journal, request_hash
from data_gen.strategies import State, Strategy
from teachers.base import Completion, Request, TextTeacher, estimated_tokens

LOOKED_AT = 1000
"""Rows with something to pay for that are looked at"""
USUALLY = 4
"""An answer is taken to be so many times shorter than it may be, until some have come"""


@dataclass(slots=True)
class Need:
    """Requests, the tokens that they read, and those that they may be answered with."""

    requests: float = 0
    read: float = 0
    most: float = 0

    def add(self, request: Request) -> None:
        """One more."""
        self.requests += 1
        self.read += estimated_tokens(request)
        self.most += request.max_tokens

    def times(self, factor: float) -> Need:
        """So many times as much."""
        return Need(self.requests * factor, self.read * factor, self.most * factor)

    def continued(self) -> Need:
        """When every answer is cut off as often as may be: each part reads those before it."""
        before = sum(range(MOST_PARTS))
        return Need(self.requests * MOST_PARTS, self.read * MOST_PARTS + self.most * before, self.most * MOST_PARTS)


def needed(
    strategy: Strategy, teacher: TextTeacher, rows: int | None, journal: Journal, continues: bool = False
) -> Need:
    """What is still to be paid for until all rows are there, if every one of them is accepted."""
    state = State(teacher.local, rows)
    wanted = [math.ceil(rows / strategy.per_request)] if rows else []
    count = min([*wanted, strategy.total] if strategy.total is not None else wanted)
    look = _Look(strategy, teacher, journal, continues)
    walked = 0
    for request in strategy.requests(state):
        if request is None or walked >= count or look.open >= LOOKED_AT:
            break
        walked += 1
        look.row(request)
    total = look.need
    return total.times(1 + (count - walked) / look.open) if look.open else total


class _Look:
    """Goes through rows and adds up what they need."""

    def __init__(self, strategy: Strategy, teacher: TextTeacher, journal: Journal, continues: bool) -> None:
        self._strategy, self._teacher, self._journal, self._continues = strategy, teacher, journal, continues
        self._settings = getattr(teacher, "settings", {})
        self._seen: set[str] = set()
        self.need = Need()
        self.open = 0
        """Rows that are not in the journal to their end"""

    def row(self, first: Request) -> None:
        """One row, all its requests."""
        slot = Slot(first)
        while (row := self._journal.get(self._hash(slot))) is not None:
            more, _ = after(self._strategy, slot, row, self._continues)
            if more is None:
                return
            slot.request = more
        self.open += 1
        request: Request | None = slot.request
        while request is not None:
            self._count(request)
            request = self._next(request)

    def _next(self, request: Request) -> Request | None:
        expected = getattr(self._strategy, "expected", None)
        if expected is None:
            return None
        return self._strategy.follow_up(request, Completion(request.key, expected(request)))

    def _count(self, request: Request) -> None:
        key = self._hash(Slot(request))
        if key not in self._seen and key not in self._journal:
            self.need.add(request)
        self._seen.add(key)

    def _hash(self, slot: Slot) -> str:
        slot.hash = request_hash(self._teacher.name, slot.request, local=self._teacher.local, settings=self._settings)
        return slot.hash


def estimate(
    budget: Budget, strategy: Strategy, teacher: TextTeacher, rows: int | None, journal: Journal, continues: bool
) -> str:
    """The sentence about it, where money or tokens are counted; "" where they are not, or nothing is to be paid."""
    if not budget.limited and budget.price is None:
        return ""
    need = needed(strategy, teacher, rows, journal, continues)
    if not need.requests:
        return ""
    answers, written = len(journal), sum(usage["completion_tokens"] for usage in journal.paid.values())
    share = min(1.0, written / answers / (need.most / need.requests)) if answers >= KNOWN_AFTER else 1 / USUALLY
    usual, most = need.most * share, need.continued() if continues else need
    say = [
        f"estimate: {_span(need.requests, most.requests)} requests, {_span(need.read, most.read)} tokens in, "
        f"{_span(usual, most.most)} out"
    ]
    if budget.price is not None and budget.cost(1_000_000, 1_000_000):
        low, high = budget.cost(need.read, usual), budget.cost(most.read, most.most)
        say.append(f"{told_money(low)} to {told_money(high)} {budget.price.currency}")
    if strategy.total is None:
        say.append("more when rows are turned down")
    if budget.money is not None:
        left = max(0.0, budget.money - budget.spent_money)
        say.append(f"{told_money(left)} of the budget {budget.money:g} are left")
    if budget.tokens is not None:
        say.append(f"{max(0, budget.tokens - budget.spent_tokens):,} of {budget.tokens:,} tokens are left")
    return "; ".join(say)


def _span(low: float, high: float) -> str:
    low, high = round(low), round(high)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
