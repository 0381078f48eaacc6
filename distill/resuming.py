"""A run that was stopped goes on as if it had not been: every random generator, and a stop between two steps."""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning.callbacks import Callback, Timer

from distill.errors import DistillError


class RandomState(Callback):
    """Saves and restores every random generator of every rank, so that a resumed run with dropout is the very run."""

    rank, world = 0, 1

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Who else there is."""
        self.rank, self.world = trainer.global_rank, trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers only; of several ranks, which all call this, a list."""
        name, keys, at, has_gauss, cached = np.random.get_state()
        version, internal, gauss = random.getstate()
        own = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), at, has_gauss, cached],
            "python": [version, list(internal), gauss],
        }
        if self.world == 1:
            return own
        ranks: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(ranks, own)
        return {"ranks": ranks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until training starts: building the run draws numbers in between."""
        ranks = state_dict.get("ranks", [state_dict])
        self.pending: dict[str, Any] | None = ranks[self.rank % len(ranks)]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Put every generator where it stood."""
        state = getattr(self, "pending", None)
        if state is None:
            return
        self.pending = None
        torch.set_rng_state(state["torch"])
        if state["cuda"] and torch.cuda.is_available():
            for number, own in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
                torch.cuda.set_rng_state(own, number)  # it may have been saved where there were more
        name, keys, at, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), at, has_gauss, cached))
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


def check_pauses(trainer: Any) -> None:
    """DistillError where a run would be validated, and so saved, inside an accumulated step: no checkpoint holds half a
    gradient."""
    accumulate, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
    interval = trainer.val_check_batch
    if accumulate == 1 or not trainer.enable_validation:
        return
    if interval is None:
        raise DistillError(
            "trainer.val_check_interval: a time may end in the middle of a step of trainer.accumulate_grad_batches "
            f"{accumulate}; give a number of batches"
        )
    in_all_epochs = trainer.check_val_every_n_epoch is None  # counted on from one to the next
    at_ends = interval % batches == 0 if in_all_epochs else interval >= batches
    if not at_ends and (interval % accumulate or (in_all_epochs and batches % accumulate)):
        why = f"{interval} batches are" if interval % accumulate else f"an epoch of {batches} batches is"
        raise DistillError(
            f"trainer.val_check_interval: {why} no whole number of steps of trainer.accumulate_grad_batches "
            f"{accumulate}, and from half a step no run goes on exactly: take a multiple"
            + (", and trainer.check_val_every_n_epoch 1" if in_all_epochs else "")
        )


class StepTimer(Timer):
    """`trainer.max_time`: stops between two steps, never in the middle of an accumulated one."""

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        """Look at the clock once a step."""
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            super().on_train_batch_end(trainer, *args, **kwargs)


class StopPolitely(Callback):
    """The first Ctrl-C (or SIGTERM) lets the optimizer step end, saves `last.ckpt` and stops; the second one kills."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Only the main thread may listen to signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(number, self.before.get(number) or signal.SIG_DFL)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop where a checkpoint resumes exactly: not in the middle of an accumulated step."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        # Each rank hears of it at its own time, or not at all: they stop together or wait for each other for ever.
        if trainer.world_size > 1:
            self.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        if self.asked:
            # Lightning counts a batch as completed only after this hook; without it a resumed run repeats its number.
            trainer.fit_loop.epoch_loop.batch_progress.increment_completed()
            trainer.fit_loop.epoch_loop._batches_that_stepped += 1
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt", weights_only=False)
            raise KeyboardInterrupt

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before.clear()
