"""The purse of a job: what was paid, what is promised to requests in flight, and whether another one can be afforded.

Money is counted over all runs of an output: what its journal holds was paid for. A request is only sent when its price
still fits: what it reads, estimated from its characters and corrected by what the endpoint counts, and what it may
write: all of `max_tokens` at first, later the mean of the answers so far and twice their deviation. So a budget is
overdrawn at most by how far the answers in flight exceed that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from data_gen.prices import Price
from data_gen.records import DataError
from teachers.base import Completion, Request, estimated_tokens

KNOWN_AFTER = 20
"""After so many answers their length is known"""


@dataclass(slots=True)
class _Length:
    """Mean and deviation of what was written, and how the estimates of what was read were off."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    read: float = 0.0
    guessed: float = 0.0

    def see(self, usage: Mapping[str, int], guessed: int) -> None:
        written, read = usage.get("completion_tokens", 0), usage.get("prompt_tokens", 0)
        self.count += 1
        self.total += written
        self.squares += written * written
        self.read += read
        self.guessed += guessed

    def mean(self) -> float:
        return self.total / self.count

    def likely_most(self) -> float:
        spread = max(0.0, self.squares / self.count - self.mean() ** 2)
        return self.mean() + 2 * math.sqrt(spread)


class Budget:
    """`Budget(price, money=2.5)`; without limits it only counts."""

    def __init__(
        self, price: Price | None = None, money: float | None = None, tokens: int | None = None, factor: float = 1.0
    ) -> None:
        for name, limit in (("--budget", money), ("--budget-tokens", tokens)):
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
                raise DataError(f"{name} must be above 0, not {limit!r}")
        if tokens is not None and not isinstance(tokens, int):
            raise DataError(f"--budget-tokens must be a whole number, not {tokens!r}")
        self.price, self.money, self.tokens, self.factor = price, money, tokens, factor
        self.spent_money, self.spent_tokens = 0.0, 0
        self._promised: dict[str, tuple[float, int, int]] = {}
        """{key of a request in flight: money, tokens, the guess of what it reads}"""
        self._money = self._tokens = 0.0
        """The sums of what is promised"""
        self._length = _Length()
        self.asked = (0.0, 0)
        """Money and tokens that the last request might take"""

    @property
    def limited(self) -> bool:
        """There is an end to it."""
        return self.money is not None or self.tokens is not None

    def pay(self, usage: Mapping[str, int], factor: float | None = None) -> None:
        """Count tokens that were charged."""
        self.spent_tokens += usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
        if self.price is not None:
            self.spent_money += self.price.of(usage, self.factor if factor is None else factor)

    def paid_before(self, paid: Mapping[float, Counter[str]]) -> None:
        """What the journal holds."""
        for factor, usage in paid.items():
            self.pay(usage, factor)

    def promise(self, request: Request) -> bool:
        """Set the price of a request aside; False, and nothing set aside, when it does not fit any more."""
        if not self.limited:
            return True
        guessed = estimated_tokens(request)
        read, written = self._read(guessed), self._written(request.max_tokens)
        cost = self.cost(read, written)
        self.asked = (cost, read + written)
        if self.money is not None and self.spent_money + self._money + cost > self.money:
            return False
        if self.tokens is not None and self.spent_tokens + self._tokens + read + written > self.tokens:
            return False
        self._promised[request.key] = (cost, read + written, guessed)
        self._money, self._tokens = self._money + cost, self._tokens + read + written
        return True

    def settle(self, completion: Completion) -> None:
        """A request is done: what was promised becomes what was charged, and the completion knows at which rate."""
        money, tokens, guessed = self._promised.pop(completion.key, (0.0, 0, 0))
        self._money, self._tokens = self._money - money, self._tokens - tokens
        if not self._promised:
            self._money = self._tokens = 0.0  # rounding does not pile up
        completion.price_factor = self.factor
        self.pay(completion.usage)
        if guessed and completion.error is None and completion.attempts == 1:
            self._length.see(completion.usage, guessed)

    def see(self, request: Request, usage: Mapping[str, int]) -> None:
        """An answer that the journal held: nothing to pay, something to learn from."""
        if self.limited:
            self._length.see(usage, estimated_tokens(request))

    def release(self) -> None:
        """Nothing is in flight any more."""
        self._promised.clear()
        self._money = self._tokens = 0.0

    def _read(self, guessed: int) -> int:
        seen = self._length
        return math.ceil(guessed * seen.read / seen.guessed) if seen.count >= KNOWN_AFTER and seen.read else guessed

    def _written(self, most: int) -> int:
        return min(most, math.ceil(self._length.likely_most())) if self._length.count >= KNOWN_AFTER else most

    def cost(self, read: float, written: float) -> float:
        """What so many tokens cost here."""
        usage = {"prompt_tokens": math.ceil(read), "completion_tokens": math.ceil(written)}
        return self.price.of(usage, self.factor) if self.price is not None else 0.0

    def note(self) -> str:
        """What the progress line says: tokens, money, of how much."""
        of_tokens = f" of {self.tokens:,}" if self.tokens is not None else ""
        said = f"{self.spent_tokens:,}{of_tokens} tokens"
        if self.price is None or (self.price.input == self.price.output == 0):
            return said
        of_money = f" of {self.money:g}" if self.money is not None else ""
        return f"{said}, {told_money(self.spent_money)}{of_money} {self.price.currency}"

    def over(self) -> str:
        """The sentence when it does not suffice for another request."""
        option = "--budget" if self.money is not None else "--budget-tokens"
        return f"stopped at the budget: {self.note()}; the same command with more {option} goes on"

    def too_small(self) -> str:
        """The sentence when it does not even suffice for the first one."""
        money, tokens = self.asked
        if self.money is not None and self.price is not None and money > self.money:
            least = f"--budget {self.money:g} does not suffice for one request, which may cost {told_money(money)}"
            return f"{least} {self.price.currency}; give it more, or the answers fewer --max-tokens"
        least = f"--budget-tokens {self.tokens} does not suffice for one request, which may take {tokens:,}"
        return f"{least}; give it more, or the answers fewer --max-tokens"


def told_money(amount: float) -> str:
    """An amount, cents enough."""
    return f"{amount:.{2 if amount >= 1 or amount == 0 else 4}f}"
