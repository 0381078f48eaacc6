"""`distill export`: a run, a checkpoint or a folder becomes a Hugging Face folder that plain transformers loads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from data_gen.errors import no_file
from distill.commands.arguments import Arguments, load_yaml
from distill.errors import DistillError

EXAMPLES = """\
examples:
  distill export runs/kd -o my-student
  distill export runs/kd -o my-student --scores scores.json --dtype fp16
  distill export runs/kd/checkpoints/last.ckpt -o last
  distill export some/huggingface/folder -o out --template qa
"""


def main(argv: list[str]) -> int:
    """Export and say where it lies."""
    args = _parser().parse(argv)
    source, output = Path(args.source), Path(args.output)
    run = run_folder(source)
    card = gather_card(args, run)

    from distill.quiet import quiet_transformers
    from students.export import check_target, export_student

    quiet_transformers()
    check_target(output, args.force)  # before anything large is read
    model, tokenizer = load(source, run)
    if args.dtype:
        import torch

        model = model.to({"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[args.dtype])
    if card.get("template"):
        card |= describe_template(card["template"], tokenizer)
    export_student(model, tokenizer, output, card, force=args.force)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    print(f"{output}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} million weights, {size:.1f} MB")
    return 0


def _parser() -> Arguments:
    parser = Arguments("export", "Write a student as a Hugging Face folder with its model card.", epilog=EXAMPLES)
    parser.add_argument("source", help="a run folder of 'distill fit', one of its .ckpt, or a Hugging Face folder")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where to write; must not exist yet")
    parser.add_argument("--scores", metavar="JSON", help="scores for the card: of 'distill eval --json'")
    parser.add_argument("--manifest", metavar="JSON", help="what it was trained on; default the run's own")
    parser.add_argument("--template", metavar="NAME", help="its prompt template; default the run's own")
    parser.add_argument("--dtype", choices=["fp32", "fp16", "bf16"], help="of the weights; default as they are")
    parser.add_argument("--force", action="store_true", help="replace an older export")
    return parser


def run_folder(source: Path) -> Path | None:
    """The run that `source` is, or is a part of; None for a plain Hugging Face folder.

    Raises DistillError when there is nothing to export.
    """
    if source.is_file():
        if source.suffix != ".ckpt":
            raise DistillError(f"{source} is no checkpoint; give a run folder, a .ckpt or a Hugging Face folder")
        run = source.resolve().parent.parent
        if not (run / "recipe.yaml").is_file():
            raise DistillError(f"no recipe.yaml in {run}; a checkpoint is exported from inside of its run folder")
        return run
    if not source.is_dir():
        raise DistillError(f"no run, checkpoint or folder {source}")
    if (source / "student" / "config.json").is_file():
        return source
    if (source / "recipe.yaml").is_file() and not (source / "config.json").is_file():
        raise DistillError(
            f"{source} has no student/ yet: let its training end, or export {source}/checkpoints/last.ckpt"
        )
    return None if source.name != "student" or not (source.parent / "recipe.yaml").is_file() else source.parent


def gather_card(args: argparse.Namespace, run: Path | None) -> dict[str, Any]:
    """What the model card needs, from the options and from the run folder."""
    found: dict[str, Any] = {}
    place = run or (Path(args.source) if Path(args.source).is_dir() else None)
    if place is not None:
        recipe, manifest, template = place / "recipe.yaml", place / "data_manifest.json", place / "template.txt"
        if recipe.is_file():
            found["recipe"] = recipe.read_text(encoding="utf-8")
        if manifest.is_file():
            found["manifest"] = _read_json(manifest)
        if template.is_file():
            found["template"] = template.read_text(encoding="utf-8").strip()
        elif (place / "minituo.json").is_file():
            found |= _read_json(place / "minituo.json")
    for name in ("scores", "manifest"):
        if getattr(args, name):
            found[name] = _read_json(Path(getattr(args, name)))
    if args.template:
        found["template"] = args.template
    return found


def load(source: Path, run: Path | None) -> tuple[Any, Any]:
    """Model and tokenizer: of a folder as they are, of a checkpoint by its run's recipe."""
    from students.build import build_student
    from students.load_tokenizers import load_tokenizer

    if not source.is_file():
        folder = run / "student" if run else source
        tokenizer = load_tokenizer(folder)
        return build_student(str(folder), tokenizer), tokenizer
    import torch

    from distill.fit import check_whole

    assert run is not None
    check_whole(source)
    settings = load_yaml(run / "recipe.yaml").get("model") or {}
    spec, path = settings.get("student"), settings.get("tokenizer")
    if spec is None:
        raise DistillError(f"{run / 'recipe.yaml'} does not say model.student, so {source} cannot be rebuilt")
    tokenizer = load_tokenizer(path or (spec if isinstance(spec, str) else spec.get("path")))
    model: Any = build_student(spec, tokenizer)
    state = torch.load(source, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    own = {key.removeprefix("student."): value for key, value in state.items() if key.startswith("student.")}
    missing = model.state_dict().keys() ^ own.keys()
    if missing:
        raise DistillError(
            f"{source} does not fit the model of {run / 'recipe.yaml'}: {sorted(missing)[0]} and others differ"
        )
    model.load_state_dict(own)
    return model, tokenizer


def describe_template(name: str, tokenizer: Any) -> dict[str, Any]:
    """A template for the card: its name, an example, its stop strings and its Jinja."""
    from data_gen.records import Record
    from data_gen.templates import get_template

    template = get_template(name)
    example = template.prompt(Record("请用一句话介绍长城。", output=""))
    return {
        "template": template.told, "template_name": template.name, "prompt": example, "stop": list(template.stop),
        "chat_template": jinja(template, tokenizer),
    }  # fmt: skip


def jinja(template: Any, tokenizer: Any) -> str:
    """The template as a tokenizer's chat template: the very text that training saw, EOS after every answer."""
    from teachers.text import TokenText

    def say(text: str) -> str:
        return "{{- " + json.dumps(text, ensure_ascii=False) + " -}}" if text else ""

    before, after = template.user_prefix(), template.user_suffix()
    system = (template.system or "{s}\n").split("{s}")
    bos = "{{- bos_token -}}" if TokenText(tokenizer).prefix else ""
    return (
        bos
        + "{%- set ns = namespace(system='', turn=0) -%}{%- for m in messages -%}"
        + "{%- if m['role'] == 'system' -%}{%- set ns.system = m['content'] -%}"
        + "{%- elif m['role'] == 'user' -%}"
        + f"{{%- if ns.turn -%}}{say(template.turn_end)}"
        + f"{{%- elif ns.system -%}}{say(system[0])}{{{{- ns.system -}}}}{say(system[1])}{{%- endif -%}}"
        + f"{say(before)}{{{{- m['content'] -}}}}"
        + f"{{%- if not loop.last or add_generation_prompt -%}}{say(after)}{{%- endif -%}}"
        + "{%- set ns.turn = ns.turn + 1 -%}"
        + "{%- else -%}{{- m['content'] -}}{{- eos_token -}}{%- endif -%}{%- endfor -%}"
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DistillError(no_file(path))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DistillError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise DistillError(f"{path} must hold a JSON object, found a {type(value).__name__}")
    return value
