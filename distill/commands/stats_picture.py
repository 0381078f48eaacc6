"""`distill datasets stats --svg`: what `describe` found as one picture, an SVG that needs nothing beside it."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, BAR, GAP, LEFT = 640, 16, 5, 120
LONGEST = WIDTH - LEFT - 110
STYLE = """\
text{font:13px system-ui,sans-serif;fill:#222}.h{font-weight:600}.n{fill:#666}.b{fill:#4878a8}.l{fill:#b8653a}\
@media(prefers-color-scheme:dark){svg{background:#16181c}text{fill:#ddd}.n{fill:#999}}"""


def picture(name: str, numbers: dict[str, Any]) -> str:
    """Bars for the lengths of questions and answers and for the languages."""
    blocks = [
        (f"{field}, characters", "b", [(_span(one), one["rows"]) for one in classes])
        for field, classes in numbers.get("histogram", {}).items()
    ]
    blocks.append(("language, by script", "l", list(numbers.get("languages", {}).items())))
    y, parts = 28, [f'<text class="h" x="12" y="{20}">{escape(name)}: {numbers["rows"]:,} rows</text>']
    for title, colour, bars in blocks:
        if not bars:
            continue
        y += 26
        parts.append(f'<text class="h" x="12" y="{y}">{escape(title)}</text>')
        most = max(rows for _, rows in bars) or 1
        for label, rows in bars:
            y += BAR + GAP
            width = round(LONGEST * rows / most, 1)
            share = rows / numbers["rows"]
            parts.append(
                f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{escape(label)}</text>'
                f'<rect class="{colour}" x="{LEFT}" y="{y - BAR + 4}" width="{width}" height="{BAR}" rx="2"/>'
                f'<text class="n" x="{LEFT + width + 6:.1f}" y="{y}">{rows:,} ({share:.1%})</text>'
            )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 18}" width="{WIDTH}" height="{y + 18}"'
    label = f' role="img" aria-label="{escape(name, quote=True)}">'
    return head + label + f"<style>{STYLE}</style>" + "".join(parts) + "</svg>\n"


def _span(one: dict[str, int]) -> str:
    return f"{one['from']}-{one['below'] - 1}" if one["below"] else f"{one['from']}+"
