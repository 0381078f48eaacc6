"""Two processes train the very student that one does with twice the accumulation, and validate the same rows."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from data_gen.records import Record, write_records
from distill.cli import main
from tests import tiny


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "logs" / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_ranks_are_one_with_more_accumulation(tmp_path: Path) -> None:
    """Rows have 2 to 30 supervised tokens, so that a mean of the ranks' means would be another loss."""
    lines = tiny.sentences()
    write_records(
        tmp_path / "train.jsonl", (Record(f"第{n}句", output=t * (1 + n % 3)) for n, t in enumerate(lines[:40]))
    )
    write_records(tmp_path / "val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[40:64])))
    tiny.wordpiece(tmp_path / "tokenizer")
    tiny.tiny_llama(tmp_path / "llama", tiny.sentencepiece_like(tmp_path / "sp"))
    teacher = f'{{class_path: teachers.panda.PandaTeacher, init_args: {{path: "{tmp_path / "llama"}"}}}}'
    argv = [
        "fit", "--model.student={preset: tiny, n_layer: 1, n_embd: 32, n_head: 2}", "--model.warmup_steps=2",
        f"--model.tokenizer={tmp_path / 'tokenizer'}", f"--model.teacher={teacher}",
        "--model.losses=[{name: ce, weight: 0.5}, {name: forward_kl, weight: 0.5}]",
        f"--data.train={tmp_path / 'train.jsonl'}", f"--data.val={tmp_path / 'val.jsonl'}", "--data.batch_size=4",
        "--data.val_batch_size=4", "--trainer.precision=32-true", "--trainer.max_epochs=2",
        "--trainer.accelerator=cpu",
    ]  # fmt: skip
    assert main([*argv, f"--trainer.default_root_dir={tmp_path / 'one'}", "--trainer.accumulate_grad_batches=2"]) == 0
    ranks = [f"--trainer.default_root_dir={tmp_path / 'two'}", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = subprocess.run(
        [sys.executable, "-m", "distill", *argv, *ranks], env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("student: ") == 1
    ours, theirs = (load_file(tmp_path / run / "student" / "model.safetensors") for run in ("two", "one"))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-6)
    last = [[float(row["val_bpc"]) for row in metrics(tmp_path / run) if row["val_bpc"]] for run in ("two", "one")]
    torch.testing.assert_close(torch.tensor(last[0]), torch.tensor(last[1]), rtol=1e-5, atol=0)
    assert sorted(p.name for p in (tmp_path / "two" / "checkpoints").iterdir())[-1] == "last.ckpt"
