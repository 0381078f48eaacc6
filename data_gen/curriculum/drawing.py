"""What every family is made of: portable draws, phrasings, numerals.

A family is a function `(rng, difficulty) -> Draw`. It draws operands, works out the answer by rule or by
table, and lets `say` put the question into one of its phrasings. A phrasing is written as one line:

    "{a}加{b}等于多少？"            a question: may be introduced by 请问 and the like
    "计算下面的算式。|{a}+{b}"       an imperative with material: what follows the bar becomes the input
    "~反义词：{x}"                  a bare line: no polite introduction fits

Only `random.Random.random()` is documented to give the same numbers in every version of Python, so all draws
here go through it and through nothing else.
"""

from collections.abc import MutableSequence, Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Draw(NamedTuple):
    """One question, before anybody has decided which split it belongs to."""

    content: str
    """What is asked, without how: operands of a rule, or fact and phrasing of a closed table"""
    instruction: str
    input: str
    output: str


class Phrasing(NamedTuple):
    """One way to ask, with its polite and plain variants ready made."""

    line: str
    variants: tuple[tuple[str, str], ...]


ASKING = ("", "", "", "", "请问", "请问", "问一下，", "我想问，")
"""Introductions of a question; repetition is weight"""
ORDERING = ("", "", "", "", "请", "请", "请", "帮我", "请帮我", "麻烦你")
"""Introductions of an imperative; repetition is weight"""


def listed(text: str) -> tuple[str, ...]:
    """The words of a text: how long word lists are written down."""
    return tuple(text.split())


def phrasings(*lines: str) -> tuple[Phrasing, ...]:
    """Compile lines such as `"求和。|{a}+{b}"` into phrasings, politeness included."""
    compiled = []
    for line in lines:
        instruction, _, material = line.removeprefix("~").partition("|")
        if line.startswith("~"):
            introductions: tuple[str, ...] = ("",)
        else:
            introductions = ASKING if instruction.endswith("？") else ORDERING
        variants = tuple((word + instruction, material) for word in introductions)
        compiled.append(Phrasing(line.removeprefix("~"), variants))
    return tuple(compiled)


def say(rng: Random, ways: Sequence[Phrasing], content: str, output: str, *, fact: bool = False,
        **fields: object) -> Draw:
    """Ask for `output` in one of `ways`. With `fact`, the phrasing becomes part of the content."""
    way = pick(rng, ways)
    instruction, material = pick(rng, way.variants)
    if fact:
        content = f"{content}|{way.line}"
    return Draw(content, instruction.format(**fields), material.format(**fields), output)


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options, each as likely as the other."""
    return options[int(rng.random() * len(options))]


def whole(rng: Random, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def shuffle(rng: Random, values: MutableSequence[T]) -> None:
    """Fisher-Yates in place, on `random()` alone."""
    for last in range(len(values) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        values[last], values[other] = values[other], values[last]


def some(rng: Random, options: Sequence[T], count: int) -> list[T]:
    """`count` different options, in the order they were drawn."""
    places: list[int] = []
    while len(places) < count:
        place = int(rng.random() * len(options))
        if place not in places:
            places.append(place)
    return [options[place] for place in places]


def some_numbers(rng: Random, low: int, high: int, count: int) -> list[int]:
    """`count` different whole numbers from low to high."""
    return some(rng, range(low, high + 1), count)


DIGITS = "零一二三四五六七八九"
FORMAL = "零壹贰叁肆伍陆柒捌玖"


def chinese(number: int, digits: str = DIGITS, ten: str = "十", hundred: str = "百") -> str:
    """0..999 in Chinese: 12 is 十二, 105 is 一百零五, 110 is 一百一十."""
    if number < 10:
        return digits[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        # Everyday Chinese says 十二, but a cheque says 壹拾贰.
        head = "" if tens == 1 and digits is DIGITS else digits[tens]
        return head + ten + (digits[ones] if ones else "")
    hundreds, rest = divmod(number, 100)
    head = digits[hundreds] + hundred
    if not rest:
        return head
    if rest < 10:
        return head + digits[0] + digits[rest]
    tens, ones = divmod(rest, 10)
    return head + digits[tens] + ten + (digits[ones] if ones else "")
