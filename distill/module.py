"""Distiller: a student, perhaps a teacher, and the losses between them, as a LightningModule.

A step goes: run the student, keep its hidden states at the positions that predict supervised tokens; ask the teacher
for its signal on the same rows; sum the weighted losses there, a chunk of logits at a time; divide by the supervised
tokens of the whole optimizer step. The teacher is held in a plain object, so it is in no checkpoint; projectors live
here, never on the student.
"""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from distill.align import FLOOR, Aligner
from distill.baselines import shared_starts
from distill.batches import Batch
from distill.errors import DistillError
from distill.features import FeatureLoss, FeatureTerm
from distill.fused import Objective, OneVocabulary, Part, TwoVocabularies, fused_losses, teacher_logits
from distill.kept_signals import KeptSignals
from distill.losses import LossTerm, number
from distill.schedules import check_schedule, learning_rate_factor
from distill.spans import span_loss
from distill.stored import StoredBatch, StoredSignals
from distill.targets import Targets
from students.build import build_student, preset_names
from students.tokenizers import ByteView, load_tokenizer
from teachers.base import DenseSignal, SignalTeacher, nearest, vocabulary_id
from teachers.hidden import CatchLayers


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
        """
        super().__init__()
        path = tokenizer or (student if isinstance(student, str) else student.get("path"))
        if path is None or (tokenizer is None and path in preset_names()):
            raise DistillError("model.tokenizer is missing: name the student's tokenizer folder or hub id")
        self.tokenizer = load_tokenizer(path)
        self.student = build_student(student, self.tokenizer, seed=seed)
        self.student_view = ByteView(self.tokenizer)
        self.student.config.use_cache = False
        if attention:
            _attend(self.student, attention)
        self._teacher = teacher
        self._kept = KeptSignals() if keep_signals else None
        self.teacher_view = ByteView(teacher.tokenizer) if teacher else None
        self.student_pad, self.teacher_pad = _pad(self.tokenizer), _pad(teacher.tokenizer) if teacher else 0
        self.teacher_context: int | None = getattr(teacher, "context", None)
        self.aligner: Aligner | None = None
        if teacher and teacher.vocab_id != vocabulary_id(self.tokenizer):
            self.aligner = Aligner(self.teacher_view, self.student_view, floor)  # type: ignore[arg-type]
        self.losses = losses or [LossTerm("ce")]
        self.signals, same = signals, self.aligner is None
        if signals is not None:
            if teacher is not None:
                raise DistillError("give model.teacher or model.signals, not both: the signals are a teacher's")
            same = signals.open(self.tokenizer, self.losses)
        for term in self.losses:
            term.check(has_teacher=(teacher or signals) is not None, same_vocabulary=same)
        self._loss_names = [
            f"loss/{term.name}" + (f"-{n}" if n else "")
            for k, term in enumerate(self.losses)
            for n in [sum(other.name == term.name for other in self.losses[:k])]
        ]
        self.features = _projected(features or [], self.student, teacher, seed)
        check_schedule(schedule)
        if not 0 <= floor < 1:
            raise DistillError(f"model.floor is a probability, at least 0 and below 1, got {floor}")
        if learning_rate <= 0 or weight_decay < 0 or warmup_steps < 0:
            raise DistillError("model.learning_rate is above 0, model.weight_decay and model.warmup_steps at least 0")
        self.learning_rate, self.schedule, self.warmup_steps = learning_rate, schedule, warmup_steps
        self.final_factor, self.weight_decay, self.betas = final_factor, weight_decay, betas
        self._validation: list[tuple[float, int, int]] = []
        self._total_steps = 1

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum over supervised tokens, divided by those of the whole accumulated batch, on every device together."""
        hidden, layers = self.student_hidden(batch)  # (tokens, width)
        signal = self.teacher_signal(batch)
        # Lightning divides by the accumulated batches and averages over devices: undo both.
        share = self.trainer.accumulate_grad_batches * self.trainer.world_size / batch.step_tokens
        terms = [term.at(self.trainer.global_step, self._total_steps, share) for term in self.losses]
        total, values = self.head_losses(terms, hidden, signal, batch)
        found = dict(zip(self._loss_names, values, strict=True))
        if self.features is not None:
            found["loss/features"] = self.features(layers, signal.layers, batch.places and batch.places.at).sum()
            total = total + share * found["loss/features"]
        tokens = len(batch.student.labels)
        self.log_dict({name: value.detach() / tokens for name, value in found.items()}, on_step=True, on_epoch=False)
        self.log("loss", total.detach() / share / tokens, on_step=True, on_epoch=False, prog_bar=True)
        return total

    def student_hidden(self, batch: Batch) -> tuple[Tensor, dict[int, Tensor]]:
        """Final hidden states at the predicting positions, `(tokens, width)`, and layers where they are compared."""
        tokens, places = batch.student, batch.places
        wanted = self.features.student_layers if self.features is not None and places is not None else []
        last = self.student.config.num_hidden_layers
        there = tokens.positions if places is None else places.student
        with CatchLayers(self.student, [k for k in wanted if k != last], there) as caught:
            out = self.student.base_model(**tokens.inputs, use_cache=False)
        final = out.last_hidden_state.flatten(0, 1)
        return final[tokens.positions], {k: final[there] if k == last else caught.states[k] for k in wanted}

    def teacher_signal(self, batch: Batch) -> Any:
        """The teacher's DenseSignal at its own supervised positions, or what is stored; None without a teacher."""
        if self.signals is not None:
            return self.signals.of(batch)
        if self._teacher is None or batch.teacher is None:
            return None
        return self._kept(batch, self.ask_teacher) if self._kept is not None else self.ask_teacher(batch)

    def ask_teacher(self, batch: Batch) -> DenseSignal:
        """Run the teacher on the batch's rows."""
        assert self._teacher is not None
        assert batch.teacher is not None
        layers = self.features.teacher_layers if self.features is not None else []
        side = batch.teacher
        places = batch.places.teacher if batch.places is not None else None
        packed = {} if side.position_ids is None else {"position_ids": side.position_ids}
        signal = self._teacher.signal(side.ids, side.mask, side.positions, layers, places, **packed)
        if not torch.isfinite(signal.hidden).all():
            raise DistillError("the teacher's hidden states are not finite: load it in full precision (dtype: fp32)")
        return signal

    def head_losses(self, terms: list[LossTerm], hidden: Tensor, signal: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Their weighted sum over the batch's supervised tokens, and each one's own, (terms,)."""
        labels = batch.student.labels
        objective: Objective = OneVocabulary(terms, labels, signal if isinstance(signal, DenseSignal) else None)
        if isinstance(signal, StoredBatch):
            objective = signal.objective(terms)
        elif signal is not None and self.aligner is not None:
            parts = [self.part(term, signal, batch, hidden) if term.name != "ce" else None for term in terms]
            objective = TwoVocabularies(terms, labels, parts, self.aligner.on(batch.plan))
        return fused_losses(hidden, self.student.get_output_embeddings(), objective, [number(t.weight) for t in terms])

    def part(self, term: LossTerm, signal: DenseSignal, batch: Batch, hidden: Tensor) -> Targets | Part:
        """What a term between two vocabularies asks for."""
        assert self.aligner is not None
        if term.name == "forward_kl":
            return self.targets(term, signal, batch)
        if term.name == "alm":
            return span_loss(term, self.aligner, signal, batch, hidden, self.student.get_output_embeddings())
        return shared_starts(term, self.aligner, signal, batch)

    def targets(self, term: LossTerm, signal: DenseSignal, batch: Batch) -> Targets:
        """What the teacher says, on sets of the student's entries."""
        assert self.aligner is not None
        heat = number(term.teacher_temperature)
        rows = self.aligner.read(lambda part: teacher_logits(signal, part) / heat, len(signal.hidden), batch.plan)
        return self.aligner.targets(rows, batch.plan, len(batch.student.labels), confidence=term.confidence)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects the negative log-likelihood of the supervised tokens."""
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
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas, fused=True)
        self._total_steps = total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(self.schedule, step, self.warmup_steps, total, self.final_factor),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """By norm. Done here because Lightning refuses it for a fused AdamW, though bf16 has no scaled gradients."""
        if gradient_clip_algorithm not in (None, "norm"):
            raise DistillError("trainer.gradient_clip_algorithm: only 'norm' is supported")
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_fit_start(self) -> None:
        """The teacher is no submodule: it moves to the device by hand."""
        if self._teacher is not None:
            self._teacher.to(self.device)
        if self.signals is not None:
            self.signals.bind(self.trainer.datamodule)  # type: ignore[attr-defined]


def _attend(student: Any, attention: str) -> None:
    try:
        student.set_attn_implementation(attention)
    except (ValueError, ImportError):
        hint = nearest(attention, ["sdpa", "eager", "flash_attention_2"])
        raise DistillError(f"this student has no model.attention {attention!r} here{hint}") from None


def _pad(tokenizer: Any) -> int:
    """The id that fills a row up; masked everywhere, so any valid id will do."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)


def _projected(terms: list[FeatureTerm], student: Any, teacher: Any, seed: int) -> FeatureLoss | None:
    if not terms:
        return None
    if teacher is None:
        raise DistillError("model.features needs a teacher: set model.teacher or remove the features")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = (student.config.hidden_size, teacher.width)
        return FeatureLoss(terms, student.config.num_hidden_layers, teacher.layers, widths)
