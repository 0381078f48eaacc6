"""The two models that bench_kd_step.py trains one from the other, random weights, and their tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from data_gen.records import Record
from data_gen.templates import get_template

ENTRIES = 21128
"""Of the tokenizer; a larger vocabulary has names that no text uses, so that batches stay the same"""
TEMPLATE = "alpaca"
TEACHER: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 8,
    "max_position_embeddings": 1024, "tie_word_embeddings": True, "initializer_range": 0.08, "use_cache": False,
}  # fmt: skip
STUDENT: dict[str, Any] = {
    "model_type": "gpt2", "n_positions": 1024, "n_embd": 256, "n_layer": 6, "n_head": 8,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip


def make_teacher(entries: int, seed: int) -> Any:
    """A Llama that is only asked."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=entries, pad_token_id=0, bos_token_id=1, eos_token_id=1, **TEACHER)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def make_tokenizer(records: list[Record], entries: int, folder: Path) -> str:
    """Byte-level BPE of the data itself, filled up to `entries` with names that no text uses."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(entries, ENTRIES), special_tokens=["<pad>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    rendered = (get_template(TEMPLATE).render(record) for record in records)
    tokenizer.train_from_iterator(("".join(text for text, _ in segments) for segments in rendered), trainer)
    made = json.loads(tokenizer.to_str())
    vocabulary = made["model"]["vocab"]
    for n in range(len(vocabulary), entries):
        vocabulary[f"unused{n}"] = n
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)), pad_token="<pad>", eos_token="<eos>"
    )
    fast.save_pretrained(folder)
    return str(folder)
