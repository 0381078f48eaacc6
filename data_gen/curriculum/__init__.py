"""A procedural Chinese curriculum: small questions with exactly one right answer each.

It trains the tiny teacher that ships with the package, scores the demo, and feeds tests. What happens, in
order:

1. `items` draws a family (by `WEIGHTS`) and a difficulty, 1 to 3.
2. The family draws operands or looks up a fact, works out the answer and puts the question in one of its
   phrasings.
3. The content of the item, hashed, says which split it belongs to; one in ten is held out. An item of the
   other split is thrown away and the next one is drawn.

What content is decides what "held out" means, and there are two kinds of families:

- *Rules* (sums, sorting, reversing, reading a sentence...): the content is the operands, without the
  phrasing. A held-out question never appears in training, under any phrasing; whoever answers it has learned
  the rule.
- *Closed tables* (antonyms, capitals, measure words, the multiplication table, weekdays...): nobody can know
  a fact that was never shown, so there the content is the fact, its direction and the phrasing. A held-out
  question is about a fact that training shows in other phrasings; whoever answers it has learned to
  understand the question.

Introductions such as 请 or 帮我 are never part of the content. For one seed the items are the same on every
platform and in every version of Python: only `Random.random` is drawn from, and splits hash with blake2b.
Only the standard library is needed.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from itertools import accumulate
from random import Random
from typing import Literal

from data_gen.curriculum import arithmetic, dates, facts, numbers, reading, strings
from data_gen.curriculum.drawing import Draw

Split = Literal["train", "heldout"]

HELD_OUT_OF_256 = 26
"""How many of 256 contents are held out: about one in ten"""

DRAWS: dict[str, Callable[[Random, int], Draw]] = {
    "addition": arithmetic.add,
    "subtraction": arithmetic.subtract,
    "chinese_sum": arithmetic.chinese_sum,
    "multiplication": arithmetic.multiply,
    "word_problem": arithmetic.story,
    "comparison": numbers.compare,
    "sorting": numbers.sort,
    "extreme": numbers.extreme,
    "numeral": numbers.numeral,
    "formal_numeral": numbers.formal_numeral,
    "neighbour": numbers.neighbour,
    "parity": numbers.parity,
    "counting": strings.count,
    "reversing": strings.reverse,
    "nth_character": strings.nth,
    "containment": strings.contains,
    "replacing": strings.replace,
    "repeating": strings.repeat,
    "pattern": strings.pattern,
    "weekday": dates.weekday,
    "date": dates.date,
    "clock": dates.clock,
    "unit": dates.unit,
    "antonym": facts.antonym,
    "measure_word": facts.measure_word,
    "capital": facts.capital,
    "order": facts.order,
    "script": facts.script,
    "extraction": reading.extract,
    "classification": reading.classify,
    "sentiment": reading.sentiment,
    "odd_one_out": reading.odd_one_out,
}
"""Family -> function that draws one question; a new family is a function and a line here"""

WEIGHTS: dict[str, float] = {}
"""How often a family is drawn, relative to 1 for those not named"""


def _make(draw: Callable[[Random, int], Draw]) -> Callable[[Random, int], tuple[str, str, str]]:
    def make(rng: Random, difficulty: int) -> tuple[str, str, str]:
        return draw(rng, difficulty)[1:]

    return make


FAMILIES: dict[str, Callable[[Random, int], tuple[str, str, str]]] = {
    name: _make(draw) for name, draw in DRAWS.items()
}
"""Family -> make(rng, difficulty) -> (instruction, input, output)"""


@dataclass(frozen=True, slots=True)
class Item:
    """One question and its only right answer."""

    family: str
    difficulty: int
    """1, 2 or 3"""
    instruction: str
    input: str
    """The material, or "" where the instruction holds all"""
    output: str
    key: str
    """What is asked, without how; decides the split. See the module's docstring"""


def split_of(key: str) -> Split:
    """The split a content key belongs to, the same everywhere and for ever."""
    first = blake2b(key.encode(), digest_size=1).digest()[0]
    return "heldout" if first < HELD_OUT_OF_256 else "train"


def items(
    n: int,
    *,
    seed: int,
    split: Split = "train",
    families: Sequence[str] | None = None,
    difficulty: int | None = None,
) -> Iterator[Item]:
    """Draw `n` items of a split, families and difficulties interleaved at random; the seed decides all.

    The arguments are checked at once, not when the first item is asked for.
    """
    names = list(DRAWS) if families is None else list(families)
    if not names:
        raise ValueError("families is empty: name at least one family or leave it out")
    for name in names:
        if name not in DRAWS:
            near = get_close_matches(name, DRAWS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(DRAWS)}"
            raise ValueError(f"unknown curriculum family {name!r}; {hint}")
    if split not in ("train", "heldout"):
        raise ValueError(f"split is {split!r}; it can be 'train' or 'heldout'")
    if difficulty not in (None, 1, 2, 3):
        raise ValueError(f"difficulty is {difficulty!r}; it can be 1, 2, 3 or None for all")
    return _draw_items(n, Random(seed), split, names, difficulty)


def _draw_items(
    n: int, rng: Random, split: Split, names: list[str], difficulty: int | None
) -> Iterator[Item]:
    draws = [DRAWS[name] for name in names]
    bounds = list(accumulate(WEIGHTS.get(name, 1.0) for name in names))
    while n > 0:
        where = rng.random() * bounds[-1]
        place = next(place for place, bound in enumerate(bounds) if where < bound)
        level = difficulty or 1 + int(rng.random() * 3)
        content, instruction, material, output = draws[place](rng, level)
        key = f"{names[place]}|{content}"
        if split_of(key) == split:
            n -= 1
            yield Item(names[place], level, instruction, material, output, key)


def is_correct(item_output: str, answer: str) -> bool:
    """Whether an answer is the item's, outer space, a closing full stop and full-width forms aside."""
    return _tidy(item_output) == _tidy(answer)


def _tidy(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).strip()
    return text[:-1].rstrip() if text.endswith(("。", ".")) else text
