"""The curriculum: honest splits, many families and phrasings, the same items everywhere."""

from collections import Counter
from random import Random

import pytest

from data_gen.curriculum import DRAWS, FAMILIES, WEIGHTS, Item, Split, drawing, is_correct, items, split_of
from data_gen.curriculum.drawing import Phrasing
from tests import drawn_items
from tests.drawn_items import question

train = drawn_items.train
heldout = drawn_items.heldout


def test_golden_first_items() -> None:
    assert list(items(3, seed=0)) == GOLDEN


def test_the_seed_decides_all() -> None:
    assert list(items(300, seed=5)) == list(items(300, seed=5))
    assert list(items(300, seed=5)) != list(items(300, seed=6))
    # A longer run starts with the shorter one, so a demo may read on where it stopped.
    assert list(items(300, seed=5))[:100] == list(items(100, seed=5))


@pytest.mark.parametrize("difficulty", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_at_every_difficulty(family: str, difficulty: int) -> None:
    rng = Random(1)
    for _ in range(100):
        instruction, material, output = FAMILIES[family](rng, difficulty)
        for text in (instruction, material, output):
            assert text == text.strip()
            assert not set("{}|~") & set(text)
        assert 4 <= len(instruction) <= 45
        assert 1 <= len(output) <= 12
        assert len(instruction + material + output) <= 50
    for item in items(20, seed=2, families=[family], difficulty=difficulty):
        assert (item.family, item.difficulty) == (family, difficulty)
        assert item.key.startswith(family + "|")


def test_families_are_many_and_weights_name_them() -> None:
    assert len(FAMILIES) >= 16
    assert list(FAMILIES) == list(DRAWS)
    assert set(WEIGHTS) <= set(FAMILIES)


def test_items_are_short_and_interleaved(train: list[Item]) -> None:
    lengths = [len(item.instruction + item.input + item.output) for item in train]
    assert sum(10 <= length <= 45 for length in lengths) / len(lengths) > 0.95
    assert 0.3 < sum(bool(item.input) for item in train) / len(train) < 0.7
    counts = Counter(item.family for item in train)
    assert set(counts) == set(FAMILIES)
    assert max(counts.values()) < 2 * min(counts.values())
    assert {item.family for item in train[:200]} >= set(list(FAMILIES)[:5])


def test_characters_are_few(train: list[Item]) -> None:
    characters = {character for item in train for character in question(item) + item.output}
    assert 1_200 <= len(characters) <= 2_000


def test_every_phrasing_list_is_long_and_without_doubles() -> None:
    tables = {
        f"{name}.{title}": table
        for name in ("arithmetic", "numbers", "strings", "dates", "facts", "reading")
        for title, table in vars(__import__(f"data_gen.curriculum.{name}", fromlist=[name])).items()
        if isinstance(table, tuple) and table and isinstance(table[0], Phrasing)
    }
    assert len(tables) > 40
    for title, table in tables.items():
        assert len(table) >= 8, title
        assert len({way.line for way in table}) == len(table), title


def test_introductions_are_not_content() -> None:
    ways = drawing.phrasings("写出反义词。|{x}")
    drawn = {drawing.say(Random(seed), ways, "大", "小", fact=True, x="大") for seed in range(60)}
    assert len({draw.instruction for draw in drawn}) > 3
    assert {draw.content for draw in drawn} == {"大|写出反义词。|{x}"}


def test_splits_share_nothing(train: list[Item], heldout: list[Item]) -> None:
    assert not {item.key for item in train} & {item.key for item in heldout}
    assert not {question(item) for item in train} & {question(item) for item in heldout}
    assert {split_of(item.key) for item in heldout} == {"heldout"}
    assert {split_of(item.key) for item in train} == {"train"}
    assert {item.family for item in heldout} == set(FAMILIES)


def test_one_content_in_ten_is_held_out() -> None:
    rng = Random(3)
    keys = {f"{family}|{draw(rng, 3).content}" for family, draw in DRAWS.items() for _ in range(400)}
    share = sum(split_of(key) == "heldout" for key in keys) / len(keys)
    assert 0.08 < share < 0.12


@pytest.mark.parametrize("family", ["antonym", "measure_word", "multiplication", "classification", "order"])
def test_training_shows_every_fact_that_is_held_out(family: str) -> None:
    def facts(split: Split, count: int) -> set[str]:
        drawn = items(count, seed=4, split=split, families=[family])
        return {item.key.split("|")[1] for item in drawn}

    assert facts("heldout", 1_500) <= facts("train", 8_000)


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("12", "12", True),
        ("12", " 12 \n", True),
        ("12", "12。", True),
        ("12", "12.", True),
        ("12", "１２", True),
        ("12", "１２．", True),
        ("12", "12。。", False),
        ("12", "13", False),
        ("12", "", False),
        ("3、5", "3、5。", True),
        ("3、5", "3,5", False),
        ("星期三", "　星期三。 ", True),
        ("有", "没有", False),
        ("ABC", "ＡＢＣ", True),
        ("國", "国", False),
    ],
)
def test_is_correct(expected: str, answer: str, right: bool) -> None:
    assert is_correct(expected, answer) is right


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["sortin"]}, "did you mean 'sorting'"),
        ({"families": []}, "families is empty"),
        ({"difficulty": 4}, "difficulty is 4"),
        ({"split": "test"}, "split is 'test'"),
    ],
)
def test_wrong_options_are_named_at_once(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        items(1, seed=0, **options)


GOLDEN = [
    Item(
        family="script",
        difficulty=3,
        instruction="简体变繁体。",
        input="月饼",
        output="月餅",
        key="script|月饼",
    ),
    Item(
        family="containment",
        difficulty=2,
        instruction="请帮我说说“小徐在商店休息”里有没有“秋天”。",
        input="",
        output="没有",
        key="containment|小徐在商店休息|秋天",
    ),
    Item(
        family="extraction",
        difficulty=1,
        instruction="麻烦你把姓名摘出来。",
        input="朱英的职业是医生",
        output="朱英",
        key="extraction|name|朱英,医生",
    ),
]
