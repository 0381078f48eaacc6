"""Batched generation for causal language models, where a row's outcome does not depend on its neighbours.

The prompts of a batch are padded on the left and read at once; then one token a row and step is chosen, greedily or by
a number that only the row's seed and the step decide. Rows that have ended are dropped from the batch (and from its
key-value cache) as soon as they make up a quarter of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CHECK_EVERY = 4
"""Stop strings are looked for every so many tokens; what was said after them is cut"""


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
    import torch

    for job in jobs:
        if job.max_tokens <= 0:
            job.reason = "length"
    rows = [job for job in jobs if not job.reason]
    if rows:
        # No inference_mode: what a model buffers meanwhile may be needed for gradients later.
        with torch.no_grad(), evaluating(model):
            _Batch(model, rows, pad).run()


class _Batch:
    """Rows in step: all have said the same number of tokens."""

    def __init__(self, model: Any, rows: list[Job], pad: int) -> None:
        import torch

        self.model, self.rows, self.device = model, rows, model.device
        width, steps = max(len(row.ids) for row in rows), max(row.max_tokens for row in rows)
        self.ids = torch.tensor([[pad] * (width - len(row.ids)) + row.ids for row in rows], device=self.device)
        self.mask = torch.ones((len(rows), width + steps), dtype=torch.long, device=self.device)
        for n, row in enumerate(rows):
            self.mask[n, : width - len(row.ids)] = 0
        self.positions = (self.mask[:, :width].cumsum(-1) - 1).clamp(min=0)  # (rows, width)
        self.seen = width
        self.cache = growing_cache(model.config)
        self.chance = Chance(rows, self.device) if any(row.temperature > 0 for row in rows) else None

    def run(self) -> None:
        step = 0
        while self.rows:
            tokens = self._next(step)
            for row, token in zip(self.rows, tokens.tolist(), strict=True):
                if not row.reason:
                    row.take(token)
            step += 1
            self.ids = tokens[:, None]
            self.positions = self.positions[:, -1:] + 1
            self.seen += 1
            self._compact()

    def _next(self, step: int) -> torch.Tensor:
        output = self.model(
            input_ids=self.ids,
            attention_mask=self.mask[:, : self.seen],
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1].float()  # (rows, vocab)
        tokens = logits.argmax(-1)  # (rows)
        return tokens if self.chance is None else self.chance.choose(logits, tokens, step)

    def _compact(self) -> None:
        import torch

        running = [n for n, row in enumerate(self.rows) if not row.reason]
        if len(running) > 0.75 * len(self.rows):
            return
        self.rows = [self.rows[n] for n in running]
        if not running:
            return
        keep = torch.tensor(running, device=self.device)
        self.ids, self.positions, self.mask = self.ids[keep], self.positions[keep], self.mask[keep]
        self.cache.batch_select_indices(keep)
        if self.chance is not None:
            self.chance.keep(keep)


class Chance:
    """Sampling by inverse CDF: one number in [0, 1) per row and step, drawn from the row's own seed beforehand."""

    def __init__(self, rows: Sequence[Job], device: Any) -> None:
        import torch

        steps = max(row.max_tokens for row in rows)
        draws = torch.zeros((len(rows), steps), dtype=torch.float64)
        for n, row in enumerate(rows):
            if row.temperature > 0:
                generator = torch.Generator().manual_seed(row.seed)
                draws[n, : row.max_tokens] = torch.rand(row.max_tokens, generator=generator, dtype=torch.float64)
        self.draws = draws.to(device)  # (rows, steps)
        self.temperature = torch.tensor([row.temperature for row in rows], device=device)
        self.top_p = torch.tensor([row.top_p for row in rows], device=device)

    def keep(self, rows: torch.Tensor) -> None:
        self.draws, self.temperature, self.top_p = self.draws[rows], self.temperature[rows], self.top_p[rows]

    def choose(self, logits: torch.Tensor, greedy: torch.Tensor, step: int) -> torch.Tensor:
        """`greedy` with the sampled rows' tokens in place; `logits` is (rows, vocab)."""
        import torch

        sampled = (self.temperature > 0).nonzero().squeeze(-1)  # (sampled)
        if len(sampled) == 0:
            return greedy
        mass = torch.softmax(logits[sampled] / self.temperature[sampled, None], dim=-1)  # (sampled, vocab)
        draws = self.draws[sampled, min(step, self.draws.shape[1] - 1)]  # (sampled)
        whole = self.top_p[sampled] >= 1
        chosen = torch.empty_like(sampled)
        if bool(whole.any()):
            chosen[whole] = _invert(mass[whole], draws[whole])
        if not bool(whole.all()):
            chosen[~whole] = choose_in_nucleus(mass[~whole], self.top_p[sampled][~whole], draws[~whole])
        return greedy.index_copy(0, sampled, chosen)


def choose_in_nucleus(mass: torch.Tensor, top_p: torch.Tensor, draws: torch.Tensor, likely: int = 256) -> torch.Tensor:
    """An entry of each row's nucleus: the likeliest entries whose mass together reaches `top_p`. Returns (rows).

    A nucleus that is not within the `likely` likeliest entries is looked for among all.
    """
    import torch

    size = mass.shape[-1]
    ordered, index = mass.topk(min(likely, size), dim=-1)  # (rows, likely)
    chosen = index.gather(-1, _invert(_cut(ordered, top_p), draws)[:, None]).squeeze(-1)
    wide = (ordered.sum(-1) < top_p).nonzero().squeeze(-1)  # (wide)
    if len(wide) and likely < size:
        found = choose_in_nucleus(mass[wide], top_p[wide], draws[wide], likely=size)
        chosen = torch.index_copy(chosen, 0, wide, found)
    return chosen


def _cut(ordered: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    before = ordered.cumsum(-1) - ordered  # what the likelier entries hold already
    return ordered.masked_fill(before >= top_p.clamp(min=1e-9)[:, None], 0.0)


def _invert(mass: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """The entry at which the cumulated mass passes the drawn share of it; (rows, entries), (rows) -> (rows)."""
    import torch

    total = mass.cumsum(-1, dtype=torch.float64)
    point = draws[:, None] * total[:, -1:]
    return torch.searchsorted(total, point, right=True).squeeze(-1).clamp(max=mass.shape[-1] - 1)


def growing_cache(config: Any) -> Any:
    """A DynamicCache that grows by half when it is full; transformers' own copies all of it at every token."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        room_keys: torch.Tensor | None = None
        room_values: torch.Tensor | None = None

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            start = self.get_seq_length()
            end = start + key_states.shape[-2]
            self.room_keys = self._make_room(self.room_keys, self.keys, key_states, end)
            self.room_values = self._make_room(self.room_values, self.values, value_states, end)
            self.room_keys[:, :, start:end] = key_states
            self.room_values[:, :, start:end] = value_states
            self.keys, self.values = self.room_keys[:, :, :end], self.room_values[:, :, :end]
            return self.keys, self.values

        @staticmethod
        def _make_room(room: Any, held: Any, new: Any, end: int) -> torch.Tensor:
            if room is not None and room.shape[-2] >= end:
                return room
            rows, heads, _, width = new.shape
            grown = new.new_empty((rows, heads, end + max(end // 2, 32), width))
            if room is not None:
                grown[:, :, : held.shape[-2]] = held
            return grown

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            super().batch_select_indices(indices)
            self.room_keys, self.room_values = self.keys, self.values  # full: the next token makes room

    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
