"""Training from signals on disk (teachers.signal_store, `distill capture`) in a teacher's place.

    model:
      signals: {path: signals}

Every record of `data.train` is looked up by its content, its tokens are checked against those the signals were captured
for, and a step reads the rows of its batch from the mapped files. Draws give `forward_kl`, whose mean over draws is
the loss beside the teacher; the likeliest entries with the mass of the rest, as one class, give every divergence; moved
signals the likelihood of sets.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_gen.templates import get_template
from distill.errors import DistillError
from distill.fused import Objective, TwoVocabularies
from distill.listed import ListedTeacher, OneVocabularyListed
from distill.losses import LossTerm, number
from distill.model_folders import model_folder
from distill.reading import Tables
from distill.schedules import ends
from distill.signal_keys import record_keys, row_check, tokenization, weights_fingerprint
from distill.targets import Placed, collect_targets
from teachers.base import vocabulary_id
from teachers.signal_store import Manifest, Signals, SignalStore


@dataclass
class StoredSignals:
    """A store of signals, as a recipe names it."""

    path: str
    """The folder that `distill capture` wrote"""
    teacher: str | None = None
    """The teacher that they must come from, by its folder, whose weights are compared, or by its name; default:
    whichever it was"""
    missing: bool = False
    """Train on the text alone where a row has no signals, instead of refusing"""
    store: SignalStore | None = field(default=None, init=False, repr=False)
    tables: Tables | None = field(default=None, init=False, repr=False)
    places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), init=False, repr=False)
    """(rows): where each row of the training data stands; -1: nowhere"""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), init=False, repr=False)
    """(rows): supervised tokens"""

    def open(self, tokenizer: Any, terms: Sequence[LossTerm]) -> bool:
        """Read the manifest, and whether it fits student and losses; True when the signals are in whole entries, False
        when they are moved onto sets. DistillError names what differs."""
        self.store = store = SignalStore(self.path)
        found = store.manifest
        if vocabulary_id(tokenizer) != found.vocabulary or tokenization(tokenizer) != found.tokenization:
            what = "entries" if vocabulary_id(tokenizer) != found.vocabulary else "way of cutting"
            raise DistillError(
                f"the signals in {self.path} are for a tokenizer with other {what} ({found.vocabulary_size} entries): "
                "capture them with --student set to this student's tokenizer"
            )
        self._check_teacher(found)
        for term in terms:
            self._check(term)
        if found.moved:
            order, silent = (torch.from_numpy(column) for column in store.sets())
            none = torch.zeros(0, dtype=torch.int64)
            self.tables = Tables(none, none.bool(), none.view(0, 3), order, silent, found.vocabulary_size)
        return not found.moved

    def _check_teacher(self, found: Manifest) -> None:
        if self.teacher is None:
            return
        weights = weights_fingerprint(model_folder(self.teacher))
        if weights and weights != found.teacher_weights:
            raise DistillError(f"the signals in {self.path} are those of {found.teacher!r} with other weights than "
                               f"{self.teacher} has: capture them again")  # fmt: skip
        if not weights and self.teacher != found.teacher:
            raise DistillError(
                f"the signals in {self.path} are those of teacher {found.teacher!r}, not {self.teacher!r}"
            )

    def _check(self, term: LossTerm) -> None:
        """Whether a loss can be had from what was kept."""
        assert self.store is not None
        found = self.store.manifest
        if term.name == "ce":
            return
        if found.method == "sampled" and term.name != "forward_kl":
            raise DistillError(
                f"loss {term.name!r} is not linear in the teacher's probabilities, so the draws in {self.path} would "
                "bias it; use forward_kl, or capture with --method topk"
            )
        if found.moved and term.name != "forward_kl":
            raise DistillError(f"loss {term.name!r} cannot be had from the signals in {self.path}; use forward_kl")
        if term.confidence and (found.method == "sampled" or found.moved):
            raise DistillError(f"loss {term.name!r}: draws and moved signals do not tell the teacher's confidence")
        low, high = (a * b for a, b in zip(ends(term.temperature), ends(term.teacher_temperature), strict=True))
        if low != high or low != found.temperature:
            raise DistillError(
                f"the signals in {self.path} were captured at temperature {found.temperature:g}, loss {term.name!r} "
                f"asks for {low:g}{'' if low == high else f' to {high:g}'}; capture them with --temperature"
            )

    def bind(self, data: Any) -> None:
        """Find every training row in the store; DistillError names how many are not there and why."""
        assert self.store is not None
        found, rows = self.store.manifest, data.rows["train"].student
        _check_template("data.template", data.template.told, found.template, self.path)
        _check_template("data.teacher_template", data.teacher_template, found.teacher_template, self.path)
        if data.question_share:
            raise DistillError("data.question_share goes without signals of a teacher: set it to 0")
        self.places = self.store.find(record_keys(data.records["train"]))
        self.counts = rows.supervised_counts
        there = np.flatnonzero(self.places >= 0)
        if not len(there):
            raise DistillError(
                f"none of the {len(self.places)} rows of data.train is in {self.path}, which was captured from other "
                f"data: {', '.join(found.files) or found.data}"
            )
        positions, checks = self.store.about(self.places[there])
        for r, n, check in zip(there.tolist(), positions.tolist(), checks.tolist(), strict=True):
            if n < self.counts[r]:
                raise DistillError(
                    f"the signals in {self.path} were captured with rows cut at {found.max_length} tokens; "
                    "lower data.max_length to that"
                )
            if n == self.counts[r] and check != row_check(rows, r):
                raise DistillError(
                    f"row {r + 1} of data.train has other tokens than its signals in {self.path}: another tokenizer"
                )
        self._tell_missing(len(self.places) - len(there))

    def _tell_missing(self, missing: int) -> None:
        assert self.store is not None
        if not missing:
            return
        short = self.store.missing()
        why = f"the store is cut short by {short} of {self.store.manifest.rows} records" if short else "other data"
        if not self.missing:
            raise DistillError(
                f"{missing} of {len(self.places)} rows of data.train are not in {self.path} ({why}): run the same "
                "'distill capture' to its end, or train on their text alone with model.signals.missing: true"
            )
        print(f"train: {missing} of {len(self.places)} rows have no signals ({why}), their text alone is learnt",
              file=sys.stderr)  # fmt: skip

    def of(self, batch: Any) -> StoredBatch:
        """The signals of a batch."""
        assert self.store is not None
        rows = np.asarray(batch.rows)
        there = self.places[rows] >= 0
        found = self.store.read(self.places[rows[there]].tolist(), self.counts[rows[there]].tolist())
        at = np.repeat(there, self.counts[rows])  # (positions)
        entries, tail = np.zeros(len(at), np.int64), np.zeros(len(at), np.float32)
        entropy = tail.copy()
        entries[at], tail[at], entropy[at] = found.entries, found.tail, found.entropy
        signals = Signals(entries, found.ids, found.mass, tail, found.sets, entropy)
        if self.tables is not None:
            self.tables = self.tables.to(batch.student.labels.device)
        return StoredBatch(signals, self.tables, self.store.manifest.method == "sampled", batch.student.labels)


@dataclass
class StoredBatch:
    """The signals of one batch, row by row."""

    signals: Signals
    tables: Tables | None
    """Where they are masses on sets"""
    draws: bool
    labels: Tensor
    """(positions)"""

    def objective(self, terms: Sequence[LossTerm]) -> Objective:
        """The losses, for distill.fused."""
        inner = self._objective(terms)
        return _WithEntropy(inner, terms, self._lost_entropy()) if self.draws else inner

    def _lost_entropy(self) -> Tensor:
        """(positions): what a few draws have less of entropy than what they were drawn from. A constant: KL is too
        large by it, its gradient is not touched."""
        said = self.signals
        row = np.repeat(np.arange(len(said.entries)), said.entries)
        of_draws = np.bincount(row, -said.mass * np.log(said.mass), len(said.entries))
        lost = np.where(said.entries > 0, said.entropy - of_draws, 0.0)
        return torch.from_numpy(lost.astype(np.float32)).to(self.labels.device)

    def _objective(self, terms: Sequence[LossTerm]) -> Objective:
        device, said = self.labels.device, self.signals
        entries = torch.from_numpy(said.entries)
        row = torch.repeat_interleave(torch.arange(len(entries)), entries).to(device)
        ids, mass, tail = (torch.from_numpy(x).to(device) for x in (said.ids, said.mass, said.tail))
        if self.tables is None:
            return OneVocabularyListed(terms, self.labels, ListedTeacher(row, ids, mass, tail, self.draws))
        of, sets = self.tables.kinds(*torch.from_numpy(said.sets).to(device).unbind(-1))
        kind = ids.masked_scatter(ids < 0, of)
        total = tail.clone().index_add_(0, row, mass)
        placed = Placed(row, kind, mass, sets)
        targets = collect_targets(placed, total, self.tables, tail)
        return TwoVocabularies(terms, self.labels, [None if t.name == "ce" else targets for t in terms], self.tables)


def _check_template(key: str, worn: str | None, found: str, path: str) -> None:
    """Whether rows are put into the words that were captured; of the user's own template all fields are compared."""
    if worn not in (None, found):
        ours, theirs = (get_template(told).name if told.startswith("{") else told for told in (worn or "", found))
        other = " with other fields" if ours == theirs else ""
        raise DistillError(f"{key} is {ours!r}, the signals in {path} were captured with {theirs!r}{other}")


@dataclass
class _WithEntropy:
    """An objective on draws whose KL is told with the entropy of what they were drawn from."""

    inner: Objective
    terms: Sequence[LossTerm]
    lost: Tensor
    """(positions)"""

    def __call__(self, rows: slice, logits: Tensor) -> Tensor:
        values = self.inner(rows, logits)
        for value, term in zip(values, self.terms, strict=True):
            if term.name != "ce":
                value -= self.lost[rows] * number(term.temperature) ** 2
        return values
