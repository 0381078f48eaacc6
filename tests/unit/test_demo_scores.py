"""The demo's table: means over seeds, with a spread where there is one."""

from __future__ import annotations

import pytest

from distill.demo_scores import show, summary
from distill.evaluate import Score


def values(right: float, bits: float, like_teacher: float) -> dict[str, float | None]:
    return {"exact_match": right, "bits_per_character": bits, "teacher_agreement": like_teacher}


def test_means_and_spread(capsys: pytest.CaptureFixture[str]) -> None:
    """Of two seeds both; of one its values alone, for nobody knows how far another one would be from them."""
    found = [
        Score("kd", 1000, values(right, bits, right / 2), 10.0, by_family={"x": right})
        for right, bits in ((0.6, 1.0), (0.4, 2.0))
    ]
    two, one = summary("kd", found, [0, 1]), summary("kd", found[:1], [0])
    assert two["exact_match"] == pytest.approx(0.5)
    assert two["spread"]["bits_per_character"] == pytest.approx(0.5**0.5)
    assert two["by_family"] == {"x": 0.5}
    assert [each["seed"] for each in two["by_seed"]] == [0, 1]
    assert (one["exact_match"], one["spread"]) == (0.6, {})
    show({"rows": 8, "models": [two]})
    said = capsys.readouterr().out
    assert "50.0% ± 14.1%" in said
    assert "1.500 ± 0.707" in said
    assert "± is the standard deviation over seeds" in said
    show({"rows": 8, "models": [one]})
    said = capsys.readouterr().out
    assert "60.0%" in said
    assert "±" not in said
