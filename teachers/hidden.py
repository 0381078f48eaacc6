"""What single layers of a model say, caught on the way through; what is not asked for is not kept.

A layer is named by its number for its hidden states, or `query:3`, `key:3`, `value:3` for what the attention of block 3
works with. transformers calls attention through one table of functions; for the time of a forward pass ours stands in
it, looks at what comes by and calls the other. So every model that transformers runs this way can be looked into, and
no table of (length, length) has to be kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from teachers.base import TeacherError

if TYPE_CHECKING:
    import torch

PARTS = ("query", "key", "value")


class CatchLayers:
    """`with CatchLayers(model, [0, 2, "value:2"], positions) as caught: ...; caught.states[2]` is (tokens, width).

    0 is the input of the first block, k the output of block k. `query:k` is (tokens, heads, d), after rotation and with
    the scale of the attention in it, so that softmax(query key') is where the block looks; `key:k` and `value:k` may
    have fewer heads, shared by several of the queries'.
    """

    def __init__(self, model: Any, layers: Sequence[int | str], positions: torch.Tensor) -> None:
        self.states: dict[int | str, torch.Tensor] = {}
        self._positions = positions
        self._layers = {k for k in layers if isinstance(k, int)}
        self._parts = {k for k in layers if isinstance(k, str)}
        self._model = model
        self._undo: list[Any] = []

    def __enter__(self) -> CatchLayers:
        blocks = find_blocks(self._model) if self._layers or self._parts else []
        for k in self._layers:
            if k == 0:
                hook = blocks[0].register_forward_pre_hook(self._catch_input, with_kwargs=True)
            else:
                hook = blocks[k - 1].register_forward_hook(self._catcher(k))
            self._undo.append(hook.remove)
        if self._parts:
            wanted = {layer_number(name) for name in self._parts}
            inside = {id(module): k for k in wanted for module in blocks[k - 1].modules()}
            self._undo.append(_step_in(self._model.config._attn_implementation, self._watch(inside)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for undo in self._undo:
            undo()
        missing = sorted(self._parts - set(self.states))
        if missing and kind is None:
            raise TeacherError(
                f"the attention of a {type(self._model).__name__} cannot be looked into ({missing[0]}); "
                "compare hidden states instead (mse, cosine, gram)"
            )

    def _catch_input(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(0, args[0] if args else kwargs["hidden_states"])

    def _catcher(self, k: int) -> Any:
        return lambda block, args, output: self._keep(k, output[0] if isinstance(output, tuple) else output)

    def _watch(self, inside: dict[int, int]) -> Any:
        """Called for every attention of the pass; `query` and the others are (rows, heads, length, d)."""

        def watch(module: Any, query: Any, key: Any, value: Any, scaling: float | None) -> None:
            k = inside.get(id(module))
            if k is None:
                return
            scale = query.shape[-1] ** -0.5 if scaling is None else scaling
            for part, states in zip(PARTS, (query, key, value), strict=True):
                if f"{part}:{k}" in self._parts:
                    self._keep(f"{part}:{k}", states.transpose(1, 2))
            if f"query:{k}" in self._parts:
                self.states[f"query:{k}"] = self.states[f"query:{k}"] * scale

        return watch

    def _keep(self, k: int | str, hidden: torch.Tensor) -> None:
        self.states[k] = hidden.flatten(0, 1)[self._positions]


def layer_number(layer: int | str) -> int:
    """3 of 3 and of `value:3`; -1 for a name that is none."""
    if isinstance(layer, int):
        return layer
    part, _, number = layer.partition(":")
    return int(number) if part in PARTS and number.isdecimal() and int(number) > 0 else -1


def _step_in(name: str, watch: Any) -> Any:
    """Put `watch` in front of the attention function of that name; returns what undoes it."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    table = type(ALL_ATTENTION_FUNCTIONS)._global_mapping
    before = table.get(name)

    def attention(module: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        watch(module, query, key, value, kwargs.get("scaling"))
        # eager stands in no table: each model's file brings its own
        inner = before or sys.modules[type(module).__module__].eager_attention_forward
        return inner(module, query, key, value, *args, **kwargs)

    table[name] = attention

    def undo() -> None:
        if before is None:
            del table[name]
        else:
            table[name] = before

    return undo


def find_blocks(model: Any) -> Any:
    """The list of a model's blocks, by its length: `model.layers`, `transformer.h` and the like."""
    import torch

    depth = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise TeacherError(f"cannot find the {depth} blocks of a {type(model).__name__}; ask for no layers of this teacher")
