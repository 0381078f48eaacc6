"""Thousands of the curriculum's items, drawn once for all tests of them."""

from collections import defaultdict
from functools import cache

import pytest

from data_gen.curriculum import Item, Split, items
from data_gen.curriculum.drawing import chinese

READ = {chinese(number): number for number in range(1000)}


@cache
def drawn(count: int, seed: int, split: Split) -> list[Item]:
    """The same list for whoever asks."""
    return list(items(count, seed=seed, split=split))


@pytest.fixture(scope="module")
def train() -> list[Item]:
    """A fixture, as the next two, of every module that says `train = drawn_items.train`."""
    return drawn(40_000, 11, "train")


@pytest.fixture(scope="module")
def heldout() -> list[Item]:
    return drawn(8_000, 12, "heldout")


@pytest.fixture(scope="module")
def by_family(train: list[Item], heldout: list[Item]) -> dict[str, list[Item]]:
    grouped = defaultdict(list)
    for item in train + heldout:
        grouped[item.family].append(item)
    return grouped


def question(item: Item) -> str:
    """All a model sees, with numbers that belong to the wording taken out."""
    return item.instruction + "|" + item.input
