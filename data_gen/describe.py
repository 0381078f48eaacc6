"""Numbers about a set of records: how many, how long, in which language, how often the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from data_gen.records import Record, content_id

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")
FIELDS = ("instruction", "input", "output")
QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
BINS = (0, 1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Lower bounds of the histogram's classes, in characters; the last one is open"""


def chinese_share(text: str) -> float:
    """The share of 汉字 among the characters that are no white space; 0 for an empty text."""
    said = sum(not character.isspace() for character in text)
    return len(_HAN.findall(text)) / said if said else 0.0


def describe(records: Iterable[Record]) -> dict[str, Any]:
    """Counts, lengths in characters, Chinese share and duplicates, as plain numbers."""
    import pandas as pd

    frame = pd.DataFrame(_measures(records))
    if frame.empty:
        return {"rows": 0}
    return {
        "rows": len(frame),
        "with_input": int((frame["input"] > 0).sum()),
        "with_history": int((frame["turns"] > 1).sum()),
        "empty_output": int((frame["output"] == 0).sum()),
        "duplicates": int(frame["content"].duplicated().sum()),
        "repeated_questions": int(frame["question"].duplicated().sum()),
        "characters": int(frame[list(FIELDS)].to_numpy().sum()),
        "length": {name: _lengths(frame[name]) for name in FIELDS},
        "chinese_share": {
            "mean": round(float(frame["chinese"].mean()), 4),
            "rows_below_half": int((frame["chinese"] < 0.5).sum()),
        },
        "histogram": {name: _histogram(frame[name]) for name in ("instruction", "output")},
    }


def _measures(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        asked = Record(record.instruction, record.input, system=record.system, history=record.history)
        yield {
            **{name: len(getattr(record, name)) for name in FIELDS},
            "turns": len(record.history) + 1,
            "content": content_id(record),
            "question": asked.id,
            "chinese": chinese_share(record.instruction + record.input + record.output),
        }


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
