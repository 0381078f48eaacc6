"""Which values the numbers of a recipe may have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from distill.errors import DistillError

ONE: tuple[Callable[[Any], bool], str] = (lambda v: v >= 1, "1 at least")
ZERO: tuple[Callable[[Any], bool], str] = (lambda v: 0 <= v < math.inf, "0 at least")
END: tuple[Callable[[Any], bool], str] = (lambda v: v >= 1 or v == -1, "1 at least, or -1 for no end")
SHARE: tuple[Callable[[Any], bool], str] = (lambda v: 0 <= v <= 1, "a share between 0 and 1")

RANGES: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "model": {
        "learning_rate": (lambda v: 0 < v < math.inf, "above 0"),
        "warmup_steps": ZERO,
        "final_factor": SHARE,
        "weight_decay": ZERO,
        "betas": (lambda v: all(0 <= beta < 1 for beta in v), "two numbers from 0 to below 1"),
        "floor": (lambda v: 0 <= v < 1, "a probability, at least 0 and below 1"),
    },
    "data": {
        "batch_size": ONE,
        "val_batch_size": ONE,
        "max_length": (lambda v: v >= 2, "2 at least"),
        "question_share": SHARE,
        "seed": ZERO,
        "limit": ONE,
    },
    "trainer": {
        "accumulate_grad_batches": ONE,
        "gradient_clip_val": ZERO,
        "max_epochs": END,
        "max_steps": END,
        "limit_train_batches": (lambda v: v > 0, "above 0"),
        "fast_dev_run": (lambda v: not v, "not supported, try a recipe with max_steps 2 in another default_root_dir"),
        "overfit_batches": (lambda v: v == 0, "not supported, train on a few rows with data.limit"),
    },
}
"""Section of a recipe -> setting -> (whether a value will do, what it is instead of one that will not)"""


def check_ranges(section: str, **values: Any) -> None:
    """DistillError for the first value that is out of its range; None is a setting's default."""
    for name, value in values.items():
        fits, said = RANGES[section][name]
        if value is not None and not fits(value):  # of NaN nothing is true
            raise DistillError(f"{section}.{name} is {said}, got {value}")


def check_seed(seed: Any) -> None:
    """DistillError for a number that numpy's generator does not take; True draws one, False and None take none."""
    if seed is not None and not 0 <= seed < 1 << 32:
        raise DistillError(f"seed_everything lies between 0 and {(1 << 32) - 1}, got {seed}")
