"""A student as a Hugging Face folder that plain `transformers` loads, without any of our code.

The folder holds model.safetensors, config.json, generation_config.json, the tokenizer, a README.md with the exact
recipe, and minituo.json, which `distill chat` reads. It is written under a temporary name and then renamed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from students.card import model_card
from students.errors import StudentError
from students.folders import whole_folder

_WIDE = (
    r"\x{2e80}-\x{303f}\x{3040}-\x{30ff}\x{3400}-\x{9fff}\x{f900}-\x{faff}\x{ff00}-\x{ffef}\x{20000}-\x{3ffff}"
    "“”‘’…—"
)
PROBES = (
    "请用一句话介绍长城。", "Hello  World, it's 3.14!", "你好，world 和 Python3。\n\t第二行", "龘😀 é\u3000",
    " 问：1+1=？\n答：2",
)  # fmt: skip
"""Texts that a tokenizer must still encode alike after it has been exported"""


def export_student(model: Any, tokenizer: Any, folder: str | Path, card: dict[str, Any], force: bool = False) -> Path:
    """Write `folder`; `card` is what `students.card.model_card` reads, and:

        chat_template   Jinja for the tokenizer
        stop            strings that end an answer beside EOS

    Raises StudentError when the folder exists and `force` is not given, or when it holds something else.
    """
    from transformers import PreTrainedModel

    folder = Path(folder)
    if not isinstance(model, PreTrainedModel):
        raise StudentError(f"a {type(model).__name__} is no transformers model; export the student inside of it")
    check_target(folder, force)
    with whole_folder(folder) as part:
        _write(model, tokenizer, part, {"name": folder.resolve().name, **card})
        _open_to_others(part)
    return folder


def check_target(folder: Path, force: bool) -> None:
    """Raise StudentError unless `folder` is free, empty, or an older export that may go."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise StudentError(f"{folder} is a file; name a folder")
    if not force:
        raise StudentError(f"{folder} exists; give another -o, or --force to replace it")
    if not (folder / "config.json").is_file():
        raise StudentError(f"{folder} holds something else than a model, which --force does not delete; name another")


def _open_to_others(part: Path) -> None:
    """safetensors writes files for their owner alone; give them the folder's own rights."""
    readable = part.stat().st_mode & 0o666
    for file in part.iterdir():
        file.chmod(readable)


def _write(model: Any, tokenizer: Any, part: Path, card: dict[str, Any]) -> None:
    use_cache, model.config.use_cache = getattr(model.config, "use_cache", True), True
    try:
        model.save_pretrained(part)
    finally:
        model.config.use_cache = use_cache
    _generation_config(model, tokenizer).save_pretrained(part)
    write_tokenizer(tokenizer, part, card.get("chat_template"))
    chat = bool(card.get("chat_template") or tokenizer.chat_template)
    (part / "README.md").write_text(model_card(card, model, chat), encoding="utf-8")
    told = {key: card[key] for key in ("template", "stop") if card.get(key)}
    _write_json(part / "minituo.json", told)
    if card.get("recipe"):
        (part / "recipe.yaml").write_text(card["recipe"], encoding="utf-8")
    if card.get("manifest"):
        _write_json(part / "data_manifest.json", card["manifest"])


def _generation_config(model: Any, tokenizer: Any) -> Any:
    """Greedy, of a bounded length, ending where training ended."""
    from transformers import GenerationConfig

    eos = model.generation_config.eos_token_id
    if eos is None:
        eos = model.config.eos_token_id if model.config.eos_token_id is not None else tokenizer.eos_token_id
    if eos is None:
        raise StudentError("neither model nor tokenizer knows an eos, so no answer would end; set eos_token_id")
    first = eos[0] if isinstance(eos, list) else eos
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else first
    return GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=eos, pad_token_id=pad, max_new_tokens=256, do_sample=False
    )


def write_tokenizer(tokenizer: Any, folder: Path, chat_template: str | None = None) -> None:
    """Save a tokenizer; a WordPiece one decodes 汉字 without the spaces between them from now on.

    The class that every version of transformers knows is named where the files alone say all; where the tokenizer's
    own class does something to them, it stays.
    """
    own_template, tokenizer.chat_template = tokenizer.chat_template, chat_template or tokenizer.chat_template
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template = own_template
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if (state.get("decoder") or {}).get("type") == "WordPiece":
        gap = {"Regex": f"(?<=[{_WIDE}]) +| +(?=[{_WIDE}])"}
        joined = [state["decoder"], {"type": "Fuse"}, {"type": "Replace", "pattern": gap, "content": ""}]
        state["decoder"] = {"type": "Sequence", "decoders": joined}
        _write_json(folder / "tokenizer.json", state)
    config = folder / "tokenizer_config.json"
    before = config.read_text(encoding="utf-8")
    _write_json(config, json.loads(before) | {"tokenizer_class": "PreTrainedTokenizerFast"})
    if not _encodes_alike(tokenizer, folder):
        config.write_text(before, encoding="utf-8")
        if not _encodes_alike(tokenizer, folder):
            raise StudentError(
                f"the tokenizer ({type(tokenizer).__name__}) encodes otherwise once it is saved; save it as a "
                "tokenizer.json that says all by itself and train with that"
            )


def _encodes_alike(tokenizer: Any, folder: Path) -> bool:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return len(loaded) == len(tokenizer) and all(
        loaded(text, add_special_tokens=special)["input_ids"]
        == tokenizer(text, add_special_tokens=special)["input_ids"]
        for text in PROBES
        for special in (False, True)
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
