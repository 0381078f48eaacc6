"""Line charts as SVG text, without a library: axes with round ticks, one line a series, tooltips by `<title>`.

Colours are classes (`k0`, `k1`, ...) that the page's style sheet gives a meaning to, so that a chart follows the
reader's light or dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Point = tuple[float, float]

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 460, 12, 230
"""Where the plot stands inside the picture"""
COLOURS = 8
LARGEST = 1e15
"""Beyond that a value is taken for a diverged one and left out, as NaN is"""
MARKED_POINTS = 40
"""So many points of a series carry a tooltip"""
POINTS = 300
"""A longer series is drawn as the means of so many equal stretches"""


@dataclass(frozen=True)
class Series:
    """One line; series of one `kind` share a colour."""

    name: str
    kind: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """Maps `low..high` onto pixels `start..end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(series: Sequence[Series], label: str, x_label: str) -> str:
    """The SVG of a chart; empty text when no series has a finite point."""
    series = [Series(s.name, s.kind, points) for s in series if (points := finite(s.points))]
    if not series:
        return ""
    every = [point for s in series for point in s.points]
    y_ticks = ticks(min(y for _, y in every), max(y for _, y in every))
    x_ticks, x = _x_axis([x for x, _ in every])
    y = Axis(y_ticks[0], y_ticks[-1], BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        *(_y_tick(y(value), name) for value, name in zip(y_ticks, names(y_ticks), strict=True)),
        *(_x_tick(x(value), name) for value, name in zip(x_ticks, names(x_ticks), strict=True)),
        f'<text class="axis" x="{(LEFT + RIGHT) / 2:g}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>',
        *(_line(s, x, y) for s in series),
        "</svg>",
    ]
    return "".join(parts)


def _x_axis(values: Sequence[float]) -> tuple[list[float], Axis]:
    """The axis ends where the data ends; only the round values in between are named."""
    low, high = min(values), max(values)
    found = ticks(low, high)
    if low == high:
        return found, Axis(found[0], found[-1], LEFT, RIGHT)
    return [v for v in found if low <= v <= high], Axis(low, high, LEFT, RIGHT)


def path(points: Sequence[Point], x: Axis, y: Axis) -> str:
    """The `d` of a line through the points."""
    return "M" + "L".join(f"{number(x(a))},{number(y(b))}" for a, b in points)


def finite(points: Sequence[Point]) -> list[Point]:
    """The points that can be drawn, in the order of x."""
    return sorted(p for p in points if all(abs(v) < LARGEST for v in p))


def thin(points: Sequence[Point], count: int = POINTS) -> list[Point]:
    """At most `count` points: the means of equal stretches; the points themselves when there are few."""
    if len(points) <= count:
        return list(points)
    cuts = [n * len(points) // count for n in range(count + 1)]
    stretches = [points[a:b] for a, b in pairwise(cuts)]
    return [(sum(x for x, _ in s) / len(s), sum(y for _, y in s) / len(s)) for s in stretches]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values, equally spaced, the first at or below `low` and the last at or above `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-6):  # one value: give it some room
        room = 0.5 * max(abs(low), 1e-6)
        low, high = low - room, high + room
    raw = (high - low) / count
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 5, 10) if base * m >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def names(values: Sequence[float]) -> list[str]:
    """Labels of ticks, with as many decimals as their distance asks for."""
    decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9)) if len(values) > 1 else 0
    if max(abs(v) for v in values) >= 1e6:
        return [f"{v:.3g}" for v in values]
    return [f"{v + 0.0:.{decimals}f}" for v in values]


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{round(value, 1) + 0.0:g}"


def _y_tick(at: float, name: str) -> str:
    place = number(at)
    return (
        f'<path class="grid" d="M{LEFT},{place}H{RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{place}" text-anchor="end" dominant-baseline="middle">{name}</text>'
    )


def _x_tick(at: float, name: str) -> str:
    place = number(at)
    mark = f'<path class="grid" d="M{place},{BOTTOM}v5"/>'
    return f'{mark}<text x="{place}" y="{BOTTOM + 19}" text-anchor="middle">{name}</text>'


def _line(series: Series, x: Axis, y: Axis) -> str:
    points = thin(series.points)
    shape = path(points, x, y)
    step = max(1, -(-len(points) // MARKED_POINTS))
    marked = points[::-step][::-1]  # the last one always
    few = len(points) <= MARKED_POINTS
    dots = "".join(
        f'<circle class="{"dot" if few else "spot"}" cx="{number(x(a))}" cy="{number(y(b))}" r="{2.5 if few else 6}">'
        f"<title>{escape(series.name)} · {a:.0f} · {b:.4g}</title></circle>"
        for a, b in marked
    )
    title = f"<title>{escape(series.name)}</title>"
    return f'<g class="k{series.kind % COLOURS}">{title}<path class="line" d="{shape}"/>{dots}</g>'
