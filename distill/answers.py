"""Answers of a model to records: greedy, in batches, for scoring and for samples while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_gen.records import Record
from data_gen.templates import Template
from students.tokenizers import ByteView
from teachers.base import Request
from teachers.panda import PandaTeacher


def answer_records(
    model: Any,
    view: ByteView,
    template: Template,
    records: Sequence[Record],
    max_tokens: int = 64,
    batch_size: int = 64,
) -> list[str]:
    """The model's greedy answers, in the records' order; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    speaker = PandaTeacher.of(model, view.tokenizer, batch_size=batch_size)
    requests = [
        Request(str(n), [], prompt=template.prompt(r), max_tokens=max_tokens, stop=list(template.stop))
        for n, r in enumerate(records)
    ]
    said = {completion.key: completion.text for completion in speaker.generate(requests)}
    model.train(was_training)
    return [said[str(n)] for n in range(len(records))]
