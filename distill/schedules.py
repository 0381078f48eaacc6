"""What changes over a run: the learning rate, and weights and temperatures of losses. Pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass
class Ramp:
    """A number that changes over the run, as a recipe writes it: `{start: 1, end: 0.2, shape: cosine}`."""

    start: float
    """At the first optimizer step"""
    end: float
    """At the last one"""
    shape: str = "linear"
    """The way between them: linear, cosine (slow at both ends) or constant (stays at `start`)"""
    until: float = 1.0
    """Share of the run after which it stays at `end`"""

    def check(self, name: str) -> None:
        """DistillError when it cannot be followed; `name` says whose number it is."""
        if self.shape not in SCHEDULES:
            raise DistillError(f"{name}.shape: unknown schedule {self.shape!r}{nearest(self.shape, SCHEDULES)}")
        if not 0 < self.until <= 1:
            raise DistillError(f"{name}.until is a share of the run, above 0 and at most 1, got {self.until}")


def value_at(setting: float | Ramp, step: int, total: int) -> float:
    """A setting's number at an optimizer step of a run of `total` steps; the last step is total - 1."""
    if not isinstance(setting, Ramp):
        return setting
    progress = min(step / max(setting.until * (total - 1), 1), 1.0)
    return setting.end + (setting.start - setting.end) * SCHEDULES[setting.shape](progress)


def ends(setting: float | Ramp) -> tuple[float, float]:
    """The first and the last number; every other one lies between them."""
    return (setting.start, setting.end) if isinstance(setting, Ramp) else (setting, setting)
