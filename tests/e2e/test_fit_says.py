"""What `fit` prints and where it goes; classes and templates of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from data_gen.records import Record, write_records
from data_gen.templates import get_template
from distill.cli import main
from tests.e2e import test_run_folder
from tests.e2e.test_run_folder import fit

ground = test_run_folder.ground


def test_what_was_left_out_is_said_once_and_what_came_out_goes_to_stdout(
    ground: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(
        "a.jsonl", [Record("空", output=""), *(Record(f"第{n}句", output="长话" * 40 * n) for n in range(1, 6))]
    )
    assert fit("--trainer.max_steps=1", "--data.max_length=60") == 0
    said = capsys.readouterr()
    assert said.out.startswith("run/student: step 1 of 1, val_bpc ")
    assert said.out.count("\n") == 1
    assert said.err.count("train: 1 rows have no answer, left out\n") == 1
    assert said.err.count("answers cut at 60 tokens\n") == 1
    assert main(["report", "run"]) == 0
    assert capsys.readouterr().out == "run/report.html\n"


def test_classes_of_ones_own_lie_beside_the_recipe(
    ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python looks there by itself only when it is started as `python -m distill`."""
    monkeypatch.setattr("sys.path", [place for place in sys.path if place not in {"", str(ground)}])
    Path("minds.py").write_text("from pytorch_lightning import Callback\nclass Minder(Callback): pass\n")
    assert fit("--trainer.callbacks+=minds.Mynder") == 2
    assert "trainer.callbacks: minds has no class 'Mynder' (did you mean 'Minder'?)" in capsys.readouterr().err


def test_a_template_of_ones_own_stays_with_the_model(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever scores, exports or talks to it has no need of the file; a run goes on with the one it began with."""
    own = Path("我的.yaml")
    own.write_text('user: "用户：{q}\\n助手："\nstop: ["\\n用户："]\n', encoding="utf-8")
    assert fit("--data.template=我的.yaml", "--trainer.max_epochs=1") == 0
    own.unlink()
    for model, to in (("run", "exported"), ("exported", "again")):
        assert main(["eval", model, "--data", "val.jsonl", "--rows", "2", "--max-tokens", "2"]) == 0
        assert main(["export", model, "-o", to]) == 0
    told = json.loads(Path("again", "minituo.json").read_text(encoding="utf-8"))
    assert get_template(told["template"]).user == "用户：{q}\n助手："
    assert "template `我的`. A question reads:" in Path("again", "README.md").read_text(encoding="utf-8")
    own.write_text('user: "USER: {q}"\n', encoding="utf-8")
    capsys.readouterr()
    assert fit("--data.template=我的.yaml", "--trainer.max_epochs=2") == 2
    assert "run was trained with another template than '我的' is now" in capsys.readouterr().err
