"""Runs that end before their recipe's end, and go on: nothing is lost, and what they end in is what nobody stopped."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.e2e import test_run_folder
from tests.e2e.test_run_folder import Stopped, fit, weights

ground = test_run_folder.ground


def last(run: str = "run") -> dict[str, Any]:
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)


def logged(run: str, column: str) -> list[float]:
    with Path(run, "logs", "csv", "metrics.csv").open(encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def test_the_last_checkpoint_is_the_last_one_and_not_the_best(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However validation turns out, a run that is killed or prolonged goes on from its newest checkpoint."""
    assert fit("--model.learning_rate=3") == 0  # from bad to worse
    scores = logged("run", "val_bpc")
    assert min(scores) < scores[-1]
    assert last()["global_step"] == 18
    best = scores.index(min(scores)) * 6 + 6
    said = capsys.readouterr()
    assert said.out == f"run/student: step {best} of 18, val_bpc {min(scores):.3f}\n"
    assert "going on" not in said.err
    assert fit("--model.learning_rate=3", "--trainer.max_epochs=4") == 0
    assert "going on at step 18 of 24 of run\n" in capsys.readouterr().err


@pytest.mark.parametrize("validated", [True, False])
def test_an_epoch_that_time_has_cut_short_is_taken_to_its_end(
    validated: bool, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More time, or no limit any more, and the run ends where it would have ended."""
    from distill.resuming import StepTimer

    more = [] if validated else ["--data.val=null"]
    assert fit(*more, run="whole") == 0
    looked = iter([0.0] * 7)  # once a step, and at an epoch's end
    with monkeypatch.context() as patch:
        patch.setattr(StepTimer, "time_elapsed", lambda timer, stage=None: next(looked, 1e9))
        assert fit("--trainer.max_time=00:00:10:00", *more) == 0
    assert last()["global_step"] == 7
    assert fit(*more) == 0
    assert last()["global_step"] == 18
    for key, value in weights("whole").items():
        torch.testing.assert_close(weights("run")[key], value, rtol=0, atol=0)


def test_an_epoch_that_steps_have_cut_short_is_taken_to_its_end(ground: Path) -> None:
    constant = "--model.schedule=constant"
    assert fit(constant, run="whole") == 0
    assert fit(constant, "--trainer.max_steps=8") == 0
    assert fit(constant) == 0
    for key, value in last("whole")["state_dict"].items():
        torch.testing.assert_close(last()["state_dict"][key], value, rtol=0, atol=0)


def test_loaders_that_are_made_anew_have_the_same_order(ground: Path) -> None:
    """An epoch's order is its own, however often Lightning asks for a loader."""
    assert fit(run="whole") == 0
    assert fit("--trainer.reload_dataloaders_every_n_epochs=1") == 0
    for key, value in weights("whole").items():
        torch.testing.assert_close(weights("run")[key], value, rtol=0, atol=0)


def test_weights_change_over_the_run_with_any_optimizer(ground: Path) -> None:
    """Not within its first step, as if that were all."""
    ramp = "--model.losses=[{name: ce, weight: {start: 1, end: 0.5}}]"
    assert fit("--optimizer=SGD", "--optimizer.lr=0.01", ramp, "--trainer.max_steps=3",
               "--trainer.log_every_n_steps=1") == 0  # fmt: skip
    shares = [total / part for total, part in zip(logged("run", "loss"), logged("run", "loss/ce"), strict=True)]
    assert shares == pytest.approx([1, 0.75, 0.5])


def test_a_run_that_begins_at_a_checkpoint(
    ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command goes on from where it was stopped, not from there; another one is taken when it is named."""
    assert fit() == 0
    begin = ["--ckpt_path=run/checkpoints/last.ckpt", "--trainer.max_epochs=5"]
    with monkeypatch.context() as patch:
        Stopped(patch, 20)
        assert fit(*begin, run="more") == 130
    assert "going on at step 18 of 30 of more" in capsys.readouterr().err
    assert fit(*begin, run="more") == 0
    assert "going on at step 20 of 30 of more" in capsys.readouterr().err
    assert fit("--ckpt_path=run/checkpoints/last.ckpt", "--trainer.max_epochs=6", run="more") == 0
    assert "going on at step 30 of 36 of more" in capsys.readouterr().err
    best = str(next(Path("more/checkpoints").glob("best-*")))
    assert fit(f"--ckpt_path={best}", "--trainer.max_epochs=7", run="more") == 0
    assert "going on at step 36 of 42 of more" in capsys.readouterr().err
    assert fit("--trainer.max_epochs=2", run="more") == 2
    assert "more has trained for more than 2 epochs already" in capsys.readouterr().err


def test_a_recipe_of_a_machine_with_other_devices(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`fit` has a teacher where the student is, whatever device its recipe says, also in a run that goes on."""
    teacher = "--model.teacher={class_path: teachers.panda.PandaTeacher, init_args: {device: %s}}"
    kd = "--model.losses=[{name: ce}, {name: forward_kl}]"
    assert fit(teacher % "cuda:3", kd, "--trainer.max_steps=1") == 0
    assert fit(teacher % "auto", kd, "--trainer.max_steps=2", "--trainer.accelerator=cpu") == 0
    assert "going on at step 1 of 2" in capsys.readouterr().err
