"""Distiller: a student, perhaps a teacher, and the losses between them, as a LightningModule.

A step goes: run the student, keep its hidden states at the positions that predict supervised tokens; ask the teacher
for its signal on the same rows; sum the weighted losses there, a chunk of logits at a time; divide by the supervised
tokens of the whole optimizer step. Teachers are held in plain objects (distill.tutors), so they are in no checkpoint;
projectors live here, never on the student.
"""

from __future__ import annotations

import math
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from distill.align import FLOOR
from distill.batches import Batch
from distill.errors import DistillError
from distill.features import FeatureLoss, FeatureTerm, for_each_teacher
from distill.fused import fused_losses, teacher_logits
from distill.losses import LossTerm, number
from distill.optimizing import adamw, scheduled, tell_short_run
from distill.packing import check_packing
from distill.ranges import check_ranges
from distill.schedules import check_schedule
from distill.sharding import clip_gradients, shard
from distill.stored import StoredBatch, StoredSignals
from distill.tutors import TeacherTerm, Tutor, batch_objective, pad_id
from students.build import build_student, preset_names
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from teachers.base import DenseSignal, SignalTeacher, nearest
from teachers.head import is_plain
from teachers.hidden import CatchLayers, find_blocks


class Distiller(pl.LightningModule):
    """Trains a student on text, on a teacher's signals, or on both."""

    def __init__(
        self,
        student: dict[str, Any] | str,
        tokenizer: str | None = None,
        teacher: SignalTeacher | None = None,
        losses: list[LossTerm] | None = None,
        features: list[FeatureTerm] | None = None,
        learning_rate: float = 5e-4,
        schedule: str = "cosine",
        warmup_steps: int = 50,
        final_factor: float = 0.1,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.98),
        seed: int = 0,
        attention: str | None = None,
        keep_signals: bool = False,
        floor: float = FLOOR,
        signals: StoredSignals | None = None,
        teachers: list[TeacherTerm] | None = None,
    ) -> None:
        """
        Args:
            student: a preset's name, a pretrained folder or hub id, `{preset: tiny, n_layer: 6}` or `{config: {...}}`.
            tokenizer: the student's tokenizer folder or hub id; default the student's own folder.
            teacher: who gives signals; none for plain fine-tuning or pre-training.
            losses: the weighted sum that is minimised; default `ce` alone.
            features: pairs of hidden layers to bring together, summed over every place of a row, prompt included, where
                both sides have said the same text; a place weighs as much as a supervised token.
            learning_rate: the peak.
            schedule: constant, linear or cosine, after the warm-up.
            warmup_steps: optimizer steps from 0 to the peak.
            final_factor: share of the peak at which the schedule ends.
            weight_decay: of AdamW, on matrices only.
            betas: of AdamW.
            seed: decides a new student's initial weights.
            attention: sdpa, eager or another of transformers' implementations; default transformers' choice. On a CPU
                eager is faster for rows of a few dozen tokens.
            keep_signals: keep the teacher's hidden states of every row in memory; it runs in the first epoch only.
            floor: with unequal tokenizers, outcomes of the teacher that are rarer count together; a flat teacher is
                faster with 5e-4 or so.
            signals: a folder of `distill capture` in a teacher's place, `{path: signals}`.
            teachers: several instead of one, each `{teacher, weight, sources}` (distill.tutors).
        """
        super().__init__()
        self.tokenizer = load_tokenizer(_tokenizer_of(student, tokenizer))
        self.student = _to_train(build_student(student, self.tokenizer, seed=seed), attention)
        self.student_view = ByteView(self.tokenizer)
        self.student_pad = pad_id(self.tokenizer)
        terms = _asked(teacher, teachers, signals)
        self.tutors = [Tutor(term, self.student_view, floor, keep_signals) for term in terms]
        self.losses = losses or [LossTerm("ce")]
        self.signals, same = signals, all(tutor.aligner is None for tutor in self.tutors)
        if signals is not None:
            same = signals.open(self.tokenizer, self.losses)
        for term in self.losses:
            term.check(has_teacher=bool(self.tutors or signals), same_vocabulary=same)
        self._loss_names = _logged_as(self.losses)
        self.features = for_each_teacher(features or [], self.student, [tutor.teacher for tutor in self.tutors], seed)
        check_schedule(schedule)
        check_ranges("model", learning_rate=learning_rate, warmup_steps=warmup_steps, final_factor=final_factor,
                     weight_decay=weight_decay, betas=betas, floor=floor)  # fmt: skip
        self.learning_rate, self.schedule, self.warmup_steps = learning_rate, schedule, warmup_steps
        self.final_factor, self.weight_decay, self.betas = final_factor, weight_decay, betas
        self._validation: list[tuple[float, int, int]] = []
        self._total_steps = 1
        self._matrices = {name for name, parameter in self.named_parameters() if parameter.ndim >= 2}

    def configure_model(self) -> None:
        """Under ModelParallelStrategy the weights lie in parts on all devices."""
        if self.device_mesh is not None:
            shard(self, find_blocks(self.student), self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum over supervised tokens, divided by those of the whole accumulated batch, on every device together."""
        if batch.trial is not None:
            check_packing(self, *batch.trial)
        hidden, layers = self.student_hidden(batch)  # (tokens, width)
        signals = self.teacher_signals(batch)
        # Lightning divides by the accumulated batches and averages over devices: undo both.
        share = self.trainer.accumulate_grad_batches * self.trainer.world_size / batch.step_tokens
        terms = [term.at(self.trainer.global_step, self._total_steps, share) for term in self.losses]
        total, values = self.head_losses(terms, hidden, signals, batch)
        if not torch.isfinite(total):
            raise DistillError(self._not_finite(signals))
        found = dict(zip(self._loss_names, values, strict=True))
        if self.features is not None:
            found["loss/features"] = self.feature_losses(layers, signals, batch)
            total = total + share * found["loss/features"]
        tokens = len(batch.student.labels)
        self.log_dict({name: value.detach() / tokens for name, value in found.items()}, on_step=True, on_epoch=False)
        self.log("loss", total.detach() / share / tokens, on_step=True, on_epoch=False, prog_bar=True)
        return total

    def student_hidden(self, batch: Batch) -> tuple[Tensor, dict[Any, Tensor]]:
        """Final hidden states at the predicting positions, `(tokens, width)`, and layers where they are compared, the
        places of one lesson after those of another."""
        tokens = batch.student
        places = [lesson.places.student for lesson in batch.lessons if lesson.places is not None]
        there = torch.cat(places) if places else tokens.positions
        wanted = next(iter(self._features())).student_layers if places else []
        last = self.student.config.num_hidden_layers
        with CatchLayers(self.student, [k for k in wanted if k != last], there) as caught:
            out = self.student.base_model(**tokens.inputs, use_cache=False)
        final = out.last_hidden_state.flatten(0, 1)
        return final[tokens.positions], {k: final[there] if k == last else caught.states[k] for k in wanted}

    def teacher_signals(self, batch: Batch) -> list[DenseSignal] | StoredBatch | None:
        """What each lesson's teacher says at its supervised positions, or what is stored; None without a teacher."""
        if self.signals is not None:
            return self.signals.of(batch)
        if not self.tutors:
            return None
        layers = [each.teacher_layers for each in self._features()]
        return [self.tutors[each.by].signal(each, layers[each.by] if layers else []) for each in batch.lessons]

    def head_losses(self, terms: list[LossTerm], hidden: Tensor, signals: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Their weighted sum over the batch's supervised tokens, and each one's own, (terms,)."""
        head = self.student.get_output_embeddings()
        if isinstance(signals, StoredBatch):
            objective = signals.objective(terms)
        else:
            objective = batch_objective(self.tutors, terms, signals, batch, hidden, head)
        return fused_losses(hidden, head, objective, [number(t.weight) for t in terms])

    def _not_finite(self, signals: Any) -> str:
        """Who is to blame for a loss that is no number."""
        for signal in signals if isinstance(signals, list) else []:
            for part in torch.arange(len(signal.hidden)).split(64):
                if not torch.isfinite(teacher_logits(signal, part)).all():
                    return "the teacher's logits are not finite: load it in full precision (dtype: fp32)"
        return (
            f"the loss is no number at step {self.trainer.global_step}: lower model.learning_rate, clip gradients "
            "(trainer.gradient_clip_val: 1.0) or train in full precision (trainer.precision: 32-true)"
        )

    def feature_losses(self, layers: dict[Any, Tensor], signals: Any, batch: Batch) -> Tensor:
        """The sum over all places, each teacher's with its shares; `layers` as `student_hidden` gives them."""
        losses, start = self._features(), 0
        absent = set(range(len(losses))) - {lesson.by for lesson in batch.lessons}
        # Every projector takes part in every step: processes that train together wait for its gradient.
        idle = [p.sum() * 0.0 for n in sorted(absent) for p in losses[n].parameters()]
        total = sum(idle, torch.zeros((), device=self.device))
        for lesson, signal in zip(batch.lessons, signals, strict=True):
            assert lesson.places is not None
            rows = lesson.places.at[:, 0]  # (places)
            mine = {name: states[start : start + len(rows)] for name, states in layers.items()}
            values = losses[lesson.by](mine, signal.layers, lesson.places.at)
            total = total + (values if lesson.shares is None else values * lesson.shares[rows]).sum()
            start += len(rows)
        return total

    def _features(self) -> list[FeatureLoss]:
        """Of each teacher; none when no features are compared."""
        return cast(list[FeatureLoss], list(self.features or []))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects the negative log-likelihood of the supervised tokens."""
        if batch.trial is not None:
            check_packing(self, *batch.trial)
        hidden, _ = self.student_hidden(batch)
        nats, _ = self.head_losses([LossTerm("ce")], hidden, None, batch)
        counted = batch.step_tokens > 0  # with several ranks some batches only fill the last round up
        self._validation.append(
            (float(nats) * counted, len(batch.student.labels) * counted, batch.characters * counted)
        )

    def on_validation_epoch_end(self) -> None:
        """Logs `val_loss` (nats a token) and `val_bpc` (bits a character, comparable between tokenizers)."""
        sums = torch.tensor([sum(column) for column in zip(*self._validation, strict=True)], dtype=torch.float64)
        self._validation.clear()
        nats, tokens, characters = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum").tolist()
        self.log("val_loss", nats / tokens, prog_bar=True, rank_zero_only=True)
        self.log("val_bpc", nats / math.log(2) / max(characters, 1), prog_bar=True, rank_zero_only=True)

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[int, str]:
        """Row -> the student's answer."""
        from distill.answers import answer_records

        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        records = [data.records["val"][r] for r in batch.rows]
        answers = answer_records(self.student, self.student_view, data.template, records)
        return dict(zip(batch.rows, answers, strict=True))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, decay on matrices only, with warm-up and the schedule counted in optimizer steps."""
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        optimizer = adamw(trained, self._matrices, self.learning_rate, self.weight_decay, self.betas)
        total = int(self.trainer.estimated_stepping_batches)
        if self.trainer.is_global_zero:
            tell_short_run(self.warmup_steps, total)
        return cast(Any, scheduled(optimizer, self.schedule, self.warmup_steps, total, self.final_factor))

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """By norm. Done here because Lightning refuses it for a fused AdamW, though bf16 has no scaled gradients."""
        if gradient_clip_algorithm not in (None, "norm"):
            raise DistillError("trainer.gradient_clip_algorithm: only 'norm' is supported")
        if gradient_clip_val:
            clip_gradients(self, self.trainer.strategy, gradient_clip_val)

    def on_fit_start(self) -> None:
        """Weights that change over a run need its length; teachers are no submodules, so they are moved by hand."""
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        for tutor in self.tutors:
            tutor.teacher.to(self.device)
        if self.signals is not None:
            self.signals.bind(self.trainer.datamodule)  # type: ignore[attr-defined]


def _asked(
    teacher: SignalTeacher | None, teachers: list[TeacherTerm] | None, signals: StoredSignals | None
) -> list[TeacherTerm]:
    """The teachers that a recipe names, in one way or the other."""
    if teacher and teachers:
        raise DistillError("give model.teacher or model.teachers, not both")
    if signals is not None and (teacher or teachers):
        raise DistillError("give model.teacher or model.signals, not both: the signals are a teacher's")
    return teachers or ([TeacherTerm(teacher)] if teacher else [])


def _logged_as(losses: list[LossTerm]) -> list[str]:
    """A name for each term; the second of one kind ends in -1."""
    names = [term.name for term in losses]
    before = [names[:k].count(name) for k, name in enumerate(names)]
    return [f"loss/{name}" + (f"-{n}" if n else "") for name, n in zip(names, before, strict=True)]


def _tokenizer_of(student: dict[str, Any] | str, tokenizer: str | None) -> str:
    """The folder or hub id of the student's tokenizer: its own where no other is named."""
    path = tokenizer or (student if isinstance(student, str) else student.get("path"))
    if path is None or (tokenizer is None and path in preset_names()):
        raise DistillError("model.tokenizer is missing: name the student's tokenizer folder or hub id")
    return path


def _to_train(student: Any, attention: str | None) -> Any:
    """The student, set up for steps that form its logits themselves."""
    if not is_plain(student):
        raise DistillError(
            f"model.student: a {type(student).__name__} scales or caps its logits, which losses and "
            "checkpoints' scores would not know of; take another student"
        )
    student.config.use_cache = False
    try:
        if attention:
            student.set_attn_implementation(attention)
    except (ValueError, ImportError):
        hint = nearest(str(attention), ["sdpa", "eager", "flash_attention_2"])
        raise DistillError(f"this student has no model.attention {attention!r} here{hint}") from None
    return student
