"""Tiny models of three families for tests of the local teacher, and prompts for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from teachers.base import Request
from teachers.panda import PandaTeacher
from tests import tiny

PROMPTS = [
    "问：小猫在哪里？\n答：",
    "你好",
    "请用一句话介绍长城。",
    "The quick brown fox",
    "计算：12+30=",
    "春眠不觉晓，处处",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A fixture of every module that says `folders = panda_models.folders`."""
    root = tmp_path_factory.mktemp("models")
    tokenizers = {name: make(root / name) for name, make in tiny.FAMILIES.items()}
    return {
        "llama": tiny.tiny_llama(root / "llama", tokenizers["sentencepiece"]),
        "gpt2": tiny.tiny_gpt2(root / "gpt2", tokenizers["byte"]),
        "bert": tiny.tiny_gpt2(root / "bert", tokenizers["wordpiece"]),
    }


def ask(teacher: PandaTeacher, prompts: list[str] = PROMPTS, **options: object) -> dict[str, str]:
    requests = [Request(p, [], prompt=p, max_tokens=12, **options) for p in prompts]  # type: ignore[arg-type]
    return {c.key: c.text for c in teacher.generate(iter(requests))}
