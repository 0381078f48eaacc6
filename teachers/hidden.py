"""Hidden states of single layers, caught on the way through a model; what is not asked for is not kept."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from teachers.base import TeacherError

if TYPE_CHECKING:
    import torch


class CatchLayers:
    """`with CatchLayers(model, [0, 2], positions) as caught: ...; caught.states[2]` is (tokens, width).

    0 is the input of the first block, k the output of block k.
    """

    def __init__(self, model: Any, layers: list[int], positions: torch.Tensor) -> None:
        self.states: dict[int, torch.Tensor] = {}
        self._positions = positions
        self._layers = set(layers)
        self._model = model
        self._hooks: list[Any] = []

    def __enter__(self) -> CatchLayers:
        if not self._layers:
            return self
        blocks = find_blocks(self._model)
        for k in self._layers:
            if k == 0:
                self._hooks.append(blocks[0].register_forward_pre_hook(self._catch_input, with_kwargs=True))
            else:
                self._hooks.append(blocks[k - 1].register_forward_hook(self._catcher(k)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _catch_input(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._keep(0, args[0] if args else kwargs["hidden_states"])

    def _catcher(self, k: int) -> Any:
        return lambda block, args, output: self._keep(k, output[0] if isinstance(output, tuple) else output)

    def _keep(self, k: int, hidden: torch.Tensor) -> None:
        self.states[k] = hidden.flatten(0, 1)[self._positions]


def find_blocks(model: Any) -> Any:
    """The list of a model's blocks, by its length: `model.layers`, `transformer.h` and the like."""
    import torch

    depth = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise TeacherError(f"cannot find the {depth} blocks of a {type(model).__name__}; ask for no layers of this teacher")
