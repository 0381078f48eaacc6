"""What happens beside the steps: progress, samples, the run folder, exact resume."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from data_gen.progress import Progress
from distill.errors import DistillError
from distill.files import write_whole
from distill.quiet import quiet_transformers
from distill.sharding import is_sharded, whole_state, whole_student
from distill.training_data import manifest_of


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
            torch.cuda.set_rng_state_all(state["cuda"])
        name, keys, at, has_gauss, cached = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), at, has_gauss, cached))
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


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


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints appear whole or not at all, whenever the process is killed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside the target, then rename."""
        part = f"{path}.part"
        try:
            super().save_checkpoint(checkpoint, part, storage_options)
            os.replace(part, path)
        except (OSError, RuntimeError) as error:
            if getattr(error, "errno", 0) == errno.ENOSPC or "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
            raise
        finally:
            Path(part).unlink(missing_ok=True)


class RunCheckpoint(ModelCheckpoint):
    """`last.ckpt` and the best one, under these names always; a run folder may be moved and renamed between runs."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Files are looked for where the folder lies now; a best one that is gone is forgotten."""
        here = Path(str(self.dirpath))
        known = {str(here / Path(p).name): score for p, score in state_dict["best_k_models"].items()}
        known = {path: score for path, score in known.items() if Path(path).is_file()}
        best, score = min(known.items(), key=lambda pair: float(pair[1]), default=("", None))
        worst = max(known, key=lambda path: float(known[path]), default="")
        super().load_state_dict(
            state_dict
            | {"dirpath": self.dirpath, "best_k_models": known, "best_model_path": best, "best_model_score": score}
            | {"kth_best_model_path": worst, "kth_value": known.get(worst, self.kth_value)}
            | {"last_model_path": str(here / "last.ckpt")}
        )


class RunFolder(Callback):
    """Leaves `student/`, a ready Hugging Face folder of the best weights, in the run folder when training is done.

    `complete.json` beside it says how far training went and how many seconds it took, earlier parts included.
    """

    def __init__(self) -> None:
        self.seconds, self.since, self.total = 0.0, time.monotonic(), sys.maxsize

    def state_dict(self) -> dict[str, Any]:
        """Seconds of training so far."""
        return {"seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Count from here."""
        self.since = time.monotonic()

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The template's name and what the data is, for export and chat."""
        if not trainer.is_global_zero:
            return
        self.total = int(trainer.estimated_stepping_batches)
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "template.txt").write_text(trainer.datamodule.template.name + "\n", encoding="utf-8")
        data = trainer.datamodule
        write_whole(folder / "data_manifest.json", manifest_of(data.files["train"], data.records["train"]))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The last step is validated too, wherever `val_check_interval` falls: Lightning does so when asked to stop."""
        if trainer.global_step >= self.total:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Best weights by validation when there was one, otherwise the last."""
        seconds = round(self._elapsed(), 2)
        if trainer.interrupted:
            return
        best = next((c.best_model_path for c in trainer.callbacks if isinstance(c, ModelCheckpoint)), "")
        state = {} if best else whole_state(trainer)
        if not trainer.is_global_zero:
            return
        if best:
            state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        folder = Path(trainer.default_root_dir)
        save_student(whole_student(pl_module.student, state), pl_module.tokenizer, folder / "student")
        (folder / "complete.json").write_text(json.dumps(_goal(trainer) | {"seconds": seconds}), encoding="utf-8")


def _goal(trainer: Any) -> dict[str, int | None]:
    return {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}


def is_complete(trainer: Any) -> bool:
    """Whether the run folder holds a student that was trained to the end the trainer has now."""
    done = Path(trainer.default_root_dir) / "complete.json"
    if not (done.parent / "student").is_dir():
        return False
    try:
        reached = json.loads(done.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or torn: not complete
        return False
    return _goal(trainer).items() <= reached.items()


def save_student(student: Any, tokenizer: Any, folder: Path) -> None:
    """Write under a temporary name, then rename: a half-written student is never taken for a whole one."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    quiet_transformers()
    student.config.use_cache = True
    student.save_pretrained(part, safe_serialization=True)
    tokenizer.save_pretrained(part)
    for file in part.iterdir():
        file.chmod(0o644)  # safetensors writes 0600
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


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
