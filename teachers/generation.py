"""Continuous batches for causal language models, where a row's outcome does not depend on its neighbours.

The prompts of new rows are padded on the left and read at once; then one token a row and step is chosen, greedily or by
a number that only the row's seed and its own step decide. Rows that have ended are dropped from the batch (and from its
key-value cache) as soon as they make up a quarter of it, and the next ones take their places while the others go on.

Some models cannot do that, and say nothing of it: they keep no cache of ours (RWKV has a state of its own, the first
GPT none), or see what fills a line up (RecurrentGemma, whose state no mask reaches). They are found out by one run, and
read all that was said again for every token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from teachers.chance import Chance
from teachers.kv_cache import growing_cache, has_read, heeds_mask

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


def run(model: Any, jobs: Sequence[Job]) -> None:
    """Answer all jobs as one batch; fills `answer` and `reason` of each."""
    for _ in stream(model, jobs, max(1, len(jobs))):
        pass


def stream(model: Any, jobs: Iterable[Job], most: int) -> Iterator[Job]:
    """Answer jobs, `most` at a time, and give each when it is done; who has ended makes room for the next."""
    import torch

    source, more = iter(jobs), True
    with torch.no_grad(), evaluating(model):
        batch = _Batch(model) if most == 1 or heeds_mask(model) else _Uncached(model)
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
                try:
                    batch.add(rows)
                except _NoCache:
                    batch = _Uncached(model)
                    batch.add(rows)
            elif batch.rows:
                batch.step()
        yield from (job for job in fresh if job.max_tokens <= 0)
        yield from batch.ended()
        if not more and not batch.rows:
            return


class _NoCache(Exception):
    """The model has not put what it read into the cache it was given."""


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

    def __init__(self, model: Any) -> None:
        self.model, self.device = model, model.device
        self.rows: list[Job] = []
        self._done: list[Job] = []

    def room(self, most: int) -> int:
        """How many rows to take in now: none, until a quarter of the places is free."""
        running = sum(not row.reason for row in self.rows)
        free = most - running
        return 0 if running and (free < most / REFILL or not self.joinable) else free

    @property
    def joinable(self) -> bool:
        """Whether rows can be put beside those that are under way."""
        return bool(self.cache.joinable)

    def add(self, rows: list[Job]) -> None:
        """Read the prompts of new rows, choose the first token of each, and put them beside the others."""
        import torch

        width = max(len(row.ids) for row in rows)
        ids = torch.tensor([[0] * (width - len(row.ids)) + row.ids for row in rows], device=self.device)
        new = _Batch(self.model)
        new.rows, new.seen, new.cache = rows, width, growing_cache(self.model.config)
        new.blank = torch.tensor([width - len(row.ids) for row in rows], device=self.device)
        new.chance = Chance(rows, self.device)
        positions = (torch.arange(width, device=self.device) - new.blank[:, None]).clamp(min=0)  # (rows, width)
        logits = new._read(ids, positions)
        if not has_read(new.cache, width):
            raise _NoCache
        new._say(logits)
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
        self._say(self._read(self.ids, positions))
        self._compact()

    def ended(self) -> list[Job]:
        """Rows that have come to their end since the last call."""
        done, self._done = self._done, []
        return done

    def _read(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits of what comes after `ids`, (rows, new places); (rows, vocab)."""
        import torch

        mask = (torch.arange(self.seen, device=self.device) >= self.blank[:, None]).long()  # (rows, places)
        if self.cache.states:  # they take a mask of the new places
            given = {"cache_params": self.cache, "attention_mask": mask[:, -ids.shape[1] :]}
        else:
            given = {"past_key_values": self.cache, "attention_mask": mask}
        output = self.model(input_ids=ids, position_ids=positions, use_cache=True, logits_to_keep=1, **given)
        return output.logits[:, -1].float()

    def _say(self, logits: torch.Tensor) -> None:
        """Take the next token of each row."""
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
        self.cache.reorder_cache(keep)
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


class _Uncached(_Batch):
    """Rows of a model without a cache for several: filled up on the right, where nothing that is asked for sees it."""

    joinable = True
    told: ClassVar[set[str]] = set()
    """The kinds of models of which it was said"""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        name = type(model).__name__
        if name not in self.told:
            self.told.add(name)
            print(
                f"a {name} keeps no cache of several texts: it reads all of each again for every token", file=sys.stderr
            )

    def add(self, rows: list[Job]) -> None:
        """The first token of new rows, and the next one of the others."""
        chance = Chance(rows, self.device)
        self._keep([n for n, row in enumerate(self.rows) if not row.reason])
        if self.rows:
            self.chance.join(chance)
        else:
            self.chance = chance
        self.rows = self.rows + rows
        self.step()

    def step(self) -> None:
        """One more token a row."""
        import torch

        texts = [row.ids + row.answer for row in self.rows]
        width = max(map(len, texts))
        ids = torch.tensor([text + [0] * (width - len(text)) for text in texts], device=self.device)
        lengths = torch.tensor([len(text) for text in texts], device=self.device)
        ends, which = (lengths - 1).unique(return_inverse=True)
        places = torch.arange(width, device=self.device)
        mask = (places < lengths[:, None]).long()
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places * mask,
            use_cache=False,
            logits_to_keep=ends,
        )
        logits = output.logits  # (rows, ends, vocab), or all places of a model that cannot leave any out
        which = which if logits.shape[1] == len(ends) else lengths - 1
        self._say(logits[torch.arange(len(texts), device=self.device), which].float())
        self._compact()

    def _keep(self, running: list[int]) -> None:
        import torch

        if running and len(running) < len(self.rows):
            self.chance.keep(torch.tensor(running, device=self.device))
        self.rows = [self.rows[n] for n in running]
