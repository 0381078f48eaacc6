"""`distill validate | test | predict` on a checkpoint: numbers, answers, and a run folder that stays as it was."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from data_gen.records import Record, read_records, write_records
from distill.cli import main
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps."""
    folder = tmp_path_factory.mktemp("verbs")
    lines = tiny.sentences()
    write_records(folder / "train.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[:24])))
    write_records(folder / "val.jsonl", (Record(f"第{n}句", "材料", t * (n % 3 + 1)) for n, t in enumerate(lines[:7])))
    argv = [
        "fit", "--model.student={preset: tiny, n_layer: 1, n_embd: 32, n_head: 2}",
        f"--model.tokenizer={tiny.byte_level_bpe(folder / 'tokenizer')}", f"--data.train={folder / 'train.jsonl'}",
        f"--data.val={folder / 'val.jsonl'}", "--data.batch_size=2", "--trainer.max_steps=4",
        f"--trainer.default_root_dir={folder / 'run'}",
    ]  # fmt: skip
    assert main(argv) == 0
    return folder / "run"


def command(verb: str, run: Path) -> list[str]:
    """With the recipe that the run has written down."""
    return [verb, "--config", str(run / "recipe.yaml"), "--ckpt_path", str(run / "checkpoints" / "last.ckpt")]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_the_loss_of_a_checkpoint_is_that_of_training(verb: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    capsys.readouterr()
    assert main(command(verb, run)) == 0
    shown = re.search(r"val_bpc\D+([\d.]+)", capsys.readouterr().out)
    assert shown
    with (run / "logs" / "csv" / "metrics.csv").open() as file:
        logged = [row["val_bpc"] for row in csv.DictReader(file) if row["val_bpc"]]
    assert float(shown[1]) == pytest.approx(float(logged[-1]), rel=1e-5)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_without_a_name_the_best_checkpoint_of_the_run_is_meant(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where the folder has none, what is scored is said."""
    (best,) = (run / "checkpoints").glob("best-*.ckpt")
    scores = []
    for more in ([], ["--ckpt_path", str(best)], ["--trainer.default_root_dir", str(tmp_path)]):
        assert main(["validate", "--config", str(run / "recipe.yaml"), *more]) == 0
        scores.append(capsys.readouterr())
    assert scores[0].out == scores[1].out != scores[2].out
    assert f"checkpoint: {best}\n" in scores[0].err
    assert "checkpoint" not in scores[1].err
    assert f"no checkpoint in {tmp_path / 'checkpoints'} and no --ckpt_path" in scores[2].err


def test_a_mistyped_file_is_no_other_recipe(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", str(run / "recipe.yaml"), "--data.train", str(run.parent / "trian.jsonl")]) == 2
    said = capsys.readouterr().err
    assert "did you mean" in said
    assert "other settings" not in said


@pytest.mark.parametrize(("setting", "weight"), [("n_layer=2", "h.1.ln_1.weight"), ("n_embd=16", "wte.weight")])
def test_a_checkpoint_of_another_model(
    setting: str, weight: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("validate", run), f"--model.student.{setting}"]) == 2
    said = f"distill: the checkpoint is of another model than the recipe's: student.transformer.{weight} and"
    assert said in capsys.readouterr().err


def test_predict_prints_every_row_in_the_files_order(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(command("predict", run)) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    records = list(read_records(run.parent / "val.jsonl"))
    assert [(row["instruction"], row["input"], row["output"]) for row in rows] == [
        (record.instruction, record.input, record.output) for record in records
    ]
    assert all(isinstance(row["answer"], str) for row in rows)
    assert main([*command("predict", run), "--trainer.limit_predict_batches=1"]) == 0
    first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 0 < len(first) < len(rows)
    assert [row for row in rows if row in first] == first
