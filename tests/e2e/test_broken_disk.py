"""Torn files of a run and full disks: one clear sentence, what was whole stays whole, nothing half-written is left."""

from __future__ import annotations

import errno
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from tests import bad_ground
from tests.bad_ground import FIT, refused, state
from tests.unit.test_together import FullFile

ground = bad_ground.ground


@pytest.fixture
def run(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete run in a folder of its own, ready to be damaged."""
    for name in ("train.jsonl", "val.jsonl", "good.yaml"):
        shutil.copy(ground / name, tmp_path)
    for name in ("wordpiece", "llama"):
        shutil.copytree(ground / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(FIT)) == 0
    return tmp_path / "run"


def test_torn_files_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb that meets a torn file names it; a checkpoint's sentence names another one to go on from."""
    last = run / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        last.write_bytes(whole[:size])
        before = state(run)
        for command in (FIT, f"{FIT} --trainer.max_steps 4", f"export {last} -o new",
                        f"validate --config good.yaml --ckpt_path {last}"):  # fmt: skip
            said = refused(command, capsys)
            assert "last.ckpt is damaged or cut off" in said
            assert "best-step=2.ckpt" in said
        assert state(run) == before
    last.write_bytes(whole)
    tokenizer = run / "student" / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:1000])
    for command in ("eval run --data val.jsonl", "export run -o new", "chat run"):
        assert "cannot load a tokenizer from run/student" in refused(command, capsys)
    (run / "recipe.yaml").write_text("model: [")
    assert "recipe.yaml is not valid YAML, line 1: " in refused(FIT, capsys)
    assert not Path("new").exists()


def test_another_recipe_leaves_the_run_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(run)
    assert "model.learning_rate" in refused(f"{FIT} --model.learning_rate 0.1", capsys)
    assert state(run) == before


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the last byte does not fit, the old file stays, and no part of the new one."""
    Path("scores.json").write_text('{\n  "data": "old"}')
    before = state(run.parent)
    opened = Path.open

    def full(path: Path, *given: Any, **more: Any) -> Any:
        file = opened(path, *given, **more)
        return FullFile(file) if path.suffix == ".part" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        for command, name in (
            ("eval run --data val.jsonl --json scores.json", "scores.json"),
            ("report run", "run/report.html"),
            ("recipes cp kd_student new.yaml", "new.yaml"),
            (f"{FIT} --trainer.default_root_dir new", "new/recipe.yaml"),
        ):
            assert f"no space left on the disk while writing {name}" in refused(command, capsys)
    assert state(run.parent) == before


@pytest.mark.parametrize("error", [FULL, RuntimeError("write failed: No space left on device (os error 28)")])
def test_a_full_disk_while_training(
    error: Exception, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint of before stays whole; with room again the same command goes on."""
    command = f"{FIT} --trainer.max_steps 6"

    def full(checkpoint: Any, file: Any, *args: Any, **more: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("torch.save", full)
        capsys.readouterr()
        assert main(shlex.split(command)) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "no space left on the disk while writing" in said
        assert ".ckpt" in said
    assert not list(run.rglob("*.part"))
    assert main(shlex.split(command)) == 0
    assert json.loads((run / "complete.json").read_text())["max_steps"] == 6


def test_a_full_disk_while_sampling_and_exporting(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the last step fails, nothing takes the file's name and nothing is left over."""
    before = state(run.parent)

    def full(*args: Any) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        for command in ("sample ./train.jsonl -o new.jsonl", "sample --mix demo -o new.jsonl", "export llama -o new"):
            refused(command, capsys)
        assert not Path("new.jsonl").exists()
        assert not list(run.parent.glob("*.part"))
    assert {name: value for name, value in state(run.parent).items() if name in before} == before
