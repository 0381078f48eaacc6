"""Tokenizers from a folder or the hub: without anybody's code, and refused when they came out broken in silence."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from students.errors import StudentError

LEAST = 32
"""A tokenizer with fewer entries came out broken"""
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
"""A folder with a tokenizer has one of them"""


def load_tokenizer(path: str | Path) -> Any:
    """A fast tokenizer from a folder or hub id, refused when it silently came out broken. Remote code is never run.

    Raises StudentError with the reason and the way out.
    """
    from transformers import AutoTokenizer

    folder = Path(path)
    if folder.is_dir():
        if not any(next(folder.glob(form), None) for form in FILES):
            raise StudentError(f"{folder} holds no tokenizer: neither {', '.join(FILES[:-1])} nor {FILES[-1]}")
        _refuse_unnamed_wordpiece(folder)
    elif folder.is_file():
        raise StudentError(
            f"{path} is a file; a tokenizer is a folder with tokenizer.json, vocab.txt or tokenizer.model"
        )
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        raise StudentError(f"no tokenizer folder {path}; give a folder with tokenizer.json, vocab.txt or a hub id")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudentError(
            f"cannot load a tokenizer from {path}: {_what_it_lacks(folder) or _first_line(error)}"
        ) from None
    if not getattr(tokenizer, "is_fast", False):
        raise StudentError(f"{path} has no fast tokenizer (tokenizer.json); convert it with transformers first")
    if len(tokenizer) < LEAST:
        raise StudentError(
            f"the tokenizer in {path} has only {len(tokenizer)} entries: its files do not fit its class; "
            "name the right tokenizer_class in tokenizer_config.json or add tokenizer.json"
        )
    return tokenizer


def _refuse_unnamed_wordpiece(folder: Path) -> None:
    """vocab.txt beside a GPT2 config and no tokenizer_class becomes an empty GPT2 tokenizer: say so instead."""
    config = folder / "tokenizer_config.json"
    try:
        named = config.is_file() and "tokenizer_class" in json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or no JSON
        raise StudentError(f"cannot load a tokenizer from {folder}: {config.name} is damaged ({error})") from None
    if (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file() and not named:
        raise StudentError(
            f"{folder} has vocab.txt but does not say which tokenizer it is for: write "
            '{"tokenizer_class": "BertTokenizerFast"} into its tokenizer_config.json'
        )


def _what_it_lacks(folder: Path) -> str:
    """What transformers calls by other names, or says over many lines; "" when it is something else."""
    if (folder / "tokenizer.json").is_file():
        return ""
    if any(folder.glob("*.model")) and find_spec("sentencepiece") is None:
        return "its tokenizer.model needs sentencepiece: pip install 'minituo[sentencepiece]'"
    if (folder / "vocab.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        return (
            "it does not say which tokenizer it is for: write its class, such as "
            '{"tokenizer_class": "GPT2TokenizerFast"}, into its tokenizer_config.json'
        )
    return ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
