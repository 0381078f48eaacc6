"""What a recipe may say of a loss, read by distill's own parser: numbers, ramps, confidence, options."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from data_gen.records import Record, write_records
from distill.cli import main
from distill.lightning_cli import DistillCLI
from distill.losses import LossTerm
from distill.schedules import Ramp
from tests import tiny

LOSSES = """
model:
  losses:
    - {name: ce, weight: 0.3}
    - name: forward_kl
      weight: {start: 1, end: 0.2, shape: cosine}
      temperature: {start: 4, end: 1, until: 0.5}
      teacher_temperature: 1.5
      confidence: true
"""
MORE = "--model.losses+={name: jsd, weight: {start: 0, end: 1}, options: {beta: 0.2}}"
TERMS = [
    LossTerm("ce", 0.3),
    LossTerm("forward_kl", Ramp(1.0, 0.2, "cosine"), Ramp(4.0, 1.0, until=0.5), 1.5, confidence=True),
    LossTerm("jsd", Ramp(0.0, 1.0), options={"beta": 0.2}),
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with everything it names; teacher and student share a tokenizer."""
    folder = tmp_path_factory.mktemp("terms")
    write_records(folder / "val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(tiny.sentences()[:4])))
    tiny.tiny_llama(folder / "llama", tiny.sentencepiece_like(folder / "sp"))
    values = yaml.safe_load(LOSSES)
    values["model"] |= {
        "student": {"preset": "tiny", "n_layer": 1, "n_embd": 16, "n_head": 1},
        "tokenizer": str(folder / "sp"),
        "teacher": {"class_path": "teachers.panda.PandaTeacher", "init_args": {"path": str(folder / "llama")}},
    }
    values["data"] = {"train": str(folder / "val.jsonl"), "val": str(folder / "val.jsonl"), "batch_size": 4}
    values["trainer"] = {"accelerator": "cpu", "precision": "32-true", "default_root_dir": str(folder / "run")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return folder / "recipe.yaml"


def test_both_forms(recipe: Path) -> None:
    """A number stays a number, a mapping becomes a ramp, in a file and on the command line."""
    assert DistillCLI.from_argv(["validate", "--config", str(recipe), MORE]).model.losses == TERMS


def test_what_is_printed_is_read_again(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--print_config` resolves them; the result says the same."""
    assert main(["fit", "--config", str(recipe), MORE, "--print_config"]) == 0
    printed = capsys.readouterr().out
    resolved = yaml.safe_load(printed)["model"]["losses"]
    assert resolved[1]["weight"] == {"start": 1.0, "end": 0.2, "shape": "cosine", "until": 1.0}
    again = recipe.with_name("again.yaml")
    again.write_text(printed, encoding="utf-8")
    assert DistillCLI.from_argv(["validate", "--config", str(again)]).model.losses == TERMS


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        (
            "{name: jsd, weight: {start: 1, ende: 0}}",
            "model.losses.weight: Ramp has no option 'ende' (did you mean 'end",
        ),
        ("{name: jsd, weight: {start: 1, end: low}}", "model.losses.weight.end: expected float, got 'low'"),
        ("{name: jsd, weight: {start: 1}}", "model.losses.weight: the following arguments are required: end"),
        ("{name: jsd, weight: {start: 1, end: 0, shape: cosin}}", "unknown schedule 'cosin' (did you mean 'cosine'?)"),
    ],
)
def test_refused_in_a_sentence(recipe: Path, capsys: pytest.CaptureFixture[str], term: str, sentence: str) -> None:
    """Exit code 2, the key and the nearest name."""
    assert main(["fit", "--config", str(recipe), f"--model.losses+={term}"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
