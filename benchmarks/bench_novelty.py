"""What the index of data_gen/novelty.py saves: CPU of one decision against scanning everything, in the same run.

    python benchmarks/bench_novelty.py                            20,000 and 100,000 accepted texts
    python benchmarks/bench_novelty.py --texts rows.json          made out of the instructions of real Alpaca rows
    python benchmarks/bench_novelty.py --check                    every decision over 20,000 candidates made twice

Peers: `rouge_score` (its own LCS, one pair at a time, our characters as its tokens; pip install rouge-score) and a
full scan by rapidfuzz's LCS. The three are timed in turns, candidate by candidate, so that a busy machine slows all.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

sys.path.insert(0, str(Path(__file__).parents[1]))

from data_gen.known import questions
from data_gen.normal import characters
from data_gen.novelty import Novelty, rouge_l
from data_gen.strategies.tasks import SEEDS, read_seeds

PAIRS_OF_ROUGE_SCORE = 4_000
"""So many pairs are timed; a whole scan takes seconds"""


def corpus(texts: list[str], count: int, seed: int) -> list[str]:
    """As many texts: those given, and the beginning of one joined to the end of another."""
    draw = random.Random(seed)
    made = draw.sample(texts, min(count, len(texts)))
    while len(made) < count:
        one, other = draw.choice(texts), draw.choice(texts)
        cut = draw.randint(1, max(1, len(one) - 1))
        made.append(one[:cut] + other[draw.randint(0, max(0, len(other) - 2)) :])
    return made


def from_seeds() -> list[str]:
    """Texts when none are given: sentences of the seed tasks, instructions and answers."""
    tasks = [task for of_kind in read_seeds(SEEDS).values() for task in of_kind]
    sentences = [
        part for t in tasks for part in f"{t.instruction}。{t.input}。{t.output}".replace("，", "。").split("。")
    ]
    return [sentence for sentence in sentences if len(characters(sentence)) > 4]


def candidates(texts: list[str], count: int, seed: int) -> list[str]:
    """New ones, and near duplicates: every fifth is an old text with a few characters changed."""
    draw = random.Random(seed)
    made = corpus(texts, 10 * count, seed + 1)[-count:]
    for at in range(0, count, 5):
        chars = list(draw.choice(texts))
        for _ in range(max(1, len(chars) // 6)):
            chars[draw.randrange(len(chars))] = draw.choice("的了在是我有和")
        made[at] = "".join(chars)
    return made


def full_scan(said: str, texts: list[str], lengths: np.ndarray) -> tuple[int, float]:
    """What `Novelty.find` gives, from all texts."""
    common = process.cdist([said], texts, scorer=LCSseq.similarity, dtype=np.int32)[0]
    scores = rouge_l(common, max(1, len(said)), np.maximum(lengths, 1))
    best = int(scores.argmax())
    return (best, float(scores[best])) if scores[best] >= 0.7 else (-1, 0.0)


def compare(texts: list[str], accepted: int, tries: int) -> None:
    """One line: CPU of a decision, ours and theirs."""
    start = time.process_time()
    novelty = Novelty()
    for text in corpus(texts, accepted, 0):
        novelty.add(text)
    added = (time.process_time() - start) / accepted
    kept = [characters(text) for text in corpus(texts, accepted, 0)]
    lengths = np.array([len(text) for text in kept])
    held = sum(map(sys.getsizeof, (*novelty._lists.values(), *novelty._lists, *novelty._texts))) / lengths.sum()
    ours = theirs = 0.0
    slowest = 0.0
    for number, text in enumerate(candidates(texts, tries, 7)):
        start = time.process_time()
        found = novelty.find(characters(text))
        took = time.process_time() - start
        ours, slowest = ours + took, max(slowest, took)
        if number % 10 == 0:
            start = time.process_time()
            assert full_scan(characters(text), kept, lengths) == found, text
            theirs += time.process_time() - start
    ours, theirs = ours / tries, theirs / len(range(0, tries, 10))
    print(
        f"{accepted:>7,} accepted of {lengths.mean():.0f} characters: {ours * 1e3:.3f} ms a candidate (the slowest "
        f"{slowest * 1e3:.1f}), {added * 1e6:.0f} µs to accept one, {held:.0f} bytes a character"
    )
    print(f"{'':>8}full rapidfuzz scan {theirs * 1e3:.2f} ms: {theirs / ours:.0f} times as much")
    pair = rouge_score_pair(kept)
    if pair:
        print(f"{'':>8}rouge_score {pair * accepted * 1e3:,.0f} ms: {pair * accepted / ours:,.0f} times as much")


def rouge_score_pair(texts: list[str]) -> float:
    """Seconds that rouge_score takes for one pair; 0 when it is not installed."""
    try:
        from rouge_score import rouge_scorer
    except ImportError:
        print(f"{'':>8}rouge_score is not installed; pip install rouge-score")
        return 0.0

    class Characters:
        def tokenize(self, text: str) -> list[str]:
            return list(text)

    scorer: Any = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Characters())
    draw = random.Random(1)
    pairs = [(draw.choice(texts), draw.choice(texts)) for _ in range(PAIRS_OF_ROUGE_SCORE)]
    start = time.process_time()
    for one, other in pairs:
        scorer.score(one, other)
    return (time.process_time() - start) / len(pairs)


def check(texts: list[str], count: int) -> None:
    """A stream with near duplicates, every decision made twice."""
    novelty, kept = Novelty(), []
    lengths = np.zeros(count, np.int64)
    rejected = 0
    for text in candidates(texts, count, 3):
        said = characters(text)
        found = novelty.find(said)
        assert not kept or full_scan(said, kept, lengths[: len(kept)]) == found, text
        rejected += found[0] >= 0
        if found[0] < 0:
            lengths[len(kept)] = len(said)
            kept.append(said)
            novelty.add_tokens(said)
    print(f"{count:,} decisions are those of a full scan; {rejected:,} were not novel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="a file of rows with instructions (default: made of the seed tasks)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--tries", type=int, default=500)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    texts = [text for _, text in questions(args.texts) if len(text) > 2] if args.texts else from_seeds()
    if args.check:
        check(texts, 20_000)
        return
    for size in args.sizes:
        compare(texts, size, args.tries)


if __name__ == "__main__":
    main()
