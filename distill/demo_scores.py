"""What the demo has measured: means over its seeds, and the one table."""

from __future__ import annotations

import statistics
from typing import Any

from distill.metrics import METRICS


def summary(name: str, scores: list[Any], seeds: list[int]) -> dict[str, Any]:
    """Means over seeds; the spread is the standard deviation, of two seeds or more."""
    columns = {m: [float(s.values[m]) for s in scores] for m in METRICS} | {"seconds": [s.seconds for s in scores]}
    families = sorted(scores[0].by_family)
    return {
        "name": name,
        "parameters": scores[0].parameters,
        **{m: statistics.fmean(values) for m, values in columns.items()},
        "spread": {m: statistics.stdev(values) for m, values in columns.items() if len(values) > 1},
        "seeds": seeds,
        "by_seed": [{"seed": seed, **{m: values[n] for m, values in columns.items()}} for n, seed in enumerate(seeds)],
        "unknown_characters": scores[0].unknown_characters,
        "by_family": {f: statistics.fmean(s.by_family[f] for s in scores) for f in families},
    }


def show(scores: dict[str, Any]) -> None:
    """The demo's one table."""
    from distill.commands.tables import print_table, table_of

    print(f"{scores['rows']} held-out questions")
    table = table_of("model", "parameters", *(metric.title for metric in METRICS.values()), "seconds")
    for m in scores["models"]:
        measured = (_told(m, name) for name in METRICS)
        table.add_row(m["name"], f"{m['parameters']:,}", *measured, f"{m['seconds']:.0f}")
    print_table(table)
    several = any(m["spread"] for m in scores["models"])
    print(f"{'± is the standard deviation over seeds; ' if several else ''}seconds are those of training")


def _told(model: dict[str, Any], name: str) -> str:
    """A mean with its spread, where there is one."""
    spread, metric = model["spread"].get(name), METRICS[name]
    return metric.say(model[name]) + ("" if spread is None else f" ± {metric.say(spread)}")
