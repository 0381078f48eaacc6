"""How much of a student's answers gets a target from a teacher with another tokenizer, for every ordered pair.

    python benchmarks/bench_align.py TOKENIZERS DATA.json --rows 200
    python benchmarks/bench_align.py TOKENIZERS DATA.json --rows 200 --json

TOKENIZERS holds `*.model` (SentencePiece), `*vocab.txt` (WordPiece), folders with vocab.json and merges.txt (GPT-2's
BPE) and tokenizer folders as transformers saves them. DATA is a file of records. The teacher is made up, the same for
all: half of its mass is on the token that stands there, the rest on what follows the three before it in DATA. Columns:

    covered      share of supervised student positions with a target
    shared       share of them that start where a teacher token starts: all that boundary-only methods could use
    placed       mass not in the tail, which is the class of all entries that no listed outcome names
    mass_error   the largest difference of a target's mass from 1
    tables       seconds to build the pair's tables, once
    seconds      seconds for plans and targets of all rows
    split        of a supervised position in microseconds: plan (once), join, read the teacher, move
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from data_gen.records import Record, read_records
from data_gen.templates import get_template
from distill.align import Aligner
from distill.encoding import Side, encode_side
from distill.targets import Targets
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView

ROWS_AT_ONCE = 16
TEMPLATE = get_template("qa")


def tokenizers(folder: Path, scratch: Path) -> dict[str, ByteView]:
    """Every tokenizer of a folder by its name, copied to where transformers finds its files."""
    found: dict[str, ByteView] = {}
    for path in sorted(folder.iterdir()):
        home, name = scratch / path.name, path.stem
        if path.suffix == ".model":
            _put(home, {"tokenizer.model": path}, tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>",
                 unk_token="<unk>", add_bos_token=True)  # fmt: skip
        elif path.name.endswith("vocab.txt"):
            _put(home, {"vocab.txt": path}, tokenizer_class="BertTokenizerFast", do_lower_case=True, eos_token="[SEP]",
                 pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")  # fmt: skip
        elif (path / "merges.txt").is_file():
            end = "<|endoftext|>"
            _put(home, {n: path / n for n in ("vocab.json", "merges.txt")}, tokenizer_class="GPT2TokenizerFast",
                 bos_token=end, eos_token=end, unk_token=end)  # fmt: skip
        elif (path / "tokenizer_config.json").is_file():
            home = path
        else:
            continue
        found[name] = ByteView(load_tokenizer(home))
    return found


def _put(home: Path, files: dict[str, Path], **config: object) -> None:
    home.mkdir()
    for name, source in files.items():
        shutil.copyfile(source, home / name)
    (home / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


class MadeUp:
    """A teacher counted from the answers: the token that stands there, what follows the three before it, some of all.

    Three tokens tell it which byte of a character it is at.
    """

    def __init__(self, side: Side, size: int) -> None:
        self.size = size
        said = side.ids[side.supervised].tolist()
        self.after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for n, token in enumerate(said):
            self.after[tuple(said[max(n - 3, 0) : n])][token] += 1
        usual = np.bincount(said, minlength=size) + 1e-3
        self.usual = torch.from_numpy(usual / usual.sum())

    def logits(self, ids: np.ndarray) -> torch.Tensor:
        """At each position of these answers, (positions, vocab)."""
        mass = 0.02 * self.usual.repeat(len(ids), 1)
        said = ids.tolist()
        for n, token in enumerate(said):
            mass[n, token] += 0.5
            follows = self.after.get(tuple(said[max(n - 3, 0) : n]))
            if follows:
                mass[n, list(follows)] += 0.48 * torch.tensor(list(follows.values())) / follows.total()
        return mass.log().float()


def measure(teacher: ByteView, student: ByteView, records: list[Record]) -> dict[str, float]:
    """One ordered pair."""
    start = time.process_time()
    aligner = Aligner(teacher, student)
    built = time.process_time() - start
    theirs, ours = (encode_side(view, TEMPLATE, records, 1 << 20) for view in (teacher, student))
    made_up = MadeUp(theirs, len(teacher.entries))
    spent = dict.fromkeys(("plan", "join", "read", "move"), 0.0)
    covered = shared = total = 0
    placed = error = 0.0
    for first in range(0, len(records), ROWS_AT_ONCE):
        rows = range(first, min(first + ROWS_AT_ONCE, len(records)))
        ticks = [time.process_time()]
        plans = [aligner.plan([t for t, said in TEMPLATE.render(records[r]) if said], theirs, ours, r) for r in rows]
        ticks.append(time.process_time())
        plan = aligner.batch(plans)
        ticks.append(time.process_time())
        said = np.concatenate([theirs.ids[theirs.row(r)][theirs.supervised[theirs.row(r)]] for r in rows])
        logits = made_up.logits(said)
        ticks.append(time.process_time())
        read = aligner.read(lambda part, found=logits: found[part], len(said), plan)  # type: ignore[misc]
        ticks.append(time.process_time())
        targets = aligner.targets(read, plan, sum(len(p.ids) for p in plans))
        ticks.append(time.process_time())
        for name, n in (("plan", 0), ("join", 1), ("read", 3), ("move", 4)):
            spent[name] += ticks[n + 1] - ticks[n]
        covered += int((targets.total > 0).sum())
        shared += sum(len(p.shared()) for p in plans)
        total += len(targets.total)
        mass = masses(targets)[targets.total > 0]
        placed += float((mass - targets.tail[targets.total > 0].double()).sum())
        error = max(error, float((mass - 1).abs().max()))
    return {
        "covered": covered / total, "shared": shared / total, "placed": placed / max(covered, 1), "mass_error": error,
        "tables": built, "seconds": built + sum(spent.values()), "positions": total,
        **{name: 1e6 * seconds / total for name, seconds in spent.items()},
    }  # fmt: skip


def masses(targets: Targets) -> torch.Tensor:
    """What all classes of each row add up to, (rows)."""
    total = targets.tail.double()
    for row, mass in (
        (targets.single_row, targets.single_mass), (targets.row, targets.mass), (targets.large_row, targets.large_mass)
    ):  # fmt: skip
        total = total.index_add(0, row, mass.double())
    return total


def main() -> None:
    """Print one line an ordered pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--only", nargs="*", help="names of tokenizers; all of the folder when missing")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = [record for record, _ in zip(read_records(options.data), range(options.rows), strict=False)]
    with tempfile.TemporaryDirectory() as scratch:
        views = tokenizers(options.tokenizers, Path(scratch))
        chosen = {name: view for name, view in views.items() if not options.only or name in options.only}
        for teacher in chosen:
            for student in chosen:
                if teacher == student:
                    continue
                found = measure(chosen[teacher], chosen[student], records)
                if options.json:
                    print(json.dumps({"teacher": teacher, "student": student, **found}), flush=True)
                else:
                    numbers = "  ".join(f"{name} {value:.4g}" for name, value in found.items())
                    print(f"{teacher} -> {student}: {numbers}", flush=True)


if __name__ == "__main__":
    main()
