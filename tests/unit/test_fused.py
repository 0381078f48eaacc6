"""Losses from hidden states against the same losses from whole logits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from distill import set_loss
from distill.errors import DistillError
from distill.fused import Objective, OneVocabulary, fused_losses, head_parameters
from distill.losses import LossTerm, number
from distill.reading import Tables
from distill.targets import Targets
from teachers.base import DenseSignal
from tests.plain_losses import divergence

TOKENS, WIDTH, THEIRS, VOCABULARY = 23, 8, 12, 41
TERMS = [
    LossTerm("ce", 0.4),
    LossTerm("forward_kl", 0.6, temperature=2.0),
    LossTerm("jsd", 0.3, options={"beta": 0.3}),
    LossTerm("skew_reverse_kl", 0.2, temperature=0.5),
    LossTerm("reverse_kl", 0.1, teacher_temperature=3.0, confidence=True),
]


def drawn(bias: bool = True, extra: int = 0) -> tuple[Tensor, nn.Linear, DenseSignal, Tensor]:
    """Hidden states, a head with `extra` entries more than the teacher's, a signal and labels."""
    draw = torch.Generator().manual_seed(5)
    hidden = torch.randn(TOKENS, WIDTH, generator=draw).requires_grad_()
    head = nn.Linear(WIDTH, VOCABULARY + extra, bias=bias)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw)
    signal = DenseSignal(
        "v", torch.randn(TOKENS, THEIRS, generator=draw), torch.randn(VOCABULARY, THEIRS, generator=draw) / 2,
        torch.randn(VOCABULARY, generator=draw),
    )  # fmt: skip
    return hidden, head, signal, torch.randint(0, VOCABULARY, (TOKENS,), generator=draw)


def whole(terms: list[LossTerm], hidden: Tensor, head: Any, signal: DenseSignal | None, labels: Tensor) -> list[Tensor]:
    """Every term's sum, from whole logits by autograd."""
    weight, bias = head_parameters(head)
    logits = functional.linear(hidden, weight, bias)
    found = []
    for term in terms:
        if term.name == "ce":
            found.append(functional.cross_entropy(logits, labels, reduction="sum"))
            continue
        assert signal is not None
        theirs = functional.linear(signal.hidden, signal.weight, signal.bias)
        found.append(divergence(term, theirs / number(term.teacher_temperature), logits[:, : theirs.shape[-1]]).sum())
    return found


def weights(terms: list[LossTerm]) -> list[float]:
    return [number(term.weight) for term in terms]


def total(terms: list[LossTerm], values: list[Tensor]) -> Tensor:
    return torch.stack([w * value for w, value in zip(weights(terms), values, strict=True)]).sum()


@pytest.mark.parametrize("at_once", [1, 7 * VOCABULARY, 10**6])
@pytest.mark.parametrize("bias", [True, False])
def test_any_mix_is_the_plain_sum(bias: bool, at_once: int) -> None:
    """Values, and the gradient of everything, whatever the size of a chunk."""
    hidden, head, signal, labels = drawn(bias)
    expected = whole(TERMS, hidden, head, signal, labels)
    learnt = [hidden, *head.parameters()]
    slopes = torch.autograd.grad(total(TERMS, expected) * 0.5, learnt)
    value, sums = fused_losses(hidden, head, OneVocabulary(TERMS, labels, signal), weights(TERMS), at_once)
    torch.testing.assert_close(sums, torch.stack(expected).detach(), rtol=1e-5, atol=1e-4)
    for slope, found in zip(slopes, torch.autograd.grad(value * 0.5, learnt), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-5)


def test_gradcheck() -> None:
    """In float64, through the function as a whole, by autograd's own checker."""
    hidden, head, signal, labels = drawn()
    signal = DenseSignal("v", signal.hidden.double(), signal.weight.double(), None)

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        worn: Any = nn.Module()
        worn.weight, worn.bias = weight, bias
        return fused_losses(x, worn, OneVocabulary(TERMS, labels, signal), weights(TERMS), 200)[0]

    assert torch.autograd.gradcheck(
        loss, [x.detach().double().requires_grad_() for x in (hidden, head.weight, head.bias)]
    )


def test_text_alone_and_no_gradient() -> None:
    """As validation uses it: the value of cross-entropy, nothing to go back through."""
    hidden, head, _, labels = drawn()
    term = LossTerm("ce")
    with torch.no_grad():
        value, _ = fused_losses(hidden, head, OneVocabulary([term], labels), [1.0])
    assert not value.requires_grad
    torch.testing.assert_close(value, whole([term], hidden, head, None, labels)[0].detach(), rtol=1e-5, atol=1e-4)


def test_padded_student() -> None:
    """Entries that the teacher does not have take part in the text's loss alone."""
    hidden, head, signal, labels = drawn(extra=6)
    expected = whole(TERMS, hidden, head, signal, labels)
    slopes = torch.autograd.grad(total(TERMS, expected), [hidden, *head.parameters()])
    value, _ = fused_losses(hidden, head, OneVocabulary(TERMS, labels, signal), weights(TERMS))
    for slope, found in zip(slopes, torch.autograd.grad(value, [hidden, *head.parameters()]), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-5)


def test_tied_head() -> None:
    """One matrix at both ends gets both gradients."""
    _, _, signal, labels = drawn()
    table = nn.Embedding(VOCABULARY, WIDTH)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False)
    head.weight = table.weight
    terms = TERMS[:2]
    (slope,) = torch.autograd.grad(total(terms, whole(terms, table(labels), head, signal, labels)), [table.weight])
    value, _ = fused_losses(table(labels), head, OneVocabulary(terms, labels, signal), weights(terms))
    torch.testing.assert_close(torch.autograd.grad(value, [table.weight])[0], slope, rtol=1e-4, atol=1e-5)


def test_autocast_to_bfloat16() -> None:
    """Products in bf16, probabilities and the weight's gradient in float32: close, and of the parameters' own kind."""
    hidden, head, signal, labels = drawn()
    terms = TERMS[:2]
    exact = whole(terms, hidden, head, signal, labels)
    slopes = torch.autograd.grad(total(terms, exact), [hidden, *head.parameters()])
    with torch.autocast("cpu", torch.bfloat16):
        value, sums = fused_losses(hidden, head, OneVocabulary(terms, labels, signal), weights(terms))
    torch.testing.assert_close(sums, torch.stack(exact).detach(), rtol=0.03, atol=0.1)
    for slope, found in zip(slopes, torch.autograd.grad(value, [hidden, *head.parameters()]), strict=True):
        assert found.dtype == torch.float32
        assert functional.cosine_similarity(found.flatten(), slope.flatten(), dim=0) > 0.999


def test_lora_on_the_head() -> None:
    """Low-rank factors learn, the matrix below them does not."""
    peft = pytest.importorskip("peft")
    hidden, head, signal, labels = drawn(bias=False)
    model = nn.Module()
    model.lm_head = head
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, lora_alpha=6, target_modules=["lm_head"]), model)
    worn: Any = model.lm_head
    nn.init.normal_(worn.lora_B["default"].weight)
    factors = [worn.lora_A["default"].weight, worn.lora_B["default"].weight]
    terms = TERMS[:3]
    logits = worn(hidden)
    plain = nn.Linear(WIDTH, VOCABULARY, bias=False)
    torch.testing.assert_close(functional.linear(hidden, head_parameters(worn)[0]), logits)
    assert not torch.allclose(logits, functional.linear(hidden, worn.base_layer.weight))
    slopes = torch.autograd.grad(total(terms, whole(terms, hidden, worn, signal, labels)), [hidden, *factors])
    value, _ = fused_losses(hidden, worn, OneVocabulary(terms, labels, signal), weights(terms))
    for slope, found in zip(slopes, torch.autograd.grad(value, [hidden, *factors]), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=1e-5)
    assert head_parameters(plain)[0] is plain.weight


@pytest.mark.parametrize(
    ("more", "what"),
    [({"use_dora": True}, "DoRA"), ({"lora_dropout": 0.5}, "dropout"), ({"lora_bias": True}, "a bias")],
)
def test_what_is_more_than_a_matrix_is_refused(more: dict[str, Any], what: str) -> None:
    peft = pytest.importorskip("peft")
    model = nn.Module()
    model.lm_head = drawn(bias=True)[1]
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, target_modules=["lm_head"], **more), model)
    with pytest.raises(DistillError, match=f"with {what} cannot be trained"):
        head_parameters(model.lm_head.train())


def test_only_a_chunk_of_logits_exists() -> None:
    """The objective never sees more than `at_once` numbers, and every position once."""
    hidden, head, signal, labels = drawn()
    inner = OneVocabulary(TERMS[:2], labels, signal)
    seen: list[slice] = []

    def watch(rows: slice, logits: Tensor) -> Tensor:
        assert logits.numel() <= 5 * VOCABULARY
        seen.append(rows)
        return inner(rows, logits)

    objective: Objective = watch
    fused_losses(hidden, head, objective, [0.4, 0.6], 5 * VOCABULARY)
    assert [n for rows in seen for n in range(rows.start, rows.stop)] == list(range(TOKENS))


@pytest.mark.parametrize("large", [[], [0], [0, 1, 2, 3]])
def test_sets_are_summed_either_way(large: list[int]) -> None:
    """Member by member or by a product: sets that overlap, an entry twice in the order, a tail, a weight."""
    order = torch.tensor([4, 0, 7, 3, 9, 1, 4, 8])  # 4 twice; 2, 5, 6 nowhere
    none = torch.zeros(0, dtype=torch.int64)
    tables = Tables(none, none.bool(), none.view(0, 3), order, torch.tensor([6]), 10)
    chances = [[(0, 3, -1, 0.3), (1, 5, 2, 0.2), (6, 8, -1, 0.1)], [(0, 2, 5, 0.5)], []]
    singles = [[(3, 0.1), (3, 0.1)], [(8, 0.25)], []]
    total_mass = torch.tensor([0.9, 1.0, 0.0])
    flat = [(r, *s) for r, sets in enumerate(chances) for s in sets]
    small = torch.tensor([n for n in range(len(flat)) if n not in large], dtype=torch.int64)
    row, low, high, extra = (torch.tensor([x[k] for x in flat]) for k in range(4))
    mass = torch.tensor([x[4] for x in flat])
    members = torch.zeros(len(large), 10)
    for n, k in enumerate(large):
        members[n, order[low[k] : high[k]].unique()] = 1
        members[n, extra[k : k + 1][extra[k : k + 1] >= 0]] = 1
    one = [(r, *s) for r, sets in enumerate(singles) for s in sets]
    tail = torch.tensor([0.1, 0.25, 0.0])
    at, entries, masses = (torch.tensor(list(column)) for column in zip(*one, strict=True))
    targets = Targets(
        at, entries, masses,
        row[small], low[small], high[small], extra[small], mass[small],
        row[large], torch.arange(len(large)), mass[large], members, tail, total_mass, torch.tensor([0.5, 2.0, 1.0]),
    )  # fmt: skip
    logits = torch.randn(3, 10, generator=torch.Generator().manual_seed(3)).double().requires_grad_()
    log_q = torch.log_softmax(logits.masked_fill(torch.arange(10) == 6, -torch.inf), -1)
    expected = []
    for r, factor in enumerate((0.5, 2.0, 1.0)):
        value, said = log_q.new_zeros(()), {6}
        for a, b, e, m in chances[r]:
            named = {*order[a:b].tolist(), *([e] if e >= 0 else [])}
            said |= named
            value = value + m * (math.log(m) - log_q[r, sorted(named)].logsumexp(-1))
        for u in {u for u, _ in singles[r]}:
            m = sum(more for v, more in singles[r] if v == u)
            said.add(u)
            value = value + m * (math.log(m) - log_q[r, u])
        rest = sorted(set(range(10)) - said)
        if tail[r] > 0:
            value = value + tail[r] * (tail[r].log() - log_q[r, rest].logsumexp(-1))
        expected.append(factor * value)
    (slope,) = torch.autograd.grad(torch.stack(expected).sum(), logits)
    out = torch.empty(3, 10)
    values = set_loss.set_gradient(targets, tables, 0, logits.detach().float(), out)
    torch.testing.assert_close(values.double(), torch.stack(expected).detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.double(), slope, rtol=1e-4, atol=1e-6)
