"""LightningCLI as `distill fit` uses it: our callbacks, our run folder, resuming without being asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from distill import callbacks
from distill.data import InstructionData
from distill.fit import check_run_folder, processor_precision
from distill.module import Distiller


class DistillCLI(LightningCLI):
    """Adds the run folder's rules to LightningCLI."""

    complete = False

    @classmethod
    def from_argv(cls, argv: list[str]) -> DistillCLI:
        """Parse and run; raises argparse.ArgumentError for what cannot be parsed."""
        return cls(
            Distiller,
            InstructionData,
            args=argv,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "default_env": False},
            trainer_defaults={
                "default_root_dir": "runs/fit",
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
                "use_distributed_sampler": False,
            },
        )

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.trainer.default_root_dir)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put our loggers, callbacks and precision where the recipe names none."""
        config = self._get(self.config_init, "trainer")
        root = Path(config["default_root_dir"] or "runs/fit")
        logs = root / "logs"
        if config["logger"] is None:
            config["logger"] = [CSVLogger(str(logs), name="", version="csv"), TensorBoardLogger(str(logs), name="", version="tensorboard")]  # fmt: skip
        if config["precision"] is None:
            config["precision"] = processor_precision()
        has_validation = bool(self.datamodule.files["val"])
        config["callbacks"] = [*callbacks.default_callbacks(has_validation), *(config["callbacks"] or [])]
        for callback in config["callbacks"]:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str((root / "checkpoints").resolve())
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Go on from the run's last checkpoint when it is the same recipe; write down what is resolved."""
        resolved = self._parser("fit").dump(self.config["fit"], skip_none=False)
        last = check_run_folder(self.folder, resolved)
        if last is not None and self.config_init["fit"]["ckpt_path"] is None:
            self.config_init["fit"]["ckpt_path"] = str(last)
        self.complete = (self.folder / "student").is_dir() and self._reached(last)
        if self.trainer.is_global_zero and not self.complete:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = self.folder / "recipe.yaml.part"
            part.write_text(resolved, encoding="utf-8")
            os.replace(part, self.folder / "recipe.yaml")

    def fit(self, model: Any, **kwargs: Any) -> None:
        """Train, unless the run is complete."""
        if not self.complete:
            self.trainer.fit(model, **kwargs)

    def _reached(self, last: Path | None) -> bool:
        """Whether the last checkpoint already stands at the end that the recipe asks for."""
        if last is None:
            return False
        import torch

        state = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
        steps, epochs = self.trainer.max_steps, self.trainer.max_epochs
        done_epochs = state["loops"]["fit_loop"]["epoch_progress"]["current"]["completed"]
        return (0 < steps <= state["global_step"]) or (epochs is not None and 0 < epochs <= done_epochs)
