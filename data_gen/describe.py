"""Numbers about a set of records: how many, how long, in which language, how often the same."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from typing import Any

from data_gen.records import Record, content_id
from data_gen.shards import texts_of

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]+")
_KANA = re.compile(r"[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d]+")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
LANGUAGES = ("zh", "latin", "ja", "ko", "other", "none")
FIELDS = ("instruction", "input", "output")
QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
BINS = (0, 1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Lower bounds of the histogram's classes, in characters; the last one is open"""


def _count(runs: re.Pattern[str], text: str) -> int:
    return sum(map(len, runs.findall(text)))


def chinese_share(text: str) -> float:
    """The share of 汉字 among the characters that are no white space; 0 for an empty text."""
    said = sum(map(len, text.split()))
    return _count(_HAN, text) / said if said else 0.0


def language_of(text: str) -> str:
    """By script: zh, ja, ko, latin, other; "none" for a text without letters. A Latin letter weighs a quarter 汉字."""
    han = _count(_HAN, text)
    rest = len(text) - han
    kana = _count(_KANA, text) if rest else 0
    if kana > 0.2 * (han + kana):
        return "ja"
    weights = {"zh": float(han), "latin": _count(_LATIN, text) / 4 if rest else 0.0}
    weights["ko"] = _count(_HANGUL, text) if rest else 0.0
    best = max(weights, key=lambda name: weights[name])
    if weights[best]:
        return best
    return "other" if any(character.isalpha() for character in text) else "none"


def describe(records: Iterable[Record]) -> dict[str, Any]:
    """Counts, lengths in characters, languages, Chinese share and duplicates, as plain numbers.

    Characters, language and Chinese share are of all that a record says, its history included, as a budget counts them.
    A record costs about 50 bytes of memory, however long it is.
    """
    frame = _measured(records)
    if frame.empty:
        return {"rows": 0}
    counts = frame["language"].value_counts()
    return {
        "rows": len(frame),
        "with_input": int((frame["input"] > 0).sum()),
        "with_history": int((frame["turns"] > 1).sum()),
        "empty_output": int((frame["output"] == 0).sum()),
        "duplicates": int(frame["content"].duplicated().sum()),
        "repeated_questions": int(frame["question"].duplicated().sum()),
        "characters": int(frame["all"].sum()),
        "length": {name: _lengths(frame[name]) for name in FIELDS},
        "languages": {LANGUAGES[int(n)]: int(rows) for n, rows in counts.items()},
        "chinese_share": {
            "mean": round(float(frame["chinese"].mean()), 4),
            "rows_below_half": int((frame["chinese"] < 0.5).sum()),
        },
        "histogram": {name: _histogram(frame[name]) for name in ("instruction", "output")},
    }


_COLUMNS = dict.fromkeys(FIELDS, "i") | {
    "turns": "i",
    "all": "i",
    "content": "Q",
    "question": "Q",
    "chinese": "f",
    "language": "B",
}


def _measured(records: Iterable[Record]) -> Any:
    """A data frame of numbers, a row a record."""
    import numpy as np
    import pandas as pd

    columns: dict[str, array[Any]] = {name: array(code) for name, code in _COLUMNS.items()}
    for record in records:
        for name in FIELDS:
            columns[name].append(len(getattr(record, name)))
        columns["turns"].append(len(record.history) + 1)
        columns["content"].append(int(content_id(record), 16))
        columns["question"].append(
            int(Record(record.instruction, record.input, "", record.system, record.history).id, 16)
        )
        text = "".join(texts_of(record))
        columns["all"].append(len(text))
        columns["chinese"].append(chinese_share(text))
        columns["language"].append(LANGUAGES.index(language_of(text)))
    return pd.DataFrame({name: np.frombuffer(values, dtype=values.typecode) for name, values in columns.items()})


def _lengths(column: Any) -> dict[str, float]:
    quantiles = {name: int(column.quantile(q, interpolation="lower")) for name, q in QUANTILES.items()}
    return {"mean": round(float(column.mean()), 1), **quantiles}


def _histogram(column: Any) -> list[dict[str, int]]:
    """Classes from the first to the last that has rows: `{"from": 8, "below": 16, "rows": 120}`; `below` 0: open."""
    import pandas as pd

    classes = pd.cut(column, [*BINS, float("inf")], right=False, labels=False)
    counts = classes.value_counts()
    upper = [*BINS[1:], 0]
    return [
        {"from": BINS[n], "below": upper[n], "rows": int(counts.get(n, 0))}
        for n in range(int(classes.min()), int(classes.max()) + 1)
    ]
