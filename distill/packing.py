"""Several rows in one rectangle of a batch, so that little of it is filling.

Rows lie one after another, each with positions that start at 0 again. Where that is all a model is told, and no mask,
transformers keeps them apart: no row sees another, whatever the implementation of attention. Models that find their
positions by themselves or carry a state along (BLOOM, Mamba) cannot do that; `check_packing` asks the models at hand.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distill.errors import DistillError

if TYPE_CHECKING:
    from distill.batches import Batch

ROUNDING = 1e-4
"""Hidden states that differ by more, of the largest, are not the same ones; half precision and TF32 round more"""


def pack(lengths: np.ndarray, width: int) -> list[list[int]]:
    """Rows into rectangles of `width` tokens: the longest first, each to where the least room is left.

    Rows of one length are taken in their order; how many rectangles there are depends on the lengths alone.
    """
    order = np.argsort(-lengths, kind="stable")
    rectangles: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(width + 1)]
    rooms = 0  # bit n: there are rectangles with room for n tokens
    for row, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if fitting := rooms >> length:
            room = length + (fitting & -fitting).bit_length() - 1
            at = with_room[room].pop()
            rectangles[at].append(row)
            rooms ^= 0 if with_room[room] else 1 << room
        else:
            room, at = width, len(rectangles)
            rectangles.append([row])
        if left := room - length:
            with_room[left].append(at)
            rooms |= 1 << left
    return rectangles


def lay(lengths: np.ndarray, width: int) -> tuple[np.ndarray, int, int]:
    """Where each row begins, `(rows)`, flat in rectangles of one width; how many there are; that width.

    Rows that come rectangle by rectangle, as a sampler gives them, take no more than it had; others the best fit.
    """
    taken: list[list[int]] = []
    room = 0
    for row, length in enumerate(lengths.tolist()):
        if length > room or not taken:
            taken.append([])
            room = width
        taken[-1].append(row)
        room -= length
    best = pack(lengths, width)
    rectangles = taken if len(taken) <= len(best) else best
    width = max(int(lengths[rows].sum()) for rows in rectangles)
    starts = np.zeros(len(lengths), dtype=np.int64)
    for n, rows in enumerate(rectangles):
        starts[rows] = n * width + np.cumsum(lengths[rows]) - lengths[rows]
    return starts, len(rectangles), width


@torch.no_grad()
def check_packing(model: Any, packed: Batch, apart: Batch) -> None:
    """Both batches hold the same rows; raises DistillError when student or teacher says other things packed.

    `model` is a Distiller in a step, when all its weights can be used; its teachers are asked if the batches have
    lessons.
    """
    was_training = model.student.training
    model.student.eval()
    try:
        with torch.autocast(packed.student.ids.device.type, enabled=False):
            ours = [model.student_hidden(batch)[0] for batch in (packed, apart)]
    except TypeError:  # no position_ids
        ours = []
    model.student.train(was_training)
    if not _same(ours):
        raise _refusal("student", type(model.student).__name__)
    for lessons in zip(packed.lessons, apart.lessons, strict=True):
        tutor = model.tutors[lessons[0].by]
        name = type(getattr(tutor.teacher, "model", tutor.teacher)).__name__
        if "position_ids" not in inspect.signature(tutor.teacher.signal).parameters:
            raise DistillError(f"data.packing: signal() of {name} takes no position_ids; set data.packing to false")
        try:
            with torch.autocast(packed.student.ids.device.type, enabled=False):
                theirs = [tutor.ask(lesson, []).hidden for lesson in lessons]
        except TypeError:
            theirs = []
        if not _same(theirs):
            raise _refusal("teacher", name)


def _same(hidden: list[Tensor]) -> bool:
    """Whether both are there and are the same, but for rounding."""
    if not hidden:
        return False
    packed, apart = hidden
    coarse = apart.is_cuda and torch.get_float32_matmul_precision() != "highest"
    kind = torch.bfloat16 if coarse else apart.dtype
    allowed = ROUNDING if torch.finfo(kind).bits > 16 else torch.finfo(kind).eps ** 0.5
    return bool((packed - apart).abs().max() <= allowed * apart.abs().max())


def _refusal(side: str, name: str) -> DistillError:
    return DistillError(
        f"data.packing: this {side}, a {name}, does not keep rows that share a rectangle apart; set data.packing to "
        "false, rows of about one length then share a batch"
    )
