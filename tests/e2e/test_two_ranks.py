"""Two processes, DDP and both kinds of FSDP, take the steps that one takes with twice the accumulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from safetensors.torch import load_file

from data_gen.records import Record, write_records
from distill.cli import main
from distill.errors import DistillError
from distill.sharding import check_strategy
from tests import tiny
from tests.ranks import CLIP, Catch, Task, steps_of, together
from tests.tiny import GPT2

STEPS = [
    Task("ddp", packing=True, batch_size=1),
    Task("fsdp2", strategy="fsdp2", accumulate=2),
    Task("fsdp2-packed", strategy="fsdp2", packing=True, batch_size=1),
    Task("fsdp2-untied", strategy="fsdp2", student="untied", accumulate=2),
    Task("fsdp2-head", strategy="fsdp2-head", student="untied", accumulate=2),
    Task("fsdp1", strategy="fsdp1", accumulate=2),
    Task("fsdp1-blocks", strategy="fsdp1-blocks", student="untied", accumulate=2),
]
BF16 = [
    Task("ddp-bf16", precision="bf16-mixed", packing=True, batch_size=1),
    Task("fsdp2-bf16", strategy="fsdp2", precision="bf16-mixed", accumulate=2),
    Task("fsdp2-bf16-whole", strategy="fsdp2", precision="bf16-true", accumulate=2),
]
"""Rounded so coarsely that only the sum of it all is compared"""
SPLIT = "{class_path: pytorch_lightning.strategies.ModelParallelStrategy, init_args: {data_parallel_size: 2, " \
    "tensor_parallel_size: 1, save_distributed_checkpoint: false}}"  # fmt: skip
STOP = ["--trainer.callbacks+=tests.ranks.StopAfter", "--trainer.callbacks.step=3"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, tokenizers, a teacher, and everything that the two ranks have done."""
    folder = tmp_path_factory.mktemp("ranks")
    lines = tiny.sentences()
    # Rows have 9 to 31 supervised tokens, so that a mean of the ranks' means would be another loss. They make 8 batches
    # of two, or 10 packed lines: nothing is left over on two ranks.
    rows = [Record(f"第{n}句", output=line * (1 + n % 3)) for n, line in enumerate(lines[:16])]
    write_records(folder / "train.jsonl", rows)
    write_records(folder / "val.jsonl", (Record(f"第{n}句", output=t) for n, t in enumerate(lines[40:51])))
    tiny.wordpiece(folder / "tokenizer")
    tiny.tiny_llama(folder / "teacher", tiny.sentencepiece_like(folder / "sp"))
    runs = []
    for kind, name in (("ddp", "ddp"), (SPLIT, "fsdp")):
        runs += [
            Task(f"{name}-run", argv=fit_argv(folder, f"{name}-whole", kind)),
            Task(f"{name}-stopped", argv=[*fit_argv(folder, f"{name}-parts", kind), *STOP]),
            Task(f"{name}-resumed", argv=fit_argv(folder, f"{name}-parts", kind)),
        ]
    last = Task("fsdp1-linear", strategy="fsdp1-linear", student="untied")
    together(folder, [*STEPS, *BF16, *runs, last])
    return folder


def fit_argv(folder: Path, run: str, strategy: str, devices: int = 2, *more: str) -> list[str]:
    """Packed lines, dropout."""
    return [
        "fit", f"--model.student={GPT2 | {'resid_pdrop': 0.1}}", "--model.warmup_steps=2",
        f"--model.tokenizer={folder / 'tokenizer'}",
        f"--model.teacher={{class_path: teachers.panda.PandaTeacher, init_args: {{path: {folder / 'teacher'}}}}}",
        "--model.losses=[{name: ce, weight: 0.5}, {name: forward_kl, weight: 0.5}]",
        "--model.features=[{loss: mse, weight: 0.3, layers: last}]",
        f"--data.train={folder / 'train.jsonl'}", f"--data.val={folder / 'val.jsonl'}", "--data.batch_size=1",
        "--data.max_length=48", "--data.packing=true", "--trainer.precision=32-true", "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu", f"--trainer.devices={devices}", f"--trainer.strategy={strategy}",
        "--trainer.logger=false", f"--trainer.default_root_dir={folder / run}", *more,
    ]  # fmt: skip


def found_by(ground: Path, name: str, rank: int = 0) -> Any:
    return torch.load(ground / f"{name}-{rank}.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(ground: Path) -> Any:
    """The same task in this process alone, with twice the accumulation."""
    done: dict[Any, Catch] = {}

    def steps(task: Task) -> Catch:
        key = (task.student, task.packing, task.accumulate, task.precision)
        if key not in done:
            done[key] = steps_of(replace(task, strategy="alone", accumulate=2 * task.accumulate), ground)
        return done[key]

    return steps


@pytest.mark.parametrize("task", STEPS, ids=lambda task: task.name)
def test_two_ranks_take_the_steps_of_one(task: Task, ground: Path, alone: Any) -> None:
    """Every gradient of every step, projector and head included, and the weights that clipped steps lead to."""
    ours, theirs = found_by(ground, task.name), alone(task)
    other = found_by(ground, task.name, 1)
    assert len(ours["gradients"]) == len(other["gradients"]) == len(theirs.gradients) == task.steps
    assert all(torch.equal(other["weights"][name], value) for name, value in ours["weights"].items())
    for found, expected in zip(ours["gradients"], theirs.gradients, strict=True):
        assert found.keys() == expected.keys()
        assert torch.stack([g.norm() for g in expected.values()]).norm() > 2 * CLIP
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    for name, value in theirs.weights.items():
        torch.testing.assert_close(ours["weights"][name], value, rtol=1e-5, atol=5e-6)
    left = {name for name in theirs.weights if name.startswith("student.") and not task.strategy.startswith("fsdp1")}
    assert ours["left"].keys() == left
    assert all(torch.equal(value, ours["weights"][name]) for name, value in ours["left"].items())


@pytest.mark.parametrize("task", BF16, ids=lambda task: task.name)
def test_two_ranks_in_half_precision(task: Task, ground: Path, alone: Any) -> None:
    """The first step's gradients are those of one process but for what bf16 rounds."""
    ours, theirs = found_by(ground, task.name)["gradients"][0], alone(task).gradients[0]
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        gap = (ours[name].float() - value.float()).norm()
        assert gap <= 0.03 * torch.stack([g.float().norm() for g in theirs.values()]).norm(), name


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_stopped_run_of_two_ranks_goes_on_as_the_very_run(kind: str, ground: Path) -> None:
    """Packed lines, dropout: order, optimizer and both ranks' random states are in the checkpoint."""
    codes = [[found_by(ground, f"{kind}-{part}", rank) for rank in range(2)] for part in ("run", "stopped", "resumed")]
    assert codes == [[0, 0], [130, 130], [0, 0]]
    whole, parts = (load_file(ground / f"{kind}-{run}" / "student" / "model.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(parts[name], value)
    last = torch.load(ground / f"{kind}-whole" / "checkpoints" / "last.ckpt", weights_only=True)
    first, second = last["callbacks"]["RandomState"]["ranks"]
    assert not torch.equal(first["torch"], second["torch"])


def test_what_two_ranks_leave_is_what_one_leaves(ground: Path, tmp_path: Path) -> None:
    """Names, shapes and checkpoint; without dropout's draws the weights, too, are near one another."""
    assert main(fit_argv(ground, str(tmp_path / "one"), "auto", 1, "--trainer.accumulate_grad_batches=2")) == 0
    one = load_file(tmp_path / "one" / "student" / "model.safetensors")
    saved = torch.load(tmp_path / "one" / "checkpoints" / "last.ckpt", weights_only=True)
    for kind in ("ddp", "fsdp"):
        two = load_file(ground / f"{kind}-whole" / "student" / "model.safetensors")
        assert {n: v.shape for n, v in two.items()} == {n: v.shape for n, v in one.items()}
        last = torch.load(ground / f"{kind}-whole" / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["state_dict"].keys() == saved["state_dict"].keys()
        assert last["global_step"] == saved["global_step"]
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=0, atol=0.02)


def test_what_is_not_supported_is_said(ground: Path) -> None:
    """An output embedding in parts that nobody can gather; checkpoints in parts; matrices cut in two."""
    assert "output embedding is not whole during a step" in found_by(ground, "fsdp1-linear")
    with pytest.raises(DistillError, match="set save_distributed_checkpoint to false"):
        check_strategy(ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1))
    with pytest.raises(DistillError, match="set tensor_parallel_size to 1"):
        check_strategy(ModelParallelStrategy(save_distributed_checkpoint=False))
    with pytest.raises(DistillError, match="set state_dict_type to full"):
        check_strategy(FSDPStrategy(state_dict_type="sharded"))
    check_strategy(FSDPStrategy())
