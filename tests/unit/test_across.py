"""Losses between two vocabularies that are no likelihood of sets: against loops over tokens and spans, by autograd."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.records import Record, write_records
from distill import fused, spans
from distill.align import Aligner
from distill.baselines import equal_entries
from distill.data import InstructionData
from distill.errors import DistillError
from distill.losses import LossTerm
from distill.module import Distiller
from distill.partial import alm
from distill.plan_batches import PlanBatch
from distill.spans import span_slopes
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from students.train_tokenizers import train_byte_bpe
from teachers.panda import PandaTeacher
from tests import tiny
from tests.enumerated import Exact, language, safe_log, sides, tokenizers

ANSWERS = [
    "小猫在家里看书。",
    "医生在花园唱歌，老师在北京写一首诗！",
    "今天是2024年5月1日。",
    "学生",
    "计算：12+30=42，",
]
SPACED = [*ANSWERS, "The quick brown fox  jumps", "第一行\n\n第二行 end\n"]
PAIRS = [("sentencepiece", "wordpiece"), ("sentencepiece", "byte"), ("byte", "sentencepiece"), ("wordpiece", "byte")]
STUDENT = {"preset": "tiny", "n_layer": 1, "n_embd": 16, "n_head": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("across")
    found = {name: make(root / name) for name, make in tiny.FAMILIES.items()}
    teachers = {name: tiny.tiny_llama(root / f"{name}-teacher", folder, seed=4) for name, folder in found.items()}
    for name, answers in (("plain", ANSWERS), ("spaced", SPACED)):
        write_records(root / f"{name}.jsonl", [Record("问", output=answer) for answer in answers])
    return {"root": root, "student": found, "teacher": teachers}


class Ground:
    """A student, a teacher and a batch of all answers, with both sides' logits in whole."""

    def __init__(self, folders: dict[str, Any], teacher: str, student: str, losses: list[LossTerm]) -> None:
        self.squash = "wordpiece" in (teacher, student)
        self.answers = ANSWERS if self.squash else SPACED
        self.model = Distiller(
            STUDENT, str(folders["student"][student]), teacher=PandaTeacher(str(folders["teacher"][teacher])),
            losses=losses, seed=1,
        )  # fmt: skip
        data = InstructionData(str(folders["root"] / ("plain.jsonl" if self.squash else "spaced.jsonl")))
        data.trainer = SimpleNamespace(lightning_module=self.model)  # type: ignore[assignment]
        data.setup("fit")
        self.rows = data.rows["train"]
        self.terms = [term.at(0, 1) for term in losses]

    def loss(self, rows: list[int]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Total, each term's sum, and the gradients of hidden states and head."""
        batch = self.rows[rows, 1.0]
        head = self.model.student.get_output_embeddings().weight
        hidden = self.model.student_hidden(batch)[0].detach().mul_(8).requires_grad_()  # far from even
        signals = self.model.teacher_signals(batch)
        total, values = self.model.head_losses(self.terms, hidden, signals, batch)
        assert isinstance(signals, list)
        (signal,) = signals
        self.ours = hidden @ head.T
        self.theirs = (signal.hidden @ signal.weight.T).detach()
        self.learnt = [hidden, head]
        return total, values, list(torch.autograd.grad(total, self.learnt))

    def tokens(self) -> list[tuple[list[int], list[int], list[int], list[int]]]:
        """Ids and first bytes of both sides, row by row."""
        found = []
        for answer in self.answers:
            row: list[list[int]] = []
            for view in (self.model.tutors[0].view, self.model.student_view):
                assert view is not None
                assert view.eos_id is not None
                ids, starts, at = [*view.encode(answer), view.eos_id], [], 0
                for token in ids:
                    starts.append(at)
                    at += 1 if token == view.eos_id else len(view.entries[token] or b"")
                row += [ids, starts]
            found.append((row[0], row[1], row[2], row[3]))
        return found


def alm_by_hand(ground: Ground, tau: float) -> Tensor:
    """Span by span."""
    both = []
    for logits, view in ((ground.theirs, ground.model.tutors[0].view), (ground.ours, ground.model.student_view)):
        assert view is not None
        texts = [b.decode(errors="replace") if b else "x" for b in view.entries]
        blank = torch.tensor([ground.squash and not text.strip(" \t\n\r\x0b\x0c\u3000\u00a0") for text in texts])
        both.append(torch.log_softmax(logits.masked_fill(blank, -math.inf), -1))
    p, q = both
    total, s0, t0 = torch.zeros(()), 0, 0
    for t_ids, t_starts, s_ids, s_starts in ground.tokens():
        shared = sorted(set(t_starts) & set(s_starts))
        for first, last in zip(shared, [*shared[1:], math.inf], strict=True):
            a = torch.stack([p[t0 + n, t_ids[n]] for n, at in enumerate(t_starts) if first <= at < last]).sum()
            b = torch.stack([q[s0 + n, s_ids[n]] for n, at in enumerate(s_starts) if first <= at < last]).sum()
            P, Q = torch.exp(a / tau), torch.exp(b / tau)
            total = total + tau * (P * (P / Q).log() + (1 - P) * ((1 - P) / (1 - Q)).log())
        t0, s0 = t0 + len(t_ids), s0 + len(s_ids)
    return total


def at_starts(ground: Ground, name: str, heat: float) -> Tensor:
    """Pair by pair of tokens that start together."""
    p, q = torch.softmax(ground.theirs / heat, -1), torch.softmax(ground.ours, -1)
    equal = equal_entries(ground.model.tutors[0].view, ground.model.student_view)
    total, s0, t0 = torch.zeros(()), 0, 0
    for t_ids, t_starts, s_ids, s_starts in ground.tokens():
        for place in set(t_starts) & set(s_starts):
            ours, theirs = q[s0 + s_starts.index(place)], p[t0 + t_starts.index(place)]
            if name == "uld":
                width = max(len(ours), len(theirs))
                padded = [torch.cat([side, torch.zeros(width - len(side))]) for side in (ours, theirs)]
                total = total + (padded[0].sort().values - padded[1].sort().values).abs().sum()
                continue
            a, b = theirs[equal[:, 0]], ours[equal[:, 1]]
            total = total + (a * (a / b).log()).sum() + (1 - a.sum()) * ((1 - a.sum()) / (1 - b.sum())).log()
        t0, s0 = t0 + len(t_ids), s0 + len(s_ids)
    return total


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
@pytest.mark.parametrize("name", ["alm", "boundary_kl", "uld"])
def test_loops_say_the_same(folders: dict[str, Any], teacher: str, student: str, name: str) -> None:
    """Value, and gradient of hidden states and head, beside cross-entropy."""
    term = LossTerm(name, 0.7, options={"tau": 5.0}) if name == "alm" else LossTerm(name, 0.7, teacher_temperature=1.3)
    ground = Ground(folders, teacher, student, [LossTerm("ce", 0.3), term])
    _, values, gradients = ground.loss(list(range(len(ground.answers))))
    labels = torch.tensor([t for row in ground.tokens() for t in row[2]])
    text = torch.nn.functional.cross_entropy(ground.ours, labels, reduction="sum")
    by_hand = alm_by_hand(ground, 5.0) if name == "alm" else at_starts(ground, name, 1.3)
    assert by_hand.item() > 1
    torch.testing.assert_close(values, torch.stack([text, by_hand]).detach(), rtol=1e-4, atol=1e-3)
    expected = torch.autograd.grad(0.3 * text + 0.7 * by_hand, ground.learnt)
    for found, slope in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-3, atol=1e-5)


def test_chunks_change_nothing(folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However few logits exist at a time, on either side."""
    terms = [LossTerm("alm"), LossTerm("boundary_kl"), LossTerm("uld", confidence=True), LossTerm("forward_kl")]
    ground = Ground(folders, "sentencepiece", "byte", terms)
    rows = list(range(len(ground.answers)))
    total, values, gradients = ground.loss(rows)
    for module in (fused, spans):
        monkeypatch.setattr(module, "AT_ONCE_CPU", 3000)  # a few positions
    again, again_values, again_gradients = ground.loss(rows)
    torch.testing.assert_close((again, again_values), (total, values), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(again_gradients, gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["alm", "boundary_kl", "uld"])
def test_rows_are_apart(folders: dict[str, Any], name: str) -> None:
    """A batch is the sum of its rows, in any order: no span has tokens of two."""
    ground = Ground(folders, "sentencepiece", "byte", [LossTerm(name)])
    rows = list(range(len(ground.answers)))[::-1]
    alone = sum(ground.loss([row])[1] for row in rows)
    torch.testing.assert_close(ground.loss(rows)[1], alone, rtol=1e-4, atol=1e-3)
    batch = ground.rows[rows, 1.0]
    row_of = torch.repeat_interleave(batch.student.counts)
    plan = batch.lessons[0].plan
    for span in range(int(plan.student_span.max()) + 1):
        assert len(row_of[plan.student_span == span].unique()) == 1
    assert plan.student_span.max() == plan.teacher_span.max()


def planned(teacher: ByteView, student: ByteView, texts: list[str]) -> PlanBatch:
    aligner = Aligner(teacher, student)
    both = sides(teacher, student, texts)
    return aligner.batch([aligner.plan([text], *both, n) for n, text in enumerate(texts)])


def labels_of(exact: Exact, texts: list[str]) -> Tensor:
    """Log-likelihood of each token of the texts."""
    logs = [safe_log(exact.probabilities(text))[range(len(exact.ids[text])), list(exact.ids[text])] for text in texts]
    return torch.cat(logs)


def test_nothing_to_learn_for_who_knows_the_language(tmp_path: Path) -> None:
    """Where a beginning is the same texts on both sides, likelihoods of spans are equal and alm is zero."""
    texts = language(90)
    teacher = tokenizers(texts, tmp_path)["wp"]  # characters
    student = ByteView(train_byte_bpe(list(texts), 257, tmp_path / "bytes"))
    plan = planned(teacher, student, list(texts))
    assert (plan.student_span >= 0).all()
    assert len(plan.student_span) > 2 * len(plan.teacher_span)
    theirs, ours = (labels_of(Exact(view, texts), list(texts)) for view in (teacher, student))
    values, slopes = span_slopes(theirs, ours, plan, 3.0)
    assert values.abs().max() < 1e-6
    assert slopes.abs().max() < 1e-6
    values, slopes = span_slopes(theirs, ours - 0.1, plan, 3.0)
    assert values.sum() > 0.1
    assert (slopes <= 0).all()  # every token ought to be likelier


@pytest.mark.parametrize(("teacher", "student"), [("sp275", "byte270"), ("byte290", "sp269"), ("wp", "sp275")])
def test_whole_answers_are_equally_likely(tmp_path: Path, teacher: str, student: str) -> None:
    """Spans of any two tokenizers that know the language add up to the same over an answer."""
    texts = language(60)
    views = tokenizers(texts, tmp_path)
    names = list(texts)
    plan = planned(views[teacher], views[student], names)
    assert (plan.student_span >= 0).all()
    assert (plan.teacher_span >= 0).all()
    both = [labels_of(Exact(views[name], texts), names).sum() for name in (teacher, student)]
    assert both[0].item() == pytest.approx(both[1].item(), rel=1e-6)


def test_what_one_side_cannot_say_is_in_no_span(folders: dict[str, Any]) -> None:
    """[UNK] has no likelihood to compare, and white space that WordPiece swallows is not asked for."""
    byte, wp = (ByteView(load_tokenizer(folders["student"][name])) for name in ("byte", "wordpiece"))
    plan = planned(byte, wp, ["小猫鬱书 家。"])
    names = wp.tokenizer.convert_ids_to_tokens([*wp.encode("小猫鬱书 家。"), wp.eos_id])
    assert "[UNK]" in names
    assert [at >= 0 for at in plan.student_span.tolist()] == [name != "[UNK]" for name in names]
    said = [*byte.encode("小猫鬱书 家。"), byte.eos_id]
    inside = dict(zip(said, plan.teacher_span.tolist(), strict=True))
    space = byte.encode(" ")[0]
    assert space not in inside or inside[space] == -1


def test_equal_entries_are_equal_strings(folders: dict[str, Any]) -> None:
    """A character has one partner, however its tokenizer writes it; EOS has the other's EOS."""
    views = {name: ByteView(load_tokenizer(folder)) for name, folder in folders["student"].items()}
    for teacher, student in PAIRS:
        pairs = equal_entries(views[teacher], views[student]).tolist()
        assert [views[teacher].eos_id, views[student].eos_id] in pairs
        assert len({v for v, _ in pairs}) == len({u for _, u in pairs}) == len(pairs) > 20
        for v, u in pairs[:-1]:
            assert views[teacher].entries[v] == views[student].entries[u]
    partner = dict(equal_entries(views["wordpiece"], views["sentencepiece"]).tolist())
    name = views["wordpiece"].tokenizer.convert_tokens_to_ids
    assert partner[name("a")] == views["sentencepiece"].tokenizer.convert_tokens_to_ids("a")
    assert name("##a") not in partner


def test_a_step_as_users_take_it(folders: dict[str, Any]) -> None:
    """Through Lightning's Trainer, in bf16 as well."""
    import pytorch_lightning as pl

    terms = [
        LossTerm("ce", 0.3),
        LossTerm("forward_kl", 0.7),
        LossTerm("alm"),
        LossTerm("boundary_kl"),
        LossTerm("uld"),
    ]
    for precision in ("32-true", "bf16-mixed"):
        ground = Ground(folders, "sentencepiece", "wordpiece", terms)
        trainer = pl.Trainer(
            accelerator="cpu", max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False, precision=precision,
        )  # fmt: skip
        trainer.fit(ground.model, InstructionData(str(folders["root"] / "plain.jsonl"), batch_size=3))
        for term in terms:
            assert math.isfinite(trainer.logged_metrics[f"loss/{term.name}"])


@pytest.mark.parametrize(
    ("term", "same", "says"),
    [
        (LossTerm("alm"), True, "for unequal tokenizers"),
        (LossTerm("boundary_kl"), True, "for unequal tokenizers"),
        (LossTerm("jsd"), False, "alm beside it"),
        (LossTerm("alm", temperature=2.0), False, "at temperature 2"),
        (LossTerm("alm", confidence=True), False, "takes no confidence"),
        (LossTerm("alm", options={"tau": 0.0}), False, "tau must be above 0"),
        (LossTerm("alm", options={"taw": 3.0}), False, "did you mean 'tau'"),
        (LossTerm("boundary_kl", options={"tau": 3.0}), False, "no option 'tau'"),
        (LossTerm("boundry_kl"), False, "did you mean 'boundary_kl'"),
    ],
)
def test_what_cannot_be_is_said(term: LossTerm, same: bool, says: str) -> None:
    """In one sentence, at the start."""
    with pytest.raises(DistillError, match=says):
        term.check(has_teacher=True, same_vocabulary=same)


def test_what_can_be_passes() -> None:
    """Between two vocabularies, also with a ramp; without a teacher nothing does."""
    for name in ("alm", "boundary_kl", "uld", "forward_kl"):
        LossTerm(name).check(has_teacher=True, same_vocabulary=False)
        with pytest.raises(DistillError, match="needs a teacher"):
            LossTerm(name).check(has_teacher=False, same_vocabulary=True)
    assert alm(torch.tensor([-2.0]), torch.tensor([-2.0])).item() == pytest.approx(0, abs=1e-7)
