"""Which entries a position has, in little more than a byte each.

A teacher names the same entries again and again, so the entries of a shard are numbered by how often they occur, the
most frequent first. The few numbers of a position are written in ascending order, as what lies between one and the
next: 7 bits a byte, the highest bit says that the number goes on. Nearly every step is below 128.
"""

from __future__ import annotations

import numpy as np

BITS = 7
MORE = 1 << BITS


def pack_groups(kinds: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Write sets of numbers: `kinds` (entries), no one twice within a `group` (entries, ascending numbers).

    Returned are the different kinds (the shard's alphabet), the order that the entries are written in, the bytes, and
    how many of them each entry took, (entries).
    """
    found, which, count = np.unique(kinds, return_inverse=True, return_counts=True)
    falling = np.argsort(-count, kind="stable")
    rank = np.empty(len(found), np.int64)
    rank[falling] = np.arange(len(found))
    ranks = rank[which.reshape(-1)]
    order = np.lexsort((ranks, group))
    ranks, group = ranks[order], group[order]
    before = np.concatenate([[-1], ranks])[: len(ranks)]
    before[np.concatenate([[True], group[1:] != group[:-1]])[: len(ranks)]] = -1
    return found[falling], order, *_varints(ranks - before - 1)


def unpack_groups(data: np.ndarray, alphabet: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The kinds of groups of `sizes` (groups), one group after the other, each in the order it was written in.

    ValueError when the bytes do not hold so many, or a number beyond the alphabet.
    """
    steps = _numbers(data) + 1
    if len(steps) != sizes.sum():
        raise ValueError(f"{len(steps)} entries, not {sizes.sum()}")
    upto = np.cumsum(steps)
    ends = np.cumsum(sizes)
    before = np.concatenate([[0], upto])[ends - sizes]  # (groups)
    ranks = upto - np.repeat(before, sizes) - 1
    if len(ranks) and ranks.max() >= len(alphabet):
        raise ValueError(f"entry {ranks.max()} of {len(alphabet)}")
    return alphabet[ranks].astype(np.int64)


def _varints(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.ones(len(numbers), np.int64)
    for shift in range(BITS, 32, BITS):
        lengths += numbers >> shift > 0
    ends = np.cumsum(lengths)
    nth = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    data = np.repeat(numbers, lengths) >> BITS * nth & MORE - 1
    data[nth < np.repeat(lengths, lengths) - 1] |= MORE
    return data.astype(np.uint8), lengths


def _numbers(data: np.ndarray) -> np.ndarray:
    ends = np.flatnonzero(data < MORE)
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    if len(data) != (ends[-1] + 1 if len(ends) else 0):
        raise ValueError("the last number goes on")
    nth = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    if nth.max(initial=0) > 4:
        raise ValueError("a number of more than five bytes")
    bits = (data & MORE - 1).astype(np.int64) << BITS * nth
    return np.add.reduceat(bits, starts) if len(ends) else bits
