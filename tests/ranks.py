"""Two processes on this machine that train together, and what they are asked to do.

    together(folder, [Task("step", strategy="fsdp2"), ...])      # runs `python -m tests.ranks FOLDER` twice

Both work through the tasks in turn, as the two ranks of one group (gloo); the first leaves what it found in the folder.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn

from distill.data import InstructionData
from distill.errors import DistillError
from distill.features import FeatureTerm
from distill.losses import LossTerm
from distill.module import Distiller
from distill.sharding import plain_name, whole_state, whole_student
from teachers.panda import PandaTeacher
from tests.tiny import GPT2, LLAMA

STUDENTS: dict[str, dict[str, Any]] = {"tied": GPT2, "untied": LLAMA}
CLIP = 0.05
"""Small enough that every step's gradients are clipped"""


@dataclass
class Task:
    """A few optimizer steps, or a command line."""

    name: str
    strategy: str = "ddp"
    """ddp; fsdp2; fsdp2-head, its output embedding a unit of its own; fsdp1; fsdp1-blocks; fsdp1-linear"""
    student: str = "tied"
    packing: bool = False
    batch_size: int = 2
    accumulate: int = 1
    steps: int = 2
    precision: Any = "32-true"
    argv: list[str] = field(default_factory=list)
    """`distill fit` with these instead"""


class OlderOnProcessors(FSDPStrategy):
    """Lightning refuses its FSDPStrategy, and no other class, without a GPU; so does torch, unless told a device."""

    def _setup_model(self, model: nn.Module) -> nn.Module:
        """What it does, on a processor."""
        from torch.distributed.fsdp import FullyShardedDataParallel

        return FullyShardedDataParallel(
            model, device_id=torch.device("cpu"), sharding_strategy=self.sharding_strategy, **self.kwargs
        )


class HeadApart(Distiller):
    """The output embedding as a unit of its own, which a step finds in parts."""

    def configure_model(self) -> None:
        """Before the rest."""
        from torch.distributed.fsdp import fully_shard

        if self.device_mesh is not None:
            fully_shard(self.student.lm_head, mesh=self.device_mesh["data_parallel"])
        super().configure_model()


class StopAfter(pl.Callback):
    """Ctrl-C at the first rank, in the middle of an epoch."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Once."""
        if trainer.global_step == self.step and trainer.global_rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
            self.step = -1


class Catch(pl.Callback):
    """Whole gradients of every optimizer step, before they are clipped, and weights after the last."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.weights: dict[str, Tensor] = {}
        self.left: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Every rank helps to put them together."""
        with summoned(trainer, with_grads=True):
            grads = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}
            self.gradients.append({plain_name(n): put_together(g) for n, g in grads.items()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The same for the weights, and what a run without validation leaves behind.

        Not of the older FSDP: it puts weights together in memory that it frees, and only copies them off a GPU.
        """
        newer = not isinstance(trainer.strategy, FSDPStrategy)
        state = whole_state(trainer) if newer else {}
        if trainer.is_global_zero and newer:
            self.left = {f"student.{n}": p.data for n, p in whole_student(pl_module.student, state).named_parameters()}
        with summoned(trainer):
            self.weights = {plain_name(n): put_together(p.detach()) for n, p in pl_module.named_parameters()}


def summoned(trainer: Any, **options: bool) -> Any:
    """The older FSDP's parameters, whole."""
    from contextlib import nullcontext

    from torch.distributed.fsdp import FullyShardedDataParallel

    model = trainer.strategy.model
    sharded = isinstance(model, FullyShardedDataParallel)
    return FullyShardedDataParallel.summon_full_params(model, **options) if sharded else nullcontext()


def put_together(tensor: Tensor) -> Tensor:
    """The newer one's."""
    return tensor.full_tensor().clone() if hasattr(tensor, "full_tensor") else tensor.clone()


def a_strategy(name: str, blocks: type[nn.Module]) -> Strategy | str:
    """As a recipe's trainer.strategy gives it."""
    if name == "alone":
        return "auto"
    if name == "ddp":
        return DDPStrategy()
    if name.startswith("fsdp2"):
        return ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1, save_distributed_checkpoint=False)
    policies: dict[str, set[type[nn.Module]] | None] = {"fsdp1-blocks": {blocks}, "fsdp1-linear": {nn.Linear}}
    return OlderOnProcessors(auto_wrap_policy=policies.get(name))


def steps_of(task: Task, folder: Path) -> Catch:
    """Text, a teacher with another tokenizer, spans and layers, as `distill fit` trains."""
    kind = HeadApart if task.strategy == "fsdp2-head" else Distiller
    model = kind(
        STUDENTS[task.student], tokenizer=str(folder / "tokenizer"), seed=3, warmup_steps=0, weight_decay=0.5,
        teacher=PandaTeacher(str(folder / "teacher")), features=[FeatureTerm("mse", 0.3, "1:1")],
        losses=[LossTerm("ce", 0.4), LossTerm("forward_kl", 0.6), LossTerm("alm", 0.1)],
    )  # fmt: skip
    data = InstructionData(
        str(folder / "train.jsonl"), batch_size=task.batch_size, max_length=48, packing=task.packing, seed=1
    )
    catch = Catch()
    blocks = type(next(m[0] for m in model.student.modules() if isinstance(m, nn.ModuleList)))
    trainer = pl.Trainer(
        accelerator="cpu", devices=1 if task.strategy == "alone" else 2, strategy=a_strategy(task.strategy, blocks),
        max_steps=task.steps, accumulate_grad_batches=task.accumulate, gradient_clip_val=CLIP, callbacks=[catch],
        precision=task.precision, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, data)
    return catch


def together(folder: Path, tasks: list[Task], timeout: float = 240) -> None:
    """Run the tasks in two processes; AssertionError with what they said when one fails."""
    (folder / "tasks.json").write_text(json.dumps([asdict(task) for task in tasks]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.ranks", str(folder)], env=shared | {"LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[1],
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n\n".join(said)


def work(folder: Path) -> None:
    """What each of the two does."""
    from distill.cli import main

    rank = os.environ["LOCAL_RANK"]
    for task in (Task(**one) for one in json.loads((folder / "tasks.json").read_text())):
        found: Any
        try:
            if task.argv:
                found = main(task.argv)
            else:
                catch = steps_of(task, folder)
                found = {"gradients": catch.gradients, "weights": catch.weights, "left": catch.left}
        except DistillError as error:
            found = str(error)
        torch.save(found, folder / f"{task.name}-{rank}.pt")


if __name__ == "__main__":
    work(Path(sys.argv[1]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
