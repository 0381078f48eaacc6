"""LightningCLI as `distill fit` uses it: our callbacks, our run folder, resuming without being asked."""

from __future__ import annotations

import json
import re
import sys
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import AcceleratorRegistry, MPSAccelerator
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

from data_gen.records import read_records
from distill.callbacks import default_callbacks
from distill.data import InstructionData
from distill.errors import DistillError
from distill.files import run_alone, write_whole
from distill.fit import check_checkpoint, check_run_folder, processor_precision
from distill.fit_errors import first_sentence
from distill.module import Distiller
from distill.ranges import RANGES, check_ranges, check_seed
from distill.resuming import StepTimer, StopPolitely
from distill.run_folder import AtomicCheckpointIO, RunCheckpoint, best_checkpoint, is_complete
from distill.sharding import check_strategy
from teachers.base import nearest

SETTING = re.compile(r"val_check_interval|Early stopping conditioned on metric")
"""In what Lightning says of a setting only once training begins"""


def _check_trainer(config: Any) -> None:
    """Raise for settings that Lightning takes and we cannot serve."""
    if str(config["precision"]).startswith(("16", "64")):
        raise DistillError(f"trainer.precision {config['precision']} is not supported: take bf16-mixed or 32-true")
    check_ranges("trainer", **{name: config[name] for name in RANGES["trainer"]})
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in config["callbacks"]):
        raise DistillError(
            "trainer.callbacks: a GradientAccumulationScheduler changes what batches were made for; set "
            "trainer.accumulate_grad_batches"
        )
    epochs, timed = config["max_epochs"], config["max_time"] is not None
    if config["max_steps"] == -1 and (epochs == -1 or (epochs is None and timed)):
        raise DistillError("the learning rate needs to know the end of a run: set trainer.max_steps or max_epochs too")


def _accelerator_here(accelerator: Any) -> Any:
    """The accelerator asked for, by its name; DistillError for one that this machine lacks. Apple's GPUs, which cannot
    add up losses, are not chosen and are refused."""
    apples = MPSAccelerator.is_available()
    if apples and accelerator in {"mps", "gpu"}:
        raise DistillError("trainer.accelerator: Apple's GPUs do not compute in float64, which losses need; take cpu")
    known = {name: AcceleratorRegistry[name]["accelerator"] for name in AcceleratorRegistry.available_accelerators()}
    known["gpu"] = known["cuda"]
    if isinstance(accelerator, str) and accelerator != "auto":
        if accelerator not in known:
            raise DistillError(f"trainer.accelerator: unknown {accelerator!r}{nearest(accelerator, ['auto', *known])}")
        if not known[accelerator].is_available():
            raise DistillError(f"trainer.accelerator: this machine has no {accelerator!r}: take auto")
    return "cpu" if apples and accelerator == "auto" else accelerator


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


class ExactArgumentParser(LightningArgumentParser):
    """Takes no abbreviations: a mistyped option is an error, not its neighbour."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})


class ResumingCSVLogger(CSVLogger):
    """Goes on with the rows that an earlier part of the run has written; Lightning's starts over."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, with the earlier rows in place."""
        if self._experiment is None:
            file = Path(self.log_dir) / "metrics.csv"
            before = file.read_text(encoding="utf-8") if file.is_file() else ""
            writer = super().experiment
            if before:
                file.write_text(before, encoding="utf-8")
                writer.metrics_keys = before.split("\n", 1)[0].strip().split(",")
        return self._experiment


class DistillCLI(LightningCLI):
    """Adds the run folder's rules to LightningCLI."""

    complete = False
    interrupted = False

    @classmethod
    def from_argv(cls, argv: list[str]) -> DistillCLI:
        """Parse and run; raises argparse.ArgumentError for what cannot be parsed."""
        return cls(
            Distiller,
            InstructionData,
            args=argv,
            parser_class=ExactArgumentParser,
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

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """A checkpoint that is named, wherever that is done, must be one: it is read right after."""
        super().parse_arguments(parser, args)
        given = self.config[self.config["subcommand"]]
        check_seed(given.get("seed_everything"))
        if given.get("lr_scheduler") is not None and given.get("optimizer") is None:
            raise DistillError("lr_scheduler goes with an optimizer of your own: name one, or take model.schedule")
        path = str(given.get("ckpt_path") or "")
        if path.endswith(".ckpt") or Path(path).is_file():
            check_checkpoint(Path(path))

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what does not fit together is found before any work."""
        super().instantiate_classes()
        context = getattr(self.model.student.config, "max_position_embeddings", None)
        if context and self.datamodule.max_length > context:
            raise DistillError(
                f"data.max_length is {self.datamodule.max_length}, but this student reads {context} tokens at most: "
                "lower it, or take a student with a longer context"
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
            loggers = [
                ResumingCSVLogger(str(logs), name="", version="csv"),
                TensorBoardLogger(str(logs), name="", version="tensorboard"),
            ]
            config["logger"] = loggers if self.subcommand == "fit" else False  # others write nothing into the run
        if config["precision"] is None:
            config["precision"] = processor_precision()
        config["accelerator"] = _accelerator_here(config["accelerator"])
        config["plugins"] = [AtomicCheckpointIO(), *_listed(config["plugins"])]
        has_validation = bool(self.datamodule.files["val"])
        config["callbacks"] = [*default_callbacks(has_validation), *_listed(config["callbacks"])]
        for callback in config["callbacks"]:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str((root / "checkpoints").resolve())
        _check_trainer(config)
        try:
            if config["max_time"] is not None:
                config["callbacks"].append(StepTimer(config["max_time"]))
            trainer = super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError) as error:  # a MisconfigurationException is no such error
            raise DistillError(f"trainer: {first_sentence(error)}") from None
        check_strategy(trainer.strategy)
        return trainer

    @property
    def result(self) -> str:
        """What a run that has ended left, and of which step that is."""
        ours = next(c for c in self.trainer.callbacks if isinstance(c, RunCheckpoint))  # type: ignore[attr-defined]
        taken = Path(ours.best_model_path).stem.rpartition("=")[2] or self.trainer.global_step
        score = "" if ours.best_model_score is None else f", val_bpc {ours.best_model_score:.3f}"
        return f"{self.folder / 'student'}: step {taken} of {self.trainer.global_step}{score}"

    def before_fit(self) -> None:
        """Go on from the run's last checkpoint when it is the same recipe."""
        for file in chain(*self.datamodule.files.values()):  # a mistyped name is none of the folder's faults
            next(iter(read_records(file)), None)
        self.resolved = self._parser("fit").dump(self.config["fit"], skip_none=False)
        last = check_run_folder(self.folder, self.resolved)
        if last is not None:
            worn = self.folder / "template.txt"  # the recipe names a file of the user's own by its path alone
            now = self.datamodule.template
            if worn.is_file() and worn.read_text(encoding="utf-8").strip() != now.told:
                raise DistillError(
                    f"{self.folder} was trained with another template than {now.name!r} is now: put it back, or give "
                    "another --trainer.default_root_dir"
                )
            self.config_init["fit"]["ckpt_path"] = str(last)
        self.complete = last is not None and is_complete(self.trainer)
        if not self.complete:  # what cannot be read is found before a folder is made or changed
            self.datamodule.read("fit")
            for tutor in self.model.tutors:  # each process reads them to where it needs them
                tutor.teacher.to(self.trainer.strategy.root_device)
                _ = getattr(tutor.teacher, "model", None)

    def _of_the_run(self) -> None:
        """Without a checkpoint's name, the run's own best one is meant; weights that nobody has trained are told of."""
        given, folder = self.config_init[self.subcommand], self.folder / "checkpoints"
        self.datamodule.read(str(self.subcommand))
        if given["ckpt_path"] is not None:
            return
        found = best_checkpoint(folder)
        if found is None:
            told = f"no checkpoint in {folder} and no --ckpt_path: this is model.student as the recipe makes it"
        else:
            given["ckpt_path"], told = str(found), f"checkpoint: {found}"
        if self.trainer.is_global_zero:
            print(told, file=sys.stderr)

    before_validate = before_test = before_predict = _of_the_run

    def fit(self, model: Any, **kwargs: Any) -> None:
        """Train, unless the run is complete; what is resolved is written down first."""
        if self.complete:
            return
        first = self.trainer.is_global_zero
        with run_alone(self.folder) if first else nullcontext():
            if first:
                write_whole(self.folder / "recipe.yaml", self.resolved)
            self._train(model, **kwargs)

    def _train(self, model: Any, **kwargs: Any) -> None:
        try:
            self.trainer.fit(model, **kwargs)
        except SystemExit:  # Lightning's way out after Ctrl-C
            self.interrupted = True
        except (ValueError, RuntimeError) as error:
            if isinstance(error, DistillError) or not SETTING.search(str(error)):
                raise
            raise DistillError(f"trainer: {first_sentence(error)}") from None
        # Ctrl-C while the last step was validated stops nothing here, but whoever called may have more to do.
        self.interrupted |= any(c.asked for c in self.trainer.callbacks if isinstance(c, StopPolitely))  # type: ignore[attr-defined]

    def predict(self, model: Any, **kwargs: Any) -> None:
        """Print every row of `data.val` with the student's answer, as JSON lines on stdout."""
        if self.trainer.world_size > 1:
            raise DistillError("predict answers on one device: set trainer.devices to 1")
        parts = self.trainer.predict(model, **kwargs) or []
        answers = {row: text for part in parts for row, text in part.items()}  # type: ignore[union-attr]
        for row in sorted(answers):  # of limit_predict_batches these are not all
            record = self.datamodule.records["val"][row]
            asked = {"instruction": record.instruction, "input": record.input, "output": record.output}
            print(json.dumps(asked | {"answer": answers[row]}, ensure_ascii=False))
