"""Learning-rate schedules: pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from distill.errors import DistillError
from teachers.base import nearest


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def linear(progress: float) -> float:
    """From 1 to 0."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "linear": linear, "cosine": cosine}


def check_schedule(name: str) -> None:
    """DistillError with the nearest name for one that is none."""
    if name not in SCHEDULES:
        raise DistillError(f"unknown schedule {name!r}{nearest(name, SCHEDULES)}")


def learning_rate_factor(name: str, step: int, warmup: int, total: int, floor: float = 0.0) -> float:
    """Factor on the peak learning rate at a step: linear warm-up, then the schedule down to `floor`."""
    check_schedule(name)
    if step < warmup:
        return (step + 1) / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return floor + (1.0 - floor) * SCHEDULES[name](progress)
