"""Folders that are no teachers: what is wrong with them is named, and what mends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from teachers.base import TeacherError
from teachers.loading import read_tokenizer
from teachers.panda import PandaTeacher
from tests import panda_models, tiny

folders = panda_models.folders


def spoil(folder: Path, target: Path, file: str = "config.json", **values: object) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps(config | values))
    return target


@pytest.mark.parametrize("name", ["eos_token_id", "bos_token_id", "pad_token_id"])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_ids_outside_the_vocabulary_are_refused(folders: dict[str, Path], tmp_path: Path, name: str, file: str) -> None:
    folder = spoil(folders["bert"], tmp_path / "m", file, **{name: 50256})
    with pytest.raises(TeacherError, match=rf"{name} 50256 is outside its vocabulary of 442; set it to .* in {file}"):
        _ = PandaTeacher(str(folder)).model


def test_the_fix_names_the_right_id(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = spoil(folders["bert"], tmp_path / "m", eos_token_id=50256)
    with pytest.raises(TeacherError, match=r"set it to 3 \(\[SEP\]\)"):
        _ = PandaTeacher(str(folder)).model


def test_folders_that_are_no_teachers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folders["gpt2"], tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    with pytest.raises(TeacherError, match="no weights"):
        PandaTeacher(str(bare))
    (bare / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(TeacherError, match=r"only pickled weights.*save_pretrained"):
        PandaTeacher(str(bare))
    (bare / "adapter_config.json").write_text("{}")
    with pytest.raises(TeacherError, match="LoRA adapter"):
        PandaTeacher(str(bare))
    with pytest.raises(TeacherError, match="did you mean 'bare'"):
        PandaTeacher(str(tmp_path / "bear"))
    with pytest.raises(TeacherError, match="is a file"):
        PandaTeacher(str(bare / "config.json"))
    with pytest.raises(TeacherError, match=r"no config\.json"):
        PandaTeacher(str(tmp_path))
    with pytest.raises(TeacherError, match="neither a folder nor a hub id"):
        PandaTeacher("what is this?")
    with pytest.raises(TeacherError, match=r"no folder embeded \(did you mean 'embedded'\?\); a hub id has a slash"):
        PandaTeacher("embeded")
    with pytest.raises(TeacherError, match="unknown dtype 'int8'"):
        PandaTeacher(str(folders["gpt2"]), dtype="int8")


def test_broken_tokenizers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folders["bert"], tmp_path / "vocab"))
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    (bare / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "小", "猫"]))
    with pytest.raises(TeacherError, match="BertTokenizerFast"):
        _ = PandaTeacher(str(bare)).tokenizer
    (bare / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizerFast"}')
    with pytest.raises(TeacherError, match="has only"):
        _ = PandaTeacher(str(bare)).tokenizer
    small = tiny.tiny_gpt2(tmp_path / "small", folders["gpt2"], vocab_size=400, eos_token_id=1, bos_token_id=1)
    with pytest.raises(TeacherError, match="500 entries, its model only 400"):
        _ = PandaTeacher(str(small)).model


def test_the_embedded_teacher_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from teachers import loading, panda

    (tmp_path / "embedded").mkdir()
    monkeypatch.setattr(panda, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "loading.py"))
    with pytest.raises(TeacherError, match="install minituo anew"):
        PandaTeacher()


def test_a_torn_tokenizer_config_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["llama"], tmp_path / "torn")
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text(encoding="utf-8")[:30], encoding="utf-8")
    with pytest.raises(TeacherError, match=r"cannot load a tokenizer from .*torn: tokenizer_config\.json is damaged"):
        _ = PandaTeacher(str(folder)).tokenizer


def test_a_sentencepiece_model_names_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    monkeypatch.setattr("teachers.loading.find_spec", lambda name: None)
    with pytest.raises(TeacherError, match=r"needs sentencepiece: pip install 'minituo\[sentencepiece\]'"):
        read_tokenizer(str(tmp_path))


@pytest.mark.parametrize(("kind", "device"), [("mps", "cpu"), ("cuda", "cuda"), ("xpu", "xpu")])
def test_an_apples_gpu_is_not_taken_by_itself(kind: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are drawn in float64, which it does not have."""
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device(kind))
    assert PandaTeacher()._torch_device() == device
    with pytest.raises(TeacherError, match=r"device mps: Apple's GPUs do not compute in float64"):
        PandaTeacher(device="mps")


def test_a_folder_that_is_not_there_may_be_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is asked once, with a limit of time; what is in its cache needs no asking."""
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    with pytest.raises(TeacherError, match="there is no folder models/panda-7b here, and the hub cannot be asked"):
        PandaTeacher("models/panda-7b")
    asked: list[str] = []

    def model_info(self: object, name: str, timeout: float) -> None:
        asked.append(name)
        response = SimpleNamespace(headers={}, request=None, status_code=404)
        raise huggingface_hub.errors.RepositoryNotFoundError("404", response=response)  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(TeacherError, match="there is no folder models/panda-7b here, and no such model on the hub"):
        PandaTeacher("models/panda-7b")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: "config.json")
    PandaTeacher("models/panda-7b")
    assert asked == ["models/panda-7b"]
