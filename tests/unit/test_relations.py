"""Relations between the tokens of a row, against plain loops over rows and tokens."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from distill.relations import RELATIONS, Grid, attention_kl, gram, nst, value_relation

ROWS = [2, 0, 2, 1, 0, 2, 2]
PLACES = [5, 3, 1, 0, 9, 2, 3]
"""Seven tokens of three rows, in no order"""
AT = torch.tensor([ROWS, PLACES]).T
ROW_OF = [sorted((n for n in range(7) if ROWS[n] == row), key=lambda n: PLACES[n]) for row in range(3)]
"""Tokens of each row, in the order of the text"""
Features = list[torch.Tensor]


def features(name: str, seed: int = 0, heads: tuple[int, int] = (4, 4)) -> tuple[Features, Features]:
    """What a relation is made of, in float64: student's and teacher's, of different widths."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(7, *shape, generator=draw, dtype=torch.float64)

    if name in {"gram", "nst"}:
        return [normal(5)], [normal(8)]
    if name == "value_relation":
        return [normal(2, 6)], [normal(4, 6)]
    return [normal(heads[0], 3), normal(2, 3)], [normal(heads[1], 5), normal(heads[1], 5)]


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True))


def plain_gram(student: Features, teacher: Features, n: int, row: list[int]) -> float:
    def similar(h: torch.Tensor, m: int) -> float:
        return float(h[n] @ h[m] / (h[n].norm() * h[m].norm()))

    return sum((similar(student[0], m) - similar(teacher[0], m)) ** 2 for m in row) / len(row)


def plain_nst(student: Features, teacher: Features, n: int, row: list[int]) -> float:
    def product(h: torch.Tensor, m: int) -> float:
        scale = h[row].square().mean(0).sqrt()
        return float((h[n] / scale) @ (h[m] / scale)) / h.shape[1]

    return sum((product(student[0], m) - product(teacher[0], m)) ** 2 for m in row) / len(row)


def plain_values(student: Features, teacher: Features, n: int, row: list[int]) -> float:
    """Widths 12 and 24: twelve heads."""
    total = 0.0
    for head in range(12):
        tables = []
        for side in (student, teacher):
            v = side[0].flatten(1).chunk(12, -1)[head]
            tables.append(torch.softmax(v[row] @ v[n] / math.sqrt(v.shape[1]), 0))
        total += kl(tables[1], tables[0]) / 12
    return total


def looks(side: Features, head: int, n: int, row: list[int]) -> torch.Tensor:
    """Where token n looks among the tokens up to itself."""
    query, key = side
    seen = row[: row.index(n) + 1]
    return torch.softmax(key[seen][:, head * key.shape[1] // query.shape[1]] @ query[n, head], 0)


def plain_attention(student: Features, teacher: Features, n: int, row: list[int]) -> float:
    return sum(kl(looks(teacher, h, n, row), looks(student, h, n, row)) for h in range(4)) / 4


def plain_attention_mse(student: Features, teacher: Features, n: int, row: list[int]) -> float:
    return sum(float((looks(teacher, h, n, row) - looks(student, h, n, row)).square().sum()) for h in range(4)) / 4


PLAIN: dict[str, Callable[[Features, Features, int, list[int]], float]] = {
    "gram": plain_gram,
    "nst": plain_nst,
    "value_relation": plain_values,
    "attention_kl": plain_attention,
    "attention_mse": plain_attention_mse,
}


def test_every_relation_is_held_here() -> None:
    """A new one needs its own loop."""
    assert set(RELATIONS) == set(PLAIN)


@pytest.mark.parametrize("name", RELATIONS)
def test_against_loops(name: str) -> None:
    """Token by token."""
    student, teacher = features(name)
    expected = [PLAIN[name](student, teacher, n, ROW_OF[ROWS[n]]) for n in range(7)]
    value = RELATIONS[name](student, teacher, Grid(7, AT, AT.device))
    assert value.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", RELATIONS)
def test_gradient_of_what_differs(name: str) -> None:
    """In float64; never negative; zero, without a slope, when both sides say the same."""
    student, teacher = features(name, seed=1)
    grid = Grid(7, AT, AT.device)
    ours = tuple(side.requires_grad_() for side in student)
    assert torch.autograd.gradcheck(lambda *sides: RELATIONS[name](sides, teacher, grid), ours)
    assert RELATIONS[name](ours, teacher, grid).min() >= 0
    same = RELATIONS[name](ours, [side.detach() for side in ours], grid)
    assert same.abs().max() < 1e-12
    assert all(slope.abs().max() < 1e-9 for slope in torch.autograd.grad(same.sum(), ours))


@pytest.mark.parametrize("name", RELATIONS)
def test_rows_are_apart_and_order_has_no_effect(name: str) -> None:
    """A row alone says what it says among others; so batches, and tokens in them, may come in any order."""
    student, teacher = features(name, seed=2)
    value = RELATIONS[name](student, teacher, Grid(7, AT, AT.device))
    for tokens in (ROW_OF[2], [6, 5, 4, 3, 2, 1, 0]):
        alone = RELATIONS[name](
            [s[tokens] for s in student], [t[tokens] for t in teacher], Grid(len(tokens), AT[tokens], AT.device)
        )
        torch.testing.assert_close(alone, value[tokens])
    one = ROW_OF[2]
    in_order = RELATIONS[name]([s[one] for s in student], [t[one] for t in teacher], Grid(4, None, AT.device))
    torch.testing.assert_close(in_order, value[one])


def test_what_does_not_matter() -> None:
    """Rotations for gram, the order and scale of neurons for nst, the number of shared key heads for attention."""
    (student,), (teacher,) = features("gram")
    grid = Grid(7, AT, AT.device)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    torch.testing.assert_close(gram([3 * student @ turn], [teacher], grid), gram([student], [teacher], grid))
    moved = student[:, [4, 2, 0, 1, 3]] * torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0]).double()
    torch.testing.assert_close(nst([moved], [teacher], grid), nst([student], [teacher], grid))
    query, key = features("attention_kl")[0]
    repeated = [query, key.repeat_interleave(2, 1)]
    assert attention_kl([query, key], repeated, grid).abs().max() < 1e-12


def test_unequal_numbers_of_heads_are_averaged() -> None:
    """One head that looks where the mean of the other side's two looks."""
    student, teacher = features("attention_kl", heads=(2, 1))
    value = attention_kl(student, teacher, Grid(7, AT, AT.device))
    for n in range(7):
        row = ROW_OF[ROWS[n]]
        ours = (looks(student, 0, n, row) + looks(student, 1, n, row)) / 2
        assert value[n].item() == pytest.approx(kl(looks(teacher, 0, n, row), ours), abs=1e-12)


def test_values_of_widths_without_a_common_divisor() -> None:
    """One relation head then."""
    grid = Grid(7, AT, AT.device)
    value = value_relation([torch.ones(7, 1, 5)], [torch.randn(7, 1, 7)], grid)
    assert torch.isfinite(value).all()
    assert value.max() > 0
