"""Near duplicates: records whose sets of character 5-grams overlap by 0.8 or more (Jaccard).

MinHash (rensa, in Rust) finds which of the earlier records may be that close: 20 bands of 6 rows, which miss one pair
in 400 at 0.8 exactly and fewer above it. Whether they are is then counted on the 5-grams themselves, so nothing is left
out by mistake.
"""

from __future__ import annotations

from typing import Any

from data_gen.records import DataError, Record
from data_gen.shards import texts_of

GRAM = 5
BANDS, ROWS_A_BAND = 20, 6
SEED = 1


class NearDuplicates:
    """Remembers records; `seen(record)` is whether one of them is nearly the same."""

    def __init__(self, threshold: float = 0.8) -> None:
        rensa = _rensa()
        self.threshold = threshold
        self._minhash = rensa.RMinHash
        self._lsh = rensa.RMinHashLSH(threshold=threshold, num_perm=BANDS * ROWS_A_BAND, num_bands=BANDS)
        self._texts: list[str] = []
        self._last: tuple[str, Any] | None = None

    def seen(self, record: Record) -> bool:
        """Whether a record that was added is as close as the threshold. Changes nothing."""
        text = squeezed(record)
        grams = grams_of(text)
        sketch = self._minhash(num_perm=BANDS * ROWS_A_BAND, seed=SEED)
        sketch.update(sorted(grams))
        self._last = (text, sketch)
        return any(self._close(grams, self._texts[key]) for key in self._lsh.query(sketch))

    def add(self, record: Record) -> None:
        """Remember a record."""
        if self._last is None or self._last[0] != squeezed(record):
            self.seen(record)
        assert self._last is not None
        self._lsh.insert(len(self._texts), self._last[1])
        self._texts.append(self._last[0])

    def _close(self, grams: set[str], other: str) -> bool:
        # No text that is much shorter or longer can be close: its grams are too few or too many.
        others = grams_of(other)
        if min(len(grams), len(others)) < self.threshold * max(len(grams), len(others)):
            return False
        both = len(grams & others)
        return both >= self.threshold * (len(grams) + len(others) - both)


def squeezed(record: Record) -> str:
    """All that a record says, without white space and letter case."""
    return "".join("".join(texts_of(record)).split()).casefold()


def grams_of(text: str) -> set[str]:
    """The distinct character 5-grams of a text; of a shorter one, the text."""
    if len(text) <= GRAM:
        return {text}
    return {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}


def versions() -> dict[str, str]:
    """What decides which pairs are found."""
    from importlib.metadata import version

    _rensa()
    return {"rensa": version("rensa")}


def _rensa() -> Any:
    try:
        import rensa
    except ImportError:
        raise DataError("'dedup: near' needs rensa: pip install 'minituo[clean]'") from None
    return rensa
