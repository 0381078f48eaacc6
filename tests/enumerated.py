"""A language small enough to be counted: some hundred short texts with known probabilities.

Written in any tokenizer, such a language is an exact model: the next token's distribution after any beginning is a sum
over the texts that begin so. That tells what a target ought to be, without asking the code under test.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from data_gen.records import Record
from data_gen.templates import get_template
from distill.encoding import Side, encode_side
from students.tokenizers import ByteView
from students.train_tokenizers import train_byte_bpe, train_sentencepiece_bpe, train_wordpiece

_WORDS = ["中国", "人民", "中国人", "大学", "学生", "大学生", "人", "中", "国", "的", "国人", "大", "民", "学", "国民"]
_WEIGHTS = [8, 6, 5, 6, 5, 4, 3, 2, 2, 4, 3, 1, 1, 1, 2]


def language(texts: int, extra: Sequence[str] = (), seed: int = 0) -> dict[str, float]:
    """Texts of one to three words and their probabilities; `extra` words are mixed in."""
    rng = random.Random(seed)
    found: dict[str, float] = {}
    while len(found) < texts:
        text = "".join(
            rng.choices([*_WORDS, *extra], weights=[*_WEIGHTS, *[3] * len(extra)], k=rng.choice([1, 2, 2, 3]))
        )
        if text.strip():
            found[text] = rng.random() ** 2 + 0.02
    total = sum(found.values())
    return {text: mass / total for text, mass in found.items()}


def tokenizers(texts: dict[str, float], folder: Path) -> dict[str, ByteView]:
    """From characters and pieces of them to whole phrases, in all three families."""
    corpus = [text for text, mass in texts.items() for _ in range(int(mass * 2000) + 1)]
    letters = ["a b c d e f g h i j k l m n o p q r s t u v w x y z"]
    made = {f"byte{n}": train_byte_bpe(corpus, n, folder / f"byte{n}") for n in (270, 290)}
    made |= {f"sp{n}": train_sentencepiece_bpe(corpus, n, folder / f"sp{n}") for n in (269, 275)}
    made["wp"] = train_wordpiece(corpus + letters, 100, folder / "wp")
    return {name: ByteView(tokenizer) for name, tokenizer in made.items()}


class Exact:
    """A language in one tokenizer: the true distribution of the next token."""

    def __init__(self, view: ByteView, texts: dict[str, float]) -> None:
        assert view.eos_id is not None
        self.view = view
        self.ids = {text: (*view.encode(text), view.eos_id) for text in texts}
        self._next: dict[tuple[int, ...], dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for text, mass in texts.items():
            for k, token in enumerate(self.ids[text]):
                self._next[self.ids[text][:k]][token] += mass

    def probabilities(self, text: str) -> Tensor:
        """(tokens, vocabulary): before each token of the text."""
        ids = self.ids[text]
        rows = torch.zeros(len(ids), len(self.view.entries), dtype=torch.float64)
        for k in range(len(ids)):
            for token, mass in self._next[ids[:k]].items():
                rows[k, token] = mass
        return rows / rows.sum(-1, keepdim=True)


def sides(teacher: ByteView, student: ByteView, texts: Sequence[str]) -> tuple[Side, Side]:
    """The texts as answers, in both tokenizers."""
    records = [Record("问", output=text) for text in texts]
    template = get_template("qa")
    return encode_side(teacher, template, records, 4096), encode_side(student, template, records, 4096)


def safe_log(mass: Tensor) -> Tensor:
    """Logits of exact probabilities: what is impossible gets almost nothing."""
    return mass.clamp_min(1e-18).log()
