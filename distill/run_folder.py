"""What a run leaves in its folder: checkpoints, whole or not at all, and the student when training is done."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from distill.files import write_whole
from distill.quiet import quiet_transformers
from distill.resuming import StepTimer, check_pauses
from distill.sharding import whole_state, whole_student
from distill.training_data import manifest_of
from students.folders import whole_folder


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

    def _save_topk_checkpoint(self, trainer: Any, monitor_candidates: dict[str, Any]) -> None:
        """`last.ckpt` follows each validation, whether or not it was the best one; Lightning's only the best."""
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        self._last_global_step_saved = trainer.global_step

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """An epoch that is cut short (by time or steps) is under way; Lightning counts it, and would drop its rest."""
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]
            for count in (epochs["total"], epochs["current"]):
                count["processed"] = count["completed"]


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

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The template and what the data is, for export and chat."""
        if not trainer.is_global_zero:
            return
        self.total = int(trainer.estimated_stepping_batches)
        folder = Path(trainer.default_root_dir)
        write_whole(folder / "template.txt", trainer.datamodule.template.told + "\n")
        data = trainer.datamodule
        write_whole(folder / "data_manifest.json", manifest_of(data.files["train"], data.records["train"]))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Count from here."""
        self.since = time.monotonic()
        check_pauses(trainer)

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
        write_whole(folder / "complete.json", json.dumps(_goal(trainer) | {"seconds": seconds}))


def _goal(trainer: Any) -> dict[str, float | None]:
    seconds = next((c._duration for c in trainer.callbacks if isinstance(c, StepTimer)), None)
    return {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps, "max_seconds": seconds}


def best_checkpoint(folder: Path) -> Path | None:
    """Of a folder of checkpoints: the best by validation, or else the last; None where there is none."""
    best = sorted(folder.glob("best-*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    last = folder / "last.ckpt"
    return best[-1] if best else last if last.is_file() else None


def is_complete(trainer: Any) -> bool:
    """Whether the run folder holds a student that was trained to the end the trainer has now."""
    done = Path(trainer.default_root_dir) / "complete.json"
    if not (done.parent / "student").is_dir():
        return False
    try:
        reached = json.loads(done.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or torn: not complete
        return False
    return all(reached.get(name) == end for name, end in _goal(trainer).items())


def save_student(student: Any, tokenizer: Any, folder: Path) -> None:
    """A half-written student is never taken for a whole one."""
    quiet_transformers()
    student.config.use_cache = True
    with whole_folder(folder) as part:
        student.save_pretrained(part, safe_serialization=True)
        tokenizer.save_pretrained(part)
        for file in part.iterdir():
            file.chmod(0o644)  # safetensors writes 0600
