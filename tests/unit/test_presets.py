"""Every preset is a config.json that builds, and says what is known of its ids."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from students.build import PRESETS, load_preset, preset_names
from students.errors import StudentError

FACTS = {  # layers, width, heads, vocabulary, eos, context
    "wenzhong-110m": (12, 768, 12, 50257, 50256, 1024),
    "wenzhong2-110m-bert": (12, 768, 12, 21128, 102, 1024),
    "wenzhong2-3.5b": (30, 3072, 32, 50304, 50256, 1024),
    "cluecorpussmall": (12, 768, 12, 21128, 102, 1024),
    "distil-cluecorpussmall": (6, 768, 12, 21128, 102, 1024),
    "zero-nlp": (12, 768, 12, 21129, 21128, 512),
    "ckiplab-base": (12, 768, 12, 21128, 102, 1024),
    "cpm-distill": (12, 768, 12, 30000, 7, 1024),
}
OWN = {"tiny", "mini"}


def test_every_preset_is_listed_here() -> None:
    assert set(preset_names()) == set(FACTS) | OWN


@pytest.mark.parametrize("name", [*FACTS, *sorted(OWN)])
def test_it_builds_and_its_ids_are_inside(name: str) -> None:
    values = json.loads((PRESETS / f"{name}.json").read_text(encoding="utf-8"))
    comment = values.pop("_comment")
    assert comment
    assert all(len(line) > 20 for line in comment)
    assert values["model_type"] == "gpt2"
    config = GPT2Config(**{key: value for key, value in values.items() if not key.startswith("_")})
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    assert model.lm_head.weight.shape == (config.vocab_size, config.n_embd)
    for index in (config.bos_token_id, config.eos_token_id, config.pad_token_id):
        assert index is None or (isinstance(index, int) and 0 <= index < config.vocab_size)
    if name in FACTS:
        found = (config.n_layer, config.n_embd, config.n_head, config.vocab_size, config.eos_token_id)
        assert (*found, config.n_positions) == FACTS[name]


def test_what_is_not_certain_is_said() -> None:
    for name in ("wenzhong2-3.5b", "wenzhong2-110m-bert"):
        assert any("Unverified" in line for line in load_preset(name)["_comment"])


def test_sizes_are_what_the_names_promise() -> None:
    def millions(name: str) -> float:
        values = {k: v for k, v in load_preset(name).items() if not k.startswith("_")}
        with torch.device("meta"):
            return sum(p.numel() for p in GPT2LMHeadModel(GPT2Config(**values)).parameters()) / 1e6

    assert 120 < millions("wenzhong-110m") < 130  # 110M without the vocabulary's share, as the field counts
    assert 3400 < millions("wenzhong2-3.5b") < 3700


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(StudentError, match="did you mean 'cluecorpussmall'"):
        load_preset("cluecorpusmall")
