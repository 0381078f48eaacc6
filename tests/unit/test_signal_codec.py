"""Groups of numbers come back whatever they are, and bytes that hold no groups are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teachers.signal_codec import pack_groups, unpack_groups

GROUPS = st.lists(st.sets(st.integers(0, 400) | st.integers(0, 2**31), max_size=8), max_size=12)


@given(GROUPS)
def test_groups_come_back(groups: list[set[int]]) -> None:
    """In the order that packing tells, whatever the size of the numbers."""
    kinds = np.array([kind for group in groups for kind in group], np.int64)
    at = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    alphabet, order, data, lengths = pack_groups(kinds, at)
    assert sorted(alphabet.tolist()) == sorted({kind for group in groups for kind in group})
    assert data.dtype == np.uint8
    assert lengths.sum() == len(data)
    sizes = np.array([len(group) for group in groups if group], np.int64)
    assert unpack_groups(data, alphabet, sizes).tolist() == kinds[order].tolist()
    assert at[order].tolist() == at.tolist(), "groups stay where they are"


def test_what_is_frequent_takes_a_byte() -> None:
    """Golden: kinds 7, 9 and 5 have the numbers 0, 1, 2; a group is written as steps from one to the next."""
    kinds, group = np.array([9, 7, 7, 5, 9, 7]), np.array([0, 0, 1, 2, 2, 2])
    alphabet, order, data, lengths = pack_groups(kinds, group)
    assert alphabet.tolist() == [7, 9, 5]
    assert kinds[order].tolist() == [7, 9, 7, 7, 9, 5]
    assert data.tolist() == [0, 0, 0, 0, 0, 0]
    assert lengths.tolist() == [1] * 6
    far = pack_groups(np.arange(300), np.zeros(300, np.int64) + (np.arange(300) == 299))
    assert far[2].tolist() == [0] * 299 + [299 & 127 | 128, 299 >> 7]
    assert far[3].tolist() == [1] * 299 + [2]


@pytest.mark.parametrize(
    ("data", "sizes", "why"),
    [
        ([0, 0], [1], "2 entries, not 1"),
        ([0, 128], [2], "the last number goes on"),
        ([128] * 6 + [0], [1], "more than five bytes"),
        ([0, 5], [2], "entry 6 of 3"),
    ],
)
def test_bytes_that_hold_no_groups(data: list[int], sizes: list[int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        unpack_groups(np.array(data, np.uint8), np.arange(3), np.array(sizes))
