"""What a teacher with another tokenizer is worth: the same student trained on the same rows in several ways.

    python benchmarks/bench_quality.py DATA.json
    python benchmarks/bench_quality.py DATA.json --seeds 3 --json
    python benchmarks/bench_quality.py DATA.json --teacher-tokenizer llama/ --student-tokenizer bert=bert/ gpt2=gpt2/

DATA is a file of records. Small tokenizers of the three families are learnt from it, or folders are named. A small
Llama is fine-tuned as the teacher on one part of the rows (SentencePiece); then a small GPT2 with another tokenizer,
from the same start in every way of training, on other rows and for as many steps:

    ce            the text alone
    boundary_kl   0.3 ce, 0.7 KL where tokens start together, over entries that are equal strings, and one class more
    uld           0.3 ce, 0.7 distance of sorted probabilities where tokens start together
    seqkd         the text alone, which here is the teacher's own greedy answer
    sets          0.3 ce, 0.7 forward_kl: byte-trie transfer onto sets of entries (docs/align.md)
    sets+alm      and 0.3 alm, likelihoods of spans
    sets+feat     and the last hidden layers brought together
    same          0.3 ce, 0.7 forward_kl for a student that has the teacher's tokenizer: the upper reference
    same-ce       that student on the text alone
    *-sampled     from 50 draws a token that `distill capture` wrote down, without the teacher
    *-topk        from its 64 likeliest entries and the mass of the rest

Printed are bits per character on held-out rows, the mean over seeds and the standard deviation (a seed decides the
student's start and the order of rows; the teacher is one), and the share of the gap between ce and the teacher that is
closed. The teacher has seen more rows than the student: that is what there is to be had from it. WordPiece swallows
white space and does not pay for it, so its numbers compare with each other only.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from data_gen.records import Record, read_records, write_records
from data_gen.templates import get_template
from distill.answers import answer_records
from distill.capture import capture
from distill.capture_data import Settings
from distill.data import InstructionData
from distill.features import FeatureTerm
from distill.losses import LossTerm
from distill.module import Distiller
from distill.stored import StoredSignals
from students.load_tokenizers import load_tokenizer
from students.train_tokenizers import train_byte_bpe, train_sentencepiece_bpe, train_wordpiece
from teachers.panda import PandaTeacher

KD, CE = 0.7, 0.3
SIZES = {"wordpiece": 6000, "gpt2": 700, "sentencepiece": 6000}
"""Entries of the tokenizers that are learnt: coarser than the student's, as Chinese-LLaMA's is, and GPT-2's finer"""


@dataclass
class Way:
    """A way of training a student."""

    losses: list[LossTerm]
    features: list[FeatureTerm] | None = None
    own_tokenizer: bool = True
    """False: the student has the teacher's"""
    answers: str = "text"
    """`teacher`: the answers are the teacher's"""
    store: str = ""
    """A method of `distill capture`: from signals on disk"""

    @property
    def asks(self) -> bool:
        """Whether the teacher takes part."""
        return len(self.losses) > 1 and not self.store


def ways() -> dict[str, Way]:
    """All of them."""
    text, sets = [LossTerm("ce")], [LossTerm("ce", CE), LossTerm("forward_kl", KD)]
    return {
        "ce": Way(text),
        "sets": Way(sets),
        "boundary_kl": Way([LossTerm("ce", CE), LossTerm("boundary_kl", KD)]),
        "same": Way(sets, own_tokenizer=False),
        "sets+alm": Way([*sets, LossTerm("alm", 0.3)]),
        "sets+feat": Way(sets, [FeatureTerm("mse", 0.3, "last")]),
        "seqkd": Way(text, answers="teacher"),
        "uld": Way([LossTerm("ce", CE), LossTerm("uld", KD)]),
        "same-ce": Way(text, own_tokenizer=False),
        "sets-sampled": Way(sets, store="sampled"),
        "sets-topk": Way(sets, store="topk"),
        "same-sampled": Way(sets, own_tokenizer=False, store="sampled"),
        "same-topk": Way(sets, own_tokenizer=False, store="topk"),
    }


class Bench:
    """Data, tokenizers and the teacher, made once."""

    def __init__(self, options: argparse.Namespace, home: Path) -> None:
        self.options, self.home, self.template = options, home, get_template("qa")
        self._split()
        self.teacher_tokenizer, self.tokenizers = self._tokenizers()
        self.teacher, self.teacher_bpc = self._teacher()

    def _split(self) -> None:
        rows = [r for r in read_records(self.options.data) if r.output and not r.history]
        rows = [r for r in rows if len(r.instruction + r.input + r.output) <= self.options.characters]
        wanted = (self.options.heldout, self.options.teacher_rows, self.options.rows)
        if sum(wanted) > len(rows):
            sys.exit(f"{self.options.data} has {len(rows)} short rows, {sum(wanted)} are asked for")
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
        self.parts: dict[str, list[Record]] = {}
        for name, count in zip(("heldout", "teacher", "student"), wanted, strict=True):
            self.parts[name], order = [rows[n] for n in order[:count]], order[count:]
            write_records(self.home / f"{name}.jsonl", self.parts[name])

    def _tokenizers(self) -> tuple[str, dict[str, str]]:
        texts = [f"{r.instruction}\n{r.input}\n{r.output}" for r in self.parts["teacher"]]
        every = [f"{r.instruction}\n{r.input}\n{r.output}" for part in self.parts.values() for r in part]
        teacher, students = self.options.teacher_tokenizer, self.options.student_tokenizer
        if self._found():
            teacher = self.options.teacher
        elif teacher is None:
            teacher = str(self.home / "sentencepiece")
            train_sentencepiece_bpe(texts, SIZES["sentencepiece"], teacher)
        if not students:
            students = [f"{name}={self.home / name}" for name in ("wordpiece", "gpt2")]
            train_wordpiece(every, SIZES["wordpiece"], self.home / "wordpiece")
            train_byte_bpe(texts, SIZES["gpt2"], self.home / "gpt2")
        return teacher, dict(student.split("=", 1) for student in students)

    def _found(self) -> bool:
        return self.options.teacher is not None and Path(self.options.teacher, "config.json").is_file()

    def _teacher(self) -> tuple[PandaTeacher, float]:
        folder, width = self.options.teacher, self.options.teacher_width
        config = {
            "model_type": "llama", "hidden_size": width, "intermediate_size": 3 * width, "num_attention_heads": 4,
            "num_hidden_layers": 4, "tie_word_embeddings": True, "max_position_embeddings": 512,
        }  # fmt: skip
        spec = folder if self._found() else {"config": config}
        model = self._distiller(spec, self.teacher_tokenizer, [LossTerm("ce")], 0, learning_rate=2e-3)
        bpc = self._fit(model, "teacher", 0 if self._found() else self.options.teacher_epochs, 0)
        if folder and not self._found():
            model.student.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
        return PandaTeacher.of(model.student.eval().requires_grad_(False), model.tokenizer), bpc

    def answer(self) -> None:
        """The student's rows with the teacher's own answers."""
        model, records = self.teacher.model, self.parts["student"]
        view = Distiller("tiny", self.teacher_tokenizer).student_view
        found = answer_records(model, view, self.template, records, 100, 100)
        made = [replace(r, output=answer) for r, answer in zip(records, found, strict=True) if answer.strip()]
        write_records(self.home / "answers.jsonl", made)

    def store(self, tokenizer: str, method: str) -> StoredSignals:
        """What the teacher says of the student's rows, on disk; captured when it is first asked for."""
        folder = self.home / f"signals-{Path(tokenizer).name}-{method}"
        if not folder.is_dir():
            kept = Settings(method, 50 if method == "sampled" else 64, template=self.template.name)
            capture(self.parts["student"], self.teacher, folder, kept, load_tokenizer(tokenizer))
        return StoredSignals(str(folder))

    def run(self, student: str, way: Way, seed: int) -> float:
        """Held-out bits per character of one student."""
        options = self.options
        spec = {"preset": "tiny", "n_layer": options.layers, "n_embd": options.width}
        tokenizer = self.tokenizers[student] if way.own_tokenizer else self.teacher_tokenizer
        model = self._distiller(
            spec, tokenizer, way.losses, seed, teacher=self.teacher if way.asks else None, features=way.features,
            keep_signals=way.asks, learning_rate=options.learning_rate, floor=options.floor,
            signals=self.store(tokenizer, way.store) if way.store else None,
        )  # fmt: skip
        return self._fit(model, "answers" if way.answers == "teacher" else "student", options.epochs, seed)

    def _distiller(self, spec: Any, tokenizer: str, losses: list[LossTerm], seed: int, **more: Any) -> Distiller:
        return Distiller(
            spec, tokenizer, losses=losses, seed=seed, attention="eager", final_factor=0.0, weight_decay=0.05, **more
        )

    def _fit(self, model: Distiller, part: str, epochs: int, seed: int) -> float:
        if part == "answers" and not (self.home / "answers.jsonl").is_file():
            self.answer()
        pl.seed_everything(seed, verbose=False)
        data = InstructionData(
            str(self.home / f"{part}.jsonl"), str(self.home / "heldout.jsonl"),
            batch_size=16 if part == "teacher" else self.options.batch_size, max_length=512, seed=seed,
        )  # fmt: skip
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, limit_val_batches=0,
            enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0, num_sanity_val_steps=0,
            use_distributed_sampler=False, precision=self.options.precision,
        )  # fmt: skip
        if epochs:
            trainer.fit(model, data)
        scorer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
        return float(scorer.validate(model, data, verbose=False)[0]["val_bpc"])


def table(found: dict[str, list[float]], teacher: float) -> list[dict[str, Any]]:
    """A line for each way: mean, spread, and the share of the gap from ce to the teacher that it closes."""
    base = statistics.fmean(found["ce"]) if "ce" in found else None
    lines = []
    for name, scores in found.items():
        mean = statistics.fmean(scores)
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        closed = None if base is None else (base - mean) / (base - teacher)
        lines.append({"way": name, "bpc": mean, "spread": spread, "closed": closed, "seeds": scores})
    return lines


def parse() -> argparse.Namespace:
    """Sizes are what one core does in about 40 minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher-tokenizer", help="a folder; default a SentencePiece one learnt from DATA")
    parser.add_argument("--teacher", help="its folder; made there when it does not exist, so that a second "
                        "run begins with it")  # fmt: skip
    parser.add_argument("--student-tokenizer", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--only", nargs="*", choices=[*ways()], help="ways of training; all when missing")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--characters", type=int, default=150, help="of the longest row")
    parser.add_argument("--heldout", type=int, default=400, help="rows")
    parser.add_argument("--rows", type=int, default=800, help="the student's")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--teacher-rows", type=int, default=5500)
    parser.add_argument("--teacher-epochs", type=int, default=5)
    parser.add_argument("--teacher-width", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--floor", type=float, default=5e-4, help="rarer outcomes of the teacher are left to the tail: "
                        "a teacher as small as this has thousands of them at every place")  # fmt: skip
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--json", action="store_true", help="one JSON object a student and way")
    return parser.parse_args()


def main() -> None:
    """Train everybody; print a table a student."""
    options = parse()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        start = time.process_time()
        bench = Bench(options, Path(scratch))
        print(f"teacher {bench.teacher_bpc:.3f} bits/char, {time.process_time() - start:.0f} s", file=sys.stderr)
        chosen = {name: way for name, way in ways().items() if not options.only or name in options.only}
        found: dict[str, dict[str, list[float]]] = {s: {} for s in bench.tokenizers}
        common: dict[tuple[str, int], float] = {}
        for seed in range(options.seeds):
            for student in bench.tokenizers:
                for name, way in chosen.items():
                    start = time.process_time()
                    if way.own_tokenizer or (name, seed) not in common:
                        common[name, seed] = bench.run(student, way, seed)
                        print(f"{student} {name} seed {seed}: {common[name, seed]:.3f}, "
                              f"{time.process_time() - start:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
                    found[student].setdefault(name, []).append(common[name, seed])
    for student, scores in found.items():
        lines = table(scores, bench.teacher_bpc)
        if not options.json:
            print(f"\nSentencePiece -> {student}; the teacher has {bench.teacher_bpc:.3f} bits per character")
        for line in lines:
            if options.json:
                print(json.dumps({"student": student, "teacher_bpc": bench.teacher_bpc, **line}))
            else:
                closed = "" if line["closed"] is None else f"{100 * line['closed']:6.0f} %"
                print(f"  {line['way']:12} {line['bpc']:.3f} ± {line['spread']:.3f} {closed}")


if __name__ == "__main__":
    main()
