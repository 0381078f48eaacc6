"""Trains the teacher that ships in teachers/embedded, from nothing, with the package's own `distill fit`.

    python scripts/train_embedded_teacher.py            # about an hour on two cores
    python scripts/train_embedded_teacher.py --rows 20000   # a quick look

What happens: draw the curriculum's training split; learn a SentencePiece-style tokenizer with byte fallback from it;
pre-train a small Llama on questions and answers (so that it can write a question itself); fine-tune it on answers;
practise what it finds hard; score it on the held-out split; store it in half precision. Everything is seeded, and a
stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from data_gen.curriculum import FAMILIES, items
from data_gen.records import Record, write_records
from distill.cli import main as distill

RUN = Path("runs/embedded")
VOCABULARY = 2400
RECIPES = Path("distill/recipes")
STAGES = ("pretrain", "finetune", "practise")
EASY = (
    "capital", "classification", "formal_numeral", "measure_word", "order", "parity", "repeating", "sentiment",
    "antonym", "extraction",
)  # fmt: skip
"""Families that fine-tuning brings above nine in ten; practice gives them a fifth of a share"""


def records(count: int, seed: int, split: str, families: list[str] | None = None) -> list[Record]:
    """Curriculum items as records."""
    return [
        Record(item.instruction, item.input, item.output, source="curriculum", meta={"family": item.family})
        for item in items(count, seed=seed, split=split, families=families)  # type: ignore[arg-type]
    ]


def make_data(rows: int) -> None:
    """Training sets of both stages, the held-out set, and the tokenizer."""
    for name, count, seed, split in (
        ("pretrain", rows, 11, "train"),
        ("finetune", rows * 64 // 100, 12, "train"),
        ("heldout", 2000, 13, "heldout"),
    ):
        if not (RUN / f"{name}.jsonl").is_file():
            write_records(RUN / f"{name}.jsonl", records(count, seed, split))
    if not (RUN / "practise.jsonl").is_file():
        hard = [family for family in FAMILIES if family not in EASY]
        both = records(rows // 2, 14, "train") + records(2 * rows, 15, "train", hard)
        write_records(RUN / "practise.jsonl", both)
    if not (RUN / "tokenizer").is_dir():
        from students.train_tokenizers import train_sentencepiece_bpe

        texts = [f"问：{r.instruction}\n{r.input}\n答：{r.output}" for r in records(100_000, 10, "train")]
        train_sentencepiece_bpe(texts, VOCABULARY, RUN / "tokenizer")


def store(source: Path, target: Path, seconds: float) -> None:
    """Put the trained model into the package, in half precision, with how long it took."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float16)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    (target / "training.json").write_text(json.dumps({"seconds": round(seconds)}) + "\n", encoding="utf-8")
    (target / "template.txt").write_text("qa\n", encoding="utf-8")
    size = (target / "model.safetensors").stat().st_size
    print(f"{target}: {model.num_parameters():,} parameters, {size / 1e6:.1f} MB")


def main() -> int:
    """Run every stage that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of pre-training; the rest in proportion")
    parser.add_argument("--target", type=Path, default=Path("teachers/embedded"))
    parser.add_argument("--restart", action="store_true", help="forget an earlier run")
    options = parser.parse_args()
    if options.restart:
        shutil.rmtree(RUN, ignore_errors=True)
    make_data(options.rows)
    for stage in STAGES:
        code = distill(["fit", "--config", str(RECIPES / f"embedded_{stage}.yaml")])
        if code:
            return code
    seconds = sum(json.loads((RUN / stage / "complete.json").read_text())["seconds"] for stage in STAGES)
    store(RUN / "practise" / "student", options.target, seconds)
    return distill(["eval", str(options.target), "--data", "curriculum", "--rows", "2000"])


if __name__ == "__main__":
    raise SystemExit(main())
