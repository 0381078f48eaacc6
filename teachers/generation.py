"""Continuous batches for causal language models, where a row's outcome does not depend on its neighbours.

The prompts of new rows are padded on the left and read at once; then one token a row and step is chosen, greedily or by
a number that only the row's seed and its own step decide. Rows that have ended are dropped from the batch (and from its
key-value cache) as soon as they make up a quarter of it, and the next ones take their places while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from teachers.chance import Chance
from teachers.kv_cache import growing_cache

if TYPE_CHECKING:
    import torch

CHECK_EVERY = 4
"""Stop strings are looked for every so many tokens; what was said after them is cut"""
REFILL = 4
"""Rows are dropped, and new ones read, when one in so many places is free"""


@dataclass(slots=True)
class Job:
    """One prompt on its way through a batch."""

    ids: list[int]
    """The prompt, at least one token"""
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    ends: frozenset[int] = frozenset()
    """Tokens that end the answer; they are not part of it"""
    stopped: Callable[[list[int]], bool] | None = None
    """Tells from the answer so far whether a stop string was said"""
    heard: Callable[[list[int]], None] | None = None
    """Is told the answer so far after every token"""
    about: Any = None
    """Whatever the caller wants to find again"""
    answer: list[int] = field(default_factory=list)
    reason: str = ""
    """"" while it runs, then "stop" or "length\""""

    def take(self, token: int) -> None:
        """Count one more token and see whether it was the last."""
        if token in self.ends:
            self.reason = "stop"
            return
        self.answer.append(token)
        if self.heard:
            self.heard(self.answer)
        full = len(self.answer) >= self.max_tokens
        if self.stopped and (full or len(self.answer) % CHECK_EVERY == 0) and self.stopped(self.answer):
            self.reason = "stop"
        elif full:
            self.reason = "length"


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Dropout off for a while: a student may be in the midst of its training."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def run(model: Any, jobs: Sequence[Job], pad: int = 0) -> None:
    """Answer all jobs as one batch; fills `answer` and `reason` of each."""
    for _ in stream(model, jobs, max(1, len(jobs)), pad):
        pass


def stream(model: Any, jobs: Iterable[Job], most: int, pad: int = 0) -> Iterator[Job]:
    """Answer jobs, `most` at a time, and give each when it is done; who has ended makes room for the next."""
    import torch

    source, more, batch = iter(jobs), True, _Batch(model, pad)
    while True:
        room = batch.room(most) if more else 0
        fresh = list(islice(source, room))
        more = more and len(fresh) == room
        for job in fresh:
            job.reason = "length" if job.max_tokens <= 0 else ""
        # No inference_mode: what a model buffers meanwhile may be needed for gradients later. Nor anything that is
        # still on while the caller goes on: it may be in the midst of its training.
        with torch.no_grad(), evaluating(model):
            if rows := [job for job in fresh if not job.reason]:
                batch.add(rows)
            elif batch.rows:
                batch.step()
        yield from (job for job in fresh if job.max_tokens <= 0)
        yield from batch.ended()
        if not more and not batch.rows:
            return


class _Batch:
    """Rows side by side, each at a place of its own: what it has not said yet stands to the left of it."""

    ids: torch.Tensor
    """What each row said last, (rows, 1)"""
    blank: torch.Tensor
    """Places before each row's first token, (rows)"""
    seen: int
    """Places in the cache"""
    cache: Any
    chance: Chance

    def __init__(self, model: Any, pad: int) -> None:
        self.model, self.pad, self.device = model, pad, model.device
        self.rows: list[Job] = []
        self._done: list[Job] = []

    def room(self, most: int) -> int:
        """How many rows to take in now: none, until a quarter of the places is free."""
        running = sum(not row.reason for row in self.rows)
        free = most - running
        if running and (free < most / REFILL or not self.cache.joinable):
            return 0
        return free

    def add(self, rows: list[Job]) -> None:
        """Read the prompts of new rows, choose the first token of each, and put them beside the others."""
        import torch

        width = max(len(row.ids) for row in rows)
        ids = torch.tensor([[self.pad] * (width - len(row.ids)) + row.ids for row in rows], device=self.device)
        new = _Batch(self.model, self.pad)
        new.rows, new.seen, new.cache = rows, width, growing_cache(self.model.config)
        new.blank = torch.tensor([width - len(row.ids) for row in rows], device=self.device)
        new.chance = Chance(rows, self.device)
        positions = (torch.arange(width, device=self.device) - new.blank[:, None]).clamp(min=0)  # (rows, width)
        new._choose(ids, positions)
        self._keep([n for n, row in enumerate(self.rows) if not row.reason])
        if self.rows:
            self._join(new)
        else:
            self.rows, self.ids, self.blank, self.seen = new.rows, new.ids, new.blank, new.seen
            self.cache, self.chance = new.cache, new.chance
        self._done += new._done
        self._compact()

    def step(self) -> None:
        """One more token a row."""
        positions = (self.seen - self.blank)[:, None]  # (rows, 1)
        self.seen += 1
        self._choose(self.ids, positions)
        self._compact()

    def ended(self) -> list[Job]:
        """Rows that have come to their end since the last call."""
        done, self._done = self._done, []
        return done

    def _choose(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        """Read `ids`, (rows, new places), and take the next token of each row."""
        import torch

        output = self.model(
            input_ids=ids,
            attention_mask=(torch.arange(self.seen, device=self.device) >= self.blank[:, None]).long(),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1].float()  # (rows, vocab)
        tokens = self.chance.choose(logits, logits.argmax(-1))  # (rows)
        self.ids = tokens[:, None]
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            if not row.reason:
                row.take(token)
                if row.reason:
                    self._done.append(row)

    def _compact(self) -> None:
        running = [n for n, row in enumerate(self.rows) if not row.reason]
        if len(running) <= len(self.rows) * (1 - 1 / REFILL):
            self._keep(running)

    def _keep(self, running: list[int]) -> None:
        """Drop the other rows, and the places on the left that no row needs any more."""
        import torch

        if not running or len(running) == len(self.rows):
            self.rows = self.rows if running else []
            return
        self.rows = [self.rows[n] for n in running]
        keep = torch.tensor(running, device=self.device)
        self.ids, self.blank = self.ids[keep], self.blank[keep]
        self.cache.batch_select_indices(keep)
        self.chance.keep(keep)
        unused = int(self.blank.min())
        if unused and self.cache.joinable:
            for layer in self.cache.layers:
                layer.trim(unused)
            self.blank, self.seen = self.blank - unused, self.seen - unused

    def _join(self, new: _Batch) -> None:
        import torch

        seen = max(self.seen, new.seen)
        self.blank = torch.cat([self.blank + (seen - self.seen), new.blank + (seen - new.seen)])
        self.rows, self.ids, self.seen = self.rows + new.rows, torch.cat([self.ids, new.ids]), seen
        for layer, other in zip(self.cache.layers, new.cache.layers, strict=True):
            layer.join(other)
        self.chance.join(new.chance)
