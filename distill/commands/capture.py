"""`distill capture`: what a teacher says about the answers of a data set, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.commands.arguments import Arguments
from distill.errors import DistillError

DESCRIPTION = "Write a teacher's signals for the answers of a data set to a folder, to train from without the teacher."
EPILOG = """\
examples:
  distill capture train.jsonl --teacher embedded --student tokenizer -o signals
  distill capture train.jsonl --teacher models/panda-7b --student tokenizer --method topk --size 64 -o signals
  distill capture answered.jsonl --journal answered.jsonl.journal --student tokenizer -o signals
  distill recipes cp kd_student_offline kd_offline.yaml && distill fit --config kd_offline.yaml

Stopped, even killed, the same command goes on. 'sampled' serves forward_kl, without bias; 'topk' every loss.
"""
SIZES = {"sampled": 50, "topk": 64}


def main(argv: list[str]) -> int:
    """Capture; 0 when every record is there."""
    args = _parser().parse(argv)
    if not args.inputs:
        raise DistillError("name the records to capture signals for: files of records, as data.train of the recipe")
    if not args.out:
        raise DistillError("-o is needed: the folder to write")
    if args.journal and (args.teacher or args.method == "sampled"):
        raise DistillError("--journal holds an endpoint's likeliest tokens: leave out --teacher and --method sampled")
    if args.journal and not args.student:
        raise DistillError("--journal needs --student, the folder of the tokenizer that will learn from it")
    if args.limit is not None and args.limit < 1:
        raise DistillError(f"--limit is at least 1, got {args.limit}")
    return _capture(args)


def _parser() -> Arguments:
    parser = Arguments("capture", DESCRIPTION, config=True, epilog=EPILOG)
    add = parser.add_argument
    add("inputs", nargs="*", metavar="JSONL", help="files of records")
    add("-o", "--out", metavar="FOLDER", help="the store to write, or to go on with")
    add("--teacher", metavar="MODEL", help="embedded (default), a model's folder or hub id, or package.module:Class")
    add("--model", metavar="NAME_OR_PATH", help="what a class of yours is given as its path or model")
    add("--student", metavar="TOKENIZER", help="the student's tokenizer folder or hub id, when not the teacher's own")
    add("--method", choices=tuple(SIZES), help="sampled (default): draws, for forward_kl; topk: for every loss")
    add("--size", type=int, metavar="N", help="draws a token (default 50), or entries a token (topk: default 64)")
    add("--temperature", type=float, default=1.0, help="of the teacher; default 1")
    add("--template", default="qa", help="data.template of the recipe; default qa")
    add("--teacher-template", metavar="NAME", help="data.teacher_template of the recipe; default as there")
    add("--max-length", type=int, default=512, metavar="N", help="data.max_length of the recipe, or more; default 512")
    add("--batch-size", type=int, default=16, metavar="N", help="rows the teacher reads at once; default 16")
    add("--limit", type=int, metavar="N", help="use only the first rows of each file, as data.limit")
    add("--seed", type=int, default=0, help="decides the draws; default 0")
    add("--device", default="auto", help="of the teacher: auto, cpu, cuda, ...")
    add("--dtype", default="auto", help="of the teacher: auto, fp32, fp16, bf16")
    add("--journal", metavar="FILE", help="instead of a teacher: what an endpoint told beside its answers, as "
        "'distill generate --logprobs 20' keeps it")  # fmt: skip
    return parser


def _capture(args: Any) -> int:
    from itertools import islice

    from data_gen.records import read_records
    from distill.capture import capture
    from distill.capture_data import Settings
    from distill.quiet import quiet_transformers
    from students.load_tokenizers import load_tokenizer

    quiet_transformers()
    method = args.method or ("topk" if args.journal else "sampled")
    settings = Settings(
        method=method,
        size=args.size if args.size is not None else SIZES[method],
        temperature=args.temperature,
        template=args.template,
        teacher_template=args.teacher_template,
        max_length=args.max_length,
        seed=args.seed,
        batch_size=args.batch_size,
    )
    settings.check()
    records = [record for file in args.inputs for record in islice(read_records(file), args.limit)]
    student = load_tokenizer(args.student) if args.student else None
    if args.journal:
        from distill.endpoint_signals import capture_journal

        found = capture_journal(records, Path(args.journal), args.out, settings, student, args.inputs)
    else:
        found = capture(records, _teacher(args), args.out, settings, student, args.inputs)
    _tell(args.out, found)
    return 0


def _teacher(args: Any) -> Any:
    """The embedded one, a model's folder or hub id, or a class of the user's own."""
    name = args.teacher or "embedded"
    if ":" in name and not Path(name).exists():
        from distill.commands.asking import build

        said = {"model": args.model, "device": args.device, "dtype": args.dtype}
        return build("teacher of signals", name, {}, {k: v for k, v in said.items() if v not in {None, "auto"}})
    if args.model:
        raise DistillError("--model is what a class of yours is given; name a model's folder with --teacher itself")
    module, _, kind = name.rpartition(".")
    if module and Path(f"{module.replace('.', '/')}.py").is_file():
        raise DistillError(f"no folder {name}; a class of yours is named with a colon here, {module}:{kind}")
    from teachers.loading import device_here
    from teachers.panda import PandaTeacher

    device_here(args.device)  # said now, not once both sides have read the data
    return PandaTeacher(name, device=args.device, dtype=args.dtype)


def _tell(folder: str, found: Any) -> None:
    made = found.records - found.before
    each = f", {found.bytes / found.tokens:.1f} bytes a token" if found.tokens else ""
    print(f"{folder}: {found.records:,} records, {found.tokens:,} supervised tokens, {found.bytes:,} bytes{each}")
    if made:
        print(f"  {made:,} of them now, in {found.seconds:.1f} s; {found.before:,} were there")
    else:
        print("  all were there")
    if found.dropped:
        print(f"  {found.dropped:,} records have no answer within the maximum length, left out")
    for why, count in found.skipped.items():
        print(f"  {count:,} records left out: {why}")
    if found.silent:
        print(f"  {found.silent:,} tokens about which the teacher says nothing")
    if found.damaged:
        print(f"  damaged shards that were thrown away and captured again: {found.damaged:,}")
