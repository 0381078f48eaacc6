"""`distill fit | validate | test | predict`: LightningCLI over Distiller and InstructionData.

    distill fit --config recipe.yaml --model.learning_rate 1e-3 --trainer.max_epochs 5

A run lives in `trainer.default_root_dir`: `recipe.yaml` (everything resolved), `checkpoints/`, `logs/` (CSV and
TensorBoard), and at the end `student/`, a Hugging Face folder of the best weights. The same command again goes on from
the last checkpoint, or says that the run is complete.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

from distill.commands.arguments import load_yaml
from distill.errors import DistillError
from distill.fit_errors import check_recipes, sentence, which_weights
from teachers.base import nearest

NOT_DECISIVE = re.compile(
    r"^trainer\.(default_root_dir|max_epochs|max_steps|max_time|logger|callbacks|enable_.*|log_every.*|accelerator)"
    r"|^model\.teachers?\..*\bdevice$|^ckpt_path$"
)
"""Settings that a resumed run may change; its folder may have been moved, to another machine, too"""
PLACE = re.compile(r"(^data\.(train|val)|^model\.(student|tokenizer)|\.path)$")
"""Settings that name files or folders"""


def main(argv: list[str]) -> int:
    """Run a LightningCLI subcommand; `argv[0]` is the verb."""
    _quiet()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a teacher or callback of the user's own, beside the recipe
    if "-h" not in argv and "--help" not in argv:
        check_recipes(argv)
    from distill.lightning_cli import DistillCLI

    try:
        cli = DistillCLI.from_argv(argv)
    except argparse.ArgumentError as error:
        raise DistillError(sentence(str(error))) from None
    except RuntimeError as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise
        raise DistillError(f"the checkpoint is of another model than the recipe's: {which_weights(error)}") from None
    except SystemExit as stop:  # --help, --print_config
        return int(stop.code or 0)
    if cli.complete:
        print(f"{cli.folder} is complete: {cli.folder / 'student'}; delete the folder to train again")
        return 0
    if cli.interrupted:
        if cli.trainer.is_global_zero:
            print(f"\nstopped; the same command goes on from {cli.folder / 'checkpoints'}", file=sys.stderr)
        return 130
    if argv[0] == "fit" and cli.trainer.is_global_zero:
        print(cli.result)
    return 0


def _quiet() -> None:
    """Lightning's own chatter hides what matters; warnings of third parties are not the user's to act on."""
    import logging

    from distill.quiet import quiet_transformers

    quiet_transformers()

    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch|torchdata)\..*")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logger = logging.getLogger(name)
        logger.addFilter(lambda record: record.levelno >= logging.ERROR)
        logger.setLevel(logging.ERROR)
        for child in ("utilities.rank_zero", "utilities.seed"):
            logging.getLogger(f"{name}.{child}").setLevel(logging.ERROR)


def processor_precision() -> str:
    """bf16 where the processor computes in it (a GPU that can, a CPU with AMX), full precision elsewhere."""
    import torch

    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bf16-mixed" if amx() else "32-true"


def check_run_folder(folder: Path, resolved: str) -> Path | None:
    """The checkpoint to go on from, or None for a new run.

    The same command goes on, also one that has begun at a `--ckpt_path`. Raises DistillError when the folder holds a
    run of another recipe, naming the settings that differ, or one that has gone further than is asked for.
    """
    import yaml

    last = folder / "checkpoints" / "last.ckpt"
    before = folder / "recipe.yaml"
    if not last.is_file():
        # A run's end replaces student/, which in a folder of anything else may be the very model to begin with.
        ours = (folder / "complete.json").is_file() or any(last.parent.glob("best-step=*.ckpt"))
        if (folder / "student").exists() and not ours:
            raise DistillError(
                f"{folder / 'student'} exists and is of no run of 'distill fit': give another "
                "--trainer.default_root_dir, or move it"
            )
        return None
    epochs = check_whole(last).get("epoch", 0)
    new = _flat(yaml.safe_load(resolved))
    if 0 < (new["trainer.max_epochs"] or 0) < epochs:
        raise DistillError(
            f"{folder} has trained for more than {new['trainer.max_epochs']} epochs already: set more with "
            "--trainer.max_epochs, or give another --trainer.default_root_dir"
        )
    if before.is_file():
        old = _flat(load_yaml(before))
        changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k) and not NOT_DECISIVE.match(k))
        if changed:
            moved = (
                f"if they only lie elsewhere now, say so in {before}; or " if all(map(PLACE.search, changed)) else ""
            )
            raise DistillError(
                f"{folder} holds a run with other settings ({', '.join(changed[:5])}): "
                f"{moved}give another --trainer.default_root_dir, or delete that folder"
            )
        if new["ckpt_path"] not in (None, old.get("ckpt_path")):
            return None
    return last


def check_checkpoint(path: Path) -> None:
    """DistillError unless a checkpoint can be read; one in parts is a folder."""
    if not path.exists():
        raise DistillError(f"no checkpoint {path}{nearest(path.name, [p.name for p in path.parent.glob('*.ckpt')])}")
    if path.is_file():
        check_whole(path)


def check_whole(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; DistillError, with the way out, where its end is missing or it is none of ours."""
    if not zipfile.is_zipfile(path):
        others = sorted(p.name for p in path.parent.glob("*.ckpt") if p != path and zipfile.is_zipfile(p))
        way = f"go on from another with --ckpt_path {path.parent / others[0]}" if others else "start the run again"
        raise DistillError(f"{path} is damaged or cut off; delete it and {way}")
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise DistillError(f"{path} holds more than plain data, which can run code and is not read") from None
    except RuntimeError:
        found = None
    if not isinstance(found, dict) or "state_dict" not in found:
        raise DistillError(f"{path} is no checkpoint of 'distill fit'")
    return found


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}
