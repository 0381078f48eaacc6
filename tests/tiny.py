"""Tiny tokenizers of the three families and tiny random models, made on the spot: same call, same files.

    folder = byte_level_bpe(tmp_path / "gpt2-tok")
    model_folder = tiny_gpt2(tmp_path / "gpt2", folder)

Every tokenizer folder is one that `AutoTokenizer.from_pretrained` loads; every model folder holds its tokenizer too.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WHO = ["小猫", "老师", "爸爸", "妈妈", "医生", "农民", "朋友", "学生", "奶奶", "诗人", "科学家", "司机"]
_WHERE = ["在家里", "在学校", "在河边", "在城市", "在北京", "在山上", "在图书馆", "在花园"]
_WHAT = [
    "看书",
    "吃苹果",
    "学习中文",
    "写一首诗",
    "喝绿茶",
    "画画",
    "种树",
    "唱歌",
    "做饭",
    "数星星",
    "打电话",
    "思考问题",
]
_SAYINGS = """
请用一句话介绍长城。长城是中国古代的伟大工程，东西绵延上万里。
如何保持健康？早睡早起，多吃蔬菜，每天运动三十分钟。
把下面的句子翻译成英文：我喜欢春天。I like spring.
计算：12+30=42，56-7=49，8×9=72，100÷4=25。
为什么天空是蓝色的？因为阳光被空气散射，蓝光散射得最多。
「龜兔賽跑」是一個關於謙虛與堅持的故事。
The quick brown fox jumps over the lazy dog.
Large language models answer questions in Chinese and in English.
Python 3.11 里的 print("你好，世界！") 会输出什么？
今天是2024年5月1日，气温25℃，湿度60%。
🎉 祝你生日快乐！👍 Great job! 😀😀
问：水的化学式是什么？答：水的化学式是H2O。
春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。
  indented code:\tfor i in range(10):\n    total += i
"""


def sentences() -> list[str]:
    """Some hundred short lines of Chinese, Latin, digits, emoji; the same every time."""
    made = [
        f"{who}{where}{what}{end}"
        for (who, where, what), end in zip(
            itertools.product(_WHO, _WHERE, _WHAT), itertools.cycle("。，！？；"), strict=False
        )
    ]
    random.Random(0).shuffle(made)
    english = [f"The {n} cats and {n + 1} dogs went home at {n}:00." for n in range(1, 25)]
    return made[:400] + english + _SAYINGS.strip().split("\n") * 3


def byte_level_bpe(folder: str | Path, size: int = 500) -> Path:
    """GPT-2's family: bytes, `<|endoftext|>` is bos, eos, unk and pad at once, as in Wenzhong."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    end = "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(sentences(), trainer)
    tokenizer.add_special_tokens([end])  # after the rest, as GPT-2's 50256
    return _save(tokenizer, folder, bos_token=end, eos_token=end, unk_token=end, pad_token=end)


def sentencepiece_like(folder: str | Path, size: int = 600, add_bos: bool = True) -> Path:
    """Llama's family: `▁` for spaces, a dummy space in front, `<0xHH>` for what has no piece.

    With `add_bos` special tokens are `<s>` in front, as Llama's tokenizer.json has it.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<unk>", "<s>", "</s>"]
    fixed = special + [f"<0x{byte:02X}>" for byte in range(256)]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(sentences(), trainers.BpeTrainer(vocab_size=size - 259, show_progress=False))
    learned, merges = _vocabulary_and_merges(learner)
    vocabulary = {piece: n for n, piece in enumerate(fixed + learned)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(special)
    more: dict[str, Any] = {}
    if add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
        more["add_bos_token"] = True
    return _save(tokenizer, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>", **more)


def wordpiece(folder: str | Path, size: int = 500, lower: bool = True) -> Path:
    """BERT's family: every 汉字 a word, `##` inside of words; spaces are lost. eos is [SEP], there is no bos."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer = normalizers.BertNormalizer(handle_chinese_chars=True, lowercase=lower)
    vocabulary = {entry: n for n, entry in enumerate([*special, *_word_pieces(normalizer)][:size])}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return _save(
        tokenizer, folder, eos_token="[SEP]", unk_token="[UNK]", pad_token="[PAD]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", do_lower_case=lower,
    )  # fmt: skip


FAMILIES = {"byte": byte_level_bpe, "sentencepiece": sentencepiece_like, "wordpiece": wordpiece}
GPT2: dict[str, Any] = {"preset": "tiny", "n_layer": 2, "n_embd": 32, "n_head": 2}
LLAMA: dict[str, Any] = {
    "config": {
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256,
    }
}  # fmt: skip
"""Students of two kinds, as `model.student` has them: tied embeddings, and an output embedding of its own"""


def tiny_llama(
    folder: str | Path, tokenizer_folder: str | Path, width: int = 32, layers: int = 2, seed: int = 0, **config: Any
) -> Path:
    """A random Llama with untied embeddings (`tie_word_embeddings=True` to tie them), 4 heads, 2 of them for keys."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    values: dict[str, Any] = {
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, **_ids(tokenizer),
    }  # fmt: skip
    return _random_model(LlamaForCausalLM, LlamaConfig(**(values | config)), tokenizer, folder, seed)


def tiny_gpt2(
    folder: str | Path, tokenizer_folder: str | Path, width: int = 32, layers: int = 2, seed: int = 0, **config: Any
) -> Path:
    """A random GPT2 with 4 heads and context 512; its embeddings are tied."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    values: dict[str, Any] = {
        "n_embd": width, "n_layer": layers, "n_head": 4, "n_positions": 512, **_ids(tokenizer),
    }  # fmt: skip
    return _random_model(GPT2LMHeadModel, GPT2Config(**(values | config)), tokenizer, folder, seed)


def _ids(tokenizer: Any) -> dict[str, int | None]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _random_model(kind: Any, config: Any, tokenizer: Any, folder: str | Path, seed: int) -> Path:
    import torch
    from transformers import GenerationConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
        for parameter in model.parameters():  # livelier than the usual 0.02, so that predictions differ
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
            else:
                parameter.data += 0.05 * torch.randn_like(parameter)
    model.generation_config = GenerationConfig.from_model_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def _word_pieces(normalizer: Any) -> Iterator[str]:
    """Characters, `##` forms of the Latin ones, then whole words and word ends, the frequent first.

    The trainer of `tokenizers` gives another order every time, so the tiny vocabulary is counted here.
    """
    from tokenizers.pre_tokenizers import BertPreTokenizer

    words = Counter(
        word for line in sentences() for word, _ in BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(line))
    )
    characters = sorted({character for word in words for character in word})
    yield from characters
    yield from (f"##{character}" for character in characters if character.isascii() and character.isalnum())
    longer: Counter[str] = Counter()
    for word, count in words.items():
        if len(word) > 1:
            longer[word] += count
        for start in range(1, len(word) - 1):
            longer[f"##{word[start:]}"] += count
    yield from sorted(longer, key=lambda piece: (-longer[piece], piece))


def _vocabulary_and_merges(tokenizer: Any) -> tuple[list[str], list[tuple[str, str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    entries = sorted(model["vocab"], key=model["vocab"].get)
    return entries, [tuple(merge) for merge in model["merges"]]


def _save(tokenizer: Any, folder: str | Path, **special: Any) -> Path:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, model_max_length=512, **special
    )
    fast.save_pretrained(folder)
    config = Path(folder) / "tokenizer_config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that every version knows
    config.write_text(json.dumps(values, ensure_ascii=False, indent=2), encoding="utf-8")
    return Path(folder)


def dropping(folder: str | Path) -> Path:
    """SentencePiece's kind, loaded as one with bytes that it does not have: what has no piece leaves no trace."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    texts = [sentence.replace("\n", " ") + " 1. 2. 3." for sentence in sentences()]
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    learned, merges = _vocabulary_and_merges(learner)
    vocabulary = {piece: n for n, piece in enumerate(["<unk>", "<s>", "</s>", *learned])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace()
    return _save(tokenizer, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
