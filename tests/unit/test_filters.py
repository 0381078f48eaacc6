"""Each filter on what it must stop and on what it must let through."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_gen.filters import FILTERS, Filters, normalised, task_digest
from data_gen.records import DataError, Record

GOOD = Record("介绍一下长城。", output="长城是中国古代的防御工程，东起山海关，西到嘉峪关，历代都有修筑。")


def record(instruction: str = GOOD.instruction, output: str = GOOD.output, given: str = "", **meta: object) -> Record:
    return Record(instruction, given, output, meta=dict(meta))


def test_a_good_record_passes_all() -> None:
    filters = Filters()
    assert filters.check(GOOD) == ""
    assert filters.rejected.total() == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record(output="  \n"), "empty"),
        (record(instruction=" "), "empty"),
        (record(finish_reason="length"), "truncated"),
        (record(instruction="啊"), "instruction too short"),
        (record(instruction="长" * 4001), "instruction too long"),
        (record(output="".join(chr(0x4E00 + n % 9000) for n in range(8001))), "output too long"),
        (record("Describe the wall", "It is long, old and made of stone and brick."), "not Chinese"),
        (record(output="作为一个AI语言模型，我没有个人情感。"), "refusal"),
        (record(output="身为人工智能，我不会吃饭。"), "refusal"),
        (record(output="抱歉，我无法回答这个问题。"), "refusal"),
        (record(output="對不起，我無法提供這方面的協助。"), "refusal"),
        (record(output="作為一個人工智慧，我沒有看法。"), "refusal"),
        (record(output="很遗憾，我不能访问互联网。"), "refusal"),
        (record("看图回答：图中有几只猫？", "两只。"), "media"),
        (record("根据下面这张图片写一段话。"), "media"),
        (record("請描述這張照片。"), "media"),
        (record("观看视频并总结内容。"), "media"),
        (record("听完这段录音后回答问题。"), "media"),
        (record("圖中有幾隻貓？"), "media"),
        (record(output="我是由OpenAI训练的。"), "refusal"),
        (record(failed="evolution changed nothing"), "evolution changed nothing"),
        (record(output="我爱你，你爱我，" * 20), "repetition"),
    ],
)
def test_what_is_stopped(bad: Record, reason: str) -> None:
    filters = Filters()
    assert filters.check(bad) == reason
    assert dict(filters.rejected) == {reason: 1}


LOOP = "春天来了春天来了" * 30


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (["今天天气怎样？", "作为一个AI语言模型，我无法获取实时天气信息。"], "refusal"),
        (["今天天氣怎樣？", "作為一個AI語言模型，我無法獲取實時天氣資訊。"], "refusal"),
        (["请看这张照片，里面有谁？", "照片里有三个人。"], "media"),
        (["How are you today, my friend?", "I am doing very well, thank you so much for asking."], "not Chinese"),
        (["说说春天", LOOP], "repetition"),
        (["说说春天", "春" * 8001], "output too long"),
        (["介绍一下《茉莉花》", "它是一首江南民歌，流传很广。"], ""),
    ],
)
def test_all_turns_of_a_conversation_that_was_written_are_read(first: list[str], reason: str) -> None:
    last = ("这首歌适合初学者唱吗？", "适合。")
    assert Filters().check(Record(last[0], output=last[1], history=[first], meta={"turns": 2})) == reason


def test_turns_that_were_there_are_not_judged() -> None:
    history = [["今天天气怎样？", "作为一个AI语言模型，我无法获取实时天气信息。"]]
    assert Filters().check(Record("那怎样看预报？", output="可以看气象台的公告。", history=history)) == ""


@pytest.mark.parametrize(
    "fine",
    [
        record("写一段视频脚本，介绍家乡的小吃。"),
        record("怎样拍出好看的照片？"),
        record("写一封道歉信。", "尊敬的李老师：非常抱歉昨天没有按时交作业，以后我一定注意。"),
        record("解释“作为一个AI，我无法回答”是什么意思。", "“作为一个AI，我无法回答”是聊天程序拒绝时的套话。"),
        record("3加5等于几？", "8"),
        record("把“慢慢来”翻译成英文。", "Take your time."),
        record(output="好的。" * 10),
        record("用Python打印你好。", "print('你好')"),
        record("数据可视化常用哪些图表类型？", "柱状图、折线图、饼图和散点图。"),
        record("怎样在条形图中表示这组数据？", "以横轴为类别，竖轴为数量，各画一根条。"),
    ],
)
def test_what_passes(fine: Record) -> None:
    assert Filters().check(fine) == ""


def test_duplicates_by_normalised_task() -> None:
    filters = Filters({"novelty": False})
    assert filters.check(record("介绍一下 Python。")) == ""
    assert filters.check(record("介绍一下ｐｙｔｈｏｎ", "另一个回答，说的是编程语言。")) == "duplicate"
    assert filters.check(record("介绍一下 Python。", given="面向孩子")) == ""
    assert filters.check(record("计算1+1的值。", "等于二。")) == ""
    assert filters.check(record("计算1-1的值。", "等于零。")) == ""


def test_a_rejected_row_blocks_no_later_one() -> None:
    filters = Filters()
    assert filters.check(record(output="抱歉，我无法回答。")) == "refusal"
    assert filters.check(record()) == ""


def test_thresholds_and_switches() -> None:
    filters = Filters({"length": {"max_output": 5}, "duplicate": False, "novelty": False})
    assert filters.check(GOOD) == "output too long"
    assert filters.check(record(output="好的。")) == ""
    assert filters.check(record(output="好的。")) == ""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lenght": False}, "did you mean 'length'"),
        ({"length": {"max_ouput": 3}}, "did you mean 'max_output'"),
        ({"length": {"max_output": "long"}}, "must be a number"),
        ({"length": 3}, "takes its thresholds"),
        ({"novelty": {"threshhold": 0.5}}, "did you mean 'threshold'"),
        ({"novelty": {"threshold": 1.5}}, r"must be a number in \(0, 1\]"),
        ({"novelty": {"threshold": True}}, r"must be a number in \(0, 1\]"),
        ({"novelty": {"with_input": 1}}, "is true or false"),
        ({"novelty": 0.5}, "takes its thresholds"),
        ({"against": {"threshold": 0.5}}, "needs files to compare with"),
        ({"against": ["nowhere.jsonl"]}, r"no file nowhere\.jsonl"),
    ],
)
def test_settings_that_are_none(settings: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Filters(settings)


def test_novelty_looks_at_what_is_asked_first() -> None:
    filters = Filters()
    assert filters.check(record("介绍一下万里长城的历史。")) == ""
    near = record("介绍一下万里长城的由来。", "另一个回答。")
    assert filters.check(near) == "not novel"
    assert near.meta["neighbour"] == {
        "id": record("介绍一下万里长城的历史。").id,
        "text": "介绍一下万里长城的历史",
        "rouge_l": 0.8182,
    }
    talk = Record("谢谢", "", "不客气。", history=[["怎样养好一盆绿萝？", "少浇水。"]])
    other = Record("谢谢", "", "不用谢。", history=[["高铁为什么要换轨道？", "为了维修。"]])
    again = Record("好的", "", "祝顺利。", history=[["怎样养好这盆绿萝？", "多通风。"]])
    assert [filters.check(row) for row in (talk, other, again)] == ["", "", "not novel"]


def test_inputs_may_count_for_novelty() -> None:
    rows = [record("翻译成英文。", "Good morning.", "早上好"), record("翻译成英文。", "See you tomorrow.", "明天见")]
    assert [Filters({"chinese_share": False}).check(row) for row in rows[:1]] == [""]
    for settings, last in (({"with_input": True}, ""), ({}, "not novel")):
        filters = Filters({"novelty": settings, "chinese_share": False})
        assert [filters.check(row) for row in rows] == ["", last]


def test_strategies_bring_defaults_and_settings_win() -> None:
    defaults = {"answer": {"novelty": False, "media": False}, "magpie": {}}
    photo = {"instruction": "描述这张照片。", "output": "照片里有一只猫。"}
    for settings, expected in (
        ({}, ["", "media"]),
        ({"media": True}, ["media", "media"]),
        ({"media": False}, ["", ""]),
    ):
        filters = Filters(settings, defaults)
        rows = [record(**photo, strategy="answer"), record(**photo, given="一", strategy="magpie")]
        assert [filters.check(row) for row in rows] == expected
    filters = Filters({}, defaults)
    near = [record("介绍一下万里长城的历史。", strategy=name) for name in ("answer", "magpie", "magpie")]
    for row, text in zip(near, ("甲", "乙", "丙"), strict=True):
        row.instruction = f"介绍一下万里长城的历史{text}"
    assert [filters.check(row) for row in near] == ["", "", "not novel"]
    with pytest.raises(DataError, match="unknown filter 'novlety'"):
        Filters({}, {"mine": {"novlety": False}})


def test_rows_too_near_to_an_evaluation_file(tmp_path: Path) -> None:
    path = tmp_path / "eval.csv"
    path.write_text("Question,Answer\n中国最早的诗歌总集是哪一部？,诗经\n", encoding="utf-8")
    filters = Filters({"against": [str(path)], "novelty": False})
    seen = record("中国最早的诗歌总集是哪部？", "《诗经》。")
    assert filters.check(seen) == "near eval.csv"
    assert seen.meta["neighbour"]["in"] == f"{path}:2"
    assert filters.check(record("回答问题。", "《诗经》。", "中國最早的詩歌總集是哪一部？")) == "near eval.csv"
    assert filters.check(record("介绍《诗经》的风格。")) == ""
    fingerprint = filters.settings["against"]["files"]
    assert list(fingerprint) == [str(path)]
    path.write_text("Question,Answer\n别的问题是什么？,诗经\n", encoding="utf-8")
    changed = Filters({"against": [str(path)]}).settings["against"]["files"]
    assert changed != fingerprint, "a changed file is another setting"


def test_decisions_on_novelty_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "out.novelty.jsonl"
    texts = ["介绍一下长城的历史。", "介绍一下长城的来历。", "写一首诗。"]
    for _ in range(2):
        filters = Filters()
        with filters.remembering(path):
            assert [filters.check(record(text)) for text in texts] == ["", "not novel", ""]
        assert len(path.read_text(encoding="utf-8").splitlines()) == 4
    off = Filters({"novelty": False})
    with off.remembering(tmp_path / "other.jsonl"):
        assert off.check(record()) == ""
    assert not (tmp_path / "other.jsonl").exists()


def test_filters_are_pure() -> None:
    before = GOOD.to_dict()
    for name, check in FILTERS.items():
        options: dict[str, set[str]] = {"seen": set()} if name == "duplicate" else {}
        assert check(GOOD, **options) == check(GOOD, **options)
    assert GOOD.to_dict() == before


def test_normalised() -> None:
    assert normalised(" ＡＢ c，\n吗？ ") == "abc,吗"
    assert task_digest(Record("a", "b")) != task_digest(Record("ab", ""))
