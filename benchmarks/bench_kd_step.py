"""What a step of distillation costs, of this project as `distill fit` runs it and of TRL's GKD loss in a bare loop.

    python benchmarks/bench_kd_step.py DATA.json
    python benchmarks/bench_kd_step.py DATA.json --vocab 50257 --loss jsd --json
    python benchmarks/bench_kd_step.py DATA.json --memory

DATA is a file of records. Both sides train one GPT2 (256 wide, 6 layers) from one Llama (512 wide, 8 layers), random
weights, one vocabulary, on one thread, with AdamW and clipping by norm, on the same rows. In one process, in turn:

    gkd        rows as they come, a full pass of both models, TRL's GKDTrainer.generalized_jsd_loss (written out below;
               TRL's own where it is installed), backward, step
    same       the Distiller inside a Lightning Trainer, data module, logging and all, on the very same batches
    plain      the same with the data module's own batches, rows of about one length together
    packed     the same with data.packing, lines of 256 tokens
    floor      on the packed batches: both models' passes and the four matrix products of their heads, nothing else

Times are CPU seconds of the whole process per real token (prompts count, filling does not); only ratios taken in one
run mean much. `x` is how many times less a variant takes than gkd, `over_floor` what it takes of the floor.
--memory runs gkd and packed in fresh processes: the peak above what is there before the first step.
--malloc keep has the C library keep what it once got, for everybody alike.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from data_gen.records import Record, read_records, write_records
from data_gen.templates import get_template
from distill.batches import Batch, BatchPlan, Tokens
from distill.data import EncodedRows, InstructionData
from distill.losses import LossTerm
from distill.module import Distiller
from distill.quiet import quiet_transformers
from teachers.panda import PandaTeacher

ENTRIES = 21128
"""Of the tokenizer; a larger vocabulary has names that no text uses, so that batches stay the same"""
TEMPLATE = "alpaca"
LENGTH, ROWS, LINES = 256, 8, 3
TEACHER: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 8,
    "max_position_embeddings": 1024, "tie_word_embeddings": True, "initializer_range": 0.08, "use_cache": False,
}  # fmt: skip
STUDENT: dict[str, Any] = {
    "model_type": "gpt2", "n_positions": 1024, "n_embd": 256, "n_layer": 6, "n_head": 8,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip
LOSSES = {"forward_kl": (LossTerm("forward_kl"), 0.0), "jsd": (LossTerm("jsd", options={"beta": 0.5}), 0.5)}
"""Of the Distiller, and TRL's beta"""


def main() -> int:
    """Time or weigh the variants of one vocabulary size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="JSONL or JSON array of records")
    parser.add_argument("--vocab", type=int, default=ENTRIES, help=f"entries of both models, {ENTRIES} at least")
    parser.add_argument("--loss", choices=sorted(LOSSES), default="forward_kl")
    parser.add_argument("--steps", type=int, default=6, help="of each variant")
    parser.add_argument("--warmup", type=int, default=1, help="steps before that, which do not count")
    parser.add_argument("--rows", type=int, default=4000, help="first rows of DATA that are used")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--malloc", choices=["default", "keep"], default="default")
    parser.add_argument("--memory", action="store_true", help="peaks instead of times")
    parser.add_argument("--json", action="store_true", help="one JSON line a variant")
    parser.add_argument("--only", choices=["gkd", "packed"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    quiet_transformers()
    if options.malloc == "keep":
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # no mmap
        libc.mallopt(-1, 2**31 - 1)  # no trim
    if options.memory and not options.only:
        return weigh(options)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        if options.only:
            print(json.dumps({"variant": options.only, "mb": bench.peak(options.only)}))
        else:
            show(bench.times(), options)
    return 0


def gkd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """TRL 1.16's GKDTrainer.generalized_jsd_loss at temperature 1, written out."""
    student_log_probs = functional.log_softmax(student_logits / 1.0, dim=-1)
    teacher_log_probs = functional.log_softmax(teacher_logits / 1.0, dim=-1)
    if beta == 0:
        jsd = functional.kl_div(student_log_probs, teacher_log_probs, reduction="none", log_target=True)
    else:
        share = torch.tensor(beta, dtype=student_log_probs.dtype)
        mixture = torch.logsumexp(
            torch.stack([student_log_probs + torch.log1p(-share), teacher_log_probs + torch.log(share)]), dim=0
        )
        kl_teacher = functional.kl_div(mixture, teacher_log_probs, reduction="none", log_target=True)
        kl_student = functional.kl_div(mixture, student_log_probs, reduction="none", log_target=True)
        jsd = share * kl_teacher + (1 - share) * kl_student
    mask = labels != -100
    return jsd[mask].sum() / mask.sum()


def peer() -> tuple[str, Callable[..., Tensor]]:
    """The peer's name and its loss: TRL's own where it is installed."""
    try:
        import trl
        from trl.experimental.gkd import GKDTrainer
    except ImportError:
        return "as TRL 1.16", gkd_loss
    return f"TRL {trl.__version__}", GKDTrainer.generalized_jsd_loss


def make_tokenizer(records: list[Record], entries: int, folder: Path) -> str:
    """Byte-level BPE of the data itself, filled up to `entries` with names that no text uses."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(entries, ENTRIES), special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    rendered = (get_template(TEMPLATE).render(record) for record in records)
    tokenizer.train_from_iterator(("".join(text for text, _ in segments) for segments in rendered), trainer)
    made = json.loads(tokenizer.to_str())
    vocabulary = made["model"]["vocab"]
    for n in range(len(vocabulary), entries):
        vocabulary[f"unused{n}"] = n
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)), pad_token="<pad>", eos_token="<eos>"
    )
    fast.save_pretrained(folder)
    return str(folder)


class Turns(InstructionData):
    """Batches of each kind in turn: rows as they come, by length, packed."""

    kinds: tuple[str, ...] = ("same", "plain", "packed")

    def train_dataloader(self) -> DataLoader:
        """Of as many rounds as the shortest kind has."""
        rows = self.rows["train"]
        side = rows.student
        order = np.random.default_rng(self.seed).permutation(len(rows))
        counts = side.supervised_counts

        def sampler(lines: int, width: int | None) -> list[tuple[list[int], float]]:
            return list(BatchPlan(side.lengths, counts, lines, seed=self.seed, width=width))

        same = [order[i : i + ROWS].tolist() for i in range(0, len(order) - ROWS + 1, ROWS)]
        wanted = {
            "same": [(some, float(counts[some].sum())) for some in same],
            "plain": sampler(ROWS, None),
            "packed": sampler(LINES, LENGTH),
        }
        rounds = zip(*(wanted[kind] for kind in self.kinds), strict=False)
        flat = [(kind, *asked) for one in rounds for kind, asked in zip(self.kinds, one, strict=True)]
        return DataLoader(_Turns(rows), sampler=flat, batch_size=None)  # type: ignore[arg-type]


class _Turns:
    """Rows by the kind of batch they are wanted in."""

    def __init__(self, rows: EncodedRows) -> None:
        self.rows = rows

    def __getitem__(self, wanted: tuple[str, list[int], float]) -> Batch:
        kind, rows, tokens = wanted
        return self.rows.batch(rows, tokens, LENGTH if kind == "packed" else None)


class Bench(pl.Callback):
    """Models, data and every variant's step. As a callback it stands at the end of each of the Distiller's."""

    def __init__(self, options: Any, folder: Path) -> None:
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        records = [r for _, r in zip(range(options.rows), read_records(options.data), strict=False) if r.output]
        write_records(folder / "train.jsonl", records)
        path = make_tokenizer(records, options.vocab, folder / "tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(path)
        torch.manual_seed(options.seed)
        config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=1, eos_token_id=1, **TEACHER)
        self.teacher = LlamaForCausalLM(config).eval().requires_grad_(False)
        self.options, self.records = options, folder / "train.jsonl"
        term, self.beta = LOSSES[options.loss]
        self.peer, self.loss = peer()
        self.model = Distiller(
            {"config": STUDENT}, tokenizer=path, teacher=PandaTeacher.of(self.teacher, tokenizer), losses=[term],
            learning_rate=1e-5, schedule="constant", warmup_steps=0,
        )  # fmt: skip
        self.seconds: dict[str, list[float]] = {}
        self.tokens: dict[str, list[int]] = {}
        self.answers: dict[str, list[int]] = {}
        self.lonely = False
        self.start, self.number, self.before = 0.0, 0, 0

    def times(self) -> dict[str, dict[str, float]]:
        """Microseconds a real token and a supervised one, of every variant in turn."""
        self._train(Turns.kinds, (self.options.steps + self.options.warmup) * len(Turns.kinds))
        skip = self.options.warmup
        found = {}
        for kind, seconds in self.seconds.items():
            spent = sum(seconds[skip:]) * 1e6
            found[kind] = {
                "real": spent / sum(self.tokens[kind][skip:]), "supervised": spent / sum(self.answers[kind][skip:]),
            }  # fmt: skip
        return found

    def peak(self, variant: str) -> int:
        """MB above the models of a few steps of one variant alone."""
        self.lonely = True
        steps = self.options.steps
        if variant == "packed":
            self._train(("packed",), steps)
            return _memory("VmHWM") - self.before
        batches = self._batches(steps)
        self.before = _mark_memory()
        self.optimizer = self._adam()
        for batch in batches:
            self._gkd(batch.student)
        return _memory("VmHWM") - self.before

    def _batches(self, count: int) -> list[Batch]:
        """Rows as they come, without a step of training."""
        data = self._data(("same",))
        data.trainer = _NoTrainer(self.model)  # type: ignore[assignment]
        data.setup("fit")
        return [batch for _, batch in zip(range(count), data.train_dataloader(), strict=False)]

    def _data(self, kinds: tuple[str, ...]) -> Turns:
        data = Turns(str(self.records), template=TEMPLATE, max_length=LENGTH, packing=True, seed=self.options.seed)
        data.kinds = kinds
        return data

    def _train(self, kinds: tuple[str, ...], steps: int) -> None:
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=steps, gradient_clip_val=1.0, callbacks=[self], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(self.model, self._data(kinds))

    def _adam(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.student.parameters(), lr=1e-5, fused=True)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Models and data are there: the clock starts, or the peak counts from here."""
        if self.lonely:
            self.before = _mark_memory()
        else:
            self.optimizer = self._adam()
        self.start = time.process_time()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """The Distiller's step is over: what it took, fetching the batch included, and the peers' turn."""
        if self.lonely:
            return
        kind = Turns.kinds[self.number % len(Turns.kinds)]
        self.number += 1
        self._note(kind, batch.student)
        if kind == "same":
            self.model.zero_grad(set_to_none=True)
            self._timed("gkd", self._gkd, batch.student)
        elif kind == "packed":
            self.model.zero_grad(set_to_none=True)
            self._timed("floor", self._floor, batch.student)
        self.start = time.process_time()

    def _timed(self, kind: str, step: Callable[[Tokens], None], tokens: Tokens) -> None:
        self.start = time.process_time()
        step(tokens)
        self._note(kind, tokens)

    def _note(self, kind: str, tokens: Tokens) -> None:
        self.seconds.setdefault(kind, []).append(time.process_time() - self.start)
        self.tokens.setdefault(kind, []).append(int(tokens.mask.sum()))
        self.answers.setdefault(kind, []).append(len(tokens.labels))

    def _step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.student.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _gkd(self, tokens: Tokens) -> None:
        """As TRL's trainer goes about it: all logits of both models, the labels select afterwards."""
        labels = torch.full_like(tokens.ids, -100).flatten()
        labels[tokens.positions + 1] = tokens.labels
        labels = labels.view_as(tokens.ids)
        ours = self.model.student(**tokens.inputs).logits
        with torch.no_grad():
            theirs = self.teacher(**tokens.inputs).logits
        self.loss(ours[:, :-1], theirs[:, :-1], labels[:, 1:], beta=self.beta).backward()
        self._step()

    def _floor(self, tokens: Tokens) -> None:
        """Matrix products only: the teacher's logits, the student's, and what a gradient of them becomes."""
        weight = self.model.student.get_output_embeddings().weight
        with torch.no_grad():
            theirs = self.teacher.base_model(**tokens.inputs).last_hidden_state.flatten(0, 1)[tokens.positions]
        ours = self.model.student.base_model(**tokens.inputs).last_hidden_state.flatten(0, 1)[tokens.positions]
        with torch.no_grad():
            torch.mm(theirs, self.teacher.get_output_embeddings().weight.t())
            logits = torch.mm(ours, weight.t())
            by_hidden, by_weight = torch.mm(logits, weight), torch.mm(logits.t(), ours)
        ours.backward(by_hidden)
        weight.grad.add_(by_weight)
        self._step()


class _NoTrainer:
    """What the data module asks of a Trainer before training."""

    def __init__(self, model: Distiller) -> None:
        self.lightning_module = model
        self.accumulate_grad_batches, self.world_size, self.global_rank = 1, 1, 0


def weigh(options: Any) -> int:
    """Each variant in a process of its own."""
    found = {}
    for variant in ("gkd", "packed"):
        argv = [sys.executable, __file__, *sys.argv[1:], "--only", variant]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stderr)
            return done.returncode
        found[variant] = json.loads(done.stdout.splitlines()[-1])["mb"]
    share = found["packed"] / found["gkd"]
    if options.json:
        print(json.dumps({
            "vocab": options.vocab, "loss": options.loss, "malloc": options.malloc, "gkd_mb": found["gkd"],
            "packed_mb": found["packed"], "of_gkd": round(share, 3),
        }))  # fmt: skip
    else:
        print(f"V {options.vocab}, {options.loss}: MB above the models: gkd {found['gkd']}, packed {found['packed']}, "
              f"{share:.2f} of it")  # fmt: skip
    return 0


def show(found: dict[str, dict[str, float]], options: Any) -> None:
    """A table, or a JSON line a variant."""
    name = peer()[0]
    if not options.json:
        print(f"V {options.vocab}, {options.loss}, malloc {options.malloc}; gkd: {name}")
        print(f"{'':10}{'us/real':>10}{'us/superv.':>12}{'x':>8}{'over_floor':>12}")
    for kind in ("gkd", "same", "plain", "packed", "floor"):
        real, supervised = found[kind]["real"], found[kind]["supervised"]
        times, over = found["gkd"]["real"] / real, real / found["floor"]["real"]
        if options.json:
            print(json.dumps({
                "vocab": options.vocab, "loss": options.loss, "malloc": options.malloc, "peer": name, "variant": kind,
                "us_real": round(real, 1), "us_supervised": round(supervised, 1), "x": round(times, 3),
                "over_floor": round(over, 3),
            }))  # fmt: skip
        else:
            print(f"{kind:10}{real:10.0f}{supervised:12.0f}{times:8.2f}{over:12.2f}")


def _mark_memory() -> int:
    """MB in use; the peak counts from here on, where the system lets us say so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """MB of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) // 1024
    raise SystemExit("--memory needs Linux's /proc")


if __name__ == "__main__":
    raise SystemExit(main())
