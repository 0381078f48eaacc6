"""What the demo has measured: means over its seeds, and the one table."""

from __future__ import annotations

import statistics
from typing import Any

MEASURES = ("exact_match", "bits_per_character", "teacher_agreement", "seconds")
SHOWN = {"exact_match": ".1%", "bits_per_character": ".3f", "teacher_agreement": ".1%"}


def summary(name: str, scores: list[Any], seeds: list[int]) -> dict[str, Any]:
    """Means over seeds; the spread is the standard deviation, of two seeds or more."""
    columns = {m: [float(getattr(s, m)) for s in scores] for m in MEASURES}
    families = sorted(scores[0].by_family)
    return {
        "name": name,
        "parameters": scores[0].parameters,
        **{m: statistics.fmean(values) for m, values in columns.items()},
        "spread": {m: statistics.stdev(values) for m, values in columns.items() if len(values) > 1},
        "seeds": seeds,
        "by_seed": [{"seed": seed, **{m: columns[m][n] for m in MEASURES}} for n, seed in enumerate(seeds)],
        "unknown_characters": scores[0].unknown_characters,
        "by_family": {f: statistics.fmean(s.by_family[f] for s in scores) for f in families},
    }


def show(scores: dict[str, Any]) -> None:
    """The demo's one table."""
    from distill.commands.tables import print_table, table_of

    print(f"{scores['rows']} held-out questions")
    table = table_of("model", "parameters", "exact match", "bits/char", "agreement", "seconds")
    for m in scores["models"]:
        measured = (_told(m, measure, form) for measure, form in SHOWN.items())
        table.add_row(m["name"], f"{m['parameters']:,}", *measured, f"{m['seconds']:.0f}")
    print_table(table)
    several = any(m["spread"] for m in scores["models"])
    print(f"{'± is the standard deviation over seeds; ' if several else ''}seconds are those of training")


def _told(model: dict[str, Any], measure: str, form: str) -> str:
    """A mean with its spread, where there is one."""
    spread = model["spread"].get(measure)
    return format(model[measure], form) + ("" if spread is None else f" ± {spread:{form}}")
