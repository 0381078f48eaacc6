"""InstructionData: files of records -> segments -> token ids on both sides -> padded batches.

The vocabularies are the model's: the data module asks the Distiller which tokenizers student and teacher have, encodes
every row once at the start, lays the two tokenizations over each other when they differ (distill.align), and serves
batches in an order that depends on the seed alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from data_gen.progress import Progress
from data_gen.provenance import licence_notice
from data_gen.records import Record, read_records
from data_gen.templates import Template, get_template
from distill.batches import Batch, BatchPlan, shared_places
from distill.encoded import EncodedRows, TaughtRows
from distill.encoding import Side, encode_answered, encode_side
from distill.errors import DistillError
from distill.model_folders import teacher_template
from distill.ranges import check_ranges
from distill.tutors import Tutor, shares
from students.tokenizers import ByteView

PARTS = {"fit": ["train", "val"], "validate": ["val"], "test": ["val"], "predict": ["val"]}
"""Which files a stage reads"""


class InstructionData(pl.LightningDataModule):
    """Instruction data for a Distiller."""

    def __init__(
        self,
        train: str | list[str],
        val: str | list[str] | None = None,
        template: str = "qa",
        teacher_template: str | None = None,
        batch_size: int = 32,
        val_batch_size: int | None = None,
        max_length: int = 512,
        packing: bool = False,
        question_share: float = 0.0,
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        """
        Args:
            train: JSONL files (or JSON arrays) of records to train on.
            val: the same for validation; bits per character of it choose the best checkpoint.
            template: how a record is put into words for the student: qa, alpaca, llama-x, chinese-alpaca, chatml or
                llama2.
            teacher_template: the same for the teacher; default the one that its folder says it was trained with, else
                the student's.
            batch_size: rows a batch, on each device; with `packing` lines of `max_length` tokens, each holding as many
                rows as fit.
            val_batch_size: the same in validation; default twice `batch_size`.
            max_length: longest row in tokens; longer ones lose the end of their answer.
            packing: put several rows into a line, which see nothing of each other, so that little of a batch is
                filling. False: rows of about one length share a batch.
            question_share: share of rows of which the question is learnt too, not only the answer. 1 is pre-training; a
                little in fine-tuning keeps a teacher able to write questions itself; 0 with a teacher.
            seed: decides the order of rows.
            limit: use only the first rows of each file.
        """
        super().__init__()
        self.files = {"train": _listed(train), "val": _listed(val)}
        self.template = get_template(template)
        self.teacher_template = teacher_template and get_template(teacher_template).told
        check_ranges("data", batch_size=batch_size, val_batch_size=val_batch_size, max_length=max_length,
                     question_share=question_share, seed=seed, limit=limit)  # fmt: skip
        self.batch_size, self.val_batch_size = batch_size, val_batch_size or 2 * batch_size
        self.max_length, self.question_share, self.seed, self.limit = max_length, question_share, seed, limit
        self.width = max_length if packing else None
        self._tried = not packing
        self.records: dict[str, list[Record]] = {}
        self.rows: dict[str, EncodedRows] = {}
        self._found: dict[str, list[Record]] = {}
        self.plan: BatchPlan | None = None
        self._resume_at: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Read and encode what the stage needs, once."""
        self.plan = None
        self.read(stage)
        for part in PARTS[stage]:
            if part not in self.rows and self.files[part]:
                self.rows[part] = self._encode(part)

    def read(self, stage: str) -> None:
        """Read the files of a stage, once; a DataError names file and line of what is no record."""
        if stage != "fit" and not self.files["val"]:
            raise DistillError("scoring and predicting need data.val: name a file of records")
        for part in PARTS[stage]:
            if part in self.rows or part in self._found or not self.files[part]:
                continue
            found = [record for file in self.files[part] for record in self._read(file)]
            if not any(record.output or record.history for record in found):
                raise DistillError(f"data.{part}: no row with an answer in {', '.join(self.files[part])}")
            self._found[part] = found
            for notice in filter(None, (licence_notice(Path(file)) for file in self.files[part] if part == "train")):
                print(notice, file=sys.stderr)

    def _encode(self, part: str) -> EncodedRows:
        records = self._found.pop(part)
        model: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        share = self.question_share if part == "train" else 0.0

        def encode(some: Sequence[Record]) -> Side:
            return _encoded("student", model.student_view, self.template, some, self.max_length, share)

        student, kept = encode_answered(encode, records)
        gone = {*range(len(records))} - {*kept}
        empty = sum(not records[r].output for r in gone)
        _tell(empty, f"{part}: {empty} rows have no answer, left out")
        long = len(gone) - empty
        _tell(long, f"{part}: {long} rows have no answer within {self.max_length} tokens, left out")
        records = [records[r] for r in kept]
        if not records:
            raise DistillError(f"data.{part}: no usable row in {', '.join(self.files[part])}")
        unknown = f"{model.student_view.tokenizer.unk_token} is {'learnt' if part == 'train' else 'scored'}"
        _tell(student.unknown, f"{part}: at {student.unknown} places in answers the student's tokenizer has no "
                                    f"entry, {unknown} there")  # fmt: skip
        _tell(student.cut, f"{part}: {student.cut} of {len(records)} answers cut at {self.max_length} tokens")
        self.records[part] = records
        return EncodedRows(student, model.student_pad, self._teach(model, part, records, student), self.width)

    def _teach(self, model: Any, part: str, records: list[Record], student: Side) -> list[TaughtRows]:
        """The rows as the model's teachers read them; nobody is asked in validation."""
        if part != "train" or not model.tutors:
            return []
        if self.question_share:
            raise DistillError("data.question_share goes without a teacher: set it to 0, or model.teacher to null")
        by_tutor = shares(model.tutors, records)
        alone = int((by_tutor.sum(0) == 0).sum())
        _tell(alone, f"train: no teacher is for {alone} of {len(records)} rows, their text alone is learnt")
        return [self._taught(model, n, records, student, by_tutor[n]) for n in range(len(model.tutors))]

    def _taught(self, model: Any, n: int, records: list[Record], student: Side, share: np.ndarray) -> TaughtRows:
        tutor: Tutor = model.tutors[n]
        # A teacher may need more tokens for the same text; what the student keeps, it must cover as far as it reads.
        room = min(4 * self.max_length, tutor.context or 4 * self.max_length)
        template = get_template(teacher_template(tutor.teacher, self.teacher_template, self.template.told))
        rows = TaughtRows(n, _encoded("teacher", tutor.view, template, records, room), tutor.pad, share)
        asked = np.flatnonzero(share).tolist()
        if tutor.aligner is None:
            rows.side = _cut_like(student, rows.side)
        else:
            rows.aligner = tutor.aligner
            with Progress("alignment", total=len(asked), late=True) as bar:
                for r in asked:
                    answers = [text for text, said in self.template.render(records[r]) if said]
                    rows.plans[r] = tutor.aligner.plan(answers, rows.side, student, r)
                    bar.advance()
            covered = sum(int((plan.teacher_at >= 0).sum()) + len(plan.spaces) for plan in rows.plans.values())
            total = int(student.supervised_counts[asked].sum())
            which = f" from teacher {n + 1}" if len(model.tutors) > 1 else ""
            print(f"train: {100 * covered / max(total, 1):.1f} % of {total} supervised tokens have a target{which}",
                  file=sys.stderr)  # fmt: skip
            _tell(total - covered, f"train: {total - covered} supervised tokens have no target{which}, their text "
                                        "alone is learnt")  # fmt: skip
            _tell(rows.side.unknown, f"train: at {rows.side.unknown} places in answers the tokenizer of teacher "
                                          f"{n + 1} has no entry")  # fmt: skip
        if model.features is not None:
            same = self.template == template
            shared = {r: rows.plans[r].shared() if rows.plans else None for r in asked}
            rows.places = {r: shared_places(student, rows.side, shared[r], r, same) for r in asked}
        return rows

    def _read(self, file: str) -> list[Record]:
        records: list[Record] = []
        for record in read_records(file):
            if self.limit is not None and len(records) >= self.limit:
                break
            records.append(record)
        return records

    def train_dataloader(self) -> DataLoader:
        """Shuffled by the seed; a resumed run goes on in the middle of an epoch."""
        if self.plan is not None:  # asked for again: the next epoch has an order of its own
            return _loader(self.rows["train"], self.plan)
        self.plan = self._plan("train", self.batch_size, self.seed)
        if self._resume_at is not None:
            self.plan.load_state_dict(self._resume_at)
            self._resume_at = None
        if self.trainer.global_rank == 0:  # type: ignore[union-attr]
            print(
                f"train: {len(self.rows['train'])} rows, {self.plan.taken} batches an epoch on each device; "
                f"{100 * self.plan.filled():.1f} % of a batch are tokens, the rest fills it up",
                file=sys.stderr,
            )
        return _loader(self.rows["train"], self.plan)

    def val_dataloader(self) -> DataLoader | list:
        """Every row once, by length."""
        if "val" not in self.rows:
            return []
        return _loader(self.rows["val"], self._plan("val", self.val_batch_size, None))

    def _plan(self, part: str, batch_size: int, seed: int | None) -> BatchPlan:
        trainer: Any = self.trainer
        side = self.rows[part].student
        return BatchPlan(
            side.lengths, side.supervised_counts, batch_size, seed=seed, width=self.width,
            accumulate=trainer.accumulate_grad_batches, rank=trainer.global_rank, world=trainer.world_size,
            limit=1.0 if seed is None else trainer.limit_train_batches,
            data="" if seed is None else side.fingerprint(),
        )  # fmt: skip

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """The first packed batch carries rows to try the models on. Everything is on its device by now."""
        trainer: Any = self.trainer
        if self._tried or trainer.state.fn == "predict":  # predicting runs no batch of ours
            return batch
        self._tried = True
        rows = self.rows["train" if trainer.state.fn == "fit" else "val"]
        few = rows.short_ones()
        pair = [rows.batch(few, 1.0, width).to(batch.student.ids.device) for width in (self.width, None)]
        if trainer.state.fn != "fit":
            pair = [replace(one, lessons=[]) for one in pair]
        return replace(batch, trial=(pair[0], pair[1]))

    def state_dict(self) -> dict[str, Any]:
        """Where in the order of rows the run stands; Lightning puts it into the checkpoint."""
        return self.plan.state_dict() if self.plan is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Kept until there is a sampler; FSDP has one by then, as its optimizer, which asks for it, comes first.
        (A stateful loader would be filled too late: the schedule needs its length before Lightning restores loops.)
        """
        if self.plan is not None and state_dict:
            self.plan.load_state_dict(state_dict)
        else:
            self._resume_at = state_dict or None

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader


def _loader(rows: EncodedRows, plan: BatchPlan) -> DataLoader:
    # Its own generator: a loader draws a seed at each epoch, which must not shift the run's random state.
    return DataLoader(rows, sampler=plan, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]


def _tell(count: int, sentence: str) -> None:
    """What is left out, cut or cannot be written, where there is any."""
    if count:
        print(sentence, file=sys.stderr)


def _listed(files: str | list[str] | None) -> list[str]:
    return [] if files is None else [files] if isinstance(files, str) else list(files)


def _encoded(
    who: str,
    view: ByteView,
    template: Template,
    records: Sequence[Record],
    max_length: int,
    question_share: float = 0.0,
) -> Side:
    with Progress(f"{who}'s tokens", total=len(records), late=True) as bar:
        return encode_side(view, template, records, max_length, question_share=question_share, advance=bar.advance)


def _cut_like(student: Side, teacher: Side) -> Side:
    """In one vocabulary both sides must supervise the same tokens: drop from the teacher what the student lost."""
    counts, full = student.supervised_counts, teacher.supervised_counts
    if (counts > full).any():
        raise DistillError("a teacher with the student's tokenizer must see the whole answer: raise data.max_length")
    if (counts < full).any():
        keep = teacher.supervised.copy()
        for r in range(len(counts)):
            at = teacher.start[r] + _at(teacher.supervised[teacher.row(r)])
            keep[at[counts[r] :]] = False
        teacher.supervised = keep
    if (student.ids[student.supervised] != teacher.ids[teacher.supervised]).any():
        raise DistillError(
            "teacher and student have the same entries and seem to cut text alike, but some answers of data.train they "
            "do not: give model.tokenizer the teacher's own tokenizer"
        )
    return teacher


def _at(mask: Any) -> Any:
    return mask.nonzero()[0]
