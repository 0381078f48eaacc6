"""Novelty decides as a full ROUGE-L scan does, ties included, over streams that look like generated tasks."""

from __future__ import annotations

import random
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from data_gen.curriculum.drawing import listed
from data_gen.known import Decisions, Known, questions
from data_gen.normal import characters, folded, normalised
from data_gen.novelty import Novelty, similarity
from data_gen.records import DataError

VERBS = """
写出 介绍 解释 比较 翻译 概括 列举 判断 计算 设计 分析 改写 描述 评价 推荐 整理
编写 说明 总结 讨论
"""
OBJECTS = """
一首关于{}的小诗 {}的主要优点和缺点 {}对环境的影响 {}的发展历史 如何正确使用{}
三种与{}有关的职业 关于{}的一段对话 {}和它的替代品 一份{}的购买清单 {}为什么重要
用Python处理{}数据的程序 {}的常见误区 孩子能听懂的{}原理 {}行业的未来
"""
THINGS = """
太阳能 茶叶 自行车 图书馆 人工智能 中医 地铁 小麦 咖啡 足球 博物馆 湿地 疫苗 手机
书法 火山 钢琴 二维码 电影 潮汐 邮票 丝绸 豆腐 风筝 胡同 熊猫 量子 雨林 陶瓷 剪纸
珊瑚 高铁 火锅 象棋 太极 节气 灯笼 沙漠 面包 蜜蜂
"""
EXTRAS = """
，不超过一百字 ，并举两个例子 ，语气要幽默 ，分三点回答 ，适合中学生阅读 ，用表格呈现
，最后给出建议 ， 。 ？
"""


def stream(count: int, seed: int = 0, near: float = 0.15) -> list[str]:
    """Candidates as a teacher writes them; one in seven is an earlier one with a few characters changed."""
    draw = random.Random(seed)
    made: list[str] = []
    for _ in range(count):
        if made and draw.random() < near:
            chars = list(draw.choice(made))
            for _ in range(draw.randint(0, max(1, len(chars) // 3))):
                at = draw.randrange(len(chars))
                chars[at : at + draw.randint(0, 2)] = draw.choice(
                    ["", chars[at], "的", chr(draw.randint(0x4E00, 0x6000))]
                )
                chars = chars or ["空"]
            made.append("".join(chars))
            continue
        text = draw.choice(listed(VERBS)) + draw.choice(listed(OBJECTS)).format(draw.choice(listed(THINGS)))
        if draw.random() < 0.8:
            tail = "".join(chr(draw.randint(0x4E00, 0x5800)) for _ in range(draw.randint(2, 24)))
            text += draw.choice(listed(EXTRAS)) + tail
        made.append(text)
    return made


class FullScan:
    """Every accepted text is compared, with rouge_score's expression for its F-measure."""

    def __init__(self, threshold: float = 0.7) -> None:
        self.threshold, self.lengths = threshold, np.zeros(0)
        self.texts: list[str] = []

    def nearest(self, said: str) -> tuple[int, float] | None:
        if not self.texts or not said:
            return None
        common = process.cdist([said], self.texts, scorer=LCSseq.similarity, dtype=np.int32)[0]
        precision, recall = common / len(said), common / self.lengths[: len(self.texts)]
        with np.errstate(invalid="ignore"):
            score = np.nan_to_num(2 * precision * recall / (precision + recall))
        best = int(score.argmax())
        return (best, float(score[best])) if score[best] >= self.threshold else None

    def add(self, said: str) -> None:
        if len(self.texts) == len(self.lengths):
            self.lengths = np.concatenate([self.lengths, np.ones(1024)])
        self.lengths[len(self.texts)] = len(said)
        self.texts.append(said)


def rouge_score(one: str, other: str) -> float:
    """rouge_score's `_score_lcs` and `fmeasure`, word for word, with characters as tokens."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one, 1):
        for j, b in enumerate(other, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    if not one or not other:
        return 0.0
    precision, recall = table[-1][-1] / len(other), table[-1][-1] / len(one)
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def scanned(said: list[str], accepted: list[str], before: list[int]) -> list[tuple[int, float]]:
    """What a full scan finds for each text among the first `before` accepted ones: the LCS of every pair, in blocks.

    Spared are pairs of which the shorter is so short that even all of it in common would not do. The float expression
    of rouge_score is computed where 2l / (n + m) >= 7/10 in whole numbers: below, it lies 1/2000 or more away.
    """
    found = [(-1, 0.0)] * len(said)
    n, m, limit = np.array(list(map(len, said))), np.array(list(map(len, accepted))), np.array(before)
    for chunk in np.array_split(np.arange(len(said)), 12):
        numbers = np.argsort(m[: limit[chunk].max()], kind="stable")  # of accepted texts, by their lengths
        for block in np.array_split(chunk[np.argsort(n[chunk])], 10):
            bounds = [7 * n[block].min() / 13, 13 * n[block].max() / 7 + 1]
            near = numbers[slice(*np.searchsorted(m[numbers], bounds))]
            texts = [accepted[number] for number in near]
            common = process.cdist([said[row] for row in block], texts, scorer=LCSseq.similarity, dtype=np.uint8)
            least = -(-7 * (n[block][:, None] + m[near]) // 20)  # (candidates, accepted)
            for i, j in np.argwhere((common >= least) & (near < limit[block][:, None])):
                row, number = int(block[i]), int(near[j])
                precision, recall = int(common[i, j]) / len(said[row]), int(common[i, j]) / len(accepted[number])
                score = 2 * precision * recall / (precision + recall)
                if score >= 0.7 and (-score, number) < (-found[row][1], found[row][0]):
                    found[row] = (number, score)
    return found


def test_twenty_thousand_candidates_are_decided_as_by_a_full_scan() -> None:
    """Every decision, its neighbour and its score; the scan comes afterwards, as many texts at once are quicker."""
    novelty = Novelty()
    decided: list[tuple[int, float]] = []
    before: list[int] = []
    texts = [said for said in map(characters, stream(20_000)) if said]
    start = time.process_time()
    for number, said in enumerate(texts):
        before.append(len(novelty))
        decided.append(novelty.find(said))
        if decided[-1][0] < 0:
            novelty.add_tokens(said, str(number))
    fast = time.process_time() - start
    accepted = [said for said, (found, _) in zip(texts, decided, strict=True) if found < 0]
    assert 10_000 < len(accepted) < 16_000
    assert max(map(len, texts)) < 200, "scores are a multiple of 1 / (n + m) apart"
    start = time.process_time()
    assert scanned(texts, accepted, before) == decided
    assert fast < (time.process_time() - start) / 2, "the index saves nothing"


def test_small_alphabets_are_decided_as_by_a_full_scan() -> None:
    """Many equal characters: occurrences and bounds matter most there."""
    draw = random.Random(3)
    for threshold in (0.5, 0.7, 0.85, 1.0):
        novelty, full = Novelty(threshold), FullScan(threshold)
        for _ in range(600):
            said = "".join(draw.choice("天地人和") for _ in range(draw.randint(1, 14)))
            found, score = novelty.find(said)
            assert full.nearest(said) == ((found, score) if found >= 0 else None)
            novelty.add_tokens(said)
            full.add(said)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("甲乙丙丁戊", max_size=12), max_size=12), st.text("甲乙丙丁戊", max_size=12))
def test_any_texts(texts: list[str], said: str) -> None:
    novelty = Novelty()
    for text in texts:
        novelty.add(text, text)
    scores = [rouge_score(text, said) for text in texts]
    best = max(scores, default=0.0)
    found = novelty.nearest(said)
    assert (found is None) == (best < 0.7)
    if found:
        assert (found.score, found.name) == (best, texts[scores.index(best)])


def test_ties_fall_as_the_floats_of_rouge_score_say() -> None:
    """2l / (n + m) is exactly 0.7 for these; some of them come out a hair below it as floats, and so are novel."""
    below = 0
    for n in range(7, 80):
        for m in range(-(-7 * n // 13), 13 * n // 7 + 1):
            if 7 * (n + m) % 20:
                continue
            common = 7 * (n + m) // 20
            if common > min(n, m):
                continue
            one = "同" * common + "".join(chr(0x4E00 + i) for i in range(n - common))
            other = "同" * common + "".join(chr(0x7000 + i) for i in range(m - common))
            precision, recall = common / n, common / m
            score = 2 * precision * recall / (precision + recall)
            below += score < 0.7
            novelty = Novelty()
            novelty.add(other)
            assert (novelty.nearest(one) is None) == (score < 0.7)
            assert similarity(one, other) == score
            assert Fraction(2 * common, n + m) == Fraction(7, 10)
    assert below == 9


def test_width_case_script_and_punctuation_make_no_new_task() -> None:
    novelty = Novelty()
    novelty.add("请把这段话翻译成英文，谢谢 Python！", "first")
    found = novelty.nearest("請把這段話翻譯成英文謝謝ＰＹＴＨＯＮ")
    assert found is not None
    assert (found.name, found.score) == ("first", 1.0)
    assert novelty.nearest("") is None
    assert novelty.nearest("，。！") is None
    assert (folded("頭髮發展"), normalised(" ＡＢ c。"), characters("a-b, 12。")) == ("头发发展", "abc", "ab12")


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_thresholds_that_are_none(threshold: float) -> None:
    with pytest.raises(DataError, match="must lie above 0"):
        Novelty(threshold)


def test_decisions_come_back_from_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, path = stream(300, seed=1), tmp_path / "out.novelty.jsonl"
    first = Decisions(0.7)
    made = [first.accept(text, str(n)) for n, text in enumerate(texts)]
    first.save(path)

    computed: list[str] = []
    find = Novelty.find

    def counting(self: Novelty, said: str) -> tuple[int, float]:
        computed.append(said)
        return find(self, said)

    monkeypatch.setattr(Novelty, "find", counting)
    again = Decisions(0.7)
    again.load(path)
    assert [again.accept(text, str(n)) for n, text in enumerate(texts)] == made
    assert computed == []
    more = stream(50, seed=2)
    follow = [again.accept(text, "new") for text in more]
    assert len(computed) == 50
    again.save(path)

    # Another order: from the first other text on, everything is computed, and comes out as without a file.
    shuffled = [*texts[:100], *reversed(texts[100:])]
    computed.clear()
    third, fresh = Decisions(0.7), Decisions(0.7)
    third.load(path)
    got = [third.accept(text, "") for text in shuffled]
    assert 190 <= len(computed) <= 200
    assert got == [fresh.accept(text, "") for text in shuffled]
    assert any(follow)


@pytest.mark.parametrize("content", [b"", b"{", b'{"novelty": "rouge-l of characters", "threshold": 0.7}\n[1]\n{"a"'])
def test_a_damaged_file_of_decisions_is_not_used(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.novelty.jsonl"
    path.write_bytes(content)
    decisions = Decisions(0.7)
    decisions.load(path)
    assert decisions.accept("介绍长城", "a") is None
    assert decisions.accept("介绍长城吧", "b") is not None


def test_another_threshold_uses_no_old_decision(tmp_path: Path) -> None:
    loose, path = Decisions(0.95), tmp_path / "x.novelty.jsonl"
    assert loose.accept("请介绍一下万里长城的历史", "a") is None
    assert loose.accept("请介绍一下万里长城的历程", "b") is None
    loose.save(path)
    strict = Decisions(0.7)
    strict.load(path)
    assert strict.accept("请介绍一下万里长城的历史", "a") is None
    assert strict.accept("请介绍一下万里长城的历程", "b") is not None


def test_existing_sets_of_many_forms(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,Question,A,B\n1,中国最早的诗歌总集是哪一部？,诗经,楚辞\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"instruction": "翻译", "input": "春眠不觉晓处处闻啼鸟", "output": ""}\n')
    (tmp_path / "c.json").write_text('[[["一段短文"], [{"question": "小猫去了哪里玩耍？", "choice": ["家"]}], "1"]]')
    (tmp_path / "d.txt").write_text("怎样养好一盆绿萝？\n")
    files = [str(tmp_path / name) for name in ("a.csv", "b.jsonl", "c.json", "d.txt")]
    known = Known(0.7, files)
    for asked, name in (
        ("中国最早的诗歌总集是哪部", "a.csv"),
        ("小猫去哪里玩耍了", "c.json"),
        ("怎样养好一盆绿萝呢", "d.txt"),
    ):
        found = known.nearest(asked)
        assert found is not None
        assert Path(found.name.rpartition(":")[0]).name == name
    found = known.nearest("把诗句译成英文", "春眠不觉晓，处处闻啼鸟。")
    assert found is not None
    assert found.name.endswith("b.jsonl:1")
    assert known.nearest("给孩子讲一个故事") is None
    assert list(known.fingerprints) == files
    assert [text for _, text in questions(tmp_path / "b.jsonl")] == ["翻译", "春眠不觉晓处处闻啼鸟"]


def test_a_set_without_questions_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"answer": "好"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl holds no field that says what is asked"):
        Known(0.7, [str(path)])
    with pytest.raises(DataError, match="no file"):
        Known(0.7, [str(tmp_path / "nowhere.jsonl")])
