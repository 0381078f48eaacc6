"""`distill sample`: draw rows of files and sources, split them, build mixes (also installed as `sample-dataset`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from data_gen.records import DataError
from distill.commands.arguments import Arguments

DESCRIPTION = "Draw rows of sources or files, seeded; or build a mix of several."
EPILOG = """\
examples:
  distill sample ./big.jsonl --rows 10000 --seed 42 -o small.jsonl
  distill sample ./corpus/ --rows 10000 --seed 42 -o small.jsonl        # the files of a folder, or './part-*.jsonl'
  distill sample webtext --where "star>=3" --rows 150000 --seed 42 --convert -o webtext.jsonl
  distill sample baike --by category --rows 10000 -o baike.jsonl        # of each category, in proportion
  distill sample ./a.jsonl ./b.jsonl --weights 0.7 0.3 --rows 10000 -o both.jsonl
  distill sample ./my.jsonl --characters 1000000 -o million.jsonl
  distill sample ./my.csv --columns instruction=title,input=desc,output=answer -o mine.jsonl
  distill sample ./all.jsonl --heldout 0.1 --heldout-out valid.jsonl -o train.jsonl
  distill sample --mix demo -o demo.jsonl
"""
MIX_OPTIONS = {"mix", "out", "seed", "data_dir", "force", "allow_fewer", "on_error", "engine", "parts", "config"}
"""What a mix takes; the rest is said in its recipe"""


def main(argv: list[str]) -> int:
    """Sample or mix; 0 when done."""
    args = _parser().parse(argv)
    if not args.out:
        raise DataError("-o is needed: the JSONL file to write")
    if args.mix:
        return _mix(args)
    if not args.inputs:
        raise DataError("name a source or a file to draw from, or a recipe with --mix")
    return _sample(args)


def _parser() -> Arguments:
    parser = Arguments("sample", DESCRIPTION, config=True, epilog=EPILOG)
    add = parser.add_argument
    add("inputs", nargs="*", metavar="SOURCE_OR_PATH", help="ids of the registry, files, folders or patterns of files")
    add("-o", "--out", metavar="JSONL", help="the file to write")
    add("--rows", type=int, metavar="N", help="how many to draw over all sources; all of them when not given")
    add("--seed", type=int, help="decides which rows; 0 (a mix: its recipe's) when not given")
    add("--weights", nargs="+", type=float, metavar="W", help="shares of --rows, one a source; they add up to 1")
    add(
        "--by",
        metavar="FIELD",
        default="",
        help="draw from every value of a field, such as category, its share of --rows",
    )
    add("--shares", choices=("proportional", "even"), default="proportional", help="how --by shares out the rows")
    add("--characters", type=int, metavar="N", help="draw records up to N characters instead of a number of rows")
    add("--tokens", type=int, metavar="N", help="the same in tokens of --tokenizer")
    add("--tokenizer", metavar="DIR", help="a folder or hub id of a tokenizer")
    add("--where", action="append", default=[], metavar='"F OP V"', help="keep rows such as star>=3; may be repeated")
    add("--convert", action="store_true", help="write Records where rows of JSON lines would be copied as they are")
    add("--columns", metavar="A=B,...", help="which column is the instruction, input, output, system")
    add("--heldout", type=float, default=0.0, metavar="SHARE", help="share of the drawn rows to hold out")
    add("--heldout-out", metavar="JSONL", help="where they go")
    add("--mix", metavar="NAME_OR_YAML", help="build a mix: mini_luotuo, panda_coig, demo or a recipe of yours")
    add("--data-dir", metavar="DIR", help="where raw files lie: DIR/<source>/<file> (./data, then $MINITUO_DATA)")
    add("--allow-fewer", action="store_true", help="take what there is when there are fewer rows")
    add("--on-error", choices=("stop", "skip"), default="stop", help="what to do at an unreadable row")
    add("--force", action="store_true", help="replace files that exist")
    add("--engine", choices=("local", "ray"), default="local", help="ray: read, convert and clean on a Ray cluster")
    add("--parts", metavar="DIR", help="with --mix: also each source's rows in a file of their own, under its own name")
    return parser


def parse_columns(text: str | dict[str, str] | None) -> dict[str, str] | None:
    """`instruction=title,output=answer` (or, in a config, a mapping) as a mapping."""
    if text is None or isinstance(text, dict):
        return text
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    if any(len(pair) != 2 or not all(part.strip() for part in pair) for pair in pairs):
        raise DataError(f"--columns {text!r} must look like instruction=title,input=desc,output=answer")
    return {to.strip(): name.strip() for to, name in pairs}


def _sample(args: Any) -> int:
    if args.parts:
        raise DataError("--parts goes with --mix")
    if _is_plain(args):
        from data_gen.quick import quick_sample

        count = quick_sample(args.inputs[0], args.out, args.rows, args.seed or 0, args.force)
        if count is not None:
            print(f"{args.out}: {args.rows:,} rows, copied as they are")
            print(f"  {Path(args.inputs[0]).name}: {args.rows:,} of {count:,} rows")
            return 0
    from data_gen.sampling import sample_rows

    summary = sample_rows(
        args.inputs,
        args.out,
        rows=args.rows,
        seed=args.seed or 0,
        weights=args.weights,
        where=[args.where] if isinstance(args.where, str) else args.where,
        convert=args.convert,
        heldout=args.heldout,
        heldout_out=args.heldout_out,
        allow_fewer=args.allow_fewer,
        force=args.force,
        columns=parse_columns(args.columns),
        data_dir=args.data_dir,
        on_error=args.on_error,
        by=args.by,
        shares=args.shares,
        **_budget(args),
        **_engine(args),
    )
    how = "as records" if summary.as_records else "copied as they are"
    print(f"{args.out}: {summary.rows:,} rows, {how}")
    if args.heldout_out:
        print(f"{args.heldout_out}: {summary.heldout:,} rows held out")
    for taken in summary.taken:
        left = "".join(f", {n:,} left out by {why}" for why, n in taken.dropped.items())
        print(f"  {taken.source.id}: {taken.taken:,} of {taken.rows_in:,} rows{left}")
    if summary.tally.total:
        print(summary.tally.report(), file=sys.stderr)
    return 0


def _is_plain(args: Any) -> bool:
    """Whether nothing is asked for but a number of rows of one input."""
    said = {name: value for name, value in vars(args).items() if value != _parser().get_default(name)}
    return (
        len(args.inputs) == 1 and "rows" in said and said.keys() <= {"inputs", "out", "rows", "seed", "force", "config"}
    )


def _budget(args: Any) -> dict[str, Any]:
    """The options of a budget of characters or tokens."""
    if args.characters is None and args.tokens is None:
        if args.tokenizer:
            raise DataError("--tokenizer counts --tokens: give that, too")
        return {}
    if args.characters is not None and args.tokens is not None:
        raise DataError("give either --characters or --tokens")
    if args.characters is not None:
        from data_gen.shards import characters

        return {"budget": args.characters, "measure": characters, "unit": "characters"}
    if not args.tokenizer:
        raise DataError("--tokens needs --tokenizer, a folder or hub id of the tokenizer that counts them")
    return {"budget": args.tokens, "measure": TokenCount(args.tokenizer), "unit": "tokens"}


class TokenCount:
    """How many tokens a record's texts have; can be sent to another machine."""

    def __init__(self, tokenizer: str) -> None:
        from students.tokenizers import load_tokenizer

        self.name, self._tokenizer = tokenizer, load_tokenizer(tokenizer)

    def __call__(self, record: Any) -> int:
        from data_gen.shards import texts_of

        texts = [text for text in texts_of(record) if text]
        return sum(map(len, self._tokenizer(texts, add_special_tokens=False)["input_ids"])) if texts else 0

    def __reduce__(self) -> Any:
        return TokenCount, (self.name,)


def _engine(args: Any) -> dict[str, Any]:
    if args.engine == "local":
        return {}
    from data_gen.ray_engine import ray_engine

    return {"engine": ray_engine()}


def _mix(args: Any) -> int:
    from data_gen.mixes import build_mix, manifest_path

    if args.inputs:
        raise DataError(f"--mix says in its recipe what to take; {args.inputs[0]!r} cannot be added to it")
    defaults = vars(_parser().parse_args([]))
    for name, value in vars(args).items():
        if name not in MIX_OPTIONS and value != defaults[name]:
            raise DataError(f"--{name.replace('_', '-')} is said in a mix's recipe, not beside --mix")
    manifest = build_mix(
        args.mix,
        args.out,
        data_dir=args.data_dir,
        seed=args.seed,
        allow_fewer=args.allow_fewer,
        force=args.force,
        on_error=args.on_error,
        parts=args.parts,
        **_engine(args),
    )
    if not manifest["built"]:
        print(f"{args.out}: up to date, {manifest['rows']:,} rows")
        return 0
    print(f"{args.out}: {manifest['rows']:,} rows")
    for part in manifest["sources"]:
        dropped = "".join(f", {n:,} left out as {why}" for why, n in part["dropped"].items())
        print(f"  {part['id']}: {part['taken']:,} of {part['rows_in']:,} rows{dropped}")
    if held := manifest.get("heldout"):
        print(f"{held['file']}: {held['rows']:,} rows held out")
    if found := manifest.get("decontamination"):
        print(f"{found['report']}: {found['removed']:,} rows that share text with evaluation items")
    print(f"licence: {manifest['licence']['summary']}")
    print(f"manifest: {manifest_path(Path(args.out))}")
    return 0
