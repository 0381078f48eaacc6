"""`distill tokenizer train | show`: a tokenizer learnt from data sets, and how one cuts a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.commands.arguments import Arguments
from distill.errors import DistillError

EXAMPLES = """\
examples:
  distill tokenizer train train.jsonl -o tokenizer
  distill tokenizer train train.jsonl notes.txt --family byte-bpe --size 16000 -o tokenizer
  distill tokenizer show tokenizer 你好，世界！
"""
FAMILIES: dict[str, tuple[str, int]] = {
    "wordpiece": ("train_wordpiece", 64),
    "byte-bpe": ("train_byte_bpe", 257),
    "sentencepiece": ("train_sentencepiece_bpe", 260),
}
"""Family -> (function of students.train_tokenizers, least size; special entries and bytes alone take up the others')"""
LOOKED_AT = 2000
"""Of so many texts it is told how they are cut"""


def main(argv: list[str]) -> int:
    """Train one, or show one."""
    args = _parser().parse(argv)
    if args.action == "show":
        return _show(args)
    if not args.inputs:
        raise DistillError("name the data to learn from: files of records, .txt files, ids of the registry")
    if not args.output:
        raise DistillError("-o is needed: the folder to write")
    least = FAMILIES[args.family][1]
    if args.size < least:
        raise DistillError(f"--size {args.size} is too small: {args.family} needs at least {least} entries")
    if args.rows is not None and args.rows < 1:
        raise DistillError(f"--rows is at least 1, got {args.rows}")
    return _train(args, Path(args.output))


def _parser() -> Arguments:
    parser = Arguments("tokenizer", "Make a tokenizer out of data, or see how one cuts a text.", epilog=EXAMPLES)
    add = parser.add_argument
    add("action", choices=["train", "show"], help="learn one from data; show what one is and does")
    add("inputs", nargs="*", metavar="DATA", help="train: files of records, .txt files, ids of the registry; "
        "show: the tokenizer's folder, then texts")  # fmt: skip
    add("-o", "--output", metavar="FOLDER", help="train: where to write; must not exist yet")
    add("--family", choices=list(FAMILIES), default="wordpiece", help="as BERT-Chinese cuts, as GPT-2, as LLaMA")
    add("--size", type=int, default=8000, help="entries, at most; default 8000")
    add("--template", default="qa", help="the prompt template, whose words are learnt too; default qa")
    add("--lowercase", action="store_true", help="wordpiece: no capital letters")
    add("--rows", type=int, metavar="N", help="only the first rows of each input")
    add("--columns", metavar="A=B,...", help="which column is the instruction, input, output, system")
    add("--data-dir", metavar="DIR", help="where raw files lie: DIR/<source>/<file> (./data, then $MINITUO_DATA)")
    return parser


def _train(args: Any, folder: Path) -> int:
    from data_gen.progress import Progress
    from data_gen.templates import get_template
    from students.folders import whole_folder

    if args.lowercase and args.family != "wordpiece":
        raise DistillError(f"--lowercase goes with --family wordpiece, not with {args.family}")
    if folder.exists():
        raise DistillError(f"{folder} exists; give another -o, or delete it")
    template = get_template(args.template)
    rows = _records(args)
    kept: list[str] = []
    with whole_folder(folder) as part:
        with Progress("read", None, "rows") as bar:

            def texts() -> Iterator[str]:
                for record in rows:
                    asked = record.instruction or record.input or record.history
                    text = "".join(said for said, _ in template.render(record)) if asked else record.output
                    if len(kept) < LOOKED_AT:
                        kept.append(text)
                    bar.advance()
                    yield text

            tokenizer = _learn(args, texts(), part)
        if not kept:
            raise DistillError(f"no row in {', '.join(args.inputs)}: there is nothing to learn a tokenizer from")
    print(f"{folder}: {len(tokenizer):,} entries, {args.family}; {_cuts(tokenizer, kept)}")
    return 0


def _records(args: Any) -> Iterator[Any]:
    """Rows of all inputs. What cannot be opened, and no row at all, is found out before anything is learnt."""
    from itertools import chain

    from data_gen.columns import parse_columns
    from data_gen.formats import bare_name
    from data_gen.registry import open_source

    columns = parse_columns(args.columns)
    plain = {"output": "text"}
    opened = [
        open_source(
            name, args.data_dir, plain if columns is None and bare_name(name).endswith(".txt") else columns,
            rows=args.rows,
        )
        for name in args.inputs
    ]  # fmt: skip
    rows = chain.from_iterable(opened)
    first = next(rows, None)
    if first is None:
        raise DistillError(f"no row in {', '.join(args.inputs)}: there is nothing to learn a tokenizer from")
    return chain([first], rows)


def _learn(args: Any, texts: Iterator[str], folder: Path) -> Any:
    from distill.quiet import quiet_transformers
    from students import train_tokenizers

    quiet_transformers()
    more = {"lowercase": True} if args.lowercase else {}
    return getattr(train_tokenizers, FAMILIES[args.family][0])(texts, args.size, folder, **more)


def _cuts(tokenizer: Any, texts: list[str]) -> str:
    """How long texts become, and what of them is lost."""
    ids = [i for found in tokenizer(texts, add_special_tokens=False)["input_ids"] for i in found]
    characters = max(sum(map(len, texts)), 1)
    unknown = sum(i == tokenizer.unk_token_id for i in ids) if tokenizer.unk_token_id != tokenizer.eos_token_id else 0
    lost = f", {unknown:,} of them unknown" if unknown else ""
    return f"{len(ids) / characters:.2f} tokens a character{lost}"


def _show(args: Any) -> int:
    """Family, size and ends; each text with | between its tokens."""
    if not args.inputs:
        raise DistillError("name the tokenizer: distill tokenizer show FOLDER")
    from distill.quiet import quiet_transformers
    from students.load_tokenizers import load_tokenizer
    from students.tokenizers import ByteView
    from teachers.panda import EMBEDDED

    quiet_transformers()
    path, *texts = args.inputs
    tokenizer = load_tokenizer(EMBEDDED if path == "embedded" else path)
    view = ByteView(tokenizer)
    print(f"{path}: {len(tokenizer):,} entries, {view.family}; an answer ends with {tokenizer.eos_token}")
    for text in texts:
        parts = [_entry(view, i) for i in view.encode(text)]
        print(f"  {len(parts)}: {'|'.join(parts)}")
    return 0


def _entry(view: Any, index: int) -> str:
    """What an entry stands for; bytes that are no whole character as \\xHH, special entries by their name."""
    said = view.entries[index]
    return view.tokenizer.convert_ids_to_tokens(index) if said is None else said.decode("utf-8", "backslashreplace")
