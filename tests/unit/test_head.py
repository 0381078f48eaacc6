"""Models that scale or cap their logits: found out, refused where hidden states stand for them, scored as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from data_gen.records import Record
from data_gen.templates import get_template
from distill.errors import DistillError
from distill.evaluate import bits_of
from distill.module import Distiller
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from teachers.base import TeacherError
from teachers.head import is_plain
from teachers.panda import PandaTeacher
from tests import tiny

SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": False, "eos_token_id": None,
    "bos_token_id": None, "pad_token_id": None,
}  # fmt: skip


def model(kind: str, vocab: int = 64, **more: Any) -> Any:
    """A random one of a few thousand weights."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SMALL, vocab_size=vocab, **more)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("kind", "more", "plain"),
    [
        ("Llama", {}, True),
        ("Qwen3", {"head_dim": 8}, True),
        ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 16}, True),
        ("Granite", {"logits_scaling": 8.0}, False),
        ("Granite", {"logits_scaling": 1.0}, True),
        ("Cohere", {"logit_scale": 0.0625}, False),
        ("Gemma2", {"head_dim": 8}, False),
        ("Gemma2", {"head_dim": 8, "final_logit_softcapping": None}, True),
        ("RecurrentGemma", {"lru_width": 32}, False),
        ("FalconH1", {"lm_head_multiplier": 0.5, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_state": 8}, False),
    ],
)
def test_who_bends_its_logits(kind: str, more: dict[str, Any], plain: bool) -> None:
    """Also where random weights make logits so small that a cap changes nothing yet."""
    made = model(kind, **more)
    for dtype in (torch.float32, torch.bfloat16):
        assert is_plain(made.to(dtype)) is plain
    assert not made.training
    assert not made.get_output_embeddings()._forward_hooks


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Granite and its tokenizer."""
    folder = tiny.byte_level_bpe(tmp_path_factory.mktemp("head") / "granite")
    model("Granite", len(load_tokenizer(str(folder))), logits_scaling=8.0).save_pretrained(folder)
    return folder


def test_neither_student_nor_teacher_of_signals(scaled: Path) -> None:
    """A sentence for each; answers of such a teacher are another matter."""
    with pytest.raises(DistillError, match=r"model\.student: a GraniteForCausalLM scales or caps its logits"):
        Distiller(str(scaled))
    teacher, ids = PandaTeacher(str(scaled)), torch.tensor([[5, 6, 7]])
    with pytest.raises(TeacherError, match="granite scales or caps its logits, as a GraniteForCausalLM does"):
        teacher.signal(ids, torch.ones_like(ids), torch.tensor([1]), [])


def test_it_is_scored_by_what_it_says(scaled: Path) -> None:
    """A model that divides its logits by 8 is one whose output embedding is an eighth."""
    view = ByteView(load_tokenizer(str(scaled)))
    records = [Record(f"第{n}句", output=line) for n, line in enumerate(tiny.sentences()[:5])]
    bent, plain = (model("Granite", len(view.tokenizer), logits_scaling=by) for by in (8.0, 1.0))
    with torch.no_grad():
        for each in (bent, plain):
            each.get_output_embeddings().weight.mul_(40)  # far from uniform
        plain.get_output_embeddings().weight.div_(8)
    bits = [bits_of(each, view, get_template("qa"), records, 128, 2)[0] for each in (bent, plain)]
    assert bits[0] == pytest.approx(bits[1], rel=1e-5)
