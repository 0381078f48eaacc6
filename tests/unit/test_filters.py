"""Each filter on what it must stop and on what it must let through."""

from __future__ import annotations

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
        (record(output="我爱你，你爱我，" * 20), "repetition"),
    ],
)
def test_what_is_stopped(bad: Record, reason: str) -> None:
    filters = Filters()
    assert filters.check(bad) == reason
    assert dict(filters.rejected) == {reason: 1}


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
    ],
)
def test_settings_that_are_none(settings: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Filters(settings)


def test_filters_are_pure() -> None:
    before = GOOD.to_dict()
    for name, check in FILTERS.items():
        options: dict[str, set[str]] = {"seen": set()} if name == "duplicate" else {}
        assert check(GOOD, **options) == check(GOOD, **options)
    assert GOOD.to_dict() == before


def test_normalised() -> None:
    assert normalised(" ＡＢ c，\n吗？ ") == "abc,吗"
    assert task_digest(Record("a", "b")) != task_digest(Record("ab", ""))
