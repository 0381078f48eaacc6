"""Specs and what comes of them; and every misfit in one sentence with its way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from students.build import build_student, check_ids
from students.errors import StudentError
from tests import tiny


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {name: AutoTokenizer.from_pretrained(make(root / name)) for name, make in tiny.FAMILIES.items()}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory, tokenizers: dict[str, Any]) -> Path:
    return tiny.tiny_gpt2(tmp_path_factory.mktemp("model"), tokenizers["byte"].name_or_path)


@pytest.mark.parametrize("family", list(tiny.FAMILIES))
def test_own_presets_take_the_tokenizers_vocabulary(tokenizers: dict[str, Any], family: str) -> None:
    tokenizer = tokenizers[family]
    model: Any = build_student("tiny", tokenizer)
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), 192)
    assert (model.config.n_layer, model.config.eos_token_id) == (4, tokenizer.eos_token_id)
    assert model.config.bos_token_id == tokenizer.bos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.dtype == torch.float32


def test_values_go_over_a_preset_by_either_name(tokenizers: dict[str, Any]) -> None:
    for changes in ({"n_layer": 2, "n_embd": 64}, {"num_hidden_layers": 2, "hidden_size": 64}):
        model: Any = build_student({"preset": "tiny", **changes}, tokenizers["byte"])
        assert len(model.transformer.h) == 2
        assert model.config.n_embd == 64


def test_a_fixed_vocabulary_can_be_sized_for_the_tokenizer(tokenizers: dict[str, Any]) -> None:
    spec = {"preset": "cluecorpussmall", "vocab": "tokenizer", "n_embd": 24, "n_layer": 1}
    model: Any = build_student(spec, tokenizers["wordpiece"])
    assert model.config.vocab_size == len(tokenizers["wordpiece"])
    assert model.config.eos_token_id == tokenizers["wordpiece"].sep_token_id


def test_the_seed_decides_new_weights_and_nothing_else(tokenizers: dict[str, Any]) -> None:
    state = torch.random.get_rng_state()
    one, same, other = (build_student("tiny", tokenizers["byte"], seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["transformer.wte.weight"], other["transformer.wte.weight"])


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt2"])
def test_any_architecture_by_its_config(tokenizers: dict[str, Any], model_type: str) -> None:
    config = {
        "model_type": model_type, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    }  # fmt: skip
    if model_type != "gpt2":
        config |= {"intermediate_size": 64, "num_key_value_heads": 2}
    tokenizer = tokenizers["sentencepiece"]
    model: Any = build_student({"config": config}, tokenizer)
    assert model.config.model_type == model_type
    assert model.config.vocab_size == len(tokenizer)
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (1, 2, 0)
    assert model(torch.tensor([[1, 5]])).logits.shape == (1, 2, len(tokenizer))


def test_a_config_may_be_a_file(tokenizers: dict[str, Any], gpt2: Path) -> None:
    model: Any = build_student({"config": str(gpt2 / "config.json")}, tokenizers["byte"])
    assert (model.config.n_embd, model.config.vocab_size) == (32, 500)
    with pytest.raises(StudentError, match="neither a mapping nor a readable"):
        build_student({"config": "nowhere.json"}, tokenizers["byte"])


def test_a_folder_gives_its_weights(tokenizers: dict[str, Any], gpt2: Path) -> None:
    from safetensors.torch import load_file

    model: Any = build_student(str(gpt2), tokenizers["byte"])
    stored = load_file(gpt2 / "model.safetensors")
    assert torch.equal(model.transformer.wte.weight, stored["transformer.wte.weight"])
    changed: Any = build_student({"path": str(gpt2), "resid_pdrop": 0.3}, tokenizers["byte"])
    assert changed.config.resid_pdrop == 0.3
    assert torch.equal(changed.transformer.wte.weight, stored["transformer.wte.weight"])


def test_padded_checkpoints_are_fine_and_strangers_not(tokenizers: dict[str, Any], tmp_path: Path) -> None:
    byte = tokenizers["byte"]
    padded = tiny.tiny_gpt2(tmp_path / "padded", byte.name_or_path, vocab_size=512)
    assert build_student(str(padded), byte).config.vocab_size == 512
    with pytest.raises(StudentError, match=r"vocabulary of 512, the tokenizer 600 entries"):
        build_student(str(padded), tokenizers["sentencepiece"])
    with pytest.raises(StudentError, match=r"50257, the tokenizer only 500 entries.*vocab: tokenizer"):
        build_student("wenzhong-110m", byte)
    with pytest.raises(StudentError, match=r"vocabulary of 400, the tokenizer 500 entries.*vocab: tokenizer"):
        build_student({"preset": "tiny", "vocab_size": 400}, byte)


def test_training_and_model_end_alike(tokenizers: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny.tiny_gpt2(tmp_path / "m", tokenizers["wordpiece"].name_or_path, eos_token_id=7, pad_token_id=None)
    model: Any = build_student(str(folder), tokenizers["wordpiece"])
    assert model.config.eos_token_id == model.generation_config.eos_token_id == 3
    assert model.config.pad_token_id == 0


def test_a_tokenizer_without_eos_gets_the_models(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.wordpiece(tmp_path))
    tokenizer.eos_token = None
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 442, "eos_token_id": 3}
    build_student({"config": config | {"bos_token_id": None}}, tokenizer)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("[SEP]", 3)
    tokenizer.eos_token = None
    assert build_student("tiny", tokenizer).config.eos_token_id == tokenizer.eos_token_id == 3


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_ids_outside_are_refused_and_the_fix_works(tokenizers: dict[str, Any], tmp_path: Path, file: str) -> None:
    tokenizer = tokenizers["wordpiece"]
    folder = tiny.tiny_gpt2(tmp_path / "m", tokenizer.name_or_path)
    values = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(values | {"eos_token_id": 50256}))
    with pytest.raises(
        StudentError, match=r"eos_token_id 50256 is outside its vocabulary of 442; put eos_token_id: 3 \(\[SEP\]\)"
    ):
        build_student(str(folder), tokenizer)
    model: Any = build_student({"path": str(folder), "eos_token_id": 3}, tokenizer)
    assert model.config.eos_token_id == model.generation_config.eos_token_id == 3


@given(rows=st.integers(32, 400), ids=st.lists(st.integers(-3, 500), min_size=1, max_size=3))
def test_the_rule_of_ids(tokenizers: dict[str, Any], rows: int, ids: list[int]) -> None:
    class Settings:
        eos_token_id = ids

    if all(0 <= i < rows for i in ids):
        check_ids(Settings, rows, tokenizers["byte"], "here")
    else:
        with pytest.raises(StudentError, match="outside its vocabulary"):
            check_ids(Settings, rows, tokenizers["byte"], "here")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("tinny", "did you mean 'tiny'"),
        ({"preset": "mimi"}, "did you mean 'mini'"),
        ({"preset": "tiny", "n_layers": 3}, "has no 'n_layers' .did you mean 'n_layer'"),
        ({"preset": "tiny", "n_layer": "six"}, "n_layer"),
        ({"preset": "tiny", "n_embd": 190}, "makes no model"),
        ({"preset": "tiny", "eos_token_id": 9999}, "eos_token_id 9999 is outside"),
        ({"preset": "tiny", "vocab": "yes"}, "vocab is 'yes'"),
        ({"preset": "tiny", "path": "x"}, "one of them"),
        ({"n_layer": 3}, "one of them"),
        ({"config": {"hidden_size": 3}}, "say model_type"),
        ({"config": {"model_type": "lama"}}, "did you mean 'llama'"),
        ({"path": "./nowhere"}, "no folder ./nowhere"),
        ({"path": "what is this"}, "no folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tokenizers: dict[str, Any], spec: Any, sentence: str) -> None:
    with pytest.raises(StudentError, match=sentence):
        build_student(spec, tokenizers["byte"])


def test_folders_that_are_no_students(tokenizers: dict[str, Any], gpt2: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(gpt2, tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    with pytest.raises(StudentError, match="no weights"):
        build_student(str(bare), tokenizers["byte"])
    (bare / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(StudentError, match="only pickled weights"):
        build_student(str(bare), tokenizers["byte"])
    with pytest.raises(StudentError, match=r"bear.*did you mean 'bare'"):
        build_student(str(tmp_path / "bear"), tokenizers["byte"])
    shutil.copytree(gpt2, tmp_path / "run" / "student")
    with pytest.raises(StudentError, match="did you mean its student/ folder"):
        build_student(str(tmp_path / "run"), tokenizers["byte"])
    with pytest.raises(StudentError, match="keeps the rows"):
        build_student({"path": str(gpt2), "vocab": "tokenizer"}, tokenizers["byte"])
    (bare / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(StudentError):
        build_student(str(bare), tokenizers["byte"])
