"""Novelty: is a text far enough, by ROUGE-L, from every text that was accepted before? Exact, and fast at 100,000.

A full scan compares a candidate with every text. Three exact bounds leave a few dozen comparisons of it, and never
another decision. With n and m characters and a longest common subsequence of l, ROUGE-L is 2l / (n + m); at the
threshold p/q it takes l >= p (n + m) / 2q, so

1. m lies between p n / (2q - p) and (2q - p) n / p (at 0.7: 7n/13 and 13n/7), as l is at most the shorter length;
2. the texts share l (character, occurrence) pairs. For the smallest l that any m allows, a text that misses all the
   candidate's n - l + 1 rarest pairs is out: only their lists of an inverted index are read (and one more: then a text
   has to be on two of them), and how often a text is on them must make up for the pairs not read;
3. what is left is compared by the bit-parallel LCS of rapidfuzz, all at once.

The verdict itself is the float expression of `rouge_score`, 2PR / (P + R) with P = l/n and R = l/m, so that ties at
the threshold fall as they would there. Texts that are exactly at the threshold are not novel.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from data_gen.normal import characters
from data_gen.records import DataError

ONE_MORE = 1
"""Lists that are read beyond those that must be: they pay by sparing comparisons"""
_OCCURRENCE = 21
"""Bits of a character; an occurrence's number stands above them"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The most similar text at or above the threshold; the oldest of equals."""

    name: str
    text: str
    score: float


class Novelty:
    """`novelty.nearest(text)` is None when the text is novel; `novelty.add(text, name)` accepts it.

    Memory is linear in the characters accepted: about 13 bytes for each of them, text and index together.
    """

    def __init__(self, threshold: float = 0.7, tokens: Callable[[str], str] = characters) -> None:
        if not 0 < threshold <= 1:
            raise DataError(f"the threshold of novelty must lie above 0 and not above 1, not {threshold!r}")
        self.threshold = threshold
        ratio = Fraction(str(threshold))
        self._p, self._q = ratio.numerator, ratio.denominator
        self.tokens = tokens
        self._texts: list[str] = []
        self._names: list[str] = []
        self._lengths = np.zeros(1024, np.int32)
        self._lists: dict[int, array[int]] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str, name: str = "") -> None:
        """Accept a text, novel or not."""
        self.add_tokens(self.tokens(text), name)

    def nearest(self, text: str) -> Neighbour | None:
        """The most similar accepted text, when its ROUGE-L reaches the threshold."""
        number, score = self.find(self.tokens(text))
        return None if number < 0 else self.neighbour(number, score)

    def neighbour(self, number: int, score: float) -> Neighbour:
        """What is known of the accepted text of that number."""
        return Neighbour(self._names[number], self._texts[number], score)

    def add_tokens(self, said: str, name: str = "") -> None:
        """Accept what `tokens` made of a text."""
        number = len(self._texts)
        if number == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._lengths[number] = len(said)
        self._texts.append(said)
        self._names.append(name)
        for pair in _pairs(said):
            texts = self._lists.get(pair)
            if texts is None:
                self._lists[pair] = array("i", (number,))
            else:
                texts.append(number)

    def find(self, said: str) -> tuple[int, float]:
        """Number and ROUGE-L of the most similar accepted text; (-1, 0.0) when none reaches the threshold."""
        numbers = self._candidates(said)
        if not len(numbers):
            return -1, 0.0
        candidates = list(map(self._texts.__getitem__, numbers.tolist()))
        common = process.cdist([said], candidates, scorer=LCSseq.similarity, dtype=np.int32)[0]  # (candidates,)
        scores = rouge_l(common, len(said), self._lengths[numbers])
        best = int(scores.argmax())
        return (int(numbers[best]), float(scores[best])) if scores[best] >= self.threshold else (-1, 0.0)

    def _candidates(self, said: str) -> np.ndarray:
        """Numbers of the accepted texts, ascending, that the bounds cannot rule out."""
        n, p, q = len(said), self._p, self._q
        shortest, longest = -(-p * n // (2 * q - p)), (2 * q - p) * n // p
        least = -(-p * (n + shortest) // (2 * q))
        lists = [texts for pair in _pairs(said) if (texts := self._lists.get(pair)) is not None]
        read = min(n, n - least + 1 + ONE_MORE)
        unknown = n - len(lists)  # pairs that no text holds: the rarest of all
        if n == 0 or read <= unknown:
            return np.empty(0, np.int64)
        rarest = sorted(lists, key=len)[: read - unknown]
        numbers = np.concatenate([np.frombuffer(texts, np.int32) for texts in rarest])
        lengths = self._lengths[numbers]
        numbers = numbers[(lengths >= shortest) & (lengths <= longest)]
        numbers.sort()
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        on_lists = np.diff(starts, append=len(numbers))
        numbers = numbers[starts]
        needed = -(-p * (n + self._lengths[numbers].astype(np.int64)) // (2 * q)) - (n - read)
        return numbers[on_lists >= needed]


def rouge_l(common: np.ndarray, n: int, lengths: np.ndarray) -> np.ndarray:
    """F-measures of texts that have `common` characters of `n` and of `lengths` in common, as rouge_score computes."""
    precision, recall = common / n, common / lengths
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)


def similarity(one: str, other: str) -> float:
    """ROUGE-L of two texts as `characters` gives them."""
    common = LCSseq.similarity(one, other)
    return 0.0 if common == 0 else float(rouge_l(np.array([common]), len(one), np.array([len(other)]))[0])


def _pairs(said: str) -> list[int]:
    """(character, occurrence) pairs as numbers: the second 的 is another pair than the first."""
    seen: dict[str, int] = {}
    pairs = []
    for char in said:
        before = seen.get(char, 0)
        seen[char] = before + 1
        pairs.append(ord(char) | before << _OCCURRENCE)
    return pairs
