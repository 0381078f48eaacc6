"""The curriculum's answers are right, each question has one, and its tables leave no doubt."""

import re
from collections import Counter
from itertools import combinations

from data_gen.curriculum import Item
from data_gen.curriculum.dates import MONTH_DAYS, UNITS, WEEKDAYS
from data_gen.curriculum.drawing import FORMAL, chinese
from data_gen.curriculum.facts import NOUNS
from data_gen.curriculum.script_pairs import PAIRS, TRADITIONAL
from data_gen.curriculum.script_pairs import WORDS as SCRIPT_WORDS
from data_gen.curriculum.tables import ANTONYMS, CAPITALS, MEASURED, MEASURES, PROVINCES, ZODIAC
from data_gen.curriculum.words import CLASSES, DISLIKED, LIKED, STORY_THINGS, WORDS
from tests import drawn_items
from tests.drawn_items import READ, question

train = drawn_items.train
heldout = drawn_items.heldout
by_family = drawn_items.by_family

NUMBERS = re.compile(r"\d+")


def test_a_question_has_one_answer(train: list[Item], heldout: list[Item]) -> None:
    answers: dict[str, str] = {}
    for item in train + heldout:
        assert answers.setdefault(question(item), item.output) == item.output, item


def test_sums_are_right(by_family: dict[str, list[Item]]) -> None:
    for family, result in (
        ("addition", lambda a, b: a + b),
        ("subtraction", lambda a, b: a - b),
        ("multiplication", lambda a, b: a * b),
    ):
        for item in by_family[family]:
            a, b = map(int, NUMBERS.findall(question(item)))
            # "比5少3" counts from the first number as "5减3" does.
            assert result(a, b) == int(item.output), item


def test_chinese_sums_are_right(by_family: dict[str, list[Item]]) -> None:
    for item in by_family["chinese_sum"]:
        text = re.sub("算一算|问一下", "", question(item))
        a, b = (READ[numeral] for numeral in re.findall("[一二三四五六七八九十]+", text))
        difference = re.search("减|差|比.+少", question(item))
        assert READ[item.output] == (a - b if difference else a + b), item


def test_stories_are_right(by_family: dict[str, list[Item]]) -> None:
    for item in by_family["word_problem"]:
        a, b = map(int, NUMBERS.findall(question(item)))
        taken = re.search("送人|用掉|拿走|丢了|给弟弟|卖掉|少了|取走", question(item))
        assert int(item.output) == (a - b if taken else a + b), item


def test_numbers_are_ordered(by_family: dict[str, list[Item]]) -> None:
    for item in by_family["sorting"]:
        falling = re.search("从大到小|由大到小|降序|大的在前", question(item))
        numbers = sorted(map(int, NUMBERS.findall(question(item))), reverse=bool(falling))
        assert item.output == "、".join(map(str, numbers)), item
    for item in by_family["extreme"]:
        numbers = list(map(int, NUMBERS.findall(question(item))))
        assert int(item.output) == (min(numbers) if "小" in question(item) else max(numbers)), item
    for item in by_family["comparison"]:
        a, b = map(int, NUMBERS.findall(item.key))
        answer = READ[item.output] if item.output in READ else int(item.output)
        smaller = "小" in question(item).replace("大小", "")
        assert answer == (min(a, b) if smaller else max(a, b)), item


def test_numerals() -> None:
    samples = {0: "零", 10: "十", 11: "十一", 20: "二十", 99: "九十九", 100: "一百", 101: "一百零一"}
    samples |= {110: "一百一十", 215: "二百一十五", 300: "三百", 999: "九百九十九"}
    assert {number: chinese(number) for number in samples} == samples
    assert len(READ) == 1000
    formal = {7: "柒", 10: "壹拾", 12: "壹拾贰", 30: "叁拾"}
    assert {number: chinese(number, FORMAL, "拾", "佰") for number in formal} == formal


def test_strings_are_right(by_family: dict[str, list[Item]]) -> None:
    for item in by_family["reversing"]:
        assert item.output[::-1] in question(item)
        assert 2 <= len(item.output) <= 6
    for item in by_family["nth_character"]:
        text = item.key.split("|")[1]
        if "最后" in question(item):
            assert item.output == text[-1]
        elif "倒数" in question(item):
            assert item.output == text[-2]
        else:
            place = re.search("第([一二三四五六])", question(item).replace(f"“{text}”", ""))
            assert place
            assert item.output == text[READ[place[1]] - 1]
    for item in by_family["counting"]:
        _, kind, *rest = item.key.split("|")
        assert int(item.output) == (len(rest[0]) if kind == "length" else rest[0].count(rest[1])) <= 12
    for item in by_family["containment"]:
        text, word = item.key.split("|")[1:]
        assert text in question(item)
        assert item.output == ("有" if text.find(word) >= 0 else "没有")
    for item in by_family["repeating"]:
        text, times = item.key.split("|")[1:]
        assert item.output == "".join([text] * int(times))
    for family in ("containment", "parity", "sentiment"):
        shares = Counter(item.output for item in by_family[family]).values()
        assert len(shares) == 2
        assert min(shares) > 0.35 * sum(shares)


def test_dates_are_right(by_family: dict[str, list[Item]]) -> None:
    assert sum(MONTH_DAYS) == 365
    for item in by_family["weekday"]:
        today, sign, days = re.findall(r"^weekday\|(\d)([+-])(\d+)\|", item.key)[0]
        assert f"星期{WEEKDAYS[int(today)]}" in question(item)
        step = int(days) if sign == "+" else -int(days)
        assert item.output == "星期" + "一二三四五六日"[(int(today) + step) % 7]
    for item in by_family["clock"]:
        assert item.output in item.key
        hours, minutes = re.findall(r"^(\d+)点(?:(\d+)分)?$", item.output)[0]
        assert 1 <= int(hours) <= 12
        assert 0 <= int(minutes or 0) < 60
    for large, small, factor, level in UNITS:
        assert large != small
        assert factor > 1
        assert level in (1, 2, 3)
    assert len({(large, small) for large, small, *_ in UNITS}) == len(UNITS)


def test_extracted_fields_stand_in_the_sentence(by_family: dict[str, list[Item]]) -> None:
    assert all(item.output in question(item) for item in by_family["extraction"])
    assert all(item.output in question(item) for item in by_family["odd_one_out"])


def test_antonyms_have_one_answer() -> None:
    words = [word for pair in ANTONYMS for word in pair]
    assert len(ANTONYMS) >= 120
    assert [word for word, count in Counter(words).items() if count > 1] == []
    assert all(len(first) == len(second) for first, second in ANTONYMS)


def test_measure_words_have_one_answer() -> None:
    listed = [noun for nouns in MEASURED.values() for noun in nouns]
    assert len(NOUNS) >= 100
    assert [noun for noun, count in Counter(listed).items() if count > 1] == []
    assert all(measure == MEASURES.get(thing, measure) for thing, measure in STORY_THINGS)


def test_capitals_have_one_answer() -> None:
    assert len(CAPITALS) >= 60
    assert len(PROVINCES) == 27
    for table in (CAPITALS, PROVINCES):
        assert len({place for place, _ in table}) == len({city for _, city in table}) == len(table)
    assert len(set(ZODIAC)) == 12


def test_classes_are_apart() -> None:
    assert len(CLASSES) >= 8
    assert all(len(set(words)) == len(words) >= 15 for words in CLASSES.values())
    assert all(not set(one) & set(other) for one, other in combinations(CLASSES.values(), 2))
    assert not set(CLASSES) & set(WORDS)
    assert not set(LIKED) & set(DISLIKED)


def test_scripts_are_one_to_one() -> None:
    assert len(PAIRS) == len(TRADITIONAL) == len(set(TRADITIONAL.values())) >= 250
    assert all(len(pair) == 2 and pair[0] != pair[1] for pair in PAIRS)
    # A form that is simplified here and traditional there could not be told which way to go.
    assert not set(TRADITIONAL) & set(TRADITIONAL.values())
    assert len(set(SCRIPT_WORDS)) == len(SCRIPT_WORDS) >= 150
    for word in SCRIPT_WORDS:
        assert set(word) & set(TRADITIONAL), word
        assert not set(word) & set("后发里干面系云只台历复汇尽获脏团须当钟松谷板斗"), word
