"""How to ask a teacher: one small file per published method.

A strategy says what to ask and reads the answers; the job does everything else (journal, filters, order, resume).
Request number k depends only on the seed and k, so that a run that was stopped asks the same things again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from data_gen.records import DataError, Record
from teachers.base import Completion, Request, nearest

STRATEGIES: dict[str, str] = {
    "answer": "data_gen.strategies.answer:Answer",
    "self_instruct": "data_gen.strategies.self_instruct:SelfInstruct",
    "lamini_example": "data_gen.strategies.lamini_example:LaminiExample",
    "lamini_topic": "data_gen.strategies.lamini_topic:LaminiTopic",
    "evolve": "data_gen.strategies.evolve:Evolve",
    "self_chat": "data_gen.strategies.self_chat:SelfChat",
    "magpie": "data_gen.strategies.magpie:Magpie",
    "translate": "data_gen.strategies.translate:Translate",
    "augment": "data_gen.strategies.augment:Augment",
}


@dataclass(slots=True)
class Ask(Request):
    """A request that remembers the row it is for; teachers see a plain Request."""

    record: Record | None = None
    """What is known of the row before the answer"""
    meta: dict[str, Any] = field(default_factory=dict)
    """Provenance for the rows that come of it, such as the ids of the seeds that it shows"""
    step: str = ""
    """Of a row that takes several requests: which one this is"""
    done: dict[str, Any] = field(default_factory=dict)
    """What the steps before it gave"""


@dataclass(slots=True)
class State:
    """What a strategy may know of the run."""

    local: bool = False
    """The teacher reads `Request.prompt`"""
    rows: int | None = None
    """How many rows are wanted; None: as many as there are"""
    accepted: int = 0
    """Rows that passed the filters so far"""
    accepted_of: dict[str, int] = field(default_factory=dict)
    """The same by strategy, when there are several"""


class Strategy(Protocol):
    """Asks and reads; keeps nothing of the run in itself.

    One whose rows take several requests may also have `expected(request) -> str`, an answer as it may come: the
    estimate before the start gives it to `follow_up`, and so knows what else is going to be asked. `beside(request) ->
    (before, after)` are rows that come with a request even when it fails.
    """

    name: str
    settings: dict[str, Any]
    """What decides its requests (template, seed, temperature, fingerprints of files): two equal ones ask the same"""
    total: int | None
    """Requests there are; None: no end"""

    @property
    def per_request(self) -> float:
        """Rows that one request is expected to give."""
        ...

    def requests(self, state: State) -> Iterator[Request | None]:
        """Request 0, 1, 2, ...; their keys differ. None: there are none before some that were given are read out."""
        ...

    def follow_up(self, request: Request, completion: Completion) -> Request | None:
        """What to ask next for the same row; None when `completion` was the last."""
        ...

    def parse(self, request: Request, completion: Completion) -> list[Record]:
        """Records in the last completion of a row; none when it holds nothing usable."""
        ...


def load_class(name: str, known: Mapping[str, str], what: str) -> type:
    """The class of a short name in `known`, or of a dotted path `package.module:Class` (or `package.module.Class`)."""
    path = known.get(name, name)
    module, _, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    if not module:
        raise DataError(f"unknown {what} {name!r}{nearest(name, known)}; one of yours is named as module:Class")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"no {what} at {name!r}: {error}") from None
    if not isinstance(found, type):
        raise DataError(f"{name!r} is no class, so it can be no {what}")
    return found


def request_seed(seed: int, number: int, what: str = "") -> int:
    """A seed for request `number`, the same on every machine, below 2**31 as endpoints want it."""
    digest = hashlib.blake2b(f"{seed}:{number}:{what}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def messages_of(record: Record) -> list[dict[str, str]]:
    """A record as an endpoint wants it: system text, earlier turns, the question with its input."""
    messages = [{"role": "system", "content": record.system}] if record.system else []
    for question, answer in record.history:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    content = f"{record.instruction}\n{record.input}" if record.input else record.instruction
    return [*messages, {"role": "user", "content": content}]


def filters_of(strategy: Strategy) -> dict[str, Mapping[str, Any]]:
    """Settings of filters that a strategy's rows call for, by the names that stand in `meta.strategy`."""
    of_members: Mapping[str, Strategy] = getattr(strategy, "members", {strategy.name: strategy})
    return {name: getattr(member, "filters", {}) for name, member in of_members.items()}
