"""A stopped training goes on exactly: the same weights as a run that was never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data_gen.records import Record, write_records
from tests import tiny


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, two tokenizers and a teacher."""
    folder = tmp_path_factory.mktemp("fit")
    lines = tiny.sentences()
    write_records(folder / "train.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[:200])))
    write_records(folder / "val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[200:220])))
    tiny.wordpiece(folder / "wp")
    tiny.tiny_llama(folder / "llama", tiny.sentencepiece_like(folder / "sp"))
    return folder


def command(ground: Path, run: str, *more: str) -> list[str]:
    """A short distillation with dropout, so that random state counts."""
    teacher = f'{{class_path: teachers.panda.PandaTeacher, init_args: {{path: "{ground / "llama"}"}}}}'
    return [
        sys.executable, "-m", "distill", "fit",
        "--model.student={preset: tiny, n_layer: 2, n_embd: 48, n_head: 2, resid_pdrop: 0.1, attn_pdrop: 0.1}",
        f"--model.tokenizer={ground / 'wp'}", f"--model.teacher={teacher}",
        "--model.losses=[{name: ce, weight: 0.5}, {name: forward_kl, weight: 0.5}]", "--model.warmup_steps=2",
        f"--data.train={ground / 'train.jsonl'}", f"--data.val={ground / 'val.jsonl'}", "--data.batch_size=8",
        "--trainer.precision=32-true", "--trainer.max_epochs=3", "--trainer.accumulate_grad_batches=2",
        f"--trainer.default_root_dir={ground / run}", *more,
    ]  # fmt: skip


def env() -> dict[str, str]:
    """One thread: the same sums every time."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def interrupt(argv: list[str], number: int, ready: Path, wait: float, said: Path) -> int:
    """Start, wait until `ready` exists and a little more, send the signal; the exit code. `said` gets its stderr."""
    with said.open("wb") as err:
        process = subprocess.Popen(argv, env=env(), stdout=subprocess.DEVNULL, stderr=err)
    deadline = time.monotonic() + 120
    while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(wait)
    process.send_signal(number)
    return process.wait(timeout=120)


def weights(ground: Path, run: str) -> dict[str, torch.Tensor]:
    """The run's student."""
    return load_file(ground / run / "student" / "model.safetensors")


@pytest.fixture(scope="module")
def whole(ground: Path) -> dict[str, torch.Tensor]:
    """The run nobody stopped."""
    subprocess.run(command(ground, "whole"), env=env(), check=True, capture_output=True)
    return weights(ground, "whole")


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "int"), (signal.SIGKILL, "kill")])
def test_stopped_and_resumed_is_the_same_run(
    ground: Path, whole: dict[str, torch.Tensor], number: int, name: str
) -> None:
    """Ctrl-C saves at the next step, kill -9 leaves the last checkpoint; both end in the same weights."""
    said = ground / f"{name}.err"
    first = interrupt(command(ground, name), number, ground / name / "checkpoints" / "last.ckpt", 0.3, said)
    assert first in ({130} if number == signal.SIGINT else {-9})
    assert "weights_only" not in said.read_text(encoding="utf-8")  # Lightning's chatter as it saves
    again = subprocess.run(command(ground, name), env=env(), check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    ours = weights(ground, name)
    assert ours.keys() == whole.keys()
    for key, value in whole.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=0)


def test_a_complete_run_says_so(ground: Path, whole: dict[str, torch.Tensor]) -> None:
    """The same command a third time trains nothing."""
    again = subprocess.run(command(ground, "whole"), env=env(), check=False, capture_output=True, text=True)
    assert again.returncode == 0
    assert "is complete" in again.stdout


def test_projectors_and_teacher_are_not_in_the_student(ground: Path, whole: dict[str, torch.Tensor]) -> None:
    """Only the student's own weights are exported."""
    assert all(key.startswith("transformer.") for key in whole)
    state = torch.load(ground / "whole" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(key.startswith("student.") for key in state)


def test_another_recipe_in_the_same_folder_is_refused(ground: Path, whole: dict[str, torch.Tensor]) -> None:
    """It names the setting and both ways out."""
    argv = command(ground, "whole", "--model.learning_rate=0.1")
    again = subprocess.run(argv, env=env(), check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert "model.learning_rate" in again.stderr
    assert "default_root_dir" in again.stderr
