"""What happens beside the steps: progress, sample answers, and which callbacks every run gets."""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from data_gen.progress import Progress
from distill.errors import DistillError
from distill.resuming import RandomState, StopPolitely
from distill.run_folder import RunCheckpoint, RunFolder
from distill.sharding import is_sharded


class TrainingProgress(Callback):
    """One line for the whole training: steps, loss, tokens a second, remaining time."""

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.tokens = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the bar where a resumed run stands."""
        if not trainer.is_global_zero:
            return
        total = int(trainer.estimated_stepping_batches)
        if trainer.global_step:
            print(f"going on at step {trainer.global_step} of {total} of {trainer.default_root_dir}", file=sys.stderr)
        self.bar = Progress("train", total, "steps", done=trainer.global_step).__enter__()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the step once its optimizer step is done."""
        if self.bar is not None and trainer.global_step > self.bar.done:
            # Reading the loss waits for the device, so not at every step.
            note = f"loss {float(trainer.callback_metrics['loss']):.3f}" if trainer.global_step % 10 == 0 else None
            self.bar.advance(trainer.global_step - self.bar.done, note=note)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close the bar, also after an error."""
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None


class SampleAnswers(Callback):
    """Prints the student's answers to the first validation rows after each validation."""

    def __init__(self, count: int = 3, max_tokens: int = 48) -> None:
        """
        Args:
            count: how many rows.
            max_tokens: longest answer.
        """
        self.count, self.max_tokens = count, max_tokens

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """One rank alone cannot ask a student that lies on several."""
        if is_sharded(trainer.strategy):
            raise DistillError(
                "SampleAnswers asks a whole student: with this strategy leave it out of trainer.callbacks"
            )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Greedy answers, on stderr."""
        if trainer.sanity_checking or not trainer.is_global_zero or not self.count:
            return
        from distill.answers import answer_records

        records = trainer.datamodule.records["val"][: self.count]
        answers = answer_records(
            pl_module.student, pl_module.student_view, trainer.datamodule.template, records, self.max_tokens
        )
        for record, answer in zip(records, answers, strict=True):
            question = f"{record.instruction} {record.input}".strip().replace("\n", " ")
            print(f"  问：{question[:60]}\n  答：{answer[:120]!r}  （应为 {record.output[:40]!r}）", file=sys.stderr)


def default_callbacks(has_validation: bool) -> list[pl.Callback]:
    """The ones every run gets."""
    checkpoint = RunCheckpoint(
        dirpath=None,
        filename="best-{step}",
        monitor="val_bpc" if has_validation else None,
        mode="min",
        save_last=True,
        save_top_k=1,
        enable_version_counter=False,
    )
    return [TrainingProgress(), RandomState(), StopPolitely(), RunFolder(), checkpoint]
