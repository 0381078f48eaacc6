"""Options that several actions of `distill datasets` take."""

from __future__ import annotations

from typing import Any

from distill.commands.arguments import Arguments

KNOWN: dict[str, dict[str, Any]] = {
    "--data-dir": {
        "metavar": "DIR",
        "help": "where raw files lie: DIR/<source>/<file> (./data, then $MINITUO_DATA)",
    },
    "--columns": {"metavar": "A=B,...", "help": "which column is the instruction, input, output, system"},
    "--json": {"action": "store_true", "help": "print JSON"},
    "--on-error": {"choices": ("stop", "skip"), "default": "stop", "help": "what to do at an unreadable row"},
    "--force": {"action": "store_true", "help": "replace a file that exists"},
}


def arguments(action: str, description: str | None, *options: str) -> Arguments:
    """The parser of an action, with these of the shared options."""
    parser = Arguments(f"datasets {action}", description or "")
    for option in options:
        parser.add_argument(option, **KNOWN[option])
    return parser
