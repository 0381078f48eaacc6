"""`distill eval`: score one or several models on the same rows, side by side.

    distill eval teachers/embedded runs/kd/student --data curriculum --rows 500
    distill eval runs/sft/student runs/kd/student --data heldout.jsonl --teacher teachers/embedded --json scores.json

What is measured stands in distill.metrics. Characters that a tokenizer has no entry for are counted and reported: where
there are some, the model's bits do not compare with others'.
"""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from data_gen.curriculum import is_correct, items
from data_gen.progress import Progress
from data_gen.records import DataError, Record, read_records
from data_gen.templates import Template, get_template
from distill.errors import DistillError
from distill.files import check_own, write_whole
from distill.metrics import METRICS, Answered
from distill.model_folders import model_folder, trained_template
from distill.quiet import quiet_transformers
from teachers.head import is_plain

OWN = b'{\n  "data": '
"""How a file of scores begins"""


@dataclass
class Score:
    """What `distill eval` finds out about one model."""

    name: str
    parameters: int
    values: dict[str, float | None]
    """By the names of distill.metrics"""
    seconds: float
    """Of scoring; a caller that trained the model puts the training's here"""
    unknown_characters: int = 0
    """Characters of the answers that the tokenizer has no entry for"""
    cut: int = 0
    """Answers that did not fit and were scored in part"""
    by_family: dict[str, float] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list, repr=False)


def curriculum_records(rows: int, seed: int, split: str, families: Sequence[str] | None = None) -> list[Record]:
    """Items of the curriculum as records that name their family."""
    return [
        Record(i.instruction, i.input, i.output, source="curriculum", meta={"family": i.family})
        for i in items(rows, seed=seed, split=split, families=families)  # type: ignore[arg-type]
    ]


def load_rows(data: str, rows: int | None, seed: int) -> list[Record]:
    """The held-out curriculum, or the records of a file. DataError when there are none."""
    if data == "curriculum":
        found = curriculum_records(rows or 500, seed, "heldout")
    else:
        found = list(islice(read_records(data), rows))
    found = [record for record in found if record.output]
    if not found:
        raise DataError(f"{data} has no record with an answer to score")
    return found


def score_model(
    model: Any,
    tokenizer: Any,
    records: list[Record],
    template: Template,
    *,
    name: str,
    teacher_answers: list[str] | None = None,
    max_tokens: int = 64,
    max_length: int = 1024,
    batch_size: int = 64,
) -> Score:
    """Score a model in memory; the answers come back with it."""
    from distill.answers import answer_records
    from students.tokenizers import ByteView

    start = time.monotonic()
    view = ByteView(tokenizer)
    answers: list[str] = []
    with Progress(f"eval {name}", len(records)) as bar:
        for at in range(0, len(records), 4 * batch_size):
            part = records[at : at + 4 * batch_size]
            answers += answer_records(model, view, template, part, max_tokens, batch_size)
            bar.advance(len(part))
    right = [is_correct(record.output, answer) for record, answer in zip(records, answers, strict=True)]
    bits, characters, unknown, cut = bits_of(model, view, template, records, max_length, batch_size)
    said = Answered(records, answers, teacher_answers, bits, characters)
    values = {measure: metric.of(said) for measure, metric in METRICS.items()}
    seconds = time.monotonic() - start
    return Score(name, model.num_parameters(), values, seconds, unknown, cut, _by_family(records, right), answers)


def bits_of(
    model: Any, view: Any, template: Template, records: list[Record], max_length: int, batch_size: int
) -> tuple[float, int, int, int]:
    """(bits of the responses and their ends, characters, unknown characters, answers cut)."""
    import torch
    from torch.nn.functional import cross_entropy

    from distill.batches import BatchPlan, gather_tokens
    from distill.encoding import encode_side

    context = getattr(model.config, "max_position_embeddings", None) or max_length
    side = encode_side(view, template, records, min(max_length, context))
    if not side.supervised.any():
        raise DistillError(f"no answer fits into {min(max_length, context)} tokens with this model's tokenizer")
    pad = view.tokenizer.pad_token_id or 0
    plain = is_plain(model)
    nats = 0.0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for rows, _ in BatchPlan(side.lengths, side.supervised_counts, batch_size, seed=None):
            tokens = gather_tokens(side, rows, pad).to(model.device)
            if not len(tokens.labels):
                continue
            # Logits of an answer's places only, where the model does nothing but multiply; those of all places are big.
            run, head = (model.base_model, model.get_output_embeddings()) if plain else (model, lambda logits: logits)
            picked = run(**tokens.inputs, use_cache=False)[0].flatten(0, 1)[tokens.positions]  # (tokens, width | vocab)
            for at in range(0, len(picked), 512):
                logits = head(picked[at : at + 512]).float()  # (tokens, vocab)
                nats += float(cross_entropy(logits, tokens.labels[at : at + 512], reduction="sum"))
    model.train(was_training)
    return nats / math.log(2), max(int(side.characters.sum()), 1), side.unknown, side.cut


def _by_family(records: list[Record], right: list[bool]) -> dict[str, float]:
    found: dict[str, list[bool]] = defaultdict(list)
    for record, ok in zip(records, right, strict=True):
        if "family" in record.meta:
            found[record.meta["family"]].append(ok)
    return {family: sum(oks) / len(oks) for family, oks in sorted(found.items())}


def load_model(path: str, dtype: str = "fp32") -> tuple[Any, Any]:
    """(model, tokenizer) of a folder, a run folder or a hub id, on the accelerator if there is one."""
    from teachers.panda import PandaTeacher

    teacher = PandaTeacher(model_folder(path), dtype=dtype)
    return teacher.model, teacher.tokenizer


def template_of(path: str) -> str:
    """The template a model was trained with, as its folder says; `qa` when it does not."""
    return trained_template(path) or "qa"


def main(argv: list[str]) -> int:
    """The verb."""
    from distill.commands.arguments import Arguments

    parser = Arguments("eval", "Score one or several models on the same rows, side by side.")
    parser.add_argument("models", nargs="+", help="model folders, run folders, hub ids, or 'embedded'")
    parser.add_argument("--data", default="curriculum", help="'curriculum' (its held-out split) or a file of records")
    parser.add_argument("--rows", type=int, default=None, help="only so many rows (curriculum: default 500)")
    parser.add_argument("--seed", type=int, default=0, help="which rows of the curriculum")
    parser.add_argument("--teacher", help="the model whose answers count for agreement; default none")
    parser.add_argument("--template", help="default: what each model was trained with")
    parser.add_argument("--max-tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--batch-size", type=int, default=64, help="rows at once, of the teacher too; default 64")
    dtype = "of the weights, of the teacher's too; default fp32, so that scores do not depend on the device"
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help=dtype)
    parser.add_argument("--names", nargs="+", help="names for the table; default the folders'")
    parser.add_argument("--json", type=Path, help="write the scores here")
    options = parser.parse(argv)
    if options.names and len(options.names) != len(options.models):
        raise DistillError(f"{len(options.models)} models but {len(options.names)} names")
    if min(options.max_tokens, options.batch_size, options.rows or 1) < 1 or options.rows == 0:
        raise DistillError("--rows, --max-tokens and --batch-size are at least 1")
    if options.template:
        get_template(options.template)
    if options.json:  # found out before the models are asked, not after
        check_target(options.json)
        check_own(options.json, OWN)
    records = load_rows(options.data, options.rows, options.seed)
    quiet_transformers()
    scores = _score_all(options, records)
    show(scores)
    if options.json:
        write_json(options.json, {"data": options.data, "rows": len(records), "models": [to_json(s) for s in scores]})
    return 0


def _score_all(options: Any, records: list[Record]) -> list[Score]:
    teacher_answers = None
    if options.teacher:
        from distill.answers import answer_records
        from students.tokenizers import ByteView

        model, tokenizer = load_model(options.teacher, options.dtype)
        template = get_template(options.template or template_of(options.teacher))
        teacher_answers = answer_records(
            model, ByteView(tokenizer), template, records, options.max_tokens, options.batch_size
        )
    scores = []
    for path, name in zip(options.models, options.names or options.models, strict=True):
        model, tokenizer = load_model(path, options.dtype)
        template = get_template(options.template or template_of(path))
        scores.append(
            score_model(
                model, tokenizer, records, template, name=name, teacher_answers=teacher_answers,
                max_tokens=options.max_tokens, batch_size=options.batch_size,
            )
        )  # fmt: skip
    return scores


def to_json(score: Score) -> dict[str, Any]:
    """A score without its answers, its values among the rest."""
    told = asdict(score)
    del told["answers"]
    first = {name: told.pop(name) for name in ("name", "parameters")}
    return first | told.pop("values") | told


def check_target(path: Path) -> None:
    """Raise where a file cannot be written; its folder is made."""
    if path.is_dir():
        raise DistillError(f"{path} is a folder; name a file, such as {path / 'scores.json'}")
    path.parent.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write under a temporary name, then rename."""
    check_target(path)
    write_whole(path, orjson.dumps(value, option=orjson.OPT_INDENT_2))


def show(scores: list[Score]) -> None:
    """One row a model, on stdout."""
    from distill.commands.tables import print_table, table_of

    table = table_of("model", "parameters", *(metric.title for metric in METRICS.values()), "seconds", "unknown")
    for s in scores:
        measured = (metric.say(s.values[name]) for name, metric in METRICS.items())
        table.add_row(s.name, f"{s.parameters:,}", *measured, f"{s.seconds:.1f}", str(s.unknown_characters))
    print_table(table)
    if any(s.cut for s in scores):
        print("; ".join(f"{s.name}: {s.cut} answers cut" for s in scores if s.cut), file=sys.stderr)
