"""What a step of distillation costs, of this project as `distill fit` runs it and of others in a bare loop.

    python benchmarks/bench_kd_step.py DATA.json
    python benchmarks/bench_kd_step.py DATA.json --vocab 50257 --loss jsd --json
    python benchmarks/bench_kd_step.py DATA.json --memory

DATA is a file of records. All train one GPT2 (256 wide, 6 layers) from one Llama (512 wide, 8 layers), random weights,
one vocabulary, on one thread, with AdamW and clipping by norm, on the same rows. In one process, in turn:

    gkd, distillkit, textbrewer
               rows as they come; what these projects compute for them, where they are installed (kd_peers.py; TRL's GKD
               loss is written out there for those who lack it), backward, step
    same       the Distiller inside a Lightning Trainer, data module, logging and all, on the very same batches
    plain      the same with the data module's own batches, rows of about one length together
    packed     the same with data.packing, lines of 256 tokens
    floor      on the packed batches, before or after in turn: both models' passes and the four matrix products of their
               heads, nothing else

Times are CPU seconds of the whole process per real token (prompts count, filling does not); only ratios taken in one
run mean much. `x` is how many times less a variant takes than gkd, `over_floor` what it takes of the floor.
--memory runs packed and each of the others in fresh processes: the peak above what is there before the first step.
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

import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from kd_batches import LENGTH, NoTrainer, Turns
from kd_models import ENTRIES, STUDENT, TEMPLATE, make_teacher, make_tokenizer
from kd_peers import BETAS, PEERS, Peer, versions

from data_gen.records import read_records, write_records
from distill.batches import Batch, Tokens
from distill.losses import LossTerm
from distill.module import Distiller
from distill.quiet import quiet_transformers
from teachers.panda import PandaTeacher

OPTIONS: dict[str, dict[str, float]] = {"forward_kl": {}, "jsd": {"beta": 0.5}}
"""Of the Distiller's terms"""


def main() -> int:
    """Time or weigh the variants of one vocabulary size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="JSONL or JSON array of records")
    parser.add_argument("--vocab", type=int, default=ENTRIES, help=f"entries of both models, {ENTRIES} at least")
    parser.add_argument("--loss", choices=sorted(BETAS), default="forward_kl")
    parser.add_argument("--steps", type=int, default=6, help="of each variant")
    parser.add_argument("--warmup", type=int, default=1, help="steps before that, which do not count")
    parser.add_argument("--rows", type=int, default=4000, help="first rows of DATA that are used")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--malloc", choices=["default", "keep"], default="default")
    parser.add_argument("--memory", action="store_true", help="peaks instead of times")
    parser.add_argument("--json", action="store_true", help="one JSON line a variant")
    parser.add_argument("--only", choices=[*PEERS, "packed"], help=argparse.SUPPRESS)
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


class Bench(pl.Callback):
    """Models, data and every variant's step. As a callback it stands at the end of each of the Distiller's."""

    def __init__(self, options: Any, folder: Path) -> None:
        from transformers import AutoTokenizer

        records = [r for _, r in zip(range(options.rows), read_records(options.data), strict=False) if r.output]
        write_records(folder / "train.jsonl", records)
        path = make_tokenizer(records, options.vocab, folder / "tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(path)
        self.teacher = make_teacher(len(tokenizer), options.seed)
        self.options, self.records = options, folder / "train.jsonl"
        self.model = Distiller(
            {"config": STUDENT}, tokenizer=path, teacher=PandaTeacher.of(self.teacher, tokenizer),
            losses=[LossTerm(options.loss, options=OPTIONS[options.loss])],
            learning_rate=1e-5, schedule="constant", warmup_steps=0,
        )  # fmt: skip
        made = {name: make(self.model.student, self.teacher, options.loss) for name, make in PEERS.items()}
        self.peers: dict[str, Peer] = {name: peer for name, peer in made.items() if peer is not None}
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

    def peak(self, variant: str) -> int | None:
        """MB above the models of a few steps of one variant alone; None where a peer is not there."""
        self.lonely = True
        steps = self.options.steps
        if variant == "packed":
            self._train(("packed",), steps)
            return _memory("VmHWM") - self.before
        if variant not in self.peers:
            return None
        batches = self._batches(steps)
        self.before = _mark_memory()
        self.optimizer = self._adam()
        for batch in batches:
            self._peer(variant, batch.student)
        return _memory("VmHWM") - self.before

    def _batches(self, count: int) -> list[Batch]:
        """Rows as they come, without a step of training."""
        data = self._data(("same",))
        data.trainer = NoTrainer(self.model)  # type: ignore[assignment]
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

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Every other round the floor comes first: who comes later finds memory that is in use already."""
        if self._floor_first and not self.lonely:
            spent = time.process_time() - self.start
            self._timed("floor", self._floor, batch.student)
            self.start = time.process_time() - spent

    @property
    def _kind(self) -> str:
        return Turns.kinds[self.number % len(Turns.kinds)]

    @property
    def _floor_first(self) -> bool:
        return self._kind == "packed" and self.number // len(Turns.kinds) % 2 == 1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """The Distiller's step is over: what it took, fetching the batch included, and the others' turn."""
        if self.lonely:
            return
        self._note(self._kind, batch.student)
        for name in self.peers if self._kind == "same" else []:
            self.model.zero_grad(set_to_none=True)
            self._timed(name, lambda tokens, name=name: self._peer(name, tokens), batch.student)
        if self._kind == "packed" and not self._floor_first:
            self._timed("floor", self._floor, batch.student)
        self.number += 1
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

    def _peer(self, name: str, tokens: Tokens) -> None:
        self.peers[name](tokens).backward()
        self._step()

    def _floor(self, tokens: Tokens) -> None:
        """Matrix products only: the teacher's logits, the student's, and what a gradient of them becomes."""
        self.model.zero_grad(set_to_none=True)
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


def weigh(options: Any) -> int:
    """Each variant in a process of its own."""
    found = {}
    for variant in (*PEERS, "packed"):
        argv = [sys.executable, __file__, *sys.argv[1:], "--only", variant]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stderr)
            return done.returncode
        found[variant] = json.loads(done.stdout.splitlines()[-1])["mb"]
    found = {variant: mb for variant, mb in found.items() if mb is not None}
    share = found["packed"] / found["gkd"]
    if options.json:
        sizes = {f"{variant}_mb": mb for variant, mb in found.items()}
        about = {"vocab": options.vocab, "loss": options.loss, "malloc": options.malloc}
        print(json.dumps(about | sizes | {"of_gkd": round(share, 3)}))
    else:
        sizes = ", ".join(f"{variant} {mb}" for variant, mb in found.items())
        print(f"V {options.vocab}, {options.loss}: MB above the models: {sizes}; packed is {share:.2f} of gkd")
    return 0


def show(found: dict[str, dict[str, float]], options: Any) -> None:
    """A table, or a JSON line a variant."""
    behind = {name: said for name, said in versions().items() if name in found}
    if not options.json:
        print(f"V {options.vocab}, {options.loss}, malloc {options.malloc}; " + ", ".join(behind.values()))
        print(f"{'':10}{'us/real':>10}{'us/superv.':>12}{'x':>8}{'over_floor':>12}")
    for kind in (*behind, "same", "plain", "packed", "floor"):
        real, supervised = found[kind]["real"], found[kind]["supervised"]
        times, over = found["gkd"]["real"] / real, real / found["floor"]["real"]
        if options.json:
            print(json.dumps({
                "vocab": options.vocab, "loss": options.loss, "malloc": options.malloc,
                "peer": behind["gkd"], "variant": kind, "us_real": round(real, 1),
                "us_supervised": round(supervised, 1), "x": round(times, 3), "over_floor": round(over, 3),
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
