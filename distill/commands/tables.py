"""How tables and numbers look in a terminal."""

from __future__ import annotations

import sys
from typing import Any

BAR = 40
"""Characters of the longest bar of a histogram"""
TEXTS = {"here", "licence", "title"}
"""Columns beside the first one that hold no numbers"""


def print_stats(name: str, numbers: dict[str, Any]) -> None:
    """What `describe` found, with a small histogram."""
    print(f"{name}: {numbers['rows']:,} rows, {numbers.get('characters', 0):,} characters")
    if not numbers["rows"]:
        return
    for label, key in (
        ("with an input", "with_input"),
        ("with a history", "with_history"),
        ("with an empty output", "empty_output"),
        ("exact duplicates", "duplicates"),
        ("repeated questions", "repeated_questions"),
    ):
        print(f"  {label:<22} {numbers[key]:>9,}  {numbers[key] / numbers['rows']:6.1%}")
    chinese = numbers["chinese_share"]
    print(f"  {'Chinese characters':<22} {chinese['mean']:>9.1%}  ({chinese['rows_below_half']:,} rows below half)")
    languages = [f"{name} {rows / numbers['rows']:.1%}" for name, rows in numbers["languages"].items()]
    print(f"  {'language, by script':<22} {', '.join(languages)}")
    table = table_of("characters", "mean", "median", "p90", "p99", "max")
    for field, length in numbers["length"].items():
        table.add_row(field, *(f"{value:,}" for value in length.values()))
    print_table(table)
    for field, classes in numbers["histogram"].items():
        print(f"{field}, characters")
        most = max(one["rows"] for one in classes)
        for one in classes:
            span = f"{one['from']}-{one['below'] - 1}" if one["below"] else f"{one['from']}+"
            bar = "█" * round(BAR * one["rows"] / most) or "▏" * bool(one["rows"])
            print(f"  {span:>10} {bar} {one['rows']:,}")


def table_of(*columns: str) -> Any:
    """An empty rich table; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for n, name in enumerate(columns):
        number = n > 0 and name not in TEXTS
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return table


def print_table(table: Any) -> None:
    """Print a table; nothing is cut off: words take more lines, numbers more than a narrow terminal's width."""
    from rich.console import Console

    least = Console(width=140).measure(table).minimum
    console = Console(width=max(Console().width, least) if sys.stdout.isatty() else 140)
    console.print(table)


def print_json(value: Any) -> int:
    """Print JSON; 0, the exit code."""
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    return 0
