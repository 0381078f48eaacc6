"""The one door: `distill VERB ...`.

A plain dict maps a verb to "module:function", imported on use, so that `distill --help` costs next to nothing. A
function gets the arguments after the verb and returns an exit code or None. Errors meant for the user end in one
sentence and exit code 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import _thread
import errno
import io
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("distill.demo:main", "the whole pipeline on the embedded teacher, offline, on a laptop CPU"),
    "generate": ("distill.commands.generate:main", "ask a teacher for instructions and answers"),
    "datasets": ("distill.commands.datasets:main", "the registry: ls, show, fetch, check, add, stats, card"),
    "sample": ("distill.commands.sample:main", "draw rows from files and sources, build mixes"),
    "tokenizer": ("distill.commands.tokenizer:main", "train, show: a tokenizer for the student"),
    "capture": ("distill.commands.capture:main", "a teacher's signals to disk, to train from without it"),
    "fit": ("distill.fit:main", "train: --config recipe.yaml, dotted overrides, --print_config"),
    "validate": ("distill.fit:main", "the loss of a checkpoint on data.val"),
    "test": ("distill.fit:main", "the same: set data.val to the rows to test on"),
    "predict": ("distill.fit:main", "answers of a checkpoint to the rows of data.val"),
    "eval": ("distill.evaluate:main", "score one or several models side by side"),
    "report": ("distill.report:main", "one self-contained HTML page of a run"),
    "export": ("distill.commands.export:main", "a Hugging Face folder that plain transformers loads"),
    "chat": ("distill.chat:main", "talk to a model in the terminal"),
    "recipes": ("distill.commands.recipes:main", "ls, cp: find a start"),
}
GO_ON = {"demo", "generate", "datasets", "capture", "fit"}
"""Verbs that find what they have done already"""

EXAMPLES = """\
  distill demo
  distill generate --strategy answer --teacher chatgpt --model gpt-4o-mini --instructions in.jsonl -o out.jsonl
  distill sample alpaca-zh --rows 10000 --seed 42 -o sample.jsonl
  distill recipes cp kd_student my.yaml && distill fit --config my.yaml
"""


def main(argv: list[str] | None = None) -> int:
    """Dispatch `argv` (default: the process's) and return its exit code."""
    _open_streams()
    _speak_utf8()
    before = sys.unraisablehook
    sys.unraisablehook = _hearing_ctrl_c(before)
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, not while the interpreter ends
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        sys.unraisablehook = before
    return code


def _hearing_ctrl_c(before: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], None]:
    """Ctrl-C counts where Python would drop it, too: in the destructor of something that was loaded or trained."""

    def hear(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            again = threading.Timer(0.01, _thread.interrupt_main)  # in here it would be dropped once more
            again.daemon = True
            again.start()
        else:
            before(lost)

    return hear


def _open_streams() -> None:
    """Whoever started this may have closed one: what goes there goes nowhere then, and no file takes its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115  open to the end


def _speak_utf8() -> None:
    """Whatever the locale says. What comes in and is none is told by who reads it; what goes out always goes."""
    out = "backslashreplace"
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, out), (sys.stderr, out)):
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding.lower(), stream.errors) != ("utf-8", errors):
            try:  # noqa: SIM105  contextlib takes a while to import
                stream.reconfigure(encoding="utf-8", errors=errors)
            except io.UnsupportedOperation:  # something was read already
                pass


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help", "help"}:
        print(_help())
        return 0
    if argv[0] in {"-V", "--version"}:
        from distill import __version__

        print(f"minituo {__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        import difflib  # here: most commands are spelt right

        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "see 'distill --help'"
        return _fail(f"unknown verb {verb!r}; {hint}")
    return run(verb, rest)


def generate_instructions() -> int:
    """Console script: `distill generate`."""
    return main(["generate", *sys.argv[1:]])


def sample_dataset() -> int:
    """Console script: `distill sample`."""
    return main(["sample", *sys.argv[1:]])


def run(verb: str, rest: list[str]) -> int:
    """Import the verb's module and call it; user errors become a sentence on stderr and exit code 2."""
    # A hub is asked only when a hub id is given; telemetry never.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    module, function = VERBS[verb][0].split(":")
    try:
        handler = getattr(import_module(module), function)
        code = handler([verb, *rest]) if module == "distill.fit" else handler(rest)
    except KeyboardInterrupt:
        how = "goes on" if verb in GO_ON else "begins again"
        print(f"\ninterrupted; the same 'distill {verb}' command {how}", file=sys.stderr)
        return 130
    except Exception as error:
        sentence = user_sentence(error)
        if sentence is None:
            raise
        return _fail(sentence)
    return int(code or 0)


def user_sentence(error: BaseException) -> str | None:
    """The sentence for an error that the user can mend; None for a bug."""
    cause: BaseException | None = error
    while cause is not None:  # jsonargparse wraps what a class says of its options
        if type(cause).__name__ in {"TeacherError", "StudentError", "DataError", "DistillError"}:
            return " ".join(str(cause).split())
        cause = cause.__cause__
    if type(error).__name__ == "MisconfigurationException":  # Lightning's word for a wrong setting
        return " ".join(str(error).split())
    if isinstance(error, FileExistsError) and error.filename:
        return f"{error.filename} exists and is no folder; give another path"
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return f"{error.strerror}: {error.filename}" if error.strerror else " ".join(str(error).split())
    if _is_full_disk(error):
        place = getattr(error, "filename", None) or "the output"
        return f"no space left on the disk while writing {place}; free some and run it again"
    if isinstance(error, OSError) and error.strerror and error.filename:  # a name too long, a read-only disk ..
        return f"{error.strerror}: {error.filename}"
    return None


def _is_full_disk(error: BaseException) -> bool:
    """Also where a quota or `ulimit -f` ends the room, and where torch or safetensors have met it first."""
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return (isinstance(error, OSError) and error.errno in full) or "No space left on device" in str(error)


def _fail(sentence: str) -> int:
    print(f"distill: {sentence}", file=sys.stderr)
    return 2


def _help() -> str:
    verbs = "\n".join(f"  {name:<10} {text}" for name, (_, text) in VERBS.items())
    return (
        "distill VERB [options]: distil small Chinese language models out of large ones\n\n"
        f"{verbs}\n\n'distill VERB --help' tells a verb's options.\n\n{EXAMPLES}"
    )


if __name__ == "__main__":
    sys.exit(main())
