"""What is kept of a teacher's distribution: draws from it, or its likeliest outcomes.

`draws` are made with uniform numbers that depend on the seed and the record alone (`uniforms`), so they are the same in
whatever batch a record stands. A drawn target is count / draws: its mean is the distribution itself, so a loss that is
linear in the teacher's probabilities, and its gradient, are right on average (Sparse Logit Sampling, 2503.16870).
Cutting to the likeliest is not, and keeps the mass of what it cut.

A teacher that is moved onto another vocabulary (distill.align) is moved first and then drawn from or cut. What the move
would leave below its floor takes part by draws of its own (`Rare`), so that nothing but mass without any place is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distill.ragged import members
from distill.reading import Tables
from distill.targets import Placed


@dataclass
class Kept:
    """Sparse rows, the heaviest entry of a position first."""

    entries: np.ndarray
    """(positions)"""
    ids: np.ndarray
    """(entries); -1: the next one of `sets`"""
    weights: np.ndarray
    """(entries): counts, or masses"""
    tail: np.ndarray | None
    """(positions): the mass of what was cut; None for draws"""
    sets: np.ndarray | None = None
    """(sets, 3); None for whole distributions"""
    entropy: np.ndarray | None = None
    """(positions): of what was drawn from; None where nothing was"""


def uniforms(seed: int, keys: Sequence[int], counts: Sequence[int], draws: int, purpose: int = 0) -> np.ndarray:
    """(positions, draws): ascending numbers of [0, 1) for the positions of some records, one record after the other."""
    made = [np.random.default_rng([seed, k, purpose]).random((n, draws)) for k, n in zip(keys, counts, strict=True)]
    return np.sort(np.concatenate([np.zeros((0, draws)), *made]), axis=-1)


def draw(p: Tensor, uniform: Tensor) -> Tensor:
    """(positions, draws): ids by p (positions, vocab), which need not add up to 1, at ascending uniform numbers."""
    upto = p.double().cumsum(-1)
    return torch.searchsorted(upto, uniform * upto[:, -1:], right=True).clamp_max_(p.shape[-1] - 1)


def drawn(p: Tensor, uniform: Tensor) -> Kept:
    """Draws from whole distributions, (positions, vocab)."""
    rows, vocabulary = p.shape
    flat = draw(p, uniform) + torch.arange(rows, device=p.device)[:, None] * vocabulary
    found, counts = torch.unique_consecutive(flat.reshape(-1), return_counts=True)
    at, ids, counts = (found // vocabulary).cpu().numpy(), (found % vocabulary).cpu().numpy(), counts.cpu().numpy()
    order = np.lexsort((-counts, at))
    entropy = torch.special.entr(p).sum(-1).cpu().numpy()
    return Kept(np.bincount(at, minlength=rows), ids[order], counts[order], None, entropy=entropy)


def likeliest(p: Tensor, size: int) -> Kept:
    """The `size` likeliest of whole distributions, (positions, vocab)."""
    top = p.topk(min(size, p.shape[-1]), -1)
    tail = p.scatter(-1, top.indices, 0.0).sum(-1)
    ids, mass = top.indices.cpu().numpy(), top.values.cpu().numpy()
    entries = np.full(len(ids), ids.shape[1], np.int64)
    return Kept(entries, ids.reshape(-1), mass.reshape(-1), tail.cpu().numpy())


@dataclass
class Rare:
    """Draws for outcomes below a floor: each stands for an equal part of their mass."""

    uniform: Tensor
    """(teacher positions, draws)"""

    def __call__(self, positions: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row of `p`, id and mass of each draw; `p` (some positions, vocab) holds the rare outcomes, 0 elsewhere."""
        draws = self.uniform.shape[1]
        ids = draw(p, self.uniform[positions])
        mass = (p.sum(-1, keepdim=True) / draws).expand(ids.shape)
        row = torch.arange(len(p), device=p.device)[:, None]
        return row.expand(ids.shape).reshape(-1), ids.reshape(-1), mass.reshape(-1)


def moved_draws(placed: Placed, tables: Tables, total: Tensor, uniform: np.ndarray) -> Kept:
    """Draws from masses on sets. Those that hit mass without a place are left out."""
    row, kind, mass, sets = _named(placed)
    order = np.argsort(row, kind="stable")
    row, kind, mass = row[order], kind[order], mass[order]
    rows, draws = uniform.shape
    upto = np.cumsum(mass)
    whole = np.bincount(row, mass, rows)  # (rows)
    before = np.cumsum(whole) - whole
    all_mass = np.maximum(total.double().cpu().numpy(), whole)[:, None]
    at = np.searchsorted(upto, (before[:, None] + uniform * all_mass).reshape(-1), "right")
    hit = ((uniform * all_mass) < whole[:, None]).reshape(-1)
    of = np.repeat(np.arange(rows), draws)[hit]
    at = at[hit].clip(max=max(len(row) - 1, 0))
    at = np.clip(at, np.searchsorted(row, of, "left"), np.searchsorted(row, of, "right") - 1)  # rounding
    kept = _heaviest_first(of, kind[at], np.ones(len(at)), rows, tables, sets, None)
    kept.entropy = _entropy(row, kind, mass, rows)
    return kept


def _entropy(row: np.ndarray, kind: np.ndarray, mass: np.ndarray, rows: int) -> np.ndarray:
    """Of each row's masses, the same kind taken together; (rows)."""
    keys, back = np.unique(row * (int(kind.max(initial=0)) + 1) + kind, return_inverse=True)
    joined = np.bincount(back.reshape(-1), mass, len(keys))
    return np.bincount(keys // (int(kind.max(initial=0)) + 1), -joined * np.log(joined.clip(min=1e-30)), rows)


def moved_likeliest(placed: Placed, tables: Tables, total: Tensor, size: int) -> Kept:
    """The `size` heaviest sets of each row; the rest of the total is the tail."""
    row, kind, mass, sets = _named(placed)
    return _heaviest_first(row, kind, mass, len(total), tables, sets, total.double().cpu().numpy(), size)


def _named(placed: Placed) -> tuple[np.ndarray, ...]:
    """Row, kind and mass of all that has a place, and what kinds of sets count."""
    row, kind, mass, sets = (x.cpu().numpy() for x in (placed.row, placed.kind, placed.mass.double(), placed.sets))
    there = (kind >= 0) & (mass > 0)
    return row[there], kind[there], mass[there], sets


def _heaviest_first(
    row: np.ndarray,
    kind: np.ndarray,
    weight: np.ndarray,
    rows: int,
    tables: Tables,
    sets: np.ndarray,
    total: np.ndarray | None,
    size: int | None = None,
) -> Kept:
    """Each kind once a row, with all its weight."""
    kinds = tables.student_size + len(sets) + 1
    keys, back = np.unique(row * kinds + kind, return_inverse=True)
    weight = np.bincount(back.reshape(-1), weight, len(keys))
    row, kind = keys // kinds, keys % kinds
    order = np.lexsort((-weight, row))
    row, kind, weight = row[order], kind[order], weight[order]
    if size is not None:
        _, rank = members(np.bincount(row, minlength=rows))
        row, kind, weight = row[rank < size], kind[rank < size], weight[rank < size]
    tail = None if total is None else (total - np.bincount(row, weight, rows)).clip(min=0)
    some = kind >= tables.student_size
    of_sets = sets[kind[some] - tables.student_size]
    return Kept(np.bincount(row, minlength=rows), np.where(some, -1, kind), weight, tail, of_sets)
