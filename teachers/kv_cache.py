"""The keys and values of a batch while it is generated: growing by half, joined, trimmed on the left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FILLED = 8
"""Places of a trial's text, and as many that fill it up"""
ROUNDING = 0.01
"""Logits are the same when they differ by less, of the largest: all that differs is what a mask has taken away"""


def growing_cache(config: Any) -> Any:
    """A DynamicCache that grows by half when it is full; transformers' own copies all of it at every token.

    `joinable` says whether rows can be added to it: where every layer sees all that was said, not a window or a state.
    `states`: there are neither keys nor values, as in Mamba.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import CacheLayerMixin, DynamicLayer

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

        def reorder_cache(self, beam_idx: torch.Tensor) -> None:
            self._full(self.keys[beam_idx], self.values[beam_idx])  # type: ignore[index]

        def trim(self, count: int) -> None:
            """Forget the first `count` positions."""
            self._full(self.keys[:, :, count:], self.values[:, :, count:])  # type: ignore[index]

        def join(self, other: Any) -> None:
            """Take the rows of another one in; both end at the same place."""
            self._full(_stacked(self.keys, other.keys), _stacked(self.values, other.values))  # type: ignore[arg-type]

        def _full(self, keys: torch.Tensor, values: torch.Tensor) -> None:
            self.keys = self.room_keys = keys
            self.values = self.room_values = values  # the next token makes room

    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    cache.joinable = all(isinstance(layer, GrowingLayer) for layer in cache.layers)  # type: ignore[attr-defined]
    cache.states = not any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)  # type: ignore[attr-defined]
    return cache


def has_read(cache: Any, width: int) -> bool:
    """Whether a model that was given a new cache has put what it read, `width` places, into it."""
    return bool(cache.has_previous_state() if cache.states else cache.get_seq_length() == width)


def heeds_mask(model: Any) -> bool:
    """Whether a model sees nothing of what fills a line up on the left: two fillings end in the same logits."""
    import torch

    size = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(2 * FILLED, device=model.device) % size).expand(2, -1).clone()  # (2, places)
    ids[1, :FILLED] = ids[1, FILLED:]
    mask = (torch.arange(2 * FILLED, device=model.device) >= FILLED).long().expand(2, -1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    one, other = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, -1]
    return bool((one - other).abs().max() <= ROUNDING * one.abs().max())


def _stacked(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Rows of both, (rows, heads, positions, width), the shorter ones with zeros on the left."""
    import torch

    length = max(first.shape[2], second.shape[2])
    both = (torch.nn.functional.pad(part, (0, 0, length - part.shape[2], 0)) for part in (first, second))
    return torch.cat(list(both))
