"""What is checked of a local model before it is believed: its files, its tokenizer, its ids."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from teachers.base import TeacherError, nearest

HUB_S = 10.0
"""So long the hub has to say whether it knows a model"""


def check_source(path: str) -> None:
    """Raise TeacherError unless `path` is a folder with a config and safetensors, or may be a hub id."""
    folder = Path(path)
    if not folder.exists():
        _check_hub_id(path)
        return
    if not folder.is_dir():
        raise TeacherError(f"{path} is a file; give the folder that holds config.json and model.safetensors")
    if folder.name == "embedded" and folder.parent == Path(__file__).parent and not (folder / "config.json").is_file():
        raise TeacherError(f"this installation lacks the embedded teacher's weights in {path}; install minituo anew")
    if (folder / "adapter_config.json").is_file():
        raise TeacherError(
            f"{path} is a LoRA adapter, not a model; merge it into its base with peft and give the result"
        )
    if not (folder / "config.json").is_file():
        inner = folder / "student"  # a run of our own
        way = inner if (inner / "config.json").is_file() else "a folder written by save_pretrained"
        raise TeacherError(f"{path} has no config.json; give {way}")
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
        raise TeacherError(
            f"{path} has no safetensors, only pickled weights, which can run code and are not read; convert a folder "
            "that you trust: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    raise TeacherError(f"{path} has a config but no weights (*.safetensors); put them there or give another folder")


def _check_hub_id(path: str) -> None:
    parent = Path(path).parent
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or path.endswith("/")
    if looks_local or ("/" in path and parent.is_dir()):
        names = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
        raise TeacherError(f"no folder {path}{nearest(Path(path).name, names)}")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        raise TeacherError(f"{path!r} is neither a folder nor a hub id such as Qwen/Qwen2.5-7B; check the spelling")
    if "/" not in path:  # the hub's few ids without an owner have one now: openai-community/gpt2
        names = ["embedded", *sorted(p.name for p in Path().iterdir() if p.is_dir())[:20]]
        raise TeacherError(f"no folder {path}{nearest(path, names)}; a hub id has a slash, as Qwen/Qwen2.5-7B")
    _ask_hub(path)


def _ask_hub(model: str) -> None:
    """Raise TeacherError for a hub id of no model, or when nobody can be asked: at once, not after many tries."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if isinstance(try_to_load_from_cache(model, "config.json"), str):
        return
    try:
        HfApi().model_info(model, timeout=HUB_S)
    except GatedRepoError:  # what to do is told where the file is asked for
        return
    except RepositoryNotFoundError:
        raise TeacherError(f"there is no folder {model} here, and no such model on the hub") from None
    except HfHubHTTPError:  # a mirror that only serves files
        return
    except Exception as error:  # noqa: BLE001  no network, a proxy, a hub that is down: each has classes of its own
        raise TeacherError(
            f"there is no folder {model} here, and the hub cannot be asked for such a model ({first_line(error)})"
        ) from None


def device_named(device: str) -> Any:
    """The torch device of a name other than auto, wherever it is; TeacherError for what is none, and for an Apple's."""
    import torch

    try:
        asked = torch.device(device)
    except RuntimeError:
        raise TeacherError(f"unknown device {device!r}{nearest(device, ['auto', 'cpu', 'cuda'])}") from None
    if asked.type == "mps":
        raise TeacherError("device mps: Apple's GPUs do not compute in float64, which drawing a token needs; take cpu")
    return asked


def device_here(device: str = "auto") -> str:
    """The device asked for; auto: the accelerator of this machine, if it computes in float64 as Apple's do not, or else
    the processor. TeacherError when this machine has no such device."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    here = found.type if found is not None and found.type != "mps" else "cpu"
    if device == "auto":
        return here
    asked = device_named(device)
    if asked.type != "cpu" and (asked.type != here or (asked.index or 0) >= torch.accelerator.device_count()):
        raise TeacherError(f"there is no device {device!r} on this machine: take auto")
    return device


def torch_dtype(name: str, device: str) -> Any:
    """Of `fp32`, `fp16`, `bf16`; `auto` is full precision on a processor, bf16 elsewhere."""
    import torch

    if name == "auto":
        return torch.float32 if device.startswith("cpu") else torch.bfloat16
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[name]


def read_tokenizer(path: str) -> Any:
    """The tokenizer of a model; TeacherError when there is none or it silently came out broken."""
    from transformers import AutoTokenizer

    folder = Path(path)
    config = folder / "tokenizer_config.json"
    try:
        told = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:  # not UTF-8, or no JSON
        raise TeacherError(f"cannot load a tokenizer from {path}: {config.name} is damaged ({error})") from None
    alone = (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file()
    if alone and "tokenizer_class" not in told:
        raise TeacherError(
            f"{path} has vocab.txt but does not say which tokenizer it is for; write "
            '{"tokenizer_class": "BertTokenizerFast"} into its tokenizer_config.json'
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        alone = any(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file()
        if alone and find_spec("sentencepiece") is None:  # transformers asks for tiktoken then
            raise TeacherError(
                f"the tokenizer.model in {path} needs sentencepiece: pip install 'minituo[sentencepiece]'"
            ) from None
        raise TeacherError(f"cannot load a tokenizer from {path}: {first_line(error)}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise TeacherError(f"{path} has no fast tokenizer (tokenizer.json); convert it with transformers first")
    if len(tokenizer) < 32:
        raise TeacherError(
            f"the tokenizer in {path} has only {len(tokenizer)} entries, so its files do not fit its class; "
            "name the right tokenizer_class in tokenizer_config.json or add tokenizer.json"
        )
    return tokenizer


def check_ids(path: str, model: Any, tokenizer: Any) -> None:
    """Raise TeacherError when the tokenizer or an eos, bos or pad id reaches beyond the model's vocabulary."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise TeacherError(
            f"{path}: its tokenizer has {len(tokenizer)} entries, its model only {rows}; take the tokenizer that "
            "belongs to it, or model.resize_token_embeddings(len(tokenizer)) and save it anew"
        )
    for file, config in (("config.json", model.config), ("generation_config.json", model.generation_config)):
        for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
            value = getattr(config, name, None)
            ids = value if isinstance(value, list) else [value]
            # -1 is how some old Llamas say that there is no padding.
            wrong = [i for i in ids if i is not None and (i >= rows or (i < 0 and name != "pad_token_id"))]
            if wrong:
                better = getattr(tokenizer, name, None)
                if better is None and name == "eos_token_id":
                    better = tokenizer.sep_token_id
                to = f"{better} ({tokenizer.convert_ids_to_tokens(better)})" if better is not None else "null"
                raise TeacherError(
                    f"{path}: {name} {wrong[0]} is outside its vocabulary of {rows}; set it to {to} in {file}"
                )


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
