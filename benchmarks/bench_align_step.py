"""What part of a distillation step goes into moving the teacher onto the student's vocabulary.

    python benchmarks/bench_align_step.py TEACHER TOKENIZER DATA.jsonl --student tiny --steps 16

TEACHER is a folder with another tokenizer than TOKENIZER, the student's. Trains a new student through Lightning, one
thread on a processor, and prints CPU milliseconds a supervised token and the share of a step:

    student        its body, forward
    teacher        its body, its logits and their softmax, which distilling in one vocabulary takes as well
    alignment      joining the rows' plans, finding the outcomes that count, moving them onto sets
    loss           the head, the likelihood of the sets and its gradient, a chunk at a time
    rest           the student's backward pass, the optimizer, the data
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytorch_lightning as pl
import torch

from distill import module, reading, tutors
from distill.align import Aligner
from distill.data import InstructionData
from distill.losses import LossTerm
from distill.module import Distiller
from teachers.panda import PandaTeacher

WARM_UP = 2
spent: Counter[str] = Counter()


def timed(owner: Any, name: str, part: str) -> None:
    """Count the CPU seconds of a function, the ones it calls included, under `part`."""
    inner: Callable[..., Any] = getattr(owner, name)

    def watch(*args: Any, **named: Any) -> Any:
        start = time.process_time()
        found = inner(*args, **named)
        spent[part] += time.process_time() - start
        return found

    setattr(owner, name, watch)


class Clock(pl.Callback):
    """CPU seconds and supervised tokens of the steps after the warm-up."""

    seconds = tokens = 0

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM_UP:
            spent.clear()
            self.start = time.process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step > WARM_UP:
            self.tokens += len(batch.student.labels)
            self.seconds = time.process_time() - self.start


def measure(options: argparse.Namespace) -> dict[str, float]:
    """CPU milliseconds a supervised token of every part."""
    timed(Distiller, "student_hidden", "student")
    timed(Distiller, "head_losses", "losses")  # with the reading and moving in it
    timed(module, "batch_objective", "objective")
    timed(tutors.Tutor, "ask", "body")
    for name in ("batch", "read", "targets"):
        timed(Aligner, name, name)
    timed(tutors, "teacher_logits", "logits")
    timed(reading, "probabilities", "softmax")
    clock = Clock()
    student = Distiller(
        {"preset": options.student}, options.tokenizer, teacher=PandaTeacher(options.teacher), floor=options.floor,
        losses=[LossTerm("ce", 0.3), LossTerm("forward_kl", 0.7)],
    )  # fmt: skip
    data = InstructionData(
        options.data, limit=(options.steps + WARM_UP) * options.batch_size * 2, batch_size=options.batch_size,
        max_length=options.max_length,
    )  # fmt: skip
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=options.steps + WARM_UP, precision="32-true", callbacks=[clock], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(student, data)
    found = {
        "student": spent["student"],
        "teacher": spent["body"] + spent["logits"] + spent["softmax"],
        "alignment": spent["batch"] + spent["read"] - spent["logits"] - spent["softmax"] + spent["targets"],
        "loss": spent["losses"] - spent["objective"],
    }
    found["rest"] = clock.seconds - sum(found.values())
    return {name: 1e3 * seconds / clock.tokens for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("tokenizer")
    parser.add_argument("data")
    parser.add_argument("--student", default="tiny", help="a preset")
    parser.add_argument("--floor", type=float, default=1e-5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=192)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    parts = measure(options)
    whole = sum(parts.values())
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in parts.items()}))
        return
    for name, value in [*parts.items(), ("step", whole)]:
        print(f"{name:10} {value:8.3f} ms a token {100 * value / whole:6.1f} %")


if __name__ == "__main__":
    main()
