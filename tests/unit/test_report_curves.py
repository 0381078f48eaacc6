"""The report's curves: runs are found and put together by their kind, and lines are drawn where the numbers are."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.charts import Axis, Series, line_chart, names, path, thin, ticks
from distill.report import build_page, find_runs, read_curves
from tests import report_folder
from tests.report_folder import CSV, headings, put

demo = report_folder.demo


def test_curves_of_a_sparse_torn_file(tmp_path: Path) -> None:
    put(tmp_path / "m.csv", CSV + "0,nan,oops,,30,\n0,0.5")
    curves = read_curves(tmp_path / "m.csv")
    assert curves["val_bpc"] == [(10.0, 1.25)]
    assert curves["loss"][:3] == [(0.0, 4.0), (10.0, 2.0), (20.0, 1.0)]
    assert "step" not in curves
    assert "epoch" not in curves


def test_runs_of_a_kind(demo: Path) -> None:
    assert [(r.name, r.kind) for r in find_runs(demo)] == [
        ("kd-0", "kd"), ("sft-0", "sft"), ("sft-2", "sft"), ("sft-10", "sft")
    ]  # fmt: skip
    text = build_page(demo)
    assert "kd × 1" in text
    assert "sft × 3" in text
    first = text.split("</svg>")[0]
    assert [int(n) for n in re.findall(r'<g class="k(\d)">', first)] == [0, 1, 1, 1]
    assert "<title>sft-10 · 20 · 1</title>" in first
    assert text.count("<details>") == 2, "one recipe a kind"
    assert len(re.findall("<svg", text)) == 4, "loss, its two parts, validation"


def test_a_single_run(demo: Path) -> None:
    text = build_page(demo / "kd-0")
    assert headings(text) == ["训练过程 Training", "配方 Recipes"]
    assert "<h1>蒸馏报告<small>kd-0</small></h1>" in text
    assert "<td>kd-0</td>" in text
    assert '<td class="num">1.250</td>' in text


def test_a_run_that_diverged_or_has_not_begun(tmp_path: Path) -> None:
    put(tmp_path / "a-0" / "logs" / "csv" / "metrics.csv", "step,loss\n0,nan\n1,inf\n")
    put(tmp_path / "a-1" / "logs" / "csv" / "metrics.csv", "")
    put(tmp_path / "a-2" / "logs" / "csv" / "metrics.csv", "step,loss\n5,3.5\n6,nan\n7,1e300\n")
    text = build_page(tmp_path)
    assert "<td>a-2</td>" in text
    assert "<td>a-0</td>" not in text
    assert "<title>a-2 · 5 · 3.5</title>" in text
    assert not re.search(r"[\",LM>]-?(nan|inf)", text)


def test_path_golden() -> None:
    points = [(0, 4.0), (10, 2.0), (20, 1.0)]
    assert path(points, Axis(0, 20, 52, 460), Axis(1, 4, 230, 12)) == "M52,12L256,157.3L460,230"
    svg = line_chart([Series("kd-0", 1, points)], "loss", "step")
    assert '<g class="k1"><title>kd-0</title><path class="line" d="M52,12L256,157.3L460,230"/>' in svg
    assert line_chart([Series("x", 0, [(1, float("nan"))])], "loss", "step") == ""


def test_thin_keeps_the_mean_and_the_ends_of_the_range() -> None:
    points = [(float(n), float(n % 2)) for n in range(1000)]
    few = thin(points, 100)
    assert len(few) == 100
    assert all(y == 0.5 for _, y in few)
    assert few[0][0] == 4.5
    assert few[-1][0] == 994.5
    assert thin(points[:100], 100) == points[:100]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, ["0", "2", "4", "6", "8", "10"]),
        (0.31, 0.62, ["0.3", "0.4", "0.5", "0.6", "0.7"]),
        (-0.05, 0.05, ["-0.06", "-0.04", "-0.02", "0.00", "0.02", "0.04", "0.06"]),
        (0, 2_000_000, ["0", "5e+05", "1e+06", "1.5e+06", "2e+06"]),
    ],
)
def test_tick_names(low: float, high: float, expected: list[str]) -> None:
    assert names(ticks(low, high)) == expected


@given(st.lists(st.floats(-1e14, 1e14), min_size=1, max_size=5))
def test_ticks_cover_the_data(values: list[float]) -> None:
    found = ticks(min(values), max(values))
    room = 1e-6 * (found[-1] - found[0])
    assert found[0] - room <= min(values)
    assert max(values) <= found[-1] + room
    assert 2 <= len(found) <= 12
    assert all(a < b for a, b in pairwise(found))
    svg = line_chart([Series("a", 0, [(float(n), v) for n, v in enumerate(values)])], "y", "x")
    assert not re.search(r"[\",LM>]-?(nan|inf)", svg)
