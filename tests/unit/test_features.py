"""Feature losses: which layers meet, what is measured, what is owned."""

from __future__ import annotations

import pytest
import torch

from distill.errors import DistillError
from distill.features import TOKEN_LOSSES, FeatureLoss, FeatureTerm, cosine, layer_pairs, mse, pkd
from distill.relations import Grid, gram, value_relation


@pytest.mark.parametrize(
    ("layers", "student", "teacher", "pairs"),
    [
        ("last", 4, 12, [(4, 12)]),
        ("uniform", 4, 12, [(1, 3), (2, 6), (3, 9), (4, 12)]),
        ("uniform", 3, 4, [(1, 1), (2, 3), (3, 4)]),
        ("uniform", 4, 4, [(1, 1), (2, 2), (3, 3), (4, 4)]),
        ("0:0 2:4 4:8", 4, 8, [(0, 0), (2, 4), (4, 8)]),
    ],
)
def test_layer_pairs(layers: str, student: int, teacher: int, pairs: list[tuple[int, int]]) -> None:
    """Ends meet ends; the rest is evenly spaced."""
    assert layer_pairs(layers, student, teacher) == pairs


@pytest.mark.parametrize(("layers", "sentence"), [("5:1", "5:1 is outside"), ("1:13", "outside"), ("1-2", "got '1-2'")])
def test_wrong_layers(layers: str, sentence: str) -> None:
    """A sentence."""
    with pytest.raises(DistillError, match=sentence):
        layer_pairs(layers, 4, 12)


def test_by_hand() -> None:
    """Two tokens of width two; each has its own unit."""
    teacher = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    student = torch.tensor([[1.0, 0.0], [4.0, 0.0]])
    torch.testing.assert_close(mse(student, teacher), torch.tensor([1 / 4, 32 / 16]))
    torch.testing.assert_close(cosine(student, teacher), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(pkd(student, teacher), torch.tensor([0.0, 2.0]))


@pytest.mark.parametrize("name", TOKEN_LOSSES)
def test_gradient_and_scale(name: str) -> None:
    """In float64; neither changes when both sides are scaled alike."""
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    loss = TOKEN_LOSSES[name]
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), student.requires_grad_())
    torch.testing.assert_close(loss(100 * student, 100 * teacher), loss(student, teacher))
    assert loss(teacher, teacher).abs().max() < 1e-9


def test_the_sum_of_terms() -> None:
    """A map's weight is shared by its pairs; projectors take the student's width to the teacher's."""
    terms = [FeatureTerm("mse", 0.5, "uniform"), FeatureTerm("cosine", 2.0, "last")]
    loss = FeatureLoss(terms, 2, 4, (3, 5))
    assert loss.parts == [("mse", 0.25, 1, 2), ("mse", 0.25, 2, 4), ("cosine", 2.0, 2, 4)]
    assert (loss.student_layers, loss.teacher_layers) == ([1, 2], [2, 4])
    assert [tuple(p.weight.shape) for p in loss.projectors] == [(5, 3)] * 3  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(0)
    student = {n: torch.randn(6, 3, generator=draw) for n in (1, 2)}
    teacher = {n: torch.randn(6, 5, generator=draw) for n in (2, 4)}
    one, two, three = loss.projectors
    expected = 0.25 * mse(one(student[1]), teacher[2]) + 0.25 * mse(two(student[2]), teacher[4])
    expected = expected + 2 * cosine(three(student[2]), teacher[4])
    torch.testing.assert_close(loss(student, teacher), expected)


def test_unknown_loss() -> None:
    """A sentence."""
    with pytest.raises(DistillError, match=r"unknown feature loss 'cosin' \(did you mean 'cosine'\?\)"):
        FeatureLoss([FeatureTerm("cosin")], 2, 2, (3, 3))


def test_projectors_only_where_one_is_needed() -> None:
    """mse and cosine always have one; pkd where widths differ; relations never."""
    terms = [FeatureTerm(name) for name in ("mse", "cosine", "pkd", "gram", "nst", "value_relation", "attention_kl")]
    for widths, trained in (((4, 6), [True, True, True]), ((4, 4), [True, True, False])):
        loss = FeatureLoss(terms, 2, 2, widths)
        assert [any(True for _ in p.parameters()) for p in loss.projectors] == [*trained, False, False, False, False]


def test_names_of_what_is_looked_at() -> None:
    """Hidden states by number, parts of the attention by name; each once."""
    terms = [FeatureTerm("attention_kl", 1.0, "2:10 1:5"), FeatureTerm("gram"), FeatureTerm("value_relation")]
    loss = FeatureLoss([*terms, FeatureTerm("attention_mse", 1.0, "1:5")], 2, 10, (4, 4))
    assert loss.student_layers == [2, "key:1", "query:1", "key:2", "query:2", "value:2"]
    assert loss.teacher_layers == [10, "key:5", "query:5", "key:10", "query:10", "value:10"]


def test_relations_and_single_tokens_in_one_sum() -> None:
    """Each gets its own features; rows are kept apart."""
    draw = torch.Generator().manual_seed(0)
    loss = FeatureLoss([FeatureTerm("gram", 2.0), FeatureTerm("mse", 0.5), FeatureTerm("value_relation")], 2, 4, (3, 5))
    ours = {2: torch.randn(6, 3, generator=draw), "value:2": torch.randn(6, 2, 6, generator=draw)}
    theirs = {4: torch.randn(6, 5, generator=draw), "value:4": torch.randn(6, 4, 9, generator=draw)}
    at = torch.tensor([[0, 1], [0, 2], [0, 4], [1, 0], [1, 1], [1, 7]])
    grid = Grid(6, at, at.device)
    expected = 2 * gram([ours[2]], [theirs[4]], grid) + 0.5 * mse(loss.projectors[1](ours[2]), theirs[4])
    expected = expected + value_relation([ours["value:2"]], [theirs["value:4"]], grid)
    torch.testing.assert_close(loss(ours, theirs, at), expected)


def test_no_places_in_a_batch() -> None:
    """Nothing to compare is a sum of zero, with gradients of zero."""
    loss = FeatureLoss([FeatureTerm("gram"), FeatureTerm("mse"), FeatureTerm("nst")], 2, 2, (3, 5))
    at = torch.zeros(0, 2, dtype=torch.int64)
    ours = torch.zeros(0, 3, requires_grad=True)
    total = loss({2: ours}, {2: torch.zeros(0, 5)}, at).sum()
    total.backward()
    assert total.item() == 0


def test_wrong_terms() -> None:
    """A sentence each."""
    with pytest.raises(DistillError, match="attention_kl: layer 0 is the embedding, which has no attention"):
        FeatureLoss([FeatureTerm("attention_kl", 1.0, "0:1")], 2, 2, (3, 3))
    with pytest.raises(DistillError, match="mse: weight must be at least 0, got -1"):
        FeatureLoss([FeatureTerm("mse", -1)], 2, 2, (3, 3))
