"""What a recipe or an option of `distill fit` has wrong, in one sentence with the nearest valid name.

LightningCLI reads the recipe; what it reports is long and for programmers. Recipes are looked at before it, its report
is shortened after it.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from distill.commands.arguments import load_yaml
from distill.errors import DistillError
from teachers.base import nearest

NOT_ACCEPTED = re.compile(
    r"(?:Key|Option|Group) '([\w.\-]+)' is not accepted"
    r"|does not accept option '([\w.\-]+)'"
    r"|^unrecognized arguments: --([\w.\-]+)",
    re.IGNORECASE,
)
SECTIONS = {
    "model": "distill.module:Distiller",
    "data": "distill.data:InstructionData",
    "trainer": "pytorch_lightning:Trainer",
}
TOP = [*SECTIONS, "seed_everything", "ckpt_path", "weights_only", "verbose", "return_predictions", "optimizer",
       "lr_scheduler", "config", "print_config"]  # fmt: skip


def check_recipes(argv: list[str]) -> None:
    """Raise a sentence for a `--config` that is missing, no YAML, no mapping, or has an unknown section."""
    given = [value for option, value in pairwise(argv) if option in {"--config", "-c"}]
    given += [option.removeprefix("--config=") for option in argv if option.startswith("--config=")]
    for path in given:
        for key in load_yaml(Path(path)):
            if key not in TOP:
                raise DistillError(f"{path}: unknown key {key!r}{nearest(str(key), TOP[:4])}")


def sentence(message: str) -> str:
    """jsonargparse's report, shortened."""
    text = " ".join(message.split())
    keyed = re.match(r'Parser key "([\w.\-]+)": (.*)', text)
    key, detail = keyed.groups() if keyed else ("", text)
    inside = re.search(r"Problem with given class_path '([\w.]+)': (.*)", detail)
    if inside and key:
        return _inside(key, *inside.groups())
    unknown = NOT_ACCEPTED.search(text)
    if unknown:
        name = next(group for group in unknown.groups() if group)
        return _unknown_key(f"{key}.{name}" if key else name)
    dotted = re.search(r"Expected a dot import path string: ([\w.]+):(\w+)", text)
    if dotted:
        return f"{key}: in a recipe a class is named with dots alone, {dotted[1]}.{dotted[2]}"
    recipe = re.match(r"unrecognized arguments: (\S+\.ya?ml)", text)
    if recipe:
        return f"unrecognized arguments: {recipe[1]}; a recipe is named as --config {recipe[1]}"
    if key:
        return _wrong_type(key, detail)
    text = re.sub(r"\b(fit|validate|test|predict)\.(?=model|data)", "", text)
    if re.match(r"the following arguments are required: (model|data)\.", text):
        text += "; they are of a recipe, --config my.yaml, that 'distill recipes cp sft_student my.yaml' begins"
    return text


def first_sentence(error: BaseException) -> str:
    """What Lightning complains of, without its advice and its links."""
    text = " ".join(str(error).split())
    return re.split(r"(?<=[.:])\s(?=If you want|Find a complete|Pass in|See )", text)[0].rstrip(".")


def which_weights(error: BaseException) -> str:
    """The first weight that torch has no place for, or nothing to put into."""
    said = str(error)
    name = re.search(r'"([\w.]+)"|size mismatch for ([\w.]+)', said)
    return f"{next(filter(None, name.groups()))} and what goes with it differ" if name else first_sentence(error)


def _inside(key: str, path: str, detail: str) -> str:
    """What is wrong with an object's class or with one of its options."""
    module, _, name = path.rpartition(".")
    try:
        found = import_module(module)
    except ImportError:
        return f"{key}: no module {module!r} for class_path {path!r}"
    if not hasattr(found, name):
        classes = [n for n, value in vars(found).items() if inspect.isclass(value)]
        return f"{key}: {module} has no class {name!r}{nearest(name, classes)}"
    unknown, nested = NOT_ACCEPTED.match(detail), re.match(r'Parser key "([\w.]+)": (.*)', detail)
    if unknown:
        options = inspect.signature(getattr(found, name)).parameters
        return f"{key}: {name} has no option {unknown.group(1)!r}{nearest(unknown.group(1), options)}"
    if nested is None:
        return f"{key}: {re.sub(r' Given value.*', '', detail)[:300]}"
    key = f"{key}.{nested.group(1)}"
    deeper = re.search(r"Problem with given class_path '([\w.]+)': (.*)", nested.group(2))
    return _inside(key, *deeper.groups()) if deeper else _wrong_type(key, nested.group(2))


def _wrong_type(key: str, detail: str) -> str:
    """`key: expected int, got 'abc'`, as far as the report tells."""
    kinds = dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", detail))
    kinds |= dict.fromkeys(re.findall(r"Expected a (?:typing\.)?(Literal\[[^\]]*\])", detail))
    got = re.search(r"(?:Got value|Given value): (.{1,80}?)(?= - | Given |$)", detail)
    wanted = [kind for kind in kinds if kind != "NoneType"]
    if wanted and got:
        return f"{key}: expected {' or '.join(wanted)}, got {got.group(1).strip()!r}"
    return f"{key}: {detail[:300]}"


def _unknown_key(key: str) -> str:
    names = [*TOP]
    for section, path in SECTIONS.items():
        names += [f"{section}.{option}" for option in inspect.signature(_load(path)).parameters]
    return f"unknown key {key!r}{nearest(key, names)}"


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
