"""Feature distillation: which layers face each other, projectors between their widths, and the losses on them.

With unequal tokenizers only positions where both sides have said the same bytes are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.errors import DistillError
from teachers.base import nearest


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over the mean square of the teacher's features, `(tokens,)` (scale-free)."""
    scale = teacher.square().mean().clamp_min(1e-12)
    return (student - teacher).square().mean(-1) / scale


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle, `(tokens,)`."""
    return 1 - functional.cosine_similarity(student, teacher, dim=-1)


FEATURE_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cosine": cosine}


@dataclass
class FeatureTerm:
    """One pair of layers, or a whole map of them, as a recipe names it."""

    loss: str = "mse"
    """mse or cosine"""
    weight: float = 1.0
    """Factor in the sum; shared by the pairs of a map"""
    layers: str = "last"
    """`last`, `uniform` (every student layer faces a teacher layer, evenly spaced) or pairs such as `2:4 4:8`"""


def layer_pairs(layers: str, student_layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """(student layer, teacher layer), numbered from 1; 0 is the embedding."""
    if layers == "last":
        return [(student_layers, teacher_layers)]
    if layers == "uniform":
        return [(s, round(s * teacher_layers / student_layers)) for s in range(1, student_layers + 1)]
    try:
        pairs = [(int(s), int(t)) for s, t in (pair.split(":") for pair in layers.split())]
    except ValueError:
        raise DistillError(f"features.layers is 'last', 'uniform' or pairs like '2:4 4:8', got {layers!r}") from None
    for s, t in pairs:
        if not (0 <= s <= student_layers and 0 <= t <= teacher_layers):
            raise DistillError(f"layer pair {s}:{t} is outside: student has {student_layers}, teacher {teacher_layers}")
    return pairs


class FeatureLoss(nn.Module):
    """The weighted sum of all feature terms; owns the projectors, which are trained and never exported."""

    def __init__(
        self, terms: list[FeatureTerm], student_layers: int, teacher_layers: int, widths: tuple[int, int]
    ) -> None:
        super().__init__()
        self.parts: list[tuple[str, float, int, int]] = []
        self.projectors = nn.ModuleList()
        for term in terms:
            if term.loss not in FEATURE_LOSSES:
                raise DistillError(f"unknown feature loss {term.loss!r}{nearest(term.loss, FEATURE_LOSSES)}")
            pairs = layer_pairs(term.layers, student_layers, teacher_layers)
            for student_layer, teacher_layer in pairs:
                self.parts.append((term.loss, term.weight / len(pairs), student_layer, teacher_layer))
                self.projectors.append(nn.Linear(widths[0], widths[1]))

    @property
    def student_layers(self) -> list[int]:
        """Student layers that are looked at."""
        return sorted({s for _, _, s, _ in self.parts})

    @property
    def teacher_layers(self) -> list[int]:
        """Teacher layers that are looked at."""
        return sorted({t for _, _, _, t in self.parts})

    def forward(self, student: dict[int, Tensor], teacher: dict[int, Tensor]) -> Tensor:
        """Value a token `(tokens,)` from `{layer: (tokens, width)}` of both sides at the same positions."""
        total: Tensor | None = None
        for (loss, weight, s, t), projector in zip(self.parts, self.projectors, strict=True):
            value = weight * FEATURE_LOSSES[loss](projector(student[s]).float(), teacher[t].float())
            total = value if total is None else total + value
        return total if total is not None else torch.zeros(())
