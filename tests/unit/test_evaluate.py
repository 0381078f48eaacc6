"""`distill eval` asks everybody alike: in full precision wherever it runs, so many rows at once, the teacher too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from data_gen.records import Record, write_records
from distill.cli import main
from distill.demo_scores import show, summary
from distill.evaluate import Score
from distill.metrics import METRICS, Metric
from distill.report import build_page
from students.card import model_card
from teachers.panda import PandaTeacher
from tests import tiny


@pytest.mark.parametrize(("options", "dtype"), [((), "fp32"), (("--dtype", "bf16"), "bf16")])
def test_everybody_is_asked_alike(
    options: tuple[str, ...], dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    seen: list[tuple[str, int]] = []

    class Seen(PandaTeacher):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            dtypes.append(self.dtype)

    def answers(model: Any, view: Any, template: Any, rows: list[Record], tokens: int, size: int = 64) -> list[str]:
        seen.append((str(model.dtype), size))
        return ["好"] * len(rows)

    dtypes: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("teachers.panda.PandaTeacher", Seen)
    monkeypatch.setattr("distill.answers.answer_records", answers)
    tiny.tiny_llama(Path("llama"), tiny.sentencepiece_like(Path("sp")))
    write_records("val.jsonl", [Record("一", output="好"), Record("二", output="不好")])
    argv = ["eval", "llama", "--data", "val.jsonl", "--teacher", "llama", "--batch-size", "2", *options]
    assert main(argv) == 0
    assert dtypes == [dtype, dtype]
    assert [size for _, size in seen] == [2, 2]
    assert len({kind for kind, _ in seen}) == 1
    assert "50.0%" in capsys.readouterr().out


def test_a_metric_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one dict: it stands in the table, the file, the card of an export, the demo's means and the report."""
    monkeypatch.chdir(tmp_path)
    mine = Metric(lambda said: float(len(said.records)), "how many", ("多少", "how many rows"), ".2f")
    monkeypatch.setitem(METRICS, "mine", mine)
    tiny.tiny_llama(Path("llama"), tiny.sentencepiece_like(Path("sp")))
    write_records("val.jsonl", [Record("一", output="好"), Record("二", output="不好")])
    assert main(["eval", "llama", "--data", "val.jsonl", "--max-tokens", "2", "--json", "scores.json"]) == 0
    said = capsys.readouterr().out
    assert "how many" in said
    assert "2.00" in said
    scores = json.loads(Path("scores.json").read_text(encoding="utf-8"))["models"]
    assert list(scores[0])[:6] == ["name", "parameters", *METRICS]
    assert scores[0]["mine"] == 2
    assert "多少" in build_page(tmp_path)
    assert ">2.00<" in build_page(tmp_path)
    assert "| mine |" in model_card(
        {"scores": {"models": scores}}, AutoModelForCausalLM.from_pretrained("llama"), False
    )
    one = Score("kd", 1, dict.fromkeys(METRICS, 0.5), 1.0)
    show({"rows": 2, "models": [summary("kd", [one], [0])]})
    assert "0.50" in capsys.readouterr().out


def test_nobody_elses_file_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by scores nor by a page, least of all what is read."""
    data = tmp_path / "val.jsonl"
    write_records(data, [Record("一", output="好")])
    before = data.read_bytes()
    for argv in (
        ["eval", "embedded", "--data", str(data), "--json", str(data)],
        ["report", str(tmp_path), "-o", str(data)],
    ):
        assert main(argv) == 2
        assert f"{data} exists and was not written by this command" in capsys.readouterr().err
    assert data.read_bytes() == before
    for _ in range(2):  # its own may be written anew
        assert main(["eval", "embedded", "--data", str(data), "--json", str(tmp_path / "scores.json")]) == 0
