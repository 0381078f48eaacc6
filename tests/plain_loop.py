"""What training steps are compared with, a row at a time and token by token; and steps as Lightning takes them.

Gradients are caught right before the optimizer's step.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from data_gen.records import Record, write_records
from data_gen.templates import Template, get_template
from distill.data import InstructionData
from distill.losses import LossTerm
from distill.module import Distiller
from students.tokenizers import ByteView
from teachers.panda import PandaTeacher
from tests import tiny

LINES = tiny.sentences()
RECORDS = [
    Record("第一句", output=LINES[0]),
    Record("接着说", input="材料：小猫", output=LINES[1] * 2),
    Record("再说一句", output="好的。", history=[["小猫在哪里？", LINES[2]], ["Who?", "The cat"]]),
    Record("x", output="12"),
    Record("请介绍", output=LINES[3] + LINES[4], system="你是老师。"),
    Record("说一句英文", output="The quick brown fox, 3.14!"),
]
STUDENT = tiny.GPT2


@dataclass
class Ground:
    """Files on disk: tokenizers, teachers with the student's vocabulary and with another, data."""

    folder: Path
    tokenizer: str
    same: str
    other: str
    train: str


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A fixture of every module that says `ground = plain_loop.ground`."""
    folder = tmp_path_factory.mktemp("module")
    tokenizer = tiny.wordpiece(folder / "wordpiece")
    # As many checkpoints have it, the teacher with the same tokenizer has some rows more than the tokenizer entries.
    same = tiny.tiny_gpt2(folder / "same", tokenizer, width=48, layers=3, seed=1, vocab_size=640)
    other = tiny.tiny_llama(folder / "other", tiny.sentencepiece_like(folder / "sp"), width=40, layers=3, seed=2)
    write_records(folder / "train.jsonl", RECORDS)
    return Ground(folder, str(tokenizer), str(same), str(other), str(folder / "train.jsonl"))


class Catch(pl.Callback):
    """Keeps the gradients of every optimizer step, and the logged loss."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        found = {n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None}
        self.gradients.append(found)


def fit(model: Distiller, data: InstructionData, steps: int = 1, accumulate: int = 1) -> tuple[Catch, pl.Trainer]:
    """Some optimizer steps as `distill fit` takes them."""
    catch = Catch()
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, accumulate_grad_batches=accumulate, callbacks=[catch], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(model, data)
    return catch, trainer


def distiller(ground: Ground, losses: list[LossTerm], teacher: str | None = None, **more: Any) -> Distiller:
    settings = {"tokenizer": ground.tokenizer, "seed": 3, **more}
    return Distiller(STUDENT, teacher=PandaTeacher(teacher) if teacher else None, losses=losses, **settings)


def by_hand(model: Any, view: ByteView, template: Template, record: Record) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Of one row alone: logits `(tokens, vocab)` that predict its supervised tokens, these, and all layers."""
    ids: list[int] = []
    supervised: list[bool] = []
    for n, (text, answer) in enumerate(template.render(record)):
        assert view.eos_id is not None
        part = (view.encode(text) if n else view.encode_prompt(text)) + [view.eos_id] * answer
        ids += part
        supervised += [answer] * len(part)
    out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    at = [t for t in range(1, len(ids)) if supervised[t]]
    before = [t - 1 for t in at]
    layers = {n: hidden[0] for n, hidden in enumerate(out.hidden_states)}
    return out.logits[0, before], torch.tensor([ids[t] for t in at]), layers


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Token by token."""
    logs = [row - torch.logsumexp(row, 0) for row in logits]
    return torch.stack([-row[label] for row, label in zip(logs, labels, strict=True)]).sum()


QA, ALPACA = get_template("qa"), get_template("alpaca")
CE, KL = LossTerm("ce", 0.4), LossTerm("forward_kl", 0.6)
