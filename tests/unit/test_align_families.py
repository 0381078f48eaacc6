"""Tokenizers that newer checkpoints bring, each as teacher and as student of two of the other families."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny
from tests.aligning import noise, planned
from tests.masses import listed, moved, off_one
from tests.other_tokenizers import ADDED, OTHERS, WHOLE
from tests.plain_losses import set_loss
from tests.slow_align import NOWHERE, SPACE, SlowAligner

FACING = {"byte": tiny.byte_level_bpe, "wordpiece": tiny.wordpiece}
PAIRS = [pair for other in OTHERS for face in FACING for pair in ((other, face), (face, other))]
CHINESE = [line for line in tiny.sentences() if not any(c.isascii() for c in line)][:24]
MIXED = ["小猫在家里看书。", "学生在图书馆学习中文，朋友打电话。", "I like spring."]
ANY = ["今天是2024年5月1日，气温25℃。", "The quick brown fox  jumps\n\n", "🎉 祝你生日快乐！鬱 café"]
"""What some of them have no entry for"""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByteView]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {name: ByteView(load_tokenizer(make(root / name))) for name, make in (FACING | OTHERS).items()}


def test_they_are_what_they_stand_for(views: dict[str, ByteView]) -> None:
    """Specials outside of the model's vocabulary, entries that no merge leads to, entries matched before the rest."""
    said = {name: [view.entries[i] for i in view.encode(MIXED[1])] for name, view in views.items()}
    for name in ("qwen2", "llama3"):
        size = views[name].tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
        assert (views[name].eos_id or 0) >= size
    assert views["qwen2"].encode("cafe\u0301") == views["qwen2"].encode("café")
    assert said["llama3"][0] == WHOLE[0].encode()
    for name in ("added bytes", "added pieces"):
        assert ADDED[1].encode() in said[name]
        assert ADDED[1].encode() in [(views[name].entries[i] or b"") for i in views[name].encode("吃" + ADDED[1])]
    for name in ("pieces without bytes", "unigram"):
        assert views[name].family == "sentencepiece"
        assert views[name].encode("中龘")[-1] == views[name].tokenizer.unk_token_id
    cuts = {name: tuple(entries) for name, entries in said.items()}
    assert len(set(cuts.values())) >= 6


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_nearly_every_token_has_a_target_whose_masses_are_one(
    views: dict[str, ByteView], teacher: str, student: str
) -> None:
    """99 of 100 on Chinese text; whatever the text, masses and tail add up to 1."""
    aligner, plans, _ = planned(views[teacher], views[student], CHINESE)
    at = np.concatenate([plan.teacher_at for plan in plans])
    assert (at >= 0).mean() >= 0.99
    for texts, sharp in ((CHINESE, 1.0), (MIXED + ANY, 5.0)):
        _, plans, _ = planned(views[teacher], views[student], texts)
        theirs, ours = noise(plans, views[teacher], views[student])
        targets = moved(aligner, theirs * sharp, aligner.batch(plans), len(ours))
        assert off_one(targets) < 1e-6


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_fast_is_slow(views: dict[str, ByteView], teacher: str, student: str) -> None:
    """Masses, value and gradient are those of plain sets."""
    aligner, plans, both = planned(views[teacher], views[student], MIXED)
    theirs, ours = noise(plans, views[teacher], views[student])
    fast_logits, slow_logits = ours.clone().requires_grad_(), ours.double().requires_grad_()
    slow, expected, source = SlowAligner(views[teacher], views[student]), [], 0
    p = torch.softmax(theirs.double(), -1)
    for n, (text, plan) in enumerate(zip(MIXED, plans, strict=True)):
        expected += slow.targets(p[source : source + plan.teacher_tokens], text, *both, n)
        source += plan.teacher_tokens
    batch = aligner.batch(plans)
    targets = moved(aligner, theirs, batch, len(ours))
    for masses, tail, other in zip(
        listed(targets, aligner.tables), targets.tail.tolist(), map(dict, (e or {} for e in expected)), strict=True
    ):
        other.pop(SPACE, None)
        assert tail == pytest.approx(other.pop(NOWHERE, 0.0), abs=1e-6)
        for members in masses.keys() | other.keys():
            assert masses.get(members, 0.0) == pytest.approx(other.get(members, 0.0), abs=1e-6)
    fast, value = set_loss(aligner, theirs, fast_logits, batch), slow.loss(expected, slow_logits)
    (found,), (slope,) = torch.autograd.grad(fast, fast_logits), torch.autograd.grad(value, slow_logits)
    torch.testing.assert_close(fast.double(), value, rtol=1e-3, atol=1e-3)  # two names of one set count as two
    torch.testing.assert_close(found.double(), slope, rtol=1e-3, atol=1e-5)
