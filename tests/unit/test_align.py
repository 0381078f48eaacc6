"""The aligned loss of three families of tokenizers against a slow copy: its masses, its value and its gradient."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from distill import align
from distill.align import Aligner
from distill.losses import forward_kl
from distill.plan_batches import PlanBatch
from students.tokenizers import ByteView
from tests import aligning
from tests.aligning import PAIRS, TEXTS, noise, planned
from tests.plain_losses import set_loss
from tests.slow_align import SlowAligner

views = aligning.views


# Masses, recomputed from the batch ---------------------------------------------------------------------------------


def recomputed(aligner: Aligner, teacher_logits: Tensor, plan: PlanBatch, tokens: int) -> list[float]:
    """The mass of each row's target, from the flat tensors alone, one entry at a time."""
    p = torch.softmax(teacher_logits.double(), -1)
    banned, spent, silent = defaultdict(set), defaultdict(set), set(aligner.tables.silent.nonzero()[:, 0].tolist())
    for n, token in plan.banned.tolist():
        banned[n].add(token)
    for n, token in plan.spent.tolist():
        spent[n].add(token)
    raw = [0.0] * tokens
    full: dict[int, float] = {}
    for n, (row, source) in enumerate(zip(plan.rows.tolist(), plan.sources.tolist(), strict=True)):
        away = banned[n] | silent
        full[row] = sum(m for v, m in enumerate(p[source].tolist()) if v not in away)
        raw[row] += sum(m for v, m in enumerate(p[source].tolist()) if v not in away | spent[n])
    for row, source, token, _ in plan.inside.tolist():
        raw[row] += p[source, token].item()
    steps: dict[int, float] = defaultdict(lambda: 1.0)
    for n, source, token in plan.steps.tolist():
        steps[n] *= p[source, token].item()
    named: dict[int, float] = defaultdict(float)
    for n, token, low, high, extra in plan.follow.tolist():
        row, _, following, _, _ = plan.prefixes[n].tolist()
        mass = p[following, token].item()
        named[n] += mass
        raw[row] += steps[n] * mass * (high > low or extra >= 0)
    for n, (row, _, following, realised, rest) in enumerate(plan.prefixes.tolist()):
        left = 1 - named[n] - (p[following, realised].item() if realised >= 0 else 0.0)
        raw[row] += steps[n] * left * (rest != -2)
    return [mass / full[row] if row in full else min(mass, 1.0) / max(mass, 1e-300) for row, mass in enumerate(raw)]


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_masses_sum_to_one(views: dict[str, ByteView], teacher: str, student: str) -> None:
    """Of every plain row, whatever is shared out, banned or swallowed; the others are normalised as a whole."""
    aligner, plans, _ = planned(views[teacher], views[student], TEXTS)
    theirs, ours = noise(plans, views[teacher], views[student])
    plan = aligner.batch(plans)
    sums = recomputed(aligner, theirs, plan, len(ours))
    targets = np.concatenate([p.teacher_at >= 0 for p in plans])
    assert [s for s, there in zip(sums, targets, strict=True) if there] == pytest.approx(
        [1.0] * targets.sum(), abs=1e-6
    )
    assert not any(s for s, there in zip(sums, targets, strict=True) if not there)


# Fast against slow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_fast_is_slow(views: dict[str, ByteView], teacher: str, student: str) -> None:
    """Value and gradient are those of plain sets, for every pair of families."""
    aligner, plans, both = planned(views[teacher], views[student], TEXTS)
    theirs, ours = noise(plans, views[teacher], views[student])
    fast_logits, slow_logits = ours.clone().requires_grad_(), ours.double().requires_grad_()
    fast = set_loss(aligner, theirs, fast_logits, aligner.batch(plans))
    slow = SlowAligner(views[teacher], views[student])
    p = torch.softmax(theirs.double(), -1)
    targets, source = [], 0
    for n, (text, plan) in enumerate(zip(TEXTS, plans, strict=True)):
        targets += slow.targets(p[source : source + plan.teacher_tokens], text, *both, n)
        source += plan.teacher_tokens
    value = slow.loss(targets, slow_logits)
    there = [set(np.flatnonzero(p.teacher_at >= 0).tolist()) | {j for j, _ in p.spaces} for p in plans]
    assert [t is not None for t in targets] == [
        j in at for p, at in zip(plans, there, strict=True) for j in range(len(p.ids))
    ]
    fast.backward()
    value.backward()
    assert fast_logits.grad is not None
    assert slow_logits.grad is not None
    torch.testing.assert_close(fast.double(), value, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(fast_logits.grad.double(), slow_logits.grad, rtol=1e-3, atol=2e-5)


def test_gradient_is_the_slope(views: dict[str, ByteView]) -> None:
    """Finite differences along random directions."""
    teacher, student = views["byte"], views["sentencepiece"]
    aligner, plans, _ = planned(teacher, student, ["小猫在家里。", "I like spring."])
    theirs, ours = noise(plans, teacher, student)
    plan = aligner.batch(plans)
    ours.requires_grad_()
    (gradient,) = torch.autograd.grad(set_loss(aligner, theirs, ours, plan), ours)
    for seed in range(4):
        way = torch.randn(ours.shape, generator=torch.Generator().manual_seed(seed))
        up, down = (set_loss(aligner, theirs, ours.detach() + step * way, plan) for step in (0.01, -0.01))
        assert ((up - down) / 0.02).item() == pytest.approx((gradient * way).sum().item(), rel=0.02, abs=0.05)


def test_chunks_and_order_change_nothing(views: dict[str, ByteView], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows are worked on at once is a matter of memory, the rows of a batch are a set."""
    teacher, student = views["byte"], views["sentencepiece"]
    aligner, plans, _ = planned(teacher, student, TEXTS)
    theirs, ours = noise(plans, teacher, student)
    whole = set_loss(aligner, theirs, ours, aligner.batch(plans))
    monkeypatch.setattr(align, "AT_ONCE", 7 * len(teacher.entries))
    monkeypatch.setattr("distill.set_loss.AT_ONCE_CPU", 5 * len(student.entries))
    torch.testing.assert_close(set_loss(aligner, theirs, ours, aligner.batch(plans)), whole, rtol=1e-5, atol=1e-4)
    back = range(len(plans))[::-1]
    t_parts, s_parts = theirs.split([p.teacher_tokens for p in plans]), ours.split([len(p.ids) for p in plans])
    turned = set_loss(
        aligner, torch.cat([t_parts[n] for n in back]), torch.cat([s_parts[n] for n in back]),
        aligner.batch([plans[n] for n in back]),
    )  # fmt: skip
    torch.testing.assert_close(turned, whole, rtol=1e-5, atol=1e-4)
    alone = sum(set_loss(aligner, t, s, aligner.batch([p])) for t, s, p in zip(t_parts, s_parts, plans, strict=True))
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-4)


# The same tokenizer twice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["byte", "sentencepiece"])
def test_one_tokenizer_is_plain_forward_kl(views: dict[str, ByteView], family: str) -> None:
    """Of a teacher that writes as its tokenizer does: nothing after an entry that would have been one with it."""
    view = views[family]
    aligner, plans, both = planned(view, view, TEXTS)
    theirs, ours = noise(plans, view, view)
    slow = SlowAligner(view, view)
    reachable = {u for _, u in slow.keys} | {view.eos_id}
    row = 0
    for n in range(len(TEXTS)):
        ids = both[0].ids[both[0].row(n)][both[0].supervised[both[0].row(n)]].tolist()
        for j in range(len(ids)):
            never = set(range(len(view.entries))) - reachable
            if j:
                never |= slow.never(ids[j - 1])
            theirs[row, sorted(never - {ids[j]})] = -1e4
            row += 1
    expected = forward_kl(torch.log_softmax(theirs, -1), torch.log_softmax(ours, -1)).sum()
    torch.testing.assert_close(set_loss(aligner, theirs, ours, aligner.batch(plans)), expected, rtol=1e-5, atol=1e-3)
