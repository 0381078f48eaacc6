"""`distill demo`: the whole pipeline on the embedded teacher, offline, on a laptop's processor.

What happens, in order, each stage by the verb a user would type:

1. Curriculum questions are drawn (train split, six of the families, so that minutes are enough), `generate` has the
   teacher write and answer its own (Magpie), and `sample` mixes the two, with a manifest; held-out questions come from
   the curriculum's other split.
2. A BERT-style tokenizer is made: not the teacher's, which is SentencePiece-like.
3. `fit` trains the same small GPT2 on text alone (SFT) and distilled (KD): same initial weights, rows, steps and batch
   order, over several seeds.
4. `eval` scores teacher and students on held-out questions, `export` writes the best distilled one as a Hugging Face
   folder, `report` makes the page.

Every stage leaves a whole file or nothing; running the demo again reuses what is complete and finishes the rest.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import orjson

from distill.demo_scores import show, summary
from distill.errors import DistillError
from distill.files import write_whole

EVAL_SEED, VAL_SEED = 2, 1
FAMILIES = ("order", "measure_word", "formal_numeral", "classification", "parity", "sentiment")
"""Of the curriculum's families, those that a student of half a million weights learns in a minute"""


MARKER = "demo.json"
"""Which options a folder's demo has"""
OWN = re.compile(
    r"data/(curriculum|heldout|val|magpie|mix|train)\..*|tokenizer|export|\.(tokenizer|export)\.minituo-(part|old)"
    r"|(sft|kd)-\d+|((demo|scores|samples)\.json|report\.html)(\.part)?"
)
"""What a demo makes in its folder"""


def main(argv: list[str]) -> int:
    """The verb."""
    from distill.commands.arguments import Arguments

    parser = Arguments("demo", "The whole pipeline on the embedded teacher: data, SFT and KD students, scores, report.")
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="where everything goes")
    parser.add_argument("--seeds", type=int, default=3, help="how many students of each kind")
    parser.add_argument("--rows", type=int, default=600, help="curriculum rows to train on")
    parser.add_argument("--magpie", type=int, default=100, help="rows that the teacher writes itself")
    parser.add_argument("--eval-rows", type=int, default=500, help="held-out rows to score on")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the training rows")
    parser.add_argument("--force", action="store_true", help="forget the folder's earlier demo")
    options = parser.parse(argv)
    if min(options.seeds, options.rows, options.eval_rows, options.epochs) < 1 or options.magpie < 0:
        raise DistillError("--seeds, --rows, --eval-rows and --epochs are at least 1, --magpie at least 0")
    check_folder(options.folder)
    if options.force:
        forget(options.folder)
    Demo(options).run()
    return 0


def check_folder(folder: Path) -> None:
    """Raise DistillError unless the folder is free, empty, or an earlier demo's: it holds that one's demo.json."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        settings = orjson.loads((folder / MARKER).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        settings = None
    if not isinstance(settings, dict) or "magpie" not in settings:
        raise DistillError(f"{folder} holds something else than a demo; name an empty or new --folder")


def forget(folder: Path) -> None:
    """Remove what a demo has made; whatever else lies in its folder stays. What says that it is a demo goes last."""
    data = folder / "data"
    made = [path for path in (*folder.glob("*"), *data.glob("*")) if OWN.fullmatch(str(path.relative_to(folder)))]
    for path in sorted(made, key=lambda path: path.name == MARKER):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if data.is_dir() and not any(data.iterdir()):
        data.rmdir()


class Demo:
    """One demo in one folder."""

    def __init__(self, options: Any) -> None:
        self.options, self.folder = options, options.folder
        self.data = self.folder / "data"
        self.settings = {k: str(v) for k, v in vars(options).items() if k not in {"force", "folder"}}

    def run(self) -> None:
        """All stages; a stage that is complete costs next to nothing."""
        import torch

        torch.set_num_threads(1)  # for models this small a second thread costs more than it brings
        start = time.monotonic()
        self._check_settings()
        stages: list[tuple[str, Callable[[], None]]] = [
            ("draw curriculum questions", self.curriculum),
            ("let the teacher write questions and answers", self.magpie),
            ("mix", self.mix),
            ("make the student's tokenizer", self.tokenizer),
            *((f"train {kind}-{seed}", self._trainer(kind, seed)) for seed in self._seeds() for kind in ("sft", "kd")),
            ("score", self.scores),
            ("export the best distilled student", self.export),
            ("report", self.report),
        ]
        for number, (title, stage) in enumerate(stages, 1):
            print(f"[{number}/{len(stages)}] {title}", file=sys.stderr, flush=True)
            stage()
        show(orjson.loads((self.folder / "scores.json").read_bytes()))
        print(f"{self.folder / 'report.html'} shows it all; talk to it: distill chat {self.folder / 'export'}")
        print(f"{time.monotonic() - start:.0f} seconds", file=sys.stderr)

    def _check_settings(self) -> None:
        """A folder holds the demo of one set of options."""
        from distill.evaluate import write_json

        file = self.folder / MARKER
        before = orjson.loads(file.read_bytes()) if file.is_file() else self.settings
        if before != self.settings:
            raise DistillError(f"{self.folder} holds a demo with other options; add --force or another --folder")
        write_json(file, self.settings)

    def _seeds(self) -> range:
        return range(self.options.seeds)

    def curriculum(self) -> None:
        """Training questions; validation and scoring questions from the held-out split."""
        from data_gen.records import write_records
        from distill.evaluate import curriculum_records

        scored = curriculum_records(self.options.eval_rows, EVAL_SEED, "heldout", FAMILIES)
        seen = {record.id for record in scored}
        val = [r for r in curriculum_records(300, VAL_SEED, "heldout", FAMILIES) if r.id not in seen]
        train = curriculum_records(self.options.rows, 42, "train", FAMILIES)
        for name, records in (("curriculum", train), ("heldout", scored), ("val", val)):
            if not (self.data / f"{name}.jsonl").is_file():
                write_records(self.data / f"{name}.jsonl", records)

    def magpie(self) -> None:
        """The teacher, given only the start of a question, writes the rest, then answers."""
        if self.options.magpie:
            _distill(
                "generate", "--strategy", "magpie", "--teacher", "embedded", "--template", "qa", "--seed", "42",
                "--rows", self.options.magpie, "--max-tokens", "32", "--temperature", "0", "--batch-size", "64",
                "-o", self.data / "magpie.jsonl",
            )  # fmt: skip

    def mix(self) -> None:
        """One set, with its manifest."""
        recipe = self.data / "mix.yaml"
        made = ["curriculum", *(["magpie"] if self.options.magpie else [])]
        sources = [f"  {self.data / name}.jsonl: {{rows: all, licence: Apache-2.0}}" for name in made]
        _write(recipe, "name: demo\nseed: 42\nsources:\n" + "\n".join(sources) + "\n")
        out, manifest = self.data / "train.jsonl", self.data / "train.manifest.json"
        try:
            whole = orjson.loads(manifest.read_bytes())["output"]["bytes"] == out.stat().st_size
        except (OSError, ValueError, KeyError):
            whole = False
        _distill("sample", "--mix", recipe, "-o", out, *([] if whole else ["--force"]))

    def tokenizer(self) -> None:
        """Characters and a few words, as BERT-Chinese has; not the teacher's."""
        folder = self.folder / "tokenizer"
        if folder.is_dir():
            return
        from data_gen.curriculum import items
        from students.folders import whole_folder
        from students.train_tokenizers import train_wordpiece

        texts = (f"问：{i.instruction}\n{i.input}\n答：{i.output}" for i in items(30_000, seed=42, split="train"))
        with whole_folder(folder) as part:
            train_wordpiece(texts, 4000, part)

    def _trainer(self, kind: str, seed: int) -> Callable[[], None]:
        def train() -> None:
            recipe = Path(__file__).parent / "recipes" / f"demo_{kind}.yaml"
            _distill(
                "fit", "--config", recipe, "--seed_everything", seed, "--model.seed", seed, "--data.seed", seed,
                "--model.tokenizer", self.folder / "tokenizer", "--data.train", self.data / "train.jsonl",
                "--data.val", self.data / "val.jsonl", "--trainer.max_epochs", self.options.epochs,
                "--trainer.default_root_dir", self.folder / f"{kind}-{seed}",
            )  # fmt: skip

        return train

    def scores(self) -> None:
        """Everybody on the same held-out rows: means and spreads over seeds."""
        from data_gen.records import read_records
        from data_gen.templates import get_template
        from distill.evaluate import load_model, score_model, write_json
        from distill.quiet import quiet_transformers

        if (self.folder / "scores.json").is_file():
            return
        quiet_transformers()
        rows, template = list(read_records(self.data / "heldout.jsonl")), get_template("qa")
        teacher = score_model(*load_model("embedded"), rows, template, name="teacher")
        trained = Path(__file__).parent.parent / "teachers" / "embedded" / "training.json"
        teacher.seconds = orjson.loads(trained.read_bytes())["seconds"] if trained.is_file() else 0.0
        teacher.values["teacher_agreement"] = 1.0
        models, answers = [summary("teacher", [teacher], [])], {"teacher": teacher.answers}
        for kind in ("sft", "kd"):
            name, found = f"student-{kind}", []
            for seed in self._seeds():
                run = self.folder / f"{kind}-{seed}"
                score = score_model(
                    *load_model(str(run)), rows, template, name=f"{name} {seed}", teacher_answers=teacher.answers
                )
                score.seconds = orjson.loads((run / "complete.json").read_bytes())["seconds"]
                found.append(score)
            models.append(summary(name, found, list(self._seeds())))
            answers[name] = found[0].answers
        samples = [
            {
                "instruction": row.instruction, "input": row.input, "output": row.output,
                "answers": {name: said[n] for name, said in answers.items()},
            }
            for n, row in enumerate(rows[:24])
        ]  # fmt: skip
        write_json(self.folder / "samples.json", samples)
        write_json(self.folder / "scores.json", {"data": DATA, "rows": len(rows), "models": models})

    def export(self) -> None:
        """The distilled student of the best seed as a Hugging Face folder."""
        target = self.folder / "export"
        if target.is_dir():
            return
        kd = orjson.loads((self.folder / "scores.json").read_bytes())["models"][2]["by_seed"]
        best = min(kd, key=lambda one: one["bits_per_character"])["seed"]
        _distill("export", self.folder / f"kd-{best}", "-o", target, "--scores", self.folder / "scores.json",
                 "--manifest", self.data / "train.manifest.json")  # fmt: skip

    def report(self) -> None:
        """The page."""
        _distill("report", self.folder, "-o", self.folder / "report.html")


DATA = f"held-out questions of {len(FAMILIES)} families: {', '.join(FAMILIES)}"


def _distill(verb: str, *arguments: Any) -> None:
    """Run a verb as a user would; stop the demo when it fails."""
    from distill.cli import run

    with redirect_stdout(sys.stderr):  # the demo's own result is its table
        code = run(verb, [str(a) for a in arguments])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise DistillError(
            f"'distill {verb}' did not finish (exit code {code}); mend that and run the demo again, or start anew with "
            "--force"
        )


def _write(path: Path, text: str) -> None:
    """Only when it says something else, so that what depends on it stays up to date."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
