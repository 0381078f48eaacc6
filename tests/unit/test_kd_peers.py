"""What benchmarks/bench_kd_step.py compares with computes the very loss that the Distiller computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.kd_peers import BETAS, PEERS, labels_of
from distill.batches import gather_tokens
from distill.encoding import Side
from distill.fused import OneVocabulary, fused_losses
from distill.losses import LossTerm
from teachers.base import DenseSignal
from tests import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[torch.nn.Module]:
    """A student and a teacher of one vocabulary."""
    folder: Path = tmp_path_factory.mktemp("peers")
    tokenizer = tiny.wordpiece(folder / "tokenizer")
    folders = tiny.tiny_gpt2(folder / "gpt2", tokenizer), tiny.tiny_llama(folder / "llama", tokenizer)
    return [AutoModelForCausalLM.from_pretrained(path) for path in folders]


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("divergence", BETAS)
def test_peers_compute_the_same(name: str, divergence: str, models: list[torch.nn.Module]) -> None:
    """Value (cross-entropy's differs by the teacher's entropy) and gradient, at the same places."""
    student, teacher = models
    peer = PEERS[name](student, teacher, divergence)
    if peer is None:
        pytest.skip(f"no {divergence} of {name} here")
    start = np.array([0, 7, 12, 21])
    supervised = np.ones(21, dtype=bool)
    supervised[[0, 1, 2, 7, 8, 12]] = False
    none = np.zeros(21, np.int32)
    ids = np.random.default_rng(0).integers(5, 300, 21).astype(np.int32)
    tokens = gather_tokens(Side(ids, supervised, none, none, start, np.array([4, 3, 8])), [0, 1, 2], pad_id=0)
    assert int((labels_of(tokens) >= 0).sum()) == len(tokens.labels) == 15
    loss = peer(tokens)
    weights = [p for p in student.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss, weights)
    ours, theirs = (model.base_model(**tokens.inputs).last_hidden_state.flatten(0, 1) for model in models)  # type: ignore[operator]
    signal = DenseSignal("v", theirs[tokens.positions].detach(), teacher.get_output_embeddings().weight.detach(), None)  # type: ignore[operator]
    term = LossTerm(divergence, 1 / 15)
    objective = OneVocabulary([term], tokens.labels, signal)
    value, _ = fused_losses(ours[tokens.positions], student.get_output_embeddings(), objective, [1 / 15])  # type: ignore[operator]
    if name == "distillkit":
        pytest.skip("it compares where a token stands, not where it is predicted")
    if name == "gkd":
        torch.testing.assert_close(value, loss, rtol=1e-5, atol=1e-6)
    for slope, found in zip(slopes, torch.autograd.grad(value, weights), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-6)
