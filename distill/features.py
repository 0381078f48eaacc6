"""Feature distillation: which layers face each other, projectors between their widths, and the losses on them.

With unequal tokenizers only positions where both sides have said the same bytes are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.errors import DistillError
from distill.relations import PARTS, RELATIONS, Grid
from teachers.base import nearest


def mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference in units of the teacher's square at the same place, `(tokens,)`: ||s - t||^2 / ||t||^2.

    Every place has its own unit, so that a value does not depend on what else is in the batch, and the few places
    where some models have states a hundred times longer (the first token, mostly) do not set the scale for all others.
    """
    return (student - teacher).square().sum(-1) / teacher.square().sum(-1).clamp_min(1e-12)


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle, `(tokens,)`."""
    return 1 - functional.cosine_similarity(student, teacher, dim=-1)


def pkd(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of the two directions, `(tokens,)` (PKD, 1908.09355): twice `cosine`, without a projector."""
    return (functional.normalize(student, dim=-1) - functional.normalize(teacher, dim=-1)).square().sum(-1)


TOKEN_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "cosine": cosine, "pkd": pkd}
FEATURE_LOSSES = [*TOKEN_LOSSES, *RELATIONS]
PROJECTED = {"mse", "cosine"}
"""Losses with a projector between equal widths, too; the others of TOKEN_LOSSES have one where widths differ"""


@dataclass
class FeatureTerm:
    """One pair of layers, or a whole map of them, as a recipe names it."""

    loss: str = "mse"
    """Token by token: mse, cosine, pkd. Between the tokens of a row, whatever the widths: gram, nst, value_relation,
    attention_kl, attention_mse"""
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
            if term.weight < 0:
                raise DistillError(f"feature loss {term.loss}: weight must be at least 0, got {term.weight}")
            pairs = layer_pairs(term.layers, student_layers, teacher_layers)
            for student_layer, teacher_layer in pairs:
                if term.loss in PARTS and not (student_layer and teacher_layer):
                    raise DistillError(f"feature loss {term.loss}: layer 0 is the embedding, which has no attention")
                self.parts.append((term.loss, term.weight / len(pairs), student_layer, teacher_layer))
                self.projectors.append(_projector(term.loss, widths))

    @property
    def student_layers(self) -> list[Any]:
        """Student layers that are looked at, named as teachers.hidden.CatchLayers takes them."""
        return _names((loss, s) for loss, _, s, _ in self.parts)

    @property
    def teacher_layers(self) -> list[Any]:
        """Teacher layers that are looked at, named in the same way."""
        return _names((loss, t) for loss, _, _, t in self.parts)

    def forward(self, student: Mapping[Any, Tensor], teacher: Mapping[Any, Tensor], at: Tensor | None = None) -> Tensor:
        """Value a token `(tokens,)` from `{layer: (tokens, width)}` of both sides at the same positions.

        `at` (tokens, 2) tells the row of each token and its position there, for losses that look at the tokens of a row
        together; None: all tokens are of one row, in order.
        """
        with torch.autocast(next(iter(student.values())).device.type, enabled=False):  # differences of near equals
            return self._sum(student, teacher, at)

    def _sum(self, student: Mapping[Any, Tensor], teacher: Mapping[Any, Tensor], at: Tensor | None) -> Tensor:
        total: Tensor | None = None
        grid: Grid | None = None
        for (loss, weight, s, t), projector in zip(self.parts, self.projectors, strict=True):
            ours = [student[name] for name in _needs(loss, s)]
            theirs = [teacher[name].float() for name in _needs(loss, t)]
            if loss in TOKEN_LOSSES:
                wide = next((p.dtype for p in projector.parameters()), torch.float32)
                value = TOKEN_LOSSES[loss](projector(ours[0].to(wide)).float(), theirs[0])
            else:
                grid = grid or Grid(len(theirs[0]), at, theirs[0].device)
                value = RELATIONS[loss]([side.float() for side in ours], theirs, grid)
            total = weight * value if total is None else total + weight * value
        return total if total is not None else torch.zeros(())


def for_each_teacher(
    terms: list[FeatureTerm], student: Any, teachers: Sequence[Any], seed: int
) -> nn.ModuleList | None:
    """A FeatureLoss for each teacher, its projectors drawn by `seed`; None when nothing is compared."""
    if not terms:
        return None
    if not teachers:
        raise DistillError("model.features needs a teacher: set model.teacher or remove the features")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width, layers = student.config.hidden_size, student.config.num_hidden_layers
        return nn.ModuleList(FeatureLoss(terms, layers, t.layers, (width, t.width)) for t in teachers)


def _needs(loss: str, layer: int) -> list[int | str]:
    """Names of what a loss looks at in a layer: the layer's number, or parts of its attention."""
    return [f"{part}:{layer}" for part in PARTS[loss]] if loss in PARTS else [layer]


def _names(pairs: Iterable[tuple[str, int]]) -> list[int | str]:
    found = {name: layer for loss, layer in pairs for name in _needs(loss, layer)}
    return sorted(found, key=lambda name: (isinstance(name, str), found[name], str(name)))


def _projector(loss: str, widths: tuple[int, int]) -> nn.Module:
    if loss in PROJECTED or (loss in TOKEN_LOSSES and widths[0] != widths[1]):
        return nn.Linear(*widths)
    return nn.Identity()
