"""Where a model lies that a user names, and which prompt template it was trained with.

A run folder of `distill fit` holds its model in `student/` and `template.txt` beside it; an exported folder holds the
model itself and says the template in `minituo.json`. A template of the user's own is said by its fields.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from data_gen.templates import get_template
from distill.errors import DistillError


def model_folder(path: str) -> str:
    """What to load: a run's `student/`, anything else as it is named.

    Raises DistillError for a run that has no student yet and for a checkpoint.
    """
    folder = Path(path)
    if (folder / "student" / "config.json").is_file():
        return str(folder / "student")
    if (folder / "recipe.yaml").is_file() and not (folder / "config.json").is_file():
        raise DistillError(
            f"{path} has no student/ yet: let its training end, or make a folder of a checkpoint: "
            f"distill export {folder / 'checkpoints' / 'last.ckpt'} -o FOLDER"
        )
    runs = [] if (folder / "config.json").is_file() else sorted(folder.glob("*/student/config.json"))
    if runs:
        raise DistillError(f"{path} is no model, but runs are in it: name one, such as {runs[0].parent.parent}")
    if folder.suffix == ".ckpt" and folder.is_file():
        raise DistillError(f"{path} is a checkpoint; make a folder of it first: distill export {path} -o FOLDER")
    return path


def trained_template(path: str) -> str | None:
    """The template as the folder (or the run around it) says it; None when it does not."""
    folder = Path(path)
    for place in (folder, folder.parent) if folder.name == "student" else (folder,):
        file = place / "template.txt"
        if file.is_file():
            return file.read_text(encoding="utf-8").strip() or None
    card = folder / "minituo.json"
    if not card.is_file():
        return None
    try:
        told = json.loads(card.read_text(encoding="utf-8"))
        return told.get("template") or None
    except (ValueError, AttributeError):
        raise DistillError(f"{card} is damaged; write it again or name a --template") from None


def teacher_template(teacher: Any, given: str | None, students: str) -> str:
    """The template that a teacher is asked with: the one given, else the one its folder was trained with, else the
    student's. What a user would not expect is said on stderr."""
    path = str(getattr(teacher, "path", ""))
    told = trained_template(path) if path else None
    name = given or told or students
    called = get_template(name).name
    if told is not None and told != name:
        own = get_template(told).name
        print(f"teacher {path}: trained with template {own!r}, asked with {called!r} as you say", file=sys.stderr)
    elif given is None and name != students:
        print(f"teacher {path}: asked with template {called!r}, which it was trained with", file=sys.stderr)
    elif given is None and told is None and getattr(teacher.tokenizer, "chat_template", None):
        print(
            f"teacher {path}: it has a chat template of its own and is asked with {called!r}; name another with "
            "teacher_template if it has learnt another",
            file=sys.stderr,
        )
    return name
