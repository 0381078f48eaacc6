"""A run folder: stopped early, prolonged, moved; what it says of its data; settings that do not fit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_gen.outputs import block_writer
from data_gen.records import Record, write_records
from distill.cli import main
from distill.files import run_alone
from tests import tiny


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data and a tokenizer, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    lines = tiny.sentences()
    write_records("a.jsonl", (Record(f"第{n}句", output=t, source="coig") for n, t in enumerate(lines[:14])))
    write_records("b.jsonl", (Record(f"第{n}句", output=t, source="luotuo") for n, t in enumerate(lines[14:24])))
    write_records("val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[24:30])))
    tiny.byte_level_bpe("tokenizer")
    return tmp_path


def fit(*more: str, run: str = "run") -> int:
    """Six steps an epoch, validated at its end."""
    return main(
        [
            "fit", "--model.student={preset: tiny, n_layer: 1, n_embd: 32, n_head: 2, resid_pdrop: 0.1}",
            "--model.tokenizer=tokenizer", "--data.train=[a.jsonl, b.jsonl]", "--data.val=val.jsonl",
            "--data.batch_size=4", "--trainer.max_epochs=3", "--trainer.precision=32-true",
            f"--trainer.default_root_dir={run}", *more,
        ]
    )  # fmt: skip


def checkpoints(run: str = "run") -> list[str]:
    return sorted(path.name for path in Path(run, "checkpoints").iterdir())


class Stopped:
    """Ctrl-C at a step, as a user's finger would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, hook: str = "on_train_batch_end") -> None:
        from distill.callbacks import TrainingProgress

        real: Any = getattr(TrainingProgress, hook)

        def pressed(this: Any, trainer: Any, *arguments: Any) -> None:
            real(this, trainer, *arguments)
            if trainer.global_step == step:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(TrainingProgress, hook, pressed)


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run, "student", "model.safetensors"))


def test_stopped_again_and_again_before_the_first_validation(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one last.ckpt, always the newest, and the end is that of a run nobody stopped."""
    assert fit(run="whole") == 0
    for step in (2, 4, 9):
        with monkeypatch.context() as patch:
            Stopped(patch, step)
            assert fit() == 130
        state = torch.load("run/checkpoints/last.ckpt", weights_only=True)
        assert state["global_step"] == step
        assert not [name for name in checkpoints() if name.startswith("last-")]
    assert fit() == 0
    for key, value in weights("whole").items():
        torch.testing.assert_close(weights("run")[key], value, rtol=0, atol=0)


def test_a_stop_in_the_last_validation_is_not_lost(
    ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training is done, yet whoever called (the demo, a script) learns that the user wants to stop."""
    from distill.module import Distiller

    real = Distiller.on_validation_epoch_end

    def pressed(this: Distiller) -> None:
        real(this)
        if this.trainer.global_step == 18:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "on_validation_epoch_end", pressed)
        assert fit() == 130
    assert "stopped" in capsys.readouterr().err
    assert fit() == 0
    assert "is complete" in capsys.readouterr().out


def best_of(run: str) -> dict[str, Any]:
    """What the newest checkpoint says of the best one."""
    state = torch.load(Path(run, "checkpoints", "last.ckpt"), weights_only=True)
    return next(value for key, value in state["callbacks"].items() if key.startswith("RunCheckpoint"))


@pytest.mark.parametrize("how", ["moved", "renamed"])
def test_a_moved_run_goes_on(
    how: str, ground: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To another place with all it needs, or to another name: the best checkpoint of before is still the best one."""
    assert fit() == 0
    before, run = best_of("run"), "run"
    if how == "renamed":
        run = str(Path("run").rename("other"))
    else:
        place = tmp_path_factory.mktemp("moved") / "there"
        shutil.copytree(ground, place)
        shutil.rmtree("run")
        monkeypatch.chdir(place)
    assert fit("--trainer.max_epochs=4", run=run) == 0
    after = best_of(run)
    assert len(checkpoints(run)) == 2
    assert "last.ckpt" in checkpoints(run)
    assert float(after["best_model_score"]) <= float(before["best_model_score"])
    assert Path(after["best_model_path"]).parent == Path(run, "checkpoints").resolve()
    assert Path(after["best_model_path"]).name in checkpoints(run)


def test_a_best_checkpoint_of_before_stays_the_best(ground: Path, tmp_path: Path) -> None:
    """A state from another folder: the files are looked for here, and those that are gone are forgotten."""
    from distill.run_folder import RunCheckpoint

    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "best-step=6.ckpt").touch()
    there = {f"/there/best-step={n}.ckpt": torch.tensor(score) for n, score in ((6, 2.0), (12, 1.0))}
    state = {
        "monitor": "val_bpc", "best_model_score": torch.tensor(1.0), "best_model_path": "/there/best-step=12.ckpt",
        "current_score": torch.tensor(2.0), "dirpath": "/there", "best_k_models": there,
        "kth_best_model_path": "/there/best-step=6.ckpt", "kth_value": torch.tensor(2.0),
        "last_model_path": "/there/last.ckpt",
    }  # fmt: skip
    checkpoint = RunCheckpoint(dirpath=tmp_path / "here", monitor="val_bpc", save_top_k=1)
    checkpoint.load_state_dict(state)
    assert checkpoint.best_model_path == str(tmp_path / "here" / "best-step=6.ckpt")
    assert checkpoint.best_model_score == 2.0
    assert checkpoint.last_model_path == str(tmp_path / "here" / "last.ckpt")
    assert checkpoint.best_k_models == {checkpoint.best_model_path: torch.tensor(2.0)}


def test_what_it_was_trained_on(ground: Path) -> None:
    """Several files: every source with its rows and the licence the registry knows; a mix's own manifest as it is."""
    assert fit("--trainer.max_steps=1") == 0
    found = json.loads(Path("run/data_manifest.json").read_text(encoding="utf-8"))
    assert found["rows"] == 24
    assert [(s["id"], s["taken"]) for s in found["sources"]] == [("coig", 14), ("luotuo", 10)]
    assert [s["licence"]["noncommercial"] for s in found["sources"]] == [False, True]
    assert [file["file"] for file in found["files"]] == ["a.jsonl", "b.jsonl"]
    assert main(["export", "run", "-o", "out"]) == 0
    card = Path("out/README.md").read_text(encoding="utf-8")
    assert "| coig | 14 | Apache-2.0 AND MIT AND CC-BY-SA-4.0 |" in card
    assert "**Not for commercial use**: luotuo" in card
    Path("a.manifest.json").write_text('{"name": "mine",   "sources": [{"id": "x", "taken": 14, "licence": "MIT"}]}')
    assert fit("--trainer.max_steps=1", "--data.train=a.jsonl", run="single") == 0
    assert Path("single/data_manifest.json").read_text() == Path("a.manifest.json").read_text()


def test_rows_that_name_no_source(ground: Path) -> None:
    """Made up by a teacher, or by nobody knows whom; a licence in a row counts; a broken registry stops nobody."""
    from distill.training_data import manifest_of

    Path("sources").mkdir()
    Path("sources/wrong.yaml").write_text("id: [")
    Path("a.manifest.json").write_text("{torn")
    records = [
        Record("甲", output="乙", meta={"strategy": "magpie", "teacher": "embedded"}),
        Record("丙", output="丁", source="mine", meta={"licence": "CC-BY-NC-4.0"}),
        Record("戊", output="己"),
    ]
    found = json.loads(manifest_of(["a.jsonl", "b.jsonl"], records))
    assert {s["id"]: s["licence"]["spdx"] for s in found["sources"]} == {
        "magpie by embedded": "LicenseRef-unclear", "mine": "CC-BY-NC-4.0", "unknown": "LicenseRef-unclear",
    }  # fmt: skip
    assert [s["licence"]["noncommercial"] for s in found["sources"]] == [False, True, False]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data.max_length=513"], "data.max_length is 513, but this student reads 512 tokens at most"),
        (["--trainer.precision=16-mixed"], "take bf16-mixed or 32-true"),
        (["--trainer.accumulate_grad_batches=0"], "accumulate_grad_batches is 1 at least"),
        (["--trainer.max_epochs=-1", "--trainer.max_time=00:00:00:05"], "set trainer.max_steps or max_epochs too"),
        (["--trainer.strategy=dpp"], "invalid strategy name"),
        (["--trainer.accelerator=gpuu"], "trainer.accelerator: unknown 'gpuu' (did you mean 'gpu'?)"),
        (["--trainer.accelerator=tpu"], "trainer.accelerator: this machine has no 'tpu': take auto"),
        (["--trainer.overfit_batches=2"], "overfit_batches is not supported, train on a few rows with data.limit"),
        (["--trainer.fast_dev_run=true"], "try a recipe with max_steps 2 in another default_root_dir"),
        (["--trainer.max_steps=0"], "trainer.max_steps is 1 at least, or -1 for no end, got 0"),
        (["--trainer.limit_train_batches=0"], "trainer.limit_train_batches is above 0"),
        (["--lr_scheduler=ConstantLR"], "lr_scheduler goes with an optimizer of your own"),
        (
            [
                "--trainer.callbacks+=pytorch_lightning.callbacks.GradientAccumulationScheduler",
                '--trainer.callbacks.scheduling={"0": 2}',
            ],
            "set trainer.accumulate_grad_batches",
        ),
        (["--trainer.devices=-3"], "`devices` selected with `CPUAccelerator` should be an int > 0"),
        (["--trainer.val_check_interval=1000"], "must be less than or equal to the number of the training batches"),
        (
            ["--trainer.callbacks+=pytorch_lightning.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val_bcp"],
            "metric `val_bcp` which is not available",
        ),
        (
            ["--trainer.val_check_interval=3", "--trainer.accumulate_grad_batches=2"],
            "3 batches are no whole number of steps of trainer.accumulate_grad_batches 2",
        ),
        (["--trainer.val_check_interval=0.5", "--trainer.accumulate_grad_batches=2"], "3 batches are no whole number"),
        (
            [
                "--trainer.val_check_interval=8",
                "--trainer.accumulate_grad_batches=4",
                "--trainer.check_val_every_n_epoch=null",
            ],
            "an epoch of 6 batches is no whole number of steps of trainer.accumulate_grad_batches 4",
        ),
        (
            ["--trainer.val_check_interval=00:00:01:00", "--trainer.accumulate_grad_batches=2"],
            "a time may end in the middle of a step",
        ),
        (["--trainer.max_time=soon"], "is not a valid duration"),
        (["--data.train=table.csv"], "to make records of it: distill sample ./table.csv --convert -o table.jsonl"),
    ],
)
def test_settings_that_do_not_fit(
    options: list[str], said: str, ground: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence where Lightning or torch would show a traceback."""
    Path("table.csv").write_text("题目,答案\n一,二\n", encoding="utf-8")
    assert fit(*options) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("distill: ")
    assert said in last
    assert "http" not in last


def test_data_that_lie_elsewhere_now(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What to do is said; whether they are the same data is found out as ever."""
    assert fit("--trainer.max_steps=2") == 0
    Path("a.jsonl").rename("c.jsonl")
    there = "--data.train=[c.jsonl, b.jsonl]"
    assert fit(there) == 2
    said = capsys.readouterr().err
    assert "(data.train): if they only lie elsewhere now, say so in run/recipe.yaml; or give another" in said
    recipe = Path("run/recipe.yaml")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("a.jsonl", "c.jsonl"), encoding="utf-8")
    assert fit(there, "--trainer.max_steps=3") == 0
    assert "going on at step 2 of 3" in capsys.readouterr().err
    assert fit("--data.batch_size=5") == 2
    assert "elsewhere" not in capsys.readouterr().err


def test_two_runs_never_share_a_folder(ground: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor what one of them writes down; afterwards the folder is free."""
    with run_alone(Path("run")):
        assert fit("--model.learning_rate=1") == 2
        assert Path("run").is_dir()
    assert "another 'distill fit' is training in run: wait for its end" in capsys.readouterr().err
    assert not Path("run").exists()
    assert fit("--trainer.max_steps=1") == 0
    with block_writer(Path("run/report.html")):
        assert main(["report", "run"]) == 2
    assert "run/report.html is being written by another run" in capsys.readouterr().err


def test_time_is_up_between_two_steps(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four batches each; what is saved then can be gone on from."""
    from distill.resuming import StepTimer

    looked = iter([0.0])
    monkeypatch.setattr(StepTimer, "time_elapsed", lambda timer, stage=None: next(looked, 1e9))
    assert fit("--trainer.max_time=00:00:10:00", "--trainer.accumulate_grad_batches=4") == 0
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 1
    assert state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"] == 4


def test_apples_gpus_are_left_alone(
    ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have no float64: not chosen by themselves, and refused when asked for."""
    monkeypatch.setattr("pytorch_lightning.accelerators.MPSAccelerator.is_available", lambda: True)
    for name in ("mps", "gpu"):
        assert fit("--trainer.max_steps=1", f"--trainer.accelerator={name}") == 2
        assert "do not compute in float64" in capsys.readouterr().err
    assert fit("--trainer.max_steps=1") == 0


def test_a_teacher_is_read_to_the_trainers_device(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in the number format of that, whatever else the machine has."""
    from teachers.base import TeacherError
    from teachers.panda import PandaTeacher

    seen = []

    def load(teacher: PandaTeacher) -> Any:
        seen.append((teacher.device, teacher._torch_dtype()))
        raise TeacherError("enough")

    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(PandaTeacher, "_load", load)
    assert fit("--model.teacher=teachers.panda.PandaTeacher", "--trainer.accelerator=cpu") == 2
    assert seen == [("cpu", torch.float32)]
