"""A teacher's distribution on a student's vocabulary, held against a language that can be counted and a slow copy."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill import align, set_loss
from distill.align import Aligner
from distill.encoding import Side
from distill.losses import forward_kl
from distill.plan_batches import PlanBatch
from distill.plans import RowPlan
from students.tokenizers import ByteView, load_tokenizer
from students.train_tokenizers import train_wordpiece
from tests import tiny
from tests.enumerated import Exact, language, safe_log, sides, tokenizers
from tests.slow_align import SlowAligner

TEXTS = [
    "小猫在家里看书。",
    "计算：12+30=42，",
    "The quick brown fox  jumps",
    "第一行\n\n第二行 end\n",
    "🎉 祝你生日快乐！鬱",
]
FAMILIES = ["byte", "sentencepiece", "wordpiece"]
PAIRS = [(a, b) for a in FAMILIES for b in FAMILIES]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByteView]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {name: ByteView(load_tokenizer(make(root / name))) for name, make in tiny.FAMILIES.items()}


def planned(teacher: ByteView, student: ByteView, texts: list[str]) -> tuple[Aligner, list[RowPlan], tuple[Side, Side]]:
    aligner = Aligner(teacher, student, floor=0.0)
    both = sides(teacher, student, texts)
    return aligner, [aligner.plan([text], *both, n) for n, text in enumerate(texts)], both


def noise(plans: list[RowPlan], teacher: ByteView, student: ByteView, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random logits of both sides."""
    draw = torch.Generator().manual_seed(seed)
    theirs = torch.randn(sum(p.teacher_tokens for p in plans), len(teacher.entries), generator=draw) * 3
    ours = torch.randn(sum(len(p.ids) for p in plans), len(student.entries), generator=draw) * 3
    return theirs, ours


# A language that can be counted -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["plain", "spaced"])
def counted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    texts = language(90, extra=() if request.param == "plain" else ("\n", " ", "。\n"))
    return request.param, texts, tokenizers(texts, tmp_path_factory.mktemp("counted"))


def expected_gradient(texts: dict[str, float], teacher: ByteView, student: ByteView) -> tuple[float, float]:
    """At the student that knows the language: the loss, and |gradient| summed over what it has said; both a token."""
    theirs, ours = Exact(teacher, texts), Exact(student, texts)
    aligner, plans, _ = planned(teacher, student, list(texts))
    gradient: dict[tuple[int, ...], Tensor] = defaultdict(lambda: torch.zeros(len(student.entries)))
    loss = tokens = 0.0
    for (text, chance), plan in zip(texts.items(), plans, strict=True):
        logits = safe_log(ours.probabilities(text)).requires_grad_()
        value = aligner.loss(safe_log(theirs.probabilities(text)), logits, aligner.batch([plan]))
        (rows,) = torch.autograd.grad(value, logits)
        loss, tokens = loss + chance * value.item(), tokens + chance * len(rows)
        for k, row in enumerate(rows):
            gradient[ours.ids[text][:k]] += chance * row.float()
    return loss / tokens, sum(row.abs().sum().item() for row in gradient.values()) / tokens


EXACT = [
    ("byte290", "byte270"), ("byte290", "sp269"), ("byte290", "sp275"), ("byte290", "wp"), ("sp275", "byte270"),
    ("sp275", "sp269"), ("sp275", "wp"), ("byte270", "sp269"), ("byte270", "wp"), ("sp269", "wp"),
    ("sp269", "sp275"), ("sp269", "byte270"), ("byte270", "sp275"),
]  # fmt: skip
"""The teacher finer and coarser, with boundaries that cross"""


@pytest.mark.parametrize(("teacher", "student"), EXACT)
def test_the_right_student_is_left_alone(counted: Any, teacher: str, student: str) -> None:
    """Over the teacher's texts, the gradient at the student that knows the language is zero."""
    _, texts, views = counted
    _, gradient = expected_gradient(texts, views[teacher], views[student])
    assert gradient < 1e-4


@pytest.mark.parametrize(("teacher", "student"), [("byte270", "byte290"), ("sp275", "byte290"), ("sp269", "byte290")])
def test_long_phrases_are_nearly_exact(counted: Any, teacher: str, student: str) -> None:
    """A student that writes whole phrases, which the teacher needs many steps for: a little is left."""
    _, texts, views = counted
    loss, gradient = expected_gradient(texts, views[teacher], views[student])
    assert gradient < 0.02
    assert loss < 0.2


@pytest.mark.parametrize("student", ["byte270", "sp269", "sp275"])
def test_a_teacher_that_writes_characters(counted: Any, student: str) -> None:
    """A WordPiece teacher is exact where there are no spaces; it cannot see them, so there it knows less."""
    kind, texts, views = counted
    if kind == "plain":
        assert expected_gradient(texts, views["wp"], views[student])[1] < 1e-4


@pytest.mark.parametrize(("teacher", "student"), [("sp269", "sp275"), ("sp275", "sp269")])
def test_another_student_is_pulled_to_the_language(counted: Any, teacher: str, student: str) -> None:
    """Minimising the loss alone over all texts, a student comes to know the language."""
    _, texts, views = counted
    theirs, ours = Exact(views[teacher], texts), Exact(views[student], texts)
    aligner, plans, _ = planned(views[teacher], views[student], list(texts))
    said = [ours.ids[text][:k] for text in texts for k in range(len(ours.ids[text]))]
    states = {state: n for n, state in enumerate(dict.fromkeys(said))}
    at = torch.tensor([states[state] for state in said])
    weight = torch.tensor([texts[text] for text in texts for _ in ours.ids[text]])
    truth = torch.cat([ours.probabilities(text) for text in texts])
    given = torch.cat([safe_log(theirs.probabilities(text)) for text in texts])
    plan = aligner.batch(plans)
    table = torch.zeros(len(states), len(views[student].entries), requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=0.3)

    def regret() -> float:
        lost = truth * (safe_log(truth) - torch.log_softmax(table.detach()[at], -1))
        return float((weight * lost.sum(-1)).sum())

    before = regret()
    for _ in range(40):
        optimizer.zero_grad()
        logits = table[at]
        logits.register_hook(weight[:, None].mul)  # as often as the teacher says each text
        aligner.loss(given, logits, plan).backward()
        optimizer.step()
    assert regret() < 0.03 * before


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
    fast = aligner.loss(theirs, fast_logits, aligner.batch(plans))
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
    (gradient,) = torch.autograd.grad(aligner.loss(theirs, ours, plan), ours)
    for seed in range(4):
        way = torch.randn(ours.shape, generator=torch.Generator().manual_seed(seed))
        up, down = (aligner.loss(theirs, ours.detach() + step * way, plan) for step in (0.01, -0.01))
        assert ((up - down) / 0.02).item() == pytest.approx((gradient * way).sum().item(), rel=0.02, abs=0.05)


def test_chunks_and_order_change_nothing(views: dict[str, ByteView], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows are worked on at once is a matter of memory, the rows of a batch are a set."""
    teacher, student = views["byte"], views["sentencepiece"]
    aligner, plans, _ = planned(teacher, student, TEXTS)
    theirs, ours = noise(plans, teacher, student)
    whole = aligner.loss(theirs, ours, aligner.batch(plans))
    monkeypatch.setattr(align, "AT_ONCE", 7 * len(teacher.entries))
    monkeypatch.setattr(set_loss, "AT_ONCE_CPU", 5 * len(student.entries))
    torch.testing.assert_close(aligner.loss(theirs, ours, aligner.batch(plans)), whole, rtol=1e-5, atol=1e-4)
    back = range(len(plans))[::-1]
    t_parts, s_parts = theirs.split([p.teacher_tokens for p in plans]), ours.split([len(p.ids) for p in plans])
    turned = aligner.loss(
        torch.cat([t_parts[n] for n in back]), torch.cat([s_parts[n] for n in back]),
        aligner.batch([plans[n] for n in back]),
    )  # fmt: skip
    torch.testing.assert_close(turned, whole, rtol=1e-5, atol=1e-4)
    alone = sum(aligner.loss(t, s, aligner.batch([p])) for t, s, p in zip(t_parts, s_parts, plans, strict=True))
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
    torch.testing.assert_close(aligner.loss(theirs, ours, aligner.batch(plans)), expected, rtol=1e-5, atol=1e-3)


# What the page promises --------------------------------------------------------------------------------------------


def rows_of(view: ByteView, *rows: dict[str, float]) -> Tensor:
    """Logits with these probabilities; "" is EOS."""
    logits = torch.full((len(rows), len(view.entries)), -40.0)
    for row, chances in zip(logits, rows, strict=True):
        for text, chance in chances.items():
            (token,) = view.encode(text) if text else [view.eos_id]
            row[token] = float(np.log(chance))
    return logits


def minimum(aligner: Aligner, plan: RowPlan, theirs: Tensor, ours: Tensor) -> Tensor:
    """The gradient at these students' rows; zero where they are what the target asks for."""
    ours = ours.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(aligner.loss(theirs, ours, aligner.batch([plan])), ours)
    return gradient


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByteView]:
    """`fine` writes 中·国·人, `coarse` 中国·人."""
    made = tokenizers({"中国": 0.8, "人中": 0.1, "国人": 0.1}, tmp_path_factory.mktemp("phrases"))
    return {"fine": made["wp"], "coarse": made["sp269"]}


def test_the_page_teacher_finer(phrases: dict[str, ByteView]) -> None:
    """中·国·人 for a student of 中国·人: docs/align.md's first table."""
    teacher, student = phrases["fine"], phrases["coarse"]
    aligner, plans, _ = planned(teacher, student, ["中国人"])
    assert plans[0].teacher_at.tolist() == [0, 2, 3]
    theirs = rows_of(
        teacher, {"中": 0.6, "人": 0.3, "国": 0.1}, {"国": 0.8, "人": 0.15, "": 0.05}, {"人": 0.5, "": 0.5}, {"": 1.0}
    )
    ours = rows_of(student, {"中国": 0.48, "人": 0.3, "中": 0.12, "国": 0.1}, {"人": 0.5, "": 0.5}, {"": 1.0})
    assert minimum(aligner, plans[0], theirs, ours).abs().max() < 1e-5


def test_the_page_student_finer(phrases: dict[str, ByteView]) -> None:
    """中国·人 for a student of 中·国·人: the second."""
    teacher, student = phrases["coarse"], phrases["fine"]
    aligner, plans, _ = planned(teacher, student, ["中国人"])
    assert plans[0].teacher_at.tolist() == [0, 0, 1, 2]
    number = aligner.sets.conditioned_number(b"", "中".encode())
    assert plans[0].inside.tolist() == [[1, number, 1]]
    _, _, outcomes = aligner.sets.conditioned_table.expand(np.array([number]))
    ids = [view.tokenizer.convert_tokens_to_ids(name) for view, name in ((teacher, "中国"), (student, "国"))]
    assert outcomes.tolist() == [ids]
    theirs = rows_of(teacher, {"中国": 0.5, "人": 0.3, "中": 0.1, "国": 0.1}, {"人": 1.0}, {"": 1.0})
    ours = rows_of(student, {"中": 0.6, "人": 0.3, "国": 0.1}, {"国": 1.0}, {"人": 1.0}, {"": 1.0})
    assert minimum(aligner, plans[0], theirs, ours).abs().max() < 1e-5


def eos_only(view: ByteView, rows: int, confident: float = 30.0) -> Tensor:
    logits = torch.zeros(rows, len(view.entries))
    logits[:, view.eos_id] = confident
    return logits


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_eos_answers_eos(views: dict[str, ByteView], teacher: str, student: str) -> None:
    """A teacher that wants to end at the last position asks the student for its own EOS, trailing space or not."""
    for text in ("小猫", "小猫\n"):
        aligner, plans, _ = planned(views[teacher], views[student], [text])
        assert plans[0].realised[-1] == views[teacher].eos_id
        assert plans[0].teacher_at[-1] == plans[0].teacher_tokens - 1
        ours = torch.zeros(len(plans[0].ids), len(views[student].entries), requires_grad=True)
        theirs = eos_only(views[teacher], plans[0].teacher_tokens)
        (gradient,) = torch.autograd.grad(aligner.loss(theirs, ours, aligner.batch(plans)), ours)
        last = gradient[-1].clone()
        assert last[views[student].eos_id].item() < -0.95
        last[views[student].eos_id] = 0
        assert (last >= 0).all()


def test_answers_of_a_conversation_do_not_touch(views: dict[str, ByteView]) -> None:
    """Every answer ends at the same place on both sides; the token after an EOS knows no token before it."""
    from data_gen.records import Record
    from data_gen.templates import get_template
    from distill.encoding import encode_side

    record = Record("二", output="国人 again", history=[["一", "中"]])
    for teacher, student in PAIRS:
        pair = [views[teacher], views[student]]
        theirs, ours = (encode_side(view, get_template("qa"), [record], 512) for view in pair)
        aligner = Aligner(pair[0], pair[1])
        plan = aligner.plan(["中", "国人 again"], theirs, ours, 0)
        ends = np.flatnonzero(plan.ids == views[student].eos_id)
        assert len(ends) == 2
        assert (plan.realised[ends] == views[teacher].eos_id).all()
        theirs_eos = theirs.ids[theirs.supervised] == views[teacher].eos_id
        assert plan.teacher_at[ends[0] + 1] == np.flatnonzero(theirs_eos)[0] + 1
        batch = aligner.batch([plan])
        assert ends[0] + 1 in batch.rows.tolist()
        after = batch.rows.tolist().index(ends[0] + 1)
        assert after not in batch.banned[:, 0].tolist()


def test_the_realised_token_always_has_mass(views: dict[str, ByteView]) -> None:
    """A teacher sure of the text makes the student sure of the text, even inside words and across spaces."""
    for teacher, student in PAIRS:
        aligner, plans, both = planned(views[teacher], views[student], TEXTS)
        said = [both[0].ids[both[0].row(n)][both[0].supervised[both[0].row(n)]] for n in range(len(TEXTS))]
        sure = torch.from_numpy(np.concatenate(said)).long()
        theirs = torch.nn.functional.one_hot(sure, len(views[teacher].entries)) * 40.0
        ours = torch.zeros(sum(len(p.ids) for p in plans), len(views[student].entries), requires_grad=True)
        (gradient,) = torch.autograd.grad(aligner.loss(theirs, ours, aligner.batch(plans)), ours)
        row = 0
        for plan in plans:
            for j, own in enumerate(plan.ids.tolist()):
                if plan.teacher_at[j] >= 0:
                    assert gradient[row, own] < 0, (teacher, student, row, j)
                row += 1


def test_what_the_student_could_not_say_here_is_left_out(counted: Any) -> None:
    """After 中 alone, a student with an entry 中国 is not asked for 国."""
    _, _, views = counted
    teacher, student = views["sp269"], views["sp275"]
    one, two, whole = (student.encode(t) for t in ("中", "国", "中国"))
    assert len(whole) == 1
    aligner, plans, _ = planned(teacher, student, ["中的"])
    assert two[0] in aligner.sets.never_after(one[0])
    theirs = torch.zeros(plans[0].teacher_tokens, len(teacher.entries))
    theirs[:, teacher.encode("国")[0]] = 8.0  # 0.9 on 国
    ours = torch.zeros(len(plans[0].ids), len(student.entries), requires_grad=True)
    (gradient,) = torch.autograd.grad(aligner.loss(theirs, ours, aligner.batch(plans)), ours)
    assert gradient[0, two[0]] < 0  # at the start it may
    assert gradient[1, two[0]] > 0


def test_entries_the_teacher_stands_for_by_unknown(tmp_path: Path) -> None:
    """A WordPiece teacher's [UNK] leaves what it cannot write, and is no bytes inside of others."""
    teacher = ByteView(train_wordpiece(["小猫看书" + "abcdefghijklmnopqrstuvwxyz"], 80, tmp_path / "wp"))
    student = ByteView(load_tokenizer(tiny.sentencepiece_like(tmp_path / "sp")))
    aligner, plans, both = planned(teacher, student, ["小鬱猫"])
    unknown = teacher.tokenizer.unk_token_id
    assert unknown in both[0].ids
    some = aligner.sets.single_paths
    chars = {student.entries[u] for u in aligner.sets.order[some.low[unknown] : some.high[unknown]]}
    assert "，".encode() in chars
    assert "猫".encode() not in chars
    at = plans[0].teacher_at.tolist()
    assert at[0] == 0
    assert at.count(-1) == len(student.encode("鬱")) - 1  # within the unknown character there is nothing to go by
    assert at[-1] == 3


def test_a_cut_teacher_leaves_no_target(views: dict[str, ByteView]) -> None:
    """Where the teacher's row ends first, the rest has none."""
    teacher, student = views["byte"], views["sentencepiece"]
    theirs, ours = sides(teacher, student, ["小猫在家里看书。"])
    keep = np.flatnonzero(theirs.supervised)[:5]
    theirs.supervised[:] = False
    theirs.supervised[keep] = True
    plan = Aligner(teacher, student).plan(["小猫在家里看书。"], theirs, ours, 0)
    end = theirs.ends[keep[-1]]
    s_ends = ours.ends[ours.supervised]
    assert ((plan.teacher_at >= 0) == (s_ends <= end)).all()
    theirs.supervised[:] = False
    assert (Aligner(teacher, student).plan(["小猫在家里看书。"], theirs, ours, 0).teacher_at == -1).all()


def test_a_batch_moves_to_a_device(views: dict[str, ByteView]) -> None:
    """Every field comes along."""
    aligner, plans, _ = planned(views["byte"], views["wordpiece"], TEXTS)
    moved = aligner.batch(plans).to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in moved.__dataclass_fields__)


@pytest.mark.parametrize("width", [0, 64])
def test_padded_output_embeddings(views: dict[str, ByteView], width: int) -> None:
    """Checkpoints may have more rows than the tokenizer has entries; the teacher's are ignored."""
    aligner, plans, _ = planned(views["byte"], views["sentencepiece"], TEXTS[:2])
    theirs, ours = noise(plans, views["byte"], views["sentencepiece"])
    wide = torch.nn.functional.pad(theirs, (0, width), value=9.0), torch.nn.functional.pad(ours, (0, width), value=-1e9)
    expected = aligner.loss(theirs, ours, aligner.batch(plans))
    torch.testing.assert_close(aligner.loss(*wide, aligner.batch(plans)), expected)


def test_the_tables_of_a_pair_are_built_once(views: dict[str, ByteView], tmp_path: Path) -> None:
    """Whoever loaded the tokenizers; another special entry or another way of cutting makes another pair."""
    teacher, student = views["sentencepiece"], views["wordpiece"]
    first = align.pair_sets(teacher, student)
    again = ByteView(load_tokenizer(tiny.wordpiece(tmp_path / "again")))
    assert align.pair_sets(teacher, again) is first
    again.tokenizer.eos_token = "[MASK]"
    assert align.pair_sets(teacher, again) is not first
    cut = ByteView(load_tokenizer(tmp_path / "again"))
    cut.tokenizer.backend_tokenizer.normalizer = None
    assert align.pair_sets(teacher, cut) is not first
    for n in range(align.PAIRS):
        cut.tokenizer.backend_tokenizer.add_tokens([f"词{n}"])
        align.pair_sets(cut, student)
    assert len(align._pairs) <= align.PAIRS
    assert align.pair_sets(teacher, student) is not first, "the oldest are forgotten"


def test_a_teacher_that_drops_characters(views: dict[str, ByteView], tmp_path: Path) -> None:
    """It has no entry for line feeds: they are learnt from the text, all else has a target, and masses add up to 1."""
    teacher = ByteView(load_tokenizer(tiny.dropping(tmp_path / "dropping")))
    texts = ["小猫\n2. 看书\n3. 家", "🎉小猫在家里。\n看书\n"]
    for student in views.values():
        aligner, plans, _ = planned(teacher, student, texts)
        plan = aligner.batch(plans)
        theirs = torch.randn(sum(p.teacher_tokens for p in plans), len(teacher.entries), generator=torch.manual_seed(1))
        rows = sum(len(p.ids) for p in plans)
        targets = aligner.targets(aligner.read(lambda part: theirs[part], len(theirs), plan), plan, rows)  # noqa: B023
        total = targets.tail.clone().index_add_(0, targets.single_row, targets.single_mass)
        total.index_add_(0, targets.row, targets.mass).index_add_(0, targets.large_row, targets.large_mass)
        torch.testing.assert_close(total, targets.total, rtol=0, atol=1e-5)
        assert float((targets.total > 0).float().mean()) > 0.6
