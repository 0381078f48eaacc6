"""The error that everything about data raises, in a module that imports hardly anything."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A sentence for the user: which file, line or name is wrong and the way out. The command exits with 2."""


def of_yaml(error: Exception) -> str:
    """What is wrong with a YAML text: "line 3: mapping values are not allowed here"."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark and problem else " ".join(str(error).split())


def no_file(path: Path) -> str:
    """What to say of a path at which there is no file, with a file beside it that has nearly its name."""
    if path.is_dir():
        return f"{path} is a folder; name the file in it"
    if path.exists():
        return f"{path} is no ordinary file, and may be read more than once; write what it gives to a file first"
    if any((place / "sources" / f"{path}.yaml").is_file() for place in (Path(), Path(__file__).parent)):
        return f"no file {path}; of the source of that name: distill sample {path} --convert -o {path}.jsonl"
    import difflib

    try:
        beside = [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.7)
    return f"no file {path}" + (f" (did you mean {path.with_name(close[0])}?)" if close else "")
