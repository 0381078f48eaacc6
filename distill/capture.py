"""Fills a signal store (teachers.signal_store): what a local teacher says on the answers of a data set.

Records are rendered and encoded as training does it, run through the teacher in batches of about one length, and what
it says at every supervised token of the student is drawn from or cut (distill.draws). With a student of another
vocabulary the teacher's whole distribution is moved onto the student's entries before that, a chunk of logits at a
time: cut first, a row would have lost most of what begins with the bytes already said. Records that the store holds
already are passed over, so a capture that was stopped goes on.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.progress import Progress
from data_gen.records import Record
from data_gen.templates import get_template
from distill.align import Aligner
from distill.batches import gather_tokens
from distill.capture_data import Data, Settings, encode
from distill.draws import Kept, Rare, drawn, likeliest, moved_draws, moved_likeliest, uniforms
from distill.errors import DistillError
from distill.fused import teacher_logits
from distill.model_folders import teacher_template
from distill.ragged import members
from distill.reading import Tables
from distill.signal_keys import cut_alike, data_fingerprint, row_check, tokenization, weights_fingerprint
from distill.targets import placed_masses
from students.tokenizers import ByteView
from teachers.base import DenseSignal, SignalTeacher, vocabulary_id
from teachers.signal_store import Manifest, Row, SignalWriter, save_sets

AT_ONCE_CPU = 2**22
"""Logits that exist at a time"""
AT_ONCE_GPU = 2**27
FLUSH_S = 60.0
"""A kill costs at most so much work"""


@dataclass
class Captured:
    """What a run of `capture` came to."""

    records: int
    """In the store"""
    before: int
    """Of them there when it began"""
    tokens: int
    bytes: int
    dropped: int
    silent: int
    """Tokens of this run about which the teacher says nothing"""
    seconds: float
    damaged: int
    skipped: dict[str, int] = field(default_factory=dict)
    """Records that could not be captured, by the reason"""


def capture(
    records: Sequence[Record],
    teacher: SignalTeacher,
    folder: str | Path,
    settings: Settings,
    student: Any = None,
    files: Sequence[str] = (),
) -> Captured:
    """Write what `teacher` says on the records' answers; `student` is a tokenizer, None: the teacher's own."""
    settings.check()
    worn, given = get_template(settings.template).told, settings.teacher_template
    settings = replace(
        settings, template=worn, teacher_template=teacher_template(teacher, given and get_template(given).told, worn)
    )
    moved = student is not None and not cut_alike(teacher.tokenizer, student)
    theirs = ByteView(teacher.tokenizer)
    ours = ByteView(student) if moved else theirs
    aligner = Aligner(theirs, ours) if moved else None
    data = encode(records, ours, theirs, settings, teacher.context, aligner)
    manifest = Manifest(
        method=settings.method,
        size=settings.size,
        temperature=settings.temperature,
        teacher=str(getattr(teacher, "name", type(teacher).__name__)),
        teacher_weights=weights_fingerprint(getattr(teacher, "path", "")),
        teacher_vocabulary=teacher.vocab_id,
        vocabulary=vocabulary_id(ours.tokenizer),
        vocabulary_size=len(ours.entries),
        # A student's that cuts alike is known by its own settings; whether it does, each row's checksum tells.
        tokenization=tokenization(teacher.tokenizer if student is None else student),
        moved=moved,
        template=settings.template,
        teacher_template=settings.teacher_template or settings.template,
        max_length=settings.max_length,
        data=data_fingerprint(data.keys),
        rows=len(data.keys),
        files=list(files),
        seed=settings.seed,
    )
    with open_writer(folder, manifest, aligner) as writer:
        return _TeacherRun(data, settings, teacher, aligner, theirs).fill(writer)


@contextmanager
def open_writer(folder: str | Path, manifest: Manifest, aligner: Aligner | None) -> Iterator[SignalWriter]:
    """The store, new or to go on with; with what its sets are ranges of."""
    with SignalWriter(folder, manifest) as writer:
        if aligner is not None:
            save_sets(folder, aligner.tables.order.numpy(), aligner.tables.student_silent.numpy())
        yield writer


class Run(ABC):
    """Asks for the records that a store lacks; `kept` says what about some of them is kept."""

    def __init__(self, data: Data, settings: Settings) -> None:
        self.data, self.settings = data, settings
        self.counts = data.student.supervised_counts
        self.silent = 0

    @abstractmethod
    def kept(self, rows: list[int]) -> Kept:
        """The signals of some records, one after the other."""

    def fill(self, writer: SignalWriter) -> Captured:
        """Ask for every record that the store lacks."""
        data, start = self.data, time.monotonic()
        todo = [r for r in np.argsort(data.teacher.lengths, kind="stable").tolist() if int(data.keys[r]) not in writer]
        before = len(data.records) - len(todo)
        size = self.settings.batch_size
        flushed = start
        done = int(self.counts.sum() - self.counts[todo].sum())
        with Progress("capture", total=int(self.counts.sum()), unit="tokens", done=done) as bar:
            for at in range(0, len(todo), size):
                rows = todo[at : at + size]
                for row in self.batch(rows):
                    writer.add(row)
                now = time.monotonic()
                if now - flushed > FLUSH_S:
                    flushed = now
                    writer.flush()
                each = f"{writer.bytes / writer.tokens:.1f} bytes a token" if writer.tokens else ""
                bar.advance(int(self.counts[rows].sum()), note=each)
            writer.flush()
        return Captured(
            len(data.records), before, writer.tokens, writer.bytes, data.dropped, self.silent,
            time.monotonic() - start, writer.damaged,
        )  # fmt: skip

    def batch(self, rows: list[int]) -> list[Row]:
        """The signals of some records."""
        with torch.no_grad():
            kept = self.kept(rows)
        places = np.concatenate([[0], np.cumsum(self.counts[rows])])
        starts = np.concatenate([[0], np.cumsum(kept.entries)])
        sets = np.concatenate([[0], np.cumsum(kept.ids < 0)])
        self.silent += int((kept.entries == 0).sum())
        made = []
        for n, r in enumerate(rows):
            a, b = starts[places[n]], starts[places[n + 1]]
            made.append(Row(
                key=int(self.data.keys[r]), check=row_check(self.data.student, r),
                entries=kept.entries[places[n] : places[n + 1]], ids=kept.ids[a:b], weights=kept.weights[a:b],
                tail=None if kept.tail is None else kept.tail[places[n] : places[n + 1]],
                sets=None if kept.sets is None else kept.sets[sets[a] : sets[b]],
                entropy=None if kept.entropy is None else kept.entropy[places[n] : places[n + 1]],
            ))  # fmt: skip
        return made


class _TeacherRun(Run):
    def __init__(
        self, data: Data, settings: Settings, teacher: SignalTeacher, aligner: Aligner | None, theirs: ByteView
    ) -> None:
        super().__init__(data, settings)
        self.teacher, self.aligner = teacher, aligner
        self.pad = theirs.tokenizer.pad_token_id or theirs.eos_id or 0
        self.vocabulary = len(theirs.entries)
        self.teacher_counts = data.teacher.supervised_counts

    def kept(self, rows: list[int]) -> Kept:
        """What the teacher says about some records."""
        signal = self._ask(rows)
        return self._whole(rows, signal) if self.aligner is None else self._moved(rows, signal)

    def _ask(self, rows: list[int]) -> DenseSignal:
        tokens = gather_tokens(self.data.teacher, rows, self.pad)
        device = getattr(getattr(self.teacher, "model", None), "device", "cpu")
        tokens = tokens.to(device)
        signal = self.teacher.signal(tokens.ids, tokens.mask, tokens.positions, [], None)
        if not torch.isfinite(signal.hidden).all():
            raise DistillError("the teacher's hidden states are not finite: load it in full precision (--dtype fp32)")
        return signal

    def _whole(self, rows: list[int], signal: DenseSignal) -> Kept:
        keys = self.data.keys[rows].tolist()
        theirs, ours = self.teacher_counts[rows], self.counts[rows]
        uniform = self._uniform(keys, ours) if self.settings.method == "sampled" else None
        # What the student lost at its maximum length is not asked for; nor is there more than the teacher read.
        counts = np.minimum(theirs, ours)
        of, nth = members(counts)
        at, into = ((np.cumsum(side) - side)[of] + nth for side in (theirs, ours))
        parts = []
        for part in np.array_split(np.arange(len(at)), max(-(-len(at) // self._step(signal)), 1)):
            p = self._p(signal, torch.from_numpy(at[part]))
            if uniform is not None:
                parts.append(drawn(p, torch.from_numpy(uniform[into[part]]).to(p.device)))
            else:
                parts.append(likeliest(p, self.settings.size))
        entries = np.zeros(int(ours.sum()), np.int64)
        entries[into] = np.concatenate([part.entries for part in parts])
        tail = entropy = None
        if uniform is not None:
            entropy = np.zeros(len(entries), np.float32)
            entropy[into] = np.concatenate([part.entropy for part in parts if part.entropy is not None])
        else:
            tail = np.zeros(len(entries), np.float32)
            tail[into] = np.concatenate([part.tail for part in parts if part.tail is not None])
        ids, weights = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "weights"))
        return Kept(entries, ids, weights, tail, entropy=entropy)

    def _moved(self, rows: list[int], signal: DenseSignal) -> Kept:
        assert self.aligner is not None
        plan = self.aligner.batch([self.data.plans[r] for r in rows]).to(signal.hidden.device)
        keys, count = self.data.keys[rows].tolist(), int(self.counts[rows].sum())
        drawing, rare = self.settings.method == "sampled", None
        if drawing:
            extra = self._uniform(keys, self.teacher_counts[rows], 1)
            rare = Rare(torch.from_numpy(extra).to(signal.hidden.device))
        heat = self.settings.temperature
        read = self.aligner.read(
            lambda part: _sound(teacher_logits(signal, part)) / heat, len(signal.hidden), plan, rare=rare
        )
        tables: Tables = self.aligner.on(plan)
        placed, total = placed_masses(read, plan, tables, count)
        if drawing:
            return moved_draws(placed, tables, total, self._uniform(keys, self.counts[rows]))
        return moved_likeliest(placed, tables, total, self.settings.size)

    def _uniform(self, keys: list[int], counts: np.ndarray, purpose: int = 0) -> np.ndarray:
        return uniforms(self.settings.seed, keys, counts.tolist(), self.settings.size, purpose)

    def _step(self, signal: DenseSignal) -> int:
        return max((AT_ONCE_CPU if signal.hidden.device.type == "cpu" else AT_ONCE_GPU) // self.vocabulary, 1)

    def _p(self, signal: DenseSignal, at: Tensor) -> Tensor:
        hidden = signal.hidden[at.to(signal.hidden.device)]
        part = DenseSignal(signal.vocab_id, hidden, signal.weight, signal.bias)
        logits = _sound(teacher_logits(part, slice(None)))[:, : self.vocabulary]
        return torch.softmax(logits.float() / self.settings.temperature, -1)


def _sound(logits: Tensor) -> Tensor:
    """DistillError for logits that are no numbers, as half precision makes them."""
    if bool(torch.isnan(logits).any()) or bool((logits == torch.inf).any()):
        raise DistillError("the teacher's logits are not finite: load it in full precision (--dtype fp32)")
    return logits
