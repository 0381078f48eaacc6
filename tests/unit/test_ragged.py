"""Rows of any length come back as they were added, however many and in whatever order they are asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distill.ragged import Ragged


@given(
    st.lists(st.lists(st.tuples(st.integers(-5, 2**31 - 1), st.integers(-5, 9)), max_size=40), max_size=40),
    st.data(),
)
def test_rows_come_back(rows: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    table = Ragged(2)
    numbers = [table.number(("row", n), lambda r=row: np.array(r).reshape(-1, 2)) for n, row in enumerate(rows)]  # type: ignore[misc]
    assert numbers == list(range(len(rows)))
    assert len(table) == len(rows)
    which = data.draw(st.lists(st.integers(-1, len(rows) - 1), max_size=30))
    of, place, entries = table.expand(np.array(which, np.int64))
    expected = [(n, k, *entry) for n, w in enumerate(which) if w >= 0 for k, entry in enumerate(rows[w])]
    assert list(zip(of.tolist(), place.tolist(), *entries.T.tolist(), strict=True)) == expected


def test_a_key_is_made_once() -> None:
    table, made = Ragged(1), []
    for _ in range(3):
        assert table.number("a", lambda: made.append(1) or np.array([[7]])) == 0  # type: ignore[func-returns-value]
    assert made == [1]
