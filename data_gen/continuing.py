"""Answers that the token limit cut off: dropped, kept, or continued where they broke off.

A continuation is a request of its own, with a journal row of its own: an endpoint is shown what it has said and asked
to go on, a local model simply goes on after it. Where the second part begins by repeating the end of the first, the
repetition is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from data_gen.journal import completion_of
from data_gen.records import DataError
from teachers.base import Request, nearest

if TYPE_CHECKING:
    from data_gen.harvest import Slot
    from data_gen.strategies import Strategy

POLICIES = ("drop", "keep", "continue")
MOST_PARTS = 4
"""What is not finished then is dropped"""
GO_ON = "请从刚才中断的地方接着写，直接续写，不要重复已经写过的内容，也不要说别的话。"
LEAST_OVERLAP, MOST_OVERLAP = 6, 200
"""Characters that must agree to count as a repetition, and that are looked at"""


def check_policy(policy: str) -> str:
    """The policy, if there is one of that name."""
    if policy not in POLICIES:
        raise DataError(f"unknown way {policy!r} to treat cut answers{nearest(policy, POLICIES)}")
    return policy


def next_part(slot: Slot, row: dict[str, Any]) -> Request | None:
    """Note what `row` says; the request for the next part when it broke off, None when this was the last."""
    if slot.first is None:
        slot.first, slot.first_hash = slot.request, slot.hash
    slot.said = row["text"] if not slot.parts else join(slot.said, row["text"], exact=slot.first.prompt is not None)
    slot.parts += 1
    if row["finish_reason"] != "length" or not row["text"].strip() or slot.parts >= MOST_PARTS:
        return None
    return going_on(slot.first, slot.said, slot.parts)


def after(
    strategy: Strategy, slot: Slot, row: dict[str, Any], continues: bool
) -> tuple[Request | None, dict[str, Any]]:
    """What is asked next for the row that `row` belongs to (None: nothing), and its answer in one piece."""
    more = next_part(slot, row) if continues else None
    if more is not None:
        return more, row
    row = whole(slot, row)
    return strategy.follow_up(slot.request, completion_of(row, slot.request.key)), row


def whole(slot: Slot, row: dict[str, Any]) -> dict[str, Any]:
    """The row as if the answer had come in one piece; the slot is the first request's again."""
    if slot.first is not None:
        if slot.parts > 1:
            row = {**row, "text": slot.said, "name": slot.first.key}
        slot.request, slot.hash = slot.first, slot.first_hash
    slot.first, slot.said, slot.parts = None, "", 0
    return row


def going_on(request: Request, said: str, part: int) -> Request:
    """The request for what comes after `said`."""
    messages = [*request.messages, {"role": "assistant", "content": said}, {"role": "user", "content": GO_ON}]
    prompt = None if request.prompt is None else request.prompt + said
    return replace(request, key=f"{request.key}+{part}", messages=messages, prompt=prompt)


def join(said: str, more: str, *, exact: bool = False) -> str:
    """Both parts in one; `exact`: the second goes on at the very character, nothing is repeated."""
    if exact:
        return said + more
    for count in range(min(len(said), len(more), MOST_OVERLAP), LEAST_OVERLAP - 1, -1):
        if said.endswith(more[:count]):
            return said + more[count:]
    return said + more
