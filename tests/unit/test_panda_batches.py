"""Batches of the local teacher: an answer depends on its seed, never on its neighbours, and no place stands empty."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from teachers import generation
from teachers.base import Request
from teachers.chance import Chance, choose_in_nucleus
from teachers.kv_cache import growing_cache
from teachers.panda import PandaTeacher
from tests import panda_models
from tests.panda_models import PROMPTS, ask

folders = panda_models.folders


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_a_sampled_answer_does_not_depend_on_its_batch(folders: dict[str, Path], top_p: float) -> None:
    alone = ask(PandaTeacher(str(folders["llama"]), batch_size=1), temperature=0.7, seed=5, top_p=top_p)
    together = ask(PandaTeacher(str(folders["llama"]), batch_size=6), temperature=0.7, seed=5, top_p=top_p)
    assert alone == together
    other = ask(PandaTeacher(str(folders["llama"]), batch_size=6), temperature=0.7, seed=6, top_p=top_p)
    assert other != together
    assert together != ask(PandaTeacher(str(folders["llama"])))


def test_greedy_and_sampled_rows_share_a_batch(folders: dict[str, Path]) -> None:
    teacher = PandaTeacher(str(folders["gpt2"]), batch_size=8)
    greedy, sampled = ask(teacher), ask(teacher, temperature=1.0, seed=1)
    mixed = [Request(p, [], prompt=p, max_tokens=12, temperature=float(n % 2), seed=1) for n, p in enumerate(PROMPTS)]
    for completion in teacher.generate(mixed):
        n = PROMPTS.index(completion.key)
        assert completion.text == (sampled if n % 2 else greedy)[completion.key]


def test_without_a_seed_the_key_decides(folders: dict[str, Path]) -> None:
    teacher = PandaTeacher(str(folders["gpt2"]))
    requests = [Request(key, [], prompt="你好", max_tokens=20, temperature=1.0) for key in "ab"]
    first, again = ([c.text for c in teacher.generate(requests)] for _ in range(2))
    assert first == again
    assert first[0] != first[1]


def test_sampling_follows_the_distribution() -> None:
    mass = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = [generation.Job([0], 1, temperature=1.0, seed=n) for n in range(4000)]
    chance = Chance(rows, "cpu")
    chosen = chance.choose(mass.log().expand(4000, 4), torch.zeros(4000, dtype=torch.long))
    share = torch.bincount(chosen, minlength=4) / 4000
    assert torch.allclose(share, mass, atol=0.025)


def test_nucleus_holds_the_likeliest_entries_only() -> None:
    mass = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).expand(500, 4)
    draws = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for top_p, allowed in ((0.5, {1}), (0.75, {1, 3}), (0.9, {1, 2, 3})):
        narrow = choose_in_nucleus(mass, torch.full((500,), top_p), draws)
        searched = choose_in_nucleus(mass, torch.full((500,), top_p), draws, likely=1)
        assert set(narrow.tolist()) == allowed
        assert narrow.equal(searched)


def test_rows_that_end_early_leave_the_batch(folders: dict[str, Path]) -> None:
    teacher = PandaTeacher(str(folders["llama"]), batch_size=8)
    lengths = [1, 30, 2, 3, 30, 0]
    requests = [Request(p, [], prompt=p, max_tokens=n) for p, n in zip(PROMPTS, lengths, strict=True)]
    texts = {c.key: c for c in teacher.generate(requests)}
    alone = {c.key: c for r in requests for c in teacher.generate([r])}
    assert {k: c.text for k, c in texts.items()} == {k: c.text for k, c in alone.items()}
    sampled = [
        Request(p, [], prompt=p, max_tokens=n, temperature=0.9, seed=s)
        for s, (p, n) in enumerate(zip(PROMPTS, lengths, strict=True))
    ]
    together = {c.key: c.text for c in teacher.generate(sampled)}
    assert together == {c.key: c.text for r in sampled for c in teacher.generate([r])}
    assert texts[PROMPTS[5]].text == ""
    assert texts[PROMPTS[5]].finish_reason == "length"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_who_has_ended_makes_room_for_the_next(folders: dict[str, Path], kind: str, temperature: float) -> None:
    """40 rows of many lengths through 4 places: each says what it says alone, and few places stand empty."""
    teacher = PandaTeacher(str(folders[kind]), batch_size=4)
    requests = [
        Request(f"r{n}", [], prompt=PROMPTS[n % 6] * (1 + n % 4), max_tokens=1 + (7 * n) % 23, temperature=temperature)
        for n in range(40)
    ]
    alone = {r.key: c.text for r in requests for c in teacher.generate([r])}
    steps: list[int] = []
    model = teacher.model
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: steps.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    together = {c.key: c for c in teacher.generate(iter(requests))}
    hook.remove()
    assert {key: c.text for key, c in together.items()} == alone
    tokens = sum(c.usage["completion_tokens"] for c in together.values())
    assert tokens / len(steps) > 2.2, "tokens a pass"
    assert max(steps) <= 4


def test_answers_come_while_others_are_under_way(folders: dict[str, Path]) -> None:
    """A follow-up that is asked for when the first answer comes is answered before the longest row has ended."""
    teacher = PandaTeacher(str(folders["llama"]), batch_size=2)
    later = [Request("later", [], prompt="你好", max_tokens=2)]
    done: list[str] = []

    def asked() -> Iterator[Request]:
        for n in range(2 * 4):  # a window's worth
            yield Request(f"r{n}", [], prompt=PROMPTS[n % 3], max_tokens=60 if n == 7 else 2)
        assert done
        yield from later

    for completion in teacher.generate(asked()):
        done.append(completion.key)
        torch.ones(1, requires_grad=True).sum().backward()  # and the caller may train meanwhile
    assert sorted(done) == sorted([*(f"r{n}" for n in range(8)), "later"])
    assert done[-1] == "r7"


def test_rows_join_only_where_every_layer_sees_all(folders: dict[str, Path], tmp_path: Path) -> None:
    """A model with a sliding window is answered batch by batch."""
    shutil.copytree(folders["llama"], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    window = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 8}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | window))
    teacher = PandaTeacher(str(tmp_path / "m"), batch_size=3)
    assert not growing_cache(teacher.model.config).joinable
    requests = [Request(f"r{n}", [], prompt=PROMPTS[n % 6], max_tokens=2 + 5 * (n % 5)) for n in range(12)]
    alone = {r.key: c.text for r in requests for c in teacher.generate([r])}
    assert {c.key: c.text for c in teacher.generate(requests)} == alone


_STATES: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 4},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "rwkv": {"attention_hidden_size": 32, "intermediate_size": 64, "context_length": 64},
    "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "lfm2": {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]},
    "falcon_h1": {"num_attention_heads": 4, "num_key_value_heads": 2, "mamba_n_heads": 8, "mamba_d_head": 8,
                  "mamba_n_groups": 1, "mamba_d_state": 8, "mamba_d_ssm": 64},
    "recurrent_gemma": {"num_attention_heads": 4, "num_key_value_heads": 1, "lru_width": 32, "head_dim": 8,
                        "block_types": ["recurrent", "attention"], "intermediate_size": 64},
}  # fmt: skip


@pytest.mark.parametrize("kind", _STATES)
def test_models_with_another_memory_say_what_they_say_without_any(kind: str, capsys: pytest.CaptureFixture) -> None:
    """Mamba has states and calls them otherwise, RWKV and the first GPT know no cache of ours, some have both; the
    state of RecurrentGemma heeds no mask."""
    sizes = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "eos_token_id": 99}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **_STATES[kind])).eval()
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
        prompts = [torch.randint(2, 99, (n,)).tolist() for n in (7, 3, 5, 4)]
    jobs = [generation.Job(ids, most) for ids, most in zip(prompts, (2, 6, 3, 5), strict=True)]
    generation._Uncached.told.clear()
    for _ in range(2):
        for job in jobs:
            job.answer, job.reason = [], ""
        assert len(list(generation.stream(model, jobs, most=3))) == 4
        for job in jobs:
            said = list(job.ids)
            with torch.no_grad():
                for _ in range(job.max_tokens):
                    said.append(int(model(input_ids=torch.tensor([said]), use_cache=False).logits[0, -1].argmax()))
            assert job.ids + job.answer == said
    told = capsys.readouterr().err.count("reads all of each again for every token")
    assert told == (kind in ("rwkv", "openai-gpt", "recurrent_gemma"))
