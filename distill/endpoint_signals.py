"""A signal store from what an endpoint told beside its own answers: up to 20 likeliest tokens a position, in bytes.

`distill generate --logprobs 20` keeps them in its journal. The endpoint's tokenizer need not be known: the tokens it
said and named, all of them together and every single byte, are a vocabulary (`SeenTokens`), cut greedily, the longest
first. Over that the endpoint's own cut of an answer is laid under the student's (distill.align), and the named masses
move onto sets of student entries; the mass of everything that was not named is the tail. The end of an answer is an
outcome where it was named, and its own position where the answer ends has no signal, since endpoints do not tell it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from data_gen.logprobs import Position, ToldAnswer, read_logprobs
from data_gen.records import Record
from data_gen.templates import get_template
from distill.align import Aligner
from distill.capture import Captured, Run, open_writer
from distill.capture_data import Data, Settings
from distill.draws import Kept, moved_likeliest
from distill.encoding import Side, encode_side
from distill.errors import DistillError
from distill.plan_batches import PlanBatch
from distill.reading import Tables, TeacherRows
from distill.signal_keys import data_fingerprint, record_keys, tokenization
from distill.targets import placed_masses
from students.tokenizers import ByteView
from teachers.base import vocabulary_id
from teachers.signal_store import Manifest

ENDS = {b"</s>", b"<|im_end|>", b"<|endoftext|>", b"<|eot_id|>", b"<|end_of_text|>", b"<|return|>", b"<end_of_turn>"}
"""Names under which endpoints tell that an answer might end"""


class SeenTokens:
    """The tokens an endpoint was seen to have, looked at as distill.align looks at a tokenizer's."""

    family = "byte_bpe"
    lowercase = False

    def __init__(self, answers: Sequence[ToldAnswer]) -> None:
        told = {token for answer in answers for position in answer.positions for token in _tokens(position)}
        names = sorted((told - ENDS - {b""}) | {bytes([b]) for b in range(256)})
        self.entries: list[bytes | None] = [*names, None]
        self.ids = {token: n for n, token in enumerate(names)}
        self.eos_id = len(names)
        self.tokenizer = SimpleNamespace(unk_token_id=None)
        self._longest = max(map(len, names))

    def id(self, token: bytes) -> int:
        """Of a token that was seen."""
        return self.ids.get(token, self.eos_id)

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Greedily, the longest first."""
        return [self.encode_broken(text.encode("utf-8", "surrogatepass")) for text in texts]

    def encode_broken(self, text: bytes) -> list[int]:
        """The same for any bytes."""
        ids, at = [], 0
        while at < len(text):
            size = next(n for n in range(min(self._longest, len(text) - at), 0, -1) if text[at : at + n] in self.ids)
            ids.append(self.ids[text[at : at + size]])
            at += size
        return ids

    @cached_property
    def fingerprint(self) -> str:
        """Of the vocabulary."""
        return hashlib.sha256(b"\0".join(self.ids)).hexdigest()[:16]


def _tokens(position: Position) -> list[bytes]:
    return [position.said, *(token for token, _ in position.likely)]


def capture_journal(
    records: Sequence[Record], journal: Path, folder: str | Path, settings: Settings, student: Any, files: Sequence[str]
) -> Captured:
    """Write what the endpoint told with the answers of these records."""
    settings.check()
    if settings.temperature != 1:
        raise DistillError("--temperature: an endpoint's probabilities are kept as they were told")
    told = {answer.key: answer for answer in read_logprobs(journal)}
    if not told:
        raise DistillError(f"{journal} holds no probabilities; ask for them with 'distill generate --logprobs 20'")
    skipped: Counter[str] = Counter()
    kept = [record for record in records if (why := _unfit(record, told)) is None or skipped.update([why])]
    if not kept:
        why = skipped.most_common(1)[0][0] if skipped else "no record"
        raise DistillError(f"{journal} has the probabilities of none of the records: {why}")
    answers = [told[record.meta["prompt_hash"]] for record in kept]
    seen, ours, template = SeenTokens(answers), ByteView(student), get_template(settings.template)
    aligner = Aligner(seen, ours)  # type: ignore[arg-type]
    student_side = encode_side(ours, template, kept, settings.max_length)
    data = Data(kept, record_keys(kept), student_side, _side(seen, kept, answers))
    data.plans = [aligner.plan([kept[r].output], data.teacher, student_side, r) for r in range(len(kept))]
    manifest = Manifest(
        method="topk", size=settings.size, temperature=1.0, teacher=str(kept[0].meta.get("model") or "endpoint"),
        teacher_weights="", teacher_vocabulary=seen.fingerprint, vocabulary=vocabulary_id(student),
        vocabulary_size=len(ours.entries), tokenization=tokenization(student), moved=True, template=template.told,
        teacher_template="chat", max_length=settings.max_length, data=data_fingerprint(data.keys), rows=len(kept),
        files=list(files),
    )  # fmt: skip
    with open_writer(folder, manifest, aligner) as writer:
        captured = _EndpointRun(data, settings, aligner, seen, answers).fill(writer)
    captured.skipped = dict(skipped)
    return captured


def _unfit(record: Record, told: dict[str, ToldAnswer]) -> str | None:
    """Why a record cannot be captured; None if it can."""
    answer = told.get(str(record.meta.get("prompt_hash")))
    if answer is None:
        return "the journal has no probabilities for them"
    if record.history:
        return "the endpoint's probabilities are of the last of several answers"
    if not record.output or not answer.text.startswith(record.output):
        return "they do not say what the endpoint said"
    return None


def _side(seen: SeenTokens, records: Sequence[Record], answers: Sequence[ToldAnswer]) -> Side:
    """The endpoint's own cut of its answers, up to the last token inside the record's output."""
    ids: list[int] = []
    ends: list[int] = []
    start = [0]
    for record, answer in zip(records, answers, strict=True):
        size, at = len(record.output.encode("utf-8", "surrogatepass")), 0
        for position in answer.positions:
            at += len(position.said)
            if at > size or not position.said:
                break
            ids.append(seen.id(position.said))
            ends.append(at)
        start.append(len(ids))
    none = np.zeros(len(ids), np.int32)
    return Side(
        np.array(ids, np.int32), np.ones(len(ids), bool), np.array(ends, np.int32), none, np.array(start, np.int64),
        np.zeros(len(records), np.int64),
    )  # fmt: skip


class _EndpointRun(Run):
    def __init__(
        self, data: Data, settings: Settings, aligner: Aligner, seen: SeenTokens, answers: Sequence[ToldAnswer]
    ) -> None:
        super().__init__(data, settings)
        self.aligner, self.seen, self.answers = aligner, seen, answers

    def kept(self, rows: list[int]) -> Kept:
        """The named masses of some records, moved."""
        plan = self.aligner.batch([self.data.plans[r] for r in rows])
        tables = self.aligner.on(plan)
        sides = [self.data.teacher.row(r) for r in rows]
        positions = [
            p for r, at in zip(rows, sides, strict=True) for p in self.answers[r].positions[: at.stop - at.start]
        ]
        placed, total = placed_masses(
            named_rows(positions, self.seen, plan, tables), plan, tables, int(self.counts[rows].sum())
        )
        return moved_likeliest(placed, tables, total, self.settings.size)


def named_rows(positions: Sequence[Position], seen: SeenTokens, plan: PlanBatch, tables: Tables) -> TeacherRows:
    """What the endpoint named at the positions of a batch, as far as the plan needs it."""
    size = len(seen.entries)
    table: dict[int, float] = {}
    for n, position in enumerate(positions):
        for name, logprob in [*position.likely, (position.said, position.logprob)]:
            table[n * size + seen.id(name)] = math.exp(min(logprob, 0.0))
    keys = torch.tensor(sorted(table), dtype=torch.int64)
    mass = torch.tensor([table[k] for k in keys.tolist()])
    source, token = keys // size, keys % size

    def named(pairs: torch.Tensor) -> torch.Tensor:
        wanted = pairs[:, 0] * size + pairs[:, 1]
        at = torch.searchsorted(keys, wanted).clamp_max(max(len(keys) - 1, 0))
        return torch.where(keys[at] == wanted, mass[at], 0.0)

    place = torch.full((len(positions),), -1)
    place[plan.sources] = torch.arange(len(plan.sources))
    silent = torch.zeros(len(positions)).index_add_(0, source, mass * tables.silent[token])[plan.sources]
    away = torch.cat([plan.spent, plan.banned])
    elsewhere = torch.isin(keys, plan.sources[away[:, 0]] * size + away[:, 1])
    here = (place[source] >= 0) & ~tables.silent[token] & ~elsewhere
    return TeacherRows(place[source[here]], token[here], mass[here], named(plan.asked()), silent)
