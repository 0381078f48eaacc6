"""What tests of the aligned loss begin with: texts, a tokenizer of each family, plans and random logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.align import Aligner
from distill.encoding import Side
from distill.plans import RowPlan
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny
from tests.enumerated import sides

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
    """A fixture of every module that says `views = aligning.views`."""
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
