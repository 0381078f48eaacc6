"""`distill sample`: draw rows of files and sources, split them, build mixes (also installed as `sample-dataset`)."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.errors import DataError

if TYPE_CHECKING:
    from data_gen.sampling import Summary
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
MIX_OPTIONS = {"mix", "out", "seed", "data_dir", "force", "allow_fewer", "on_error", "engine", "parts", "config"} | {
    "manifest"  # a mix has one in any case
}
"""What a mix takes; the rest is said in its recipe"""


_FOR_A_MIX = {
    "columns": "./my.csv: {rows: all, columns: {instruction: title, output: answer}}",
    "where": 'webtext: {rows: 1000, where: ["star>=3"]}',
}


def main(argv: list[str]) -> int:
    """Sample or mix; 0 when done."""
    if (plain := _plain(argv)) and _quick(*plain):
        return 0
    args = _parser().parse(argv)
    if not args.out:
        raise DataError("-o is needed: the JSONL file to write")
    if args.mix:
        return _mix(args)
    if not args.inputs:
        raise DataError("name a source or a file to draw from, or a recipe with --mix")
    return _sample(args)


_PLAIN = {"-o": "out", "--out": "out", "--rows": "rows", "--seed": "seed"}


def _plain(argv: list[str]) -> tuple[str, str, int, int, bool] | None:
    """Path, output, rows, seed and force of the plainest call, `PATH --rows N -o OUT`; None for any other.

    It is looked at here because the parser of all options takes longer to make than such a sample's index to read.
    """
    said: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name = _PLAIN.get(word) or ("force" if word == "--force" else "path")
        value = next(words, "-") if word in _PLAIN else word
        if name in said or (name != "force" and value.startswith("-")):
            return None
        said[name] = value
    numbers = said.get("rows", ""), said.get("seed", "0")
    if not {"path", "out"} <= said.keys() or not all(text.isascii() and text.isdigit() for text in numbers):
        return None
    return said["path"], said["out"], int(numbers[0]), int(numbers[1]), "force" in said


def _quick(path: str, out: str, rows: int, seed: int, force: bool) -> bool:
    """Whether this was a plain sample, which is done then."""
    from data_gen.quick import quick_sample

    count = quick_sample(path, out, rows, seed, force)
    if count is None:
        return False
    print(f"{out}: {rows:,} rows, copied as they are\n  {Path(path).name}: {rows:,} of {count:,} rows")
    _tell_stale(Path(out))
    return True


def _tell_stale(out: Path) -> None:
    """Say on stderr that the manifest beside an output is of what stood there before: training would believe it."""
    manifest = out.with_name(f"{out.stem}.manifest.json")
    if manifest.is_file():
        print(f"note: {manifest} is of an earlier {out.name}; delete it, or add --manifest --force", file=sys.stderr)


def _parser() -> Arguments:
    from distill.commands.arguments import Arguments

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
    add("--convert", action="store_true", help="write Records instead of the rows as they are")
    add("--columns", metavar="A=B,...", help="which column is the instruction, input, output, system")
    add("--heldout", type=float, default=0.0, metavar="SHARE", help="share of the questions whose rows are held out")
    add("--heldout-out", metavar="JSONL", help="where they go")
    add("--mix", metavar="NAME_OR_YAML", help="build a mix: mini_luotuo, panda_coig, demo or a recipe of yours")
    add("--data-dir", metavar="DIR", help="where raw files lie: DIR/<source>/<file> (./data, then $MINITUO_DATA)")
    add("--allow-fewer", action="store_true", help="take what there is when there are fewer rows")
    add("--on-error", choices=("stop", "skip"), default="stop", help="what to do at an unreadable row")
    add("--manifest", action="store_true", help="also write OUT.manifest.json: files, licences, seed, as of a mix")
    add("--force", action="store_true", help="replace files that exist")
    add("--engine", choices=("local", "ray"), default="local", help="ray: read, convert and clean on a Ray cluster")
    add("--parts", metavar="DIR", help="with --mix: also each source's rows in a file of their own, under its own name")
    return parser


def _sample(args: Any) -> int:
    if args.parts:
        raise DataError("--parts goes with --mix")
    from data_gen.columns import parse_columns
    from data_gen.sample_manifest import SampleManifest
    from data_gen.sampling import sample_rows

    said = {name: value for name, value in _said(args).items() if name not in {"out", "force", "config", "manifest"}}
    options = {"columns": parse_columns(args.columns), "data_dir": args.data_dir, "force": args.force}
    heldout = Path(args.heldout_out) if args.heldout_out else None
    manifest = SampleManifest(args.inputs, Path(args.out), said, heldout=heldout, **options) if args.manifest else None
    summary = sample_rows(
        args.inputs,
        args.out,
        rows=args.rows,
        seed=args.seed or 0,
        weights=args.weights,
        where=args.where,
        convert=args.convert,
        heldout=args.heldout,
        heldout_out=args.heldout_out,
        allow_fewer=args.allow_fewer,
        on_error=args.on_error,
        by=args.by,
        shares=args.shares,
        beside=manifest.write if manifest else None,
        **options,
        **_budget(args),
        **_engine(args),
    )
    _tell(args, summary)
    if manifest:
        print(f"manifest: {manifest.path}")
    else:
        _tell_stale(Path(args.out))
    return 0


def _tell(args: Any, summary: Summary) -> None:
    """Print what became of the rows, and under which licences they stand where the registry or a manifest knows."""
    from data_gen.provenance import effective_licence

    how = "as records" if summary.as_records else "copied as they are"
    print(f"{args.out}: {summary.rows:,} rows, {how}")
    if args.heldout_out:
        print(f"{args.heldout_out}: {summary.heldout:,} rows held out")
    for taken in summary.taken:
        left = "".join(f", {n:,} left out by {why}" for why, n in taken.dropped.items())
        print(f"  {taken.source.id}: {taken.taken:,} of {taken.rows_in:,} rows{left}")
    if summary.tally.total:
        print(summary.tally.report(), file=sys.stderr)
    sources = {taken.source.id: taken.source for taken in summary.taken}
    if any(each.yaml or each.licence.spdx != "LicenseRef-unclear" for each in sources.values()):
        print(f"licence: {effective_licence(sources)['summary']}")


def _said(args: Any) -> dict[str, Any]:
    """The options that differ from their defaults."""
    defaults = vars(_parser().parse_args([]))
    return {name: value for name, value in vars(args).items() if value != defaults[name]}


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
        from students.load_tokenizers import load_tokenizer

        # A worker has a folder of its own, so a relative path would lead elsewhere there.
        self.name = str(Path(tokenizer).absolute()) if Path(tokenizer).is_dir() else tokenizer
        self._tokenizer = load_tokenizer(tokenizer)

    def __call__(self, record: Any) -> int:
        from data_gen.shards import texts_of

        texts = [text for text in texts_of(record) if text]
        return sum(map(len, self._tokenizer(texts, add_special_tokens=False)["input_ids"])) if texts else 0

    def __reduce__(self) -> Any:
        return _token_count, (self.name,)


@lru_cache(maxsize=1)
def _token_count(name: str) -> TokenCount:
    """One for all tasks of a worker."""
    return TokenCount(name)


def _engine(args: Any) -> dict[str, Any]:
    if args.engine == "local":
        return {}
    from data_gen.ray_engine import ray_engine

    return {"engine": ray_engine()}


def _mix(args: Any) -> int:
    from data_gen.mixes import build_mix, manifest_path
    from data_gen.provenance import overlap_lines

    if args.inputs:
        raise DataError(f"--mix says in its recipe what to take; {args.inputs[0]!r} cannot be added to it")
    for name in _said(args):
        if name not in MIX_OPTIONS:
            how = f", as in '{_FOR_A_MIX[name]}'" if name in _FOR_A_MIX else ""
            raise DataError(f"--{name.replace('_', '-')} is said in a mix's recipe, not beside --mix{how}")
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
    for line in overlap_lines(manifest["overlaps"]):
        print(f"note: {line}")
    print(f"licence: {manifest['licence']['summary']}")
    print(f"manifest: {manifest_path(Path(args.out))}")
    return 0
