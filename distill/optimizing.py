"""AdamW, and the learning rate of each optimizer step."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distill.schedules import learning_rate_factor
from distill.sharding import plain_name


def adamw(
    trained: Mapping[str, Tensor], matrices: set[str], rate: float, decay: float, betas: tuple[float, float]
) -> Any:
    """Decay is for matrices only, which are named: the parts of one on several devices have no shape of their own."""
    groups = [
        {"params": [p for name, p in trained.items() if plain_name(name) in matrices], "weight_decay": decay},
        {"params": [p for name, p in trained.items() if plain_name(name) not in matrices], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)


def scheduled(optimizer: Any, schedule: str, warmup: int, total: int, final: float) -> dict[str, Any]:
    """A Lightning setting: warm-up and schedule over `total` optimizer steps, as distill.schedules has them."""
    factors = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(schedule, step, warmup, total, final)
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factors, "interval": "step"}}


def tell_short_run(warmup: int, total: int) -> None:
    """A line on stderr when the warm-up is longer than the run."""
    if warmup >= total:
        print(
            f"model.warmup_steps is {warmup}, the run has {total} steps: it ends before its learning rate is reached",
            file=sys.stderr,
        )
