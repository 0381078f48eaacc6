"""From a spec to a model: a preset, a pretrained folder or hub id, or any architecture by its config.

    build_student("tiny", tokenizer)                                  a preset, random weights
    build_student({"preset": "tiny", "n_layer": 6}, tokenizer)        with other values
    build_student("runs/first/student", tokenizer)                    a folder's weights; a hub id works the same
    build_student({"path": "uer/gpt2-chinese-cluecorpussmall", "eos_token_id": 102}, tokenizer)
    build_student({"config": {"model_type": "llama", "hidden_size": 256}}, tokenizer)

Sizes of a fixed vocabulary must fit the tokenizer, and every eos, bos and pad id must lie inside it: what does not fit
is refused here, before it trains nonsense.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from students.errors import StudentError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRESETS = Path(__file__).parent / "presets"
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
LEGACY = {"tie_word_embeddings", "rope_theta", "torch_dtype", "n_ctx", "_name_or_path"}
"""Keys that stand in config.json files of old and that nobody means any harm with"""
PADDING = 1024
"""A checkpoint may have so many rows beyond its tokenizer's entries; more means that the two are strangers"""


def preset_names() -> list[str]:
    """The names that `preset` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.json"))


def load_preset(name: str) -> dict[str, Any]:
    """A preset's config, with its `_comment`. Raises StudentError with the nearest name."""
    path = PRESETS / f"{name}.json"
    if not path.is_file():
        raise StudentError(f"no preset {name!r}{_nearest(name, preset_names())}")
    return json.loads(path.read_text(encoding="utf-8"))


def build_student(spec: dict[str, Any] | str, tokenizer: Any, seed: int = 0) -> PreTrainedModel:
    """The model that `spec` describes, in float32, fit for `tokenizer`; `seed` decides new weights.

    A tokenizer without an eos gets the model's. Raises StudentError for anything that does not fit, with the way out.
    """
    spec = dict(_named(spec) if isinstance(spec, str) else spec)
    kinds = [kind for kind in ("preset", "path", "config") if spec.get(kind) is not None]
    if len(kinds) != 1:
        raise StudentError(f"a student is {{preset: ...}}, {{path: ...}} or {{config: ...}}, one of them; got {spec}")
    kind = kinds[0]
    value = spec.pop(kind)
    vocabulary = spec.pop("vocab", None)
    if vocabulary not in (None, "tokenizer", "config"):
        raise StudentError(f"vocab is {vocabulary!r}; it is 'tokenizer' (sizes from the tokenizer) or 'config'")
    if kind == "path":
        if vocabulary == "tokenizer":
            raise StudentError("vocab: tokenizer is for new models; a pretrained one keeps the rows that it has learnt")
        model = _pretrained(str(value), spec, tokenizer)
    else:
        model = _new(kind, value, spec, vocabulary, tokenizer, seed)
    _agree(model, tokenizer)
    return model


def _named(name: str) -> dict[str, Any]:
    """What a plain string means: a folder that is there, a preset, else a hub id with its slash."""
    if Path(name).is_dir():
        return {"path": name}
    if name in preset_names():
        return {"preset": name}
    if "/" in name:
        return {"path": name}
    raise StudentError(f"no preset and no folder {name!r}{_nearest(name, preset_names())}")


def _new(
    kind: str, value: Any, changes: dict[str, Any], vocabulary: str | None, tokenizer: Any, seed: int
) -> PreTrainedModel:
    """Random weights by a preset or a config."""
    import torch
    from transformers import AutoModelForCausalLM

    values = load_preset(str(value)) if kind == "preset" else _read_config(value)
    where = f"preset {value}" if kind == "preset" else "config"
    from_tokenizer = vocabulary or values.get("_vocab") or ("config" if "vocab_size" in values else "tokenizer")
    values = {key: v for key, v in values.items() if not key.startswith("_")}
    values = _merge(values, changes, where)
    if from_tokenizer == "tokenizer" and "vocab_size" not in changes:
        values["vocab_size"] = size_of(tokenizer)
        ids = {name: getattr(tokenizer, name) for name in IDS}
        if ids["eos_token_id"] is None:
            ids["eos_token_id"] = tokenizer.sep_token_id
        values |= {name: index for name, index in ids.items() if name not in changes}
    config = _config(values, where)
    check_fit(config, tokenizer, where)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        except (ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
            raise StudentError(f"{where} makes no model: {_first_line(error)}") from None


def _read_config(value: Any) -> dict[str, Any]:
    """A config given as a mapping or as the path of a config.json."""
    if isinstance(value, dict):
        return dict(value)
    try:
        return dict(json.loads(Path(str(value)).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StudentError(f"config: {value!r} is neither a mapping nor a readable config.json ({error})") from None


def _merge(values: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """`values` with `changes`, whatever of a key's two names (n_layer, num_hidden_layers) each of them uses."""
    from transformers import CONFIG_MAPPING

    model_type = changes.get("model_type", values.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        hint = _nearest(str(model_type), CONFIG_MAPPING.keys()) if model_type else " (say model_type: llama, gpt2, ...)"
        raise StudentError(f"{where}: unknown model_type {model_type!r}{hint}")
    kind = CONFIG_MAPPING[str(model_type)]
    aliases = kind.attribute_map
    known = set(kind().to_dict()) | set(aliases) | LEGACY
    for key in [*values, *changes]:
        if key not in known:
            raise StudentError(f"{where}: a {model_type} has no {key!r}{_nearest(key, known)}")
    return {aliases.get(key, key): v for part in (values, changes) for key, v in part.items()}


def _config(values: dict[str, Any], where: str) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(**values)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise StudentError(f"{where}: {' '.join(str(error).split())}") from None


def _pretrained(path: str, changes: dict[str, Any], tokenizer: Any) -> PreTrainedModel:
    """A folder's or the hub's weights; `changes` go over its config."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    check_folder(path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        known = set(config.to_dict()) | set(config.attribute_map)
        for key, value in changes.items():
            if key not in known:
                raise StudentError(f"{path}: a {config.model_type} has no {key!r}{_nearest(key, known)}")
            setattr(config, key, value)
        check_fit(config, tokenizer, path)
        model = AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    except StudentError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise StudentError(f"cannot load a causal language model from {path}: {_first_line(error)}") from None
    for name in IDS:
        if name in changes:
            setattr(model.generation_config, name, changes[name])
    check_ids(model.generation_config, config.vocab_size, tokenizer, f"{path} (generation_config.json)")
    return model


def check_folder(path: str) -> None:
    """Raise StudentError unless `path` is a folder with a config and safetensors, or may be a hub id."""
    folder = Path(path)
    if folder.is_file():
        raise StudentError(f"{path} is a file; give the folder that holds config.json and model.safetensors")
    if not folder.is_dir():
        looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1
        looks_local = looks_local or ("/" in path and folder.parent.is_dir())
        if looks_local or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
            names = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
            raise StudentError(f"no folder {path}{_nearest(folder.name, names)}")
        return
    if not (folder / "config.json").is_file():
        hint = "; did you mean its student/ folder?" if (folder / "student" / "config.json").is_file() else ""
        raise StudentError(f"{path} has no config.json{hint}")
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")):
        raise StudentError(
            f"{path} has only pickled weights, which can run code and are not read; convert a folder that you trust: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    raise StudentError(f"{path} has a config but no weights (*.safetensors); for new ones give its config instead")


def size_of(tokenizer: Any) -> int:
    """Rows that a vocabulary needs: its largest id and one."""
    return max(tokenizer.get_vocab().values()) + 1


def check_fit(config: Any, tokenizer: Any, where: str) -> None:
    """Raise StudentError when the tokenizer does not belong to the vocabulary or an id lies outside of it."""
    rows, size = config.vocab_size, size_of(tokenizer)
    new = "" if "/" in where or Path(where).exists() else ", or say vocab: tokenizer to size the model for this one"
    if size > rows:
        raise StudentError(
            f"{where} has a vocabulary of {rows}, the tokenizer {size} entries; "
            f"take the tokenizer that belongs to it{new}"
        )
    if rows - size > PADDING:
        raise StudentError(
            f"{where} has a vocabulary of {rows}, the tokenizer only {size} entries, too few for a padded checkpoint; "
            f"take the tokenizer that belongs to it{new}"
        )
    check_ids(config, rows, tokenizer, where)


def check_ids(config: Any, rows: int, tokenizer: Any, where: str) -> None:
    """Raise StudentError for an eos, bos or pad id outside of a vocabulary of `rows`."""
    for name in IDS:
        value = getattr(config, name, None)
        for index in value if isinstance(value, list) else [value]:
            if index is None or 0 <= index < rows or (index < 0 and name == "pad_token_id"):
                continue
            better = getattr(tokenizer, name, None)
            if better is None and name == "eos_token_id":
                better = tokenizer.sep_token_id
            fix = f"{better} ({tokenizer.convert_ids_to_tokens(better)})" if better is not None else "null"
            raise StudentError(
                f"{where}: {name} {index} is outside its vocabulary of {rows}; "
                f"put {name}: {fix} into the student's spec"
            )


def _agree(model: PreTrainedModel, tokenizer: Any) -> None:
    """Let model and tokenizer end alike: the tokenizer's eos is what training puts after every answer.

    A BERT tokenizer has none: it is given the model's, [SEP] say.
    """
    config: Any = model.config
    own = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    if tokenizer.eos_token_id is None and own is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(own)
    generation: Any = model.generation_config
    for settings in (config, generation):
        told = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in told:
            settings.eos_token_id = tokenizer.eos_token_id
        for name in ("bos_token_id", "pad_token_id"):
            if getattr(settings, name, None) is None:
                setattr(settings, name, getattr(tokenizer, name))


def _nearest(name: str, choices: Iterable[str]) -> str:
    names = sorted(choices)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there are: {', '.join(names)})" if 0 < len(names) <= 20 else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
