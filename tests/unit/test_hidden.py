"""Layers and parts of attention caught from real model classes, against what these models give out themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import AttentionInterface

from distill.relations import Grid, attention_kl
from teachers.base import TeacherError
from teachers.hidden import CatchLayers, layer_number

IDS = torch.arange(2 * 6).view(2, 6)
ALL = torch.arange(12)
POSITIONS = torch.tensor([9, 0, 3])


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=20, n_positions=8, n_embd=16, n_layer=2, n_head=4, scale_attn_by_inverse_layer_idx=True
    )
    return GPT2LMHeadModel(config).eval()


def llama() -> Any:
    """Two queries share a key."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.3,
        )
    ).eval()  # fmt: skip


MODELS = pytest.mark.parametrize("make", [gpt2, llama])


def caught(model: Any, names: list[int | str], positions: torch.Tensor = ALL) -> dict[int | str, torch.Tensor]:
    with CatchLayers(model, names, positions) as caught:
        model.base_model(input_ids=IDS, use_cache=False)
    return caught.states


@MODELS
def test_hidden_states(make: Any) -> None:
    """As `output_hidden_states` numbers them."""
    model = make()
    states = caught(model, [0, 1], POSITIONS)
    told = model.base_model(input_ids=IDS, output_hidden_states=True).hidden_states
    for k in (0, 1):
        assert torch.equal(states[k], told[k].flatten(0, 1)[POSITIONS])


@MODELS
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_queries_and_keys_make_the_attention(make: Any, implementation: str) -> None:
    """softmax(query key') over a row is the table that the model itself gives out, scale and rotation included."""
    model = make()
    model.set_attn_implementation(implementation)
    states = caught(model, ["query:2", "key:2"])
    model.set_attn_implementation("eager")
    table = model.base_model(input_ids=IDS, output_attentions=True).attentions[1]  # (rows, heads, length, length)
    query, key = states["query:2"].unflatten(0, (2, 6)), states["key:2"].unflatten(0, (2, 6))
    key = key.repeat_interleave(4 // key.shape[2], 2)
    logits = torch.einsum("bihd,bjhd->bhij", query, key)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    torch.testing.assert_close(torch.softmax(logits.masked_fill(later, -torch.inf), -1), table)
    assert table.std() > 0.01


@MODELS
def test_values(make: Any) -> None:
    """As the projection makes them."""
    model = make()
    found: list[torch.Tensor] = []
    block = (model.base_model.h if make is gpt2 else model.base_model.layers)[0]
    projection = block.attn.c_attn if make is gpt2 else block.self_attn.v_proj
    with projection.register_forward_hook(lambda module, args, out: found.append(out)):
        states = caught(model, ["value:1"], POSITIONS)
    expected = found[0].flatten(0, 1)[POSITIONS, -16 if make is gpt2 else -8 :]
    assert states["value:1"].shape == (3, 4 if make is gpt2 else 2, 4)
    assert torch.equal(states["value:1"].flatten(1), expected)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_looking_changes_nothing(implementation: str) -> None:
    """Same outputs, same table of attention functions afterwards, also after an error; other models are not caught."""
    model, other = gpt2(), gpt2()
    model.set_attn_implementation(implementation)
    before = dict(AttentionInterface._global_mapping)
    plain = model.base_model(input_ids=IDS).last_hidden_state
    with CatchLayers(model, ["value:1"], ALL) as states:
        other.base_model(input_ids=IDS)
        assert not states.states
        assert torch.equal(model.base_model(input_ids=IDS).last_hidden_state, plain)
    with pytest.raises(RuntimeError, match="stopped"), CatchLayers(model, ["value:1", 1], ALL):
        raise RuntimeError("stopped")
    assert dict(AttentionInterface._global_mapping) == before


def test_a_student_learns_from_it() -> None:
    """Gradients reach the projections of queries and keys, dropout or not."""
    teacher, student = llama(), gpt2()
    student.train()
    names: list[int | str] = ["query:1", "key:1"]
    theirs, ours = caught(teacher, names), caught(student, names)
    at = torch.stack([ALL // 6, ALL % 6], 1)
    value = attention_kl([ours[n] for n in names], [theirs[n].detach() for n in names], Grid(12, at, at.device))
    value.sum().backward()
    assert value.max() > 0
    slope = student.transformer.h[0].attn.c_attn.weight.grad
    assert slope[:, :32].abs().max() > 0
    assert slope[:, 32:].abs().max() == 0  # values have no part in it


def test_models_that_compute_attention_their_own_way() -> None:
    """A sentence with the way out, not an empty result."""
    model = GPTNeoForCausalLM(
        GPTNeoConfig(vocab_size=20, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global"], 2]])
    )
    with pytest.raises(TeacherError, match=r"attention of a GPTNeoForCausalLM cannot be looked into \(value:1\)"):
        caught(model, ["value:1"])


def test_names() -> None:
    """Numbers of layers; what is none."""
    assert [layer_number(k) for k in (0, 7, "value:3", "query:12")] == [0, 7, 3, 12]
    assert [layer_number(k) for k in ("values:3", "value:0", "value:", "value:x", "3")] == [-1] * 5
