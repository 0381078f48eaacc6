"""The local teacher: what it answers, what it signals, and what it refuses."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from teachers import generation
from teachers.base import Request, SignalTeacher, TeacherError, TextTeacher, vocabulary_id
from teachers.chance import Chance, choose_in_nucleus
from teachers.kv_cache import growing_cache
from teachers.loading import read_tokenizer
from teachers.panda import PandaTeacher
from teachers.text import TokenText
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


def spoil(folder: Path, target: Path, file: str = "config.json", **values: object) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps(config | values))
    return target


@pytest.mark.parametrize("name", ["eos_token_id", "bos_token_id", "pad_token_id"])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_ids_outside_the_vocabulary_are_refused(folders: dict[str, Path], tmp_path: Path, name: str, file: str) -> None:
    folder = spoil(folders["bert"], tmp_path / "m", file, **{name: 50256})
    with pytest.raises(TeacherError, match=rf"{name} 50256 is outside its vocabulary of 442; set it to .* in {file}"):
        _ = PandaTeacher(str(folder)).model


def test_the_fix_names_the_right_id(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = spoil(folders["bert"], tmp_path / "m", eos_token_id=50256)
    with pytest.raises(TeacherError, match=r"set it to 3 \(\[SEP\]\)"):
        _ = PandaTeacher(str(folder)).model


def test_folders_that_are_no_teachers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folders["gpt2"], tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    with pytest.raises(TeacherError, match="no weights"):
        PandaTeacher(str(bare))
    (bare / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(TeacherError, match=r"only pickled weights.*save_pretrained"):
        PandaTeacher(str(bare))
    (bare / "adapter_config.json").write_text("{}")
    with pytest.raises(TeacherError, match="LoRA adapter"):
        PandaTeacher(str(bare))
    with pytest.raises(TeacherError, match="did you mean 'bare'"):
        PandaTeacher(str(tmp_path / "bear"))
    with pytest.raises(TeacherError, match="is a file"):
        PandaTeacher(str(bare / "config.json"))
    with pytest.raises(TeacherError, match=r"no config\.json"):
        PandaTeacher(str(tmp_path))
    with pytest.raises(TeacherError, match="neither a folder nor a hub id"):
        PandaTeacher("what is this?")
    with pytest.raises(TeacherError, match=r"no folder embeded \(did you mean 'embedded'\?\); a hub id has a slash"):
        PandaTeacher("embeded")
    with pytest.raises(TeacherError, match="unknown dtype 'int8'"):
        PandaTeacher(str(folders["gpt2"]), dtype="int8")


def test_broken_tokenizers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = Path(shutil.copytree(folders["bert"], tmp_path / "vocab"))
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    (bare / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "小", "猫"]))
    with pytest.raises(TeacherError, match="BertTokenizerFast"):
        _ = PandaTeacher(str(bare)).tokenizer
    (bare / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizerFast"}')
    with pytest.raises(TeacherError, match="has only"):
        _ = PandaTeacher(str(bare)).tokenizer
    small = tiny.tiny_gpt2(tmp_path / "small", folders["gpt2"], vocab_size=400, eos_token_id=1, bos_token_id=1)
    with pytest.raises(TeacherError, match="500 entries, its model only 400"):
        _ = PandaTeacher(str(small)).model


def test_the_embedded_teacher_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from teachers import loading, panda

    (tmp_path / "embedded").mkdir()
    monkeypatch.setattr(panda, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.setattr(loading, "__file__", str(tmp_path / "loading.py"))
    with pytest.raises(TeacherError, match="install minituo anew"):
        PandaTeacher()


def test_a_torn_tokenizer_config_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["llama"], tmp_path / "torn")
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text(encoding="utf-8")[:30], encoding="utf-8")
    with pytest.raises(TeacherError, match=r"cannot load a tokenizer from .*torn: tokenizer_config\.json is damaged"):
        _ = PandaTeacher(str(folder)).tokenizer


def test_a_sentencepiece_model_names_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    monkeypatch.setattr("teachers.loading.find_spec", lambda name: None)
    with pytest.raises(TeacherError, match=r"needs sentencepiece: pip install 'minituo\[sentencepiece\]'"):
        read_tokenizer(str(tmp_path))
