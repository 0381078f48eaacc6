"""The aligned loss on languages that can be counted: zero where the student knows them, and the page's own tables."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.align import Aligner
from distill.plans import RowPlan
from students.tokenizers import ByteView
from tests.aligning import planned
from tests.enumerated import Exact, language, safe_log, tokenizers
from tests.plain_losses import set_loss

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
        value = set_loss(aligner, safe_log(theirs.probabilities(text)), logits, aligner.batch([plan]))
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
        set_loss(aligner, given, logits, plan).backward()
        optimizer.step()
    assert regret() < 0.03 * before


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
    (gradient,) = torch.autograd.grad(set_loss(aligner, theirs, ours, aligner.batch([plan])), ours)
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


def test_what_the_student_could_not_say_here_is_left_out(counted: Any) -> None:
    """After 中 alone, a student with an entry 中国 is not asked for 国."""
    _, _, views = counted
    teacher, student = views["sp269"], views["sp275"]
    one, two, whole = (student.encode(t) for t in ("中", "国", "中国"))
    assert len(whole) == 1
    aligner, plans, _ = planned(teacher, student, ["中的"])
    assert two[0] in aligner.sets.impossible.never_after(one[0])
    theirs = torch.zeros(plans[0].teacher_tokens, len(teacher.entries))
    theirs[:, teacher.encode("国")[0]] = 8.0  # 0.9 on 国
    ours = torch.zeros(len(plans[0].ids), len(student.entries), requires_grad=True)
    (gradient,) = torch.autograd.grad(set_loss(aligner, theirs, ours, aligner.batch(plans)), ours)
    assert gradient[0, two[0]] < 0  # at the start it may
    assert gradient[1, two[0]] > 0
