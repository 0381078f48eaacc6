"""Packed rows say, learn and teach what they do alone: layouts, the sampler, and whole steps of GPT2 and Llama."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data_gen.records import Record, write_records
from distill.batches import BatchPlan, gather_tokens
from distill.data import InstructionData
from distill.encoding import Side
from distill.errors import DistillError
from distill.features import FeatureTerm
from distill.losses import LossTerm
from distill.module import Distiller
from distill.packing import lay, pack
from teachers.panda import PandaTeacher
from tests import plain_loop, tiny
from tests.plain_loop import Catch, Ground
from tests.tiny import GPT2, LLAMA

LINES = tiny.sentences()
RECORDS = [
    Record("第一句", output=LINES[0]),
    Record("接着说", input="材料：小猫", output=LINES[1] * 2),
    Record("再说一句", output="好的。", history=[["小猫在哪里？", LINES[2]], ["Who?", "The cat"]]),
    Record("x", output="12"),
    Record("请介绍", output=LINES[3] + LINES[4]),
    Record("说一句英文", output="The quick brown fox, 3.14!"),
    Record("太长", output="".join(LINES[5:20])),
]
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(np.array)


@given(lengths=LENGTHS, data=st.data())
@settings(deadline=None)
def test_every_row_fits_somewhere(lengths: np.ndarray, data: Any) -> None:
    """Once, in no line that is too short; the order decides who sits where, not how many lines there are."""
    lines = pack(lengths, 40)
    assert sorted(itertools.chain(*lines)) == list(range(len(lengths)))
    assert max(sum(lengths[line]) for line in lines) <= 40
    filled = sorted(int(sum(lengths[line])) for line in lines)
    assert len(filled) == 1 or filled[0] + filled[1] > 40, "any two of them are more than one"
    shuffled = np.array(data.draw(st.permutations(lengths.tolist())))
    assert len(pack(shuffled, 40)) == len(lines)


@given(lengths=LENGTHS)
@settings(deadline=None)
def test_rows_lie_beside_each_other(lengths: np.ndarray) -> None:
    """No two on the same place, none over a line's end; line by line they take no more lines than there were."""
    starts, lines, width = lay(lengths, 40)
    taken = np.zeros(lines * width, dtype=int)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        taken[start : start + length] += 1
        assert start // width == (start + length - 1) // width
    assert taken.max() == 1
    assert width <= 40
    given_lines = pack(lengths, 40)
    assert lay(lengths[list(itertools.chain(*given_lines))], 40)[1] <= len(given_lines)


def side(lengths: list[int], supervised: list[list[int]]) -> Side:
    """Rows of such lengths; `supervised` lists places in each."""
    start = np.concatenate([[0], np.cumsum(lengths)])
    mask = np.zeros(start[-1], dtype=bool)
    for at, places in zip(start.tolist(), supervised, strict=False):
        mask[[at + p for p in places]] = True
    none = np.zeros(start[-1], np.int32)
    return Side(np.arange(100, 100 + start[-1], dtype=np.int32), mask, none, none, start, np.array(lengths))


def test_a_packed_batch_by_hand() -> None:
    """Three rows in lines of 7: the order of rows is the batch's, positions start anew, filling is nobody's."""
    whole = side([4, 5, 3], [[2, 3], [1, 4], [1]])
    tokens = gather_tokens(whole, [1, 0, 2], pad_id=0, width=7)
    assert tokens.ids.tolist() == [[104, 105, 106, 107, 108, 0, 0], [100, 101, 102, 103, 109, 110, 111]]
    assert tokens.mask.tolist() == [[1, 1, 1, 1, 1, 0, 0], [1] * 7]
    assert tokens.position_ids is not None
    assert tokens.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 0], [0, 1, 2, 3, 0, 1, 2]]
    assert tokens.positions.tolist() == [0, 3, 8, 9, 11]
    assert tokens.labels.tolist() == [105, 108, 102, 103, 110]
    assert (tokens.starts.tolist(), tokens.counts.tolist()) == ([0, 7, 11], [2, 2, 1])
    assert "attention_mask" not in tokens.inputs
    longer = gather_tokens(whole, [0, 1], pad_id=0, width=3)
    assert longer.ids.tolist() == [[100, 101, 102, 103, 0], [104, 105, 106, 107, 108]]
    alone = gather_tokens(whole, [2], pad_id=0, width=7)
    assert alone.ids.tolist() == [[109, 110, 111]]


SIZES = np.random.default_rng(0).integers(3, 40, 300)
COUNTS = np.minimum(SIZES - 1, np.random.default_rng(1).integers(1, 30, 300))


def plan(lines: int = 4, seed: int | None = 0, **more: Any) -> BatchPlan:
    return BatchPlan(SIZES, COUNTS, lines, seed=seed, width=64, **more)


@pytest.mark.parametrize("seed", [0, None])
def test_packed_batches_of_an_epoch(seed: int | None) -> None:
    """Every row once, never more lines than asked for, hardly any filling; another epoch mixes anew."""
    sampler = plan(seed=seed)
    filled = sampler.filled()
    epochs = [[rows for rows, _ in sampler] for _ in range(2)]
    for batches in epochs:
        assert len(batches) == len(sampler)
        assert sorted(itertools.chain(*batches)) == list(range(300))
        assert max(lay(SIZES[rows], 64)[1] for rows in batches) <= 4
        places = sum(lines * width for _, lines, width in (lay(SIZES[rows], 64) for rows in batches))
        assert sum(SIZES) / places == pytest.approx(filled, abs=0.01)
    assert 0.97 < filled <= 1
    assert (epochs[0] == epochs[1]) == (seed is None)
    lines = plan(seed=0, lines=1)
    first, second = ({frozenset(rows) for rows, _ in lines} for _ in range(2))
    assert len(first & second) < len(first) / 3


@pytest.mark.parametrize("stop", [1, 7])
def test_a_packed_epoch_goes_on_in_the_middle(stop: int) -> None:
    """With the state alone."""
    expected, stopped, resumed = list(plan()), plan(), plan()
    taken = list(itertools.islice(stopped, stop))
    resumed.load_state_dict(stopped.state_dict())
    assert taken + list(resumed) == expected


def test_packed_steps_know_their_tokens() -> None:
    """Of two ranks and two accumulated batches together."""
    ranks = [list(plan(lines=2, accumulate=2, world=2, rank=rank)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    assert not {r for rows, _ in ranks[0] for r in rows} & {r for rows, _ in ranks[1] for r in rows}
    for start in range(0, len(ranks[0]), 2):
        group = [batch for rank in ranks for batch in rank[start : start + 2]]
        assert {tokens for _, tokens in group} == {float(sum(COUNTS[rows].sum() for rows, _ in group))}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("packing")
    tokenizer = tiny.wordpiece(folder / "wordpiece")
    same = tiny.tiny_gpt2(folder / "same", tokenizer, width=48, layers=3, seed=1)
    other = tiny.tiny_llama(folder / "other", tiny.sentencepiece_like(folder / "sp"), width=40, layers=3, seed=2)
    write_records(folder / "train.jsonl", RECORDS)
    return Ground(folder, str(tokenizer), str(same), str(other), str(folder / "train.jsonl"))


def fit(
    ground: Ground,
    student: dict,
    teacher: str | None,
    *,
    steps: int = 1,
    accumulate: int = 1,
    batch_size: int = 8,
    packing: bool = True,
    attention: str = "sdpa",
    keep: bool = False,
) -> tuple[Catch, pl.Trainer, Any]:
    """Some optimizer steps as `distill fit` takes them: text, KL and three kinds of features."""
    path = getattr(ground, teacher) if teacher else None
    model = Distiller(
        student, tokenizer=ground.tokenizer, seed=3, attention=attention, keep_signals=keep,
        teacher=PandaTeacher(path) if path else None,
        losses=[LossTerm("ce", 0.4), *([LossTerm("forward_kl", 0.6)] if path else [])],
        features=[FeatureTerm(loss, 0.5, "1:2") for loss in ("mse", "gram", "attention_kl")] if path else None,
    )  # fmt: skip
    if path and attention == "eager":
        model.tutors[0].teacher.model.set_attn_implementation("eager")  # type: ignore[attr-defined]
    data = InstructionData(
        ground.train, val=ground.train, batch_size=batch_size, max_length=120, packing=packing,
        teacher_template="alpaca" if teacher == "same" else None,
    )  # fmt: skip
    return *plain_loop.fit(model, data, steps, accumulate), data


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("student", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("teacher", ["same", "other"])
def test_a_packed_step_is_the_unpacked_one(student: dict, teacher: str, attention: str, ground: Ground) -> None:
    """Loss, validation and every gradient, with both kinds of teacher, projectors and relations."""
    found = []
    for packing in (False, True):
        catch, trainer, data = fit(ground, student, teacher, packing=packing, attention=attention)
        batch = data.rows["train"][(list(range(len(RECORDS))), 1.0)]
        assert (len(batch.student.ids) < len(RECORDS)) == packing
        assert (len(batch.lessons[0].teacher.ids) < len(RECORDS)) == packing
        assert batch.student.ids.shape[1] <= 120
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        found.append((metrics, catch.gradients[0]))
    (metrics, gradients), (packed_metrics, packed_gradients) = found
    assert packed_metrics == pytest.approx(metrics, rel=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    scale = max(float(value.abs().max()) for value in gradients.values())
    for key, value in gradients.items():
        torch.testing.assert_close(packed_gradients[key], value, rtol=1e-5, atol=1e-5 * scale)


def test_packed_accumulation_and_kept_signals(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """From the second epoch on the teacher's states come from memory; single lines added up are one batch."""
    asked, _, data = fit(ground, GPT2, "other", steps=2)
    lines = len(pack(data.rows["train"].student.lengths, 120))
    assert 1 < lines < len(RECORDS)
    assert f"train: {len(RECORDS)} rows, 1 batches an epoch" in capsys.readouterr().err
    kept = fit(ground, GPT2, "other", steps=2, keep=True)[0]
    one, many = (fit(ground, GPT2, None, accumulate=n, batch_size=size)[0] for n, size in ((1, 8), (lines, 1)))
    for first, second in ((asked, kept), (one, many)):
        for expected, found in zip(first.gradients, second.gradients, strict=True):
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)


def test_one_row_packs(ground: Ground, tmp_path: Path) -> None:
    """Alone in its line, with an empty prompt."""
    write_records(tmp_path / "one.jsonl", [Record("", output=LINES[0])])
    gradients = [
        fit(Ground(tmp_path, ground.tokenizer, ground.same, ground.other, str(tmp_path / "one.jsonl")), GPT2, "other",
            packing=packing)[0].gradients[0]
        for packing in (False, True)
    ]  # fmt: skip
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-5, atol=1e-6)


def test_models_that_cannot_be_packed_are_refused(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """BLOOM finds its positions by itself; a teacher's signal() may know nothing of positions; one may ignore them."""
    bloom = {"config": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 2}}
    with pytest.raises(
        DistillError, match=r"student, a BloomForCausalLM, does not keep rows that .* data\.packing to false"
    ):
        fit(ground, bloom, None)
    signal = PandaTeacher.signal

    def old(self: Any, ids: Tensor, mask: Tensor, positions: Tensor, layers: Any, places: Any = None) -> Any:
        return signal(self, ids, mask, positions, layers, places)

    def deaf(self: Any, *arguments: Any, position_ids: Any = None) -> Any:
        return signal(self, *arguments)

    monkeypatch.setattr(PandaTeacher, "signal", old)
    with pytest.raises(DistillError, match="LlamaForCausalLM takes no position_ids"):
        fit(ground, GPT2, "other")
    fit(ground, GPT2, "other", packing=False)
    monkeypatch.setattr(PandaTeacher, "signal", deaf)
    with pytest.raises(DistillError, match="teacher, a LlamaForCausalLM, does not keep rows"):
        fit(ground, GPT2, "other")
