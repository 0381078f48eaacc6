"""The local teacher: what it answers, where an answer ends, and what it signals."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from teachers.base import Request, SignalTeacher, TeacherError, TextTeacher, vocabulary_id
from teachers.panda import PandaTeacher
from teachers.text import TokenText
from tests import panda_models, tiny
from tests.panda_models import PROMPTS, ask

folders = panda_models.folders


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_greedy_equals_transformers_row_by_row(folders: dict[str, Path], kind: str) -> None:
    teacher = PandaTeacher(str(folders[kind]), batch_size=4)
    assert isinstance(teacher, TextTeacher)
    assert isinstance(teacher, SignalTeacher)
    done = {c.key: c for c in teacher.generate(Request(p, [], prompt=p, max_tokens=12) for p in PROMPTS)}
    assert set(done) == set(PROMPTS)
    for prompt in PROMPTS:
        ids = torch.tensor([teacher.encode(prompt)])
        eos = teacher.tokenizer.eos_token_id
        expected = teacher.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        answer = expected[0, ids.shape[1] :].tolist()
        ended = eos in answer
        answer = answer[: answer.index(eos)] if ended else answer
        assert done[prompt].text == teacher.text.decode(answer, after=ids[0].tolist())
        assert done[prompt].finish_reason == ("stop" if ended else "length")
        assert done[prompt].usage == {"prompt_tokens": ids.shape[1], "completion_tokens": len(answer)}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_its_shape_is_known_before_its_weights(folders: dict[str, Path], kind: str) -> None:
    """What projectors are built from, whatever the architecture calls it."""
    teacher = PandaTeacher(str(folders[kind]))
    assert (teacher.layers, teacher.width, teacher.context) == (2, 32, 512)
    assert teacher._model is None
    assert teacher.model is not None
    assert (teacher.layers, teacher.width, teacher.context) == (2, 32, 512)
    (folders[kind] / "config.json").rename(folders[kind] / "away")
    try:
        broken = PandaTeacher.__new__(PandaTeacher)
        broken._model, broken.path = None, str(folders[kind])
        with pytest.raises(TeacherError, match="cannot read the config of"):
            _ = broken.width
    finally:
        (folders[kind] / "away").rename(folders[kind] / "config.json")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_stop_strings_cut_the_answer(folders: dict[str, Path], kind: str) -> None:
    teacher = PandaTeacher(str(folders[kind]))
    prompt = PROMPTS[0]
    (whole,) = teacher.generate([Request("w", [], prompt=prompt, max_tokens=24)])
    middle = next(i for i in range(3, len(whole.text) - 2) if whole.text[i : i + 2].strip() == whole.text[i : i + 2])
    stop = whole.text[middle : middle + 2]
    (cut,) = teacher.generate([Request("c", [], prompt=prompt, max_tokens=24, stop=["never said", stop])])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.usage["completion_tokens"] < whole.usage["completion_tokens"]


def test_wordpiece_finds_stops_without_their_spaces(folders: dict[str, Path]) -> None:
    text = TokenText(AutoTokenizer.from_pretrained(folders["bert"]))
    stops = text.stops(["\n问：", "The Cats:"])
    ids = text.encode("小猫在家里。\n问：你好")
    assert stops.said(ids)
    assert stops.cut(text.decode(ids)) == ("小猫在家里。", True)
    assert stops.said(text.encode("好。the cats :"))
    assert not stops.said(text.encode("小猫问老师"))


def test_decoding_joins_prompt_and_answer(folders: dict[str, Path]) -> None:
    for kind, answer, expected in (
        ("gpt2", " world 你好", " world 你好"),
        ("llama", "你好 world", "你好 world"),
        ("bert", "你好 world 小猫。", "你好world小猫。"),
    ):
        text = TokenText(AutoTokenizer.from_pretrained(folders[kind]))
        before = text.encode("小猫hello")
        ids = text.tokenizer("小猫hello" + answer, add_special_tokens=False)["input_ids"]
        ids = ids[len(before) - len(text.prefix) :]
        assert text.decode(ids, after=before) == expected


def test_bos_comes_first_where_the_tokenizer_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    llama = TokenText(AutoTokenizer.from_pretrained(folders["llama"]))
    assert llama.encode("你好")[0] == 1
    assert llama.encode("<s>你好").count(1) == 1
    without = TokenText(AutoTokenizer.from_pretrained(tiny.sentencepiece_like(tmp_path, add_bos=False)))
    assert 1 not in without.encode("你好")
    bert = TokenText(AutoTokenizer.from_pretrained(folders["bert"]))
    assert bert.tokenizer.cls_token_id not in bert.encode("你好")


def test_a_prompt_beyond_the_context_is_an_error_in_the_completion(folders: dict[str, Path]) -> None:
    teacher = PandaTeacher(str(folders["gpt2"]))
    long, short = teacher.generate([Request("l", [], prompt="小" * 600), Request("s", [], prompt="小", max_tokens=2)])
    assert long.error is not None
    assert "512" in long.error
    assert short.error is None


def batch(teacher: PandaTeacher, side: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two texts, padded; and the flat positions of their real tokens."""
    rows = [teacher.encode(p) for p in (PROMPTS[0], PROMPTS[1])]
    width = max(map(len, rows))
    ids, mask = torch.zeros(2, width, dtype=torch.long), torch.zeros(2, width, dtype=torch.long)
    for n, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[n, where], mask[n, where] = torch.tensor(row), 1
    return ids, mask, mask.flatten().nonzero().squeeze(-1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_signal_gives_the_models_own_logits(folders: dict[str, Path], kind: str, side: str) -> None:
    teacher = PandaTeacher(str(folders[kind]))
    ids, mask, positions = batch(teacher, side)
    signal = teacher.signal(ids, mask, positions, [2, 0, 1])
    logits = signal.hidden @ signal.weight.T
    expected, states = [], []
    for row, keep in zip(ids, mask.bool(), strict=True):
        output = teacher.model(row[keep][None], output_hidden_states=True)
        expected.append(output.logits[0])
        states.append(output.hidden_states)
    assert torch.allclose(logits, torch.cat(expected), atol=1e-4)
    assert list(signal.layers) == [2, 0, 1]
    for k, hidden in signal.layers.items():
        assert torch.allclose(hidden, torch.cat([s[k][0] for s in states]), atol=1e-4)
    assert signal.vocab_id == teacher.vocab_id == vocabulary_id(teacher.tokenizer)
    assert not signal.hidden.requires_grad


def test_padded_rows_of_the_embedding_are_no_entries(folders: dict[str, Path], tmp_path: Path) -> None:
    padded = tiny.tiny_llama(tmp_path, folders["llama"], vocab_size=640)
    teacher = PandaTeacher(str(padded))
    signal = teacher.signal(*batch(teacher, "right"), [])
    assert signal.weight.shape == (600, 32)
    assert signal.layers == {}


def test_signal_refuses_what_it_cannot_give(folders: dict[str, Path]) -> None:
    teacher = PandaTeacher(str(folders["gpt2"]))
    ids, mask, positions = batch(teacher, "right")
    with pytest.raises(TeacherError, match=r"no layer 3.*0 \(embeddings\) to 2"):
        teacher.signal(ids, mask, positions, [3])
    with pytest.raises(TeacherError, match="reads 512 tokens"):
        teacher.signal(torch.zeros(1, 513, dtype=torch.long), torch.ones(1, 513), positions, [])


def test_it_is_plain_pickles_small_and_loads_late(folders: dict[str, Path]) -> None:
    teacher = PandaTeacher(str(folders["gpt2"]))
    assert not isinstance(teacher, torch.nn.Module)
    assert teacher._model is None
    answer = ask(teacher, PROMPTS[:1])
    sent = pickle.dumps(teacher)
    assert len(sent) < 2000
    assert ask(pickle.loads(sent), PROMPTS[:1]) == answer
    assert teacher.to("cpu") is teacher
    assert not any(p.requires_grad for p in teacher.model.parameters())


def test_a_model_in_memory_answers_and_goes_on_training(folders: dict[str, Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["gpt2"])
    model.train()
    teacher = PandaTeacher.of(model, AutoTokenizer.from_pretrained(folders["gpt2"]))
    assert ask(teacher) == ask(PandaTeacher(str(folders["gpt2"])))
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_without_a_prompt_the_messages_are_rendered(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["gpt2"], tmp_path / "chat")
    config = tmp_path / "chat" / "tokenizer_config.json"
    values = json.loads(config.read_text())
    values["chat_template"] = "{% for m in messages %}问：{{ m.content }}\n答：{% endfor %}"
    config.write_text(json.dumps(values))
    teacher = PandaTeacher(str(tmp_path / "chat"))
    messages = [{"role": "user", "content": "小猫在哪里？"}]
    (rendered,) = teacher.generate([Request("r", messages, max_tokens=12)])
    assert rendered.text == ask(teacher, PROMPTS[:1])[PROMPTS[0]]
    plain = PandaTeacher(str(folders["gpt2"]))
    (joined,) = plain.generate([Request("r", messages, max_tokens=12)])
    assert joined.text == ask(plain, ["小猫在哪里？\n"])["小猫在哪里？\n"]
