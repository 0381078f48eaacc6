"""Weights that lie in parts on several devices: FSDP, torch's newer kind (`fully_shard`) and its older one.

A step works with the student's parts, not through its `forward`: it runs the body and multiplies what comes out with
the output embedding, a chunk at a time. So the Distiller itself is the outermost unit, and its steps count as its
forward: embeddings, head, last norm and projectors are whole from a step's start to the end of its backward, blocks one
after another. Gradients are averaged over the ranks as under DDP.

The teacher is no part of it: it is whole on every device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from distill.errors import DistillError

STEPS = ("training_step", "validation_step", "test_step")
"""What runs while the outermost unit is whole"""
ADDED = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What the older FSDP puts into names"""


def shard(model: Any, blocks: Iterable[Any], mesh: Any) -> None:
    """Each block is a unit, and `model` with all that is left."""
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    if isinstance(model, FSDPModule):  # validated after it was trained
        return
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for step in STEPS:
        register_fsdp_forward_method(model, step)


def whole(weight: Tensor, dimensions: int = 2) -> Tensor:
    """A parameter of an output embedding, whole; one in parts is gathered, and its gradient averaged over the ranks."""
    if hasattr(weight, "full_tensor"):
        from torch.distributed.tensor import Partial

        weight = weight.full_tensor(grad_placements=[Partial("avg")] * weight.device_mesh.ndim)  # type: ignore[attr-defined]
    if weight.ndim != dimensions:  # the older FSDP leaves a stretch of numbers
        raise DistillError(
            "the output embedding is not whole during a step: trainer.strategy must leave it to the outermost unit, "
            "and wrap nothing but the student's blocks (auto_wrap_policy)"
        )
    return weight


def is_sharded(strategy: Any) -> bool:
    """Whether a Trainer's strategy keeps the student's weights in parts."""
    from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy

    return isinstance(strategy, FSDPStrategy | ModelParallelStrategy)


def check_strategy(strategy: Any) -> None:
    """DistillError for what a run cannot be trained, saved or resumed with."""
    from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

    if isinstance(strategy, DeepSpeedStrategy):
        raise DistillError(
            "trainer.strategy: DeepSpeed is not supported, its checkpoints are folders; take ddp or fsdp"
        )
    if isinstance(strategy, FSDPStrategy) and strategy._state_dict_type != "full":
        raise DistillError("trainer.strategy: checkpoints in parts are not supported; set state_dict_type to full")
    if not isinstance(strategy, ModelParallelStrategy):
        return
    if strategy._save_distributed_checkpoint:
        raise DistillError(
            "trainer.strategy: checkpoints in parts are not supported; set save_distributed_checkpoint to false"
        )
    if strategy._tensor_parallel_size != 1:
        raise DistillError(
            "trainer.strategy: set tensor_parallel_size to 1 and data_parallel_size to the number of devices; a "
            "student's matrices are not cut, its weights are (FSDP)"
        )


def whole_state(trainer: Any) -> dict[str, Tensor]:
    """The Distiller's weights, whole, on the processor of rank 0. Every rank has to ask."""
    return trainer.strategy.lightning_module_state_dict()


def whole_student(student: Any, state: dict[str, Tensor]) -> Any:
    """A student of the same kind with weights that a Distiller had, `state`; the given one stays as it is."""
    with torch.device("meta"):
        copy = type(student)(student.config)
    prefix = "student."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    copy.load_state_dict(own, assign=True)
    copy.tie_weights()
    copy.generation_config = student.generation_config
    return copy


def plain_name(name: str) -> str:
    """A parameter's name without what FSDP adds."""
    for added in ADDED:
        name = name.replace(added, "")
    return name


def clip_gradients(model: Any, strategy: Any, largest: float) -> None:
    """By the norm over all parameters on all ranks; the older FSDP alone can put its parts of gradients together.

    DistillError for a gradient that is no number: the step would leave no weight whole.
    """
    of_parts = getattr(strategy.model, "clip_grad_norm_", None)
    norm = of_parts(largest) if of_parts else torch.nn.utils.clip_grad_norm_(model.parameters(), largest)
    if not torch.isfinite(whole(norm, 0)):
        raise DistillError(
            "the gradient is no number, though the loss is one: lower model.learning_rate, or train in full precision "
            "(trainer.precision: 32-true)"
        )
