"""Which folder a user's word for a model means, and the template in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.cli import main
from distill.errors import DistillError
from distill.model_folders import model_folder, trained_template


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose training has not ended."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "recipe.yaml").write_text("model: {}\n")
    (tmp_path / "run" / "template.txt").write_text("alpaca\n")
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"x")
    return tmp_path / "run"


def test_a_run_means_its_student(run: Path) -> None:
    (run / "student").mkdir()
    (run / "student" / "config.json").write_text("{}")
    assert model_folder(str(run)) == str(run / "student")
    assert model_folder(str(run / "student")) == str(run / "student")
    with pytest.raises(DistillError, match=f"is no model, but runs are in it: name one, such as {run}$"):
        model_folder(str(run.parent))
    assert trained_template(str(run)) == trained_template(str(run / "student")) == "alpaca"


@pytest.mark.parametrize("name", ["embedded", "uer/gpt2", "nowhere"])
def test_other_words_stay_as_they_are(name: str) -> None:
    assert model_folder(name) == name
    assert trained_template(name) is None


def test_an_exported_folder_says_its_template(tmp_path: Path) -> None:
    for text, told in (('{"template": "chatml"}', "chatml"), ("{}", None)):
        (tmp_path / "minituo.json").write_text(text)
        assert trained_template(str(tmp_path)) == told
    for text in ('{"templ', "[]"):
        (tmp_path / "minituo.json").write_text(text)
        with pytest.raises(DistillError, match=r"minituo\.json is damaged"):
            trained_template(str(tmp_path))


@pytest.mark.parametrize("verb", [["eval"], ["chat"], ["eval", "embedded", "--rows", "1", "--teacher"]])
def test_a_run_without_a_student_says_what_to_do(
    verb: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that some file is missing; a checkpoint is no folder either."""
    assert main([*verb, str(run)]) == 2
    said = capsys.readouterr().err
    assert f"{run} has no student/ yet: let its training end" in said
    assert f"distill export {run / 'checkpoints' / 'last.ckpt'} -o FOLDER" in said
    assert main([*verb, str(run / "checkpoints" / "last.ckpt")]) == 2
    assert "is a checkpoint; make a folder of it first" in capsys.readouterr().err
