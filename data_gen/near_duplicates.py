"""Near duplicates: records whose sets of character 5-grams overlap by 0.8 or more (Jaccard).

MinHash (rensa, in Rust) finds which of the earlier records may be that close: 20 bands of 6 rows, which miss one pair
in 400 at 0.8 exactly and fewer above it. Whether they are is then counted on the 5-grams themselves, so nothing is left
out by mistake.
"""

from __future__ import annotations

import pickle
from typing import Any

from data_gen.records import DataError, Record
from data_gen.shards import texts_of

GRAM = 5
BANDS, ROWS_A_BAND = 20, 6
SEED = 1


class NearDuplicates:
    """Remembers records; `seen(record)` is whether one of them is nearly the same."""

    def __init__(self, threshold: float = 0.8) -> None:
        self.threshold = threshold
        self._lsh = _rensa().RMinHashLSH(threshold=threshold, num_perm=BANDS * ROWS_A_BAND, num_bands=BANDS)
        self._texts: list[str] = []
        self._last: tuple[str, Any] | None = None

    def seen(self, record: Record, sketch: bytes = b"") -> bool:
        """Whether a record that was added is as close as the threshold. Changes nothing.

        `sketch` is `sketch_of` the record, where that was made already.
        """
        text = squeezed(record)
        minhash = pickle.loads(sketch) if sketch else _minhash(text)
        self._last = (text, minhash)
        near = self._lsh.query(minhash)
        if not near:
            return False
        grams = grams_of(text)
        return any(self._close(grams, self._texts[key]) for key in near)

    def add(self, record: Record) -> None:
        """Remember a record."""
        text = squeezed(record)
        if self._last is None or self._last[0] != text:
            self._last = (text, _minhash(text))
        self._lsh.insert(len(self._texts), self._last[1])
        self._texts.append(text)

    def _close(self, grams: set[str], other: str) -> bool:
        # No text that is much shorter or longer can be close: its grams are too few or too many.
        others = grams_of(other)
        if min(len(grams), len(others)) < self.threshold * max(len(grams), len(others)):
            return False
        both = len(grams & others)
        return both >= self.threshold * (len(grams) + len(others) - both)


def sketch_of(record: Record) -> bytes:
    """What costs most: the MinHash of a record, as bytes that can be sent to where records are compared."""
    return pickle.dumps(_minhash(squeezed(record)))


def _minhash(text: str) -> Any:
    minhash = _rensa().RMinHash(num_perm=BANDS * ROWS_A_BAND, seed=SEED)
    minhash.update(sorted(grams_of(text)))
    return minhash


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
