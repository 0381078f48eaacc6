"""Families about characters: count, reverse, point, find, replace, repeat, go on.

The content is the string together with what is asked of it.
"""

from random import Random

from data_gen.curriculum.drawing import Draw, chinese, phrasings, pick, say, shuffle, some, whole
from data_gen.curriculum.words import (
    ACTIONS,
    CITIES,
    COMMON,
    LATIN,
    PLACES,
    SHORT_WORDS,
    SURNAMES,
    TIMES,
    WORDS,
)

STEMS = tuple("甲乙丙丁戊己庚辛壬癸")

LENGTH = phrasings(
    "“{x}”有几个字？", "“{x}”一共几个字？", "数一数“{x}”的字数。", "下面的词有几个字？|{x}",
    "统计字数。|{x}", "数出有几个字。|{x}", "“{x}”由几个字组成？", "这段文字共有几个字？|{x}",
    "说出“{x}”的字数。",
)
OCCURRENCES = phrasings(
    "“{x}”里有几个“{c}”？", "“{c}”在“{x}”里出现几次？", "数一数“{x}”中的“{c}”。", "下面有几个“{c}”？|{x}",
    "统计“{c}”的个数。|{x}", "数出“{c}”出现的次数。|{x}", "“{x}”含有几个“{c}”？",
    "这里“{c}”一共出现几次？|{x}", "说出“{x}”里“{c}”的个数。",
)
REVERSE = phrasings(
    "把“{x}”倒过来写。", "“{x}”倒着念是什么？", "反转下面的文字。|{x}", "将文字倒序输出。|{x}",
    "从后往前写“{x}”。", "把这串字反过来。|{x}", "“{x}”反过来怎么写？", "倒着写出来。|{x}",
    "颠倒“{x}”的顺序。", "逆序写出下面的字。|{x}",
)
NTH = phrasings(
    "“{x}”的{n}个字是什么？", "“{x}”{n}个字是？", "写出“{x}”的{n}个字。", "下面{n}个字是什么？|{x}",
    "取出{n}个字。|{x}", "“{x}”中{n}个是哪个字？", "找到{n}个字。|{x}", "说出“{x}”里{n}个字。",
    "这串字的{n}个是什么？|{x}",
)
CONTAINS = phrasings(
    "“{x}”里有没有“{c}”？", "~“{x}”中有“{c}”吗？回答有或没有。", "看看句中有没有“{c}”。|{x}",
    "下面这句话有没有提到“{c}”？|{x}", "~回答有或没有：“{x}”里有“{c}”吗？", "检查有没有“{c}”。|{x}",
    "找一找有没有“{c}”这个词。|{x}", "“{x}”这句话有没有说“{c}”？", "说说“{x}”里有没有“{c}”。",
)
REPLACE = phrasings(
    "把“{x}”里的“{a}”换成“{b}”。", "将“{a}”替换成“{b}”。|{x}", "把“{a}”改成“{b}”。|{x}",
    "用“{b}”替换“{x}”中的“{a}”。", "“{x}”的“{a}”换成“{b}”是什么？", "把句中的“{a}”都换成“{b}”。|{x}",
    "改一改，“{a}”变“{b}”。|{x}", "“{a}”换“{b}”，怎么写？|{x}",
)
REPEAT = phrasings(
    "把“{x}”写{n}遍。", "将“{x}”连着写{n}遍。", "写{n}遍下面的词。|{x}", "连写{n}遍。|{x}",
    "连写{n}遍“{x}”。", "“{x}”连写{n}遍是什么？", "把它抄{n}遍。|{x}", "连续写{n}遍，不加标点。|{x}",
)
CONTINUE = phrasings(
    "{x}，下一个是什么？", "接着写下一个。|{x}", "找规律，写出下一个。|{x}", "{x}，后面是什么？",
    "{x}，接下来是？", "按规律往下写一个。|{x}", "按规律{x}后面是什么？", "补上下一个。|{x}",
    "观察规律，填下一个。|{x}", "下一个应该是什么？|{x}",
)


def count(rng: Random, difficulty: int) -> Draw:
    """How many characters, or how often one of them occurs."""
    if rng.random() < 0.5:
        text = _string(rng, whole(rng, *((2, 4), (3, 7), (5, 12))[difficulty - 1]), readable=0.6)
        return say(rng, LENGTH, f"length|{text}", str(len(text)), x=text)
    sought, *others = some(rng, COMMON, 3)
    times = whole(rng, 1, 2 + difficulty)
    rest = whole(rng, 1, 2 + difficulty)
    letters = [sought] * times + [pick(rng, others) for _ in range(rest)]
    shuffle(rng, letters)
    text = "".join(letters)
    return say(rng, OCCURRENCES, f"times|{text}|{sought}", str(times), x=text, c=sought)


def reverse(rng: Random, difficulty: int) -> Draw:
    """Strings back to front: 2-3, 3-4, then 5-6 characters."""
    text = _string(rng, whole(rng, *((2, 3), (3, 4), (5, 6))[difficulty - 1]), readable=0.4)
    return say(rng, REVERSE, text, text[::-1], x=text)


def nth(rng: Random, difficulty: int) -> Draw:
    """The n-th, the last or the last but one character of two to six."""
    text = _string(rng, whole(rng, *((2, 3), (3, 4), (4, 6))[difficulty - 1]), readable=0.5)
    place = whole(rng, 0, len(text) - 1)
    if rng.random() < 0.3:
        place = len(text) - 1
        name = "最后一"
    elif difficulty > 1 and rng.random() < 0.2:
        place = len(text) - 2
        name = "倒数第二"
    else:
        name = "第" + chinese(place + 1)
    return say(rng, NTH, f"{text}|{place}", text[place], x=text, n=name)


def contains(rng: Random, difficulty: int) -> Draw:
    """Whether a sentence of two to four parts has a word, which is one that could stand there."""
    parts = [pick(rng, TIMES), "小" + pick(rng, SURNAMES), pick(rng, PLACES), pick(rng, ACTIONS)]
    parts = parts[-1 - difficulty :]
    text = "".join(parts[:-2]) + "在" + "".join(parts[-2:])
    word = pick(rng, parts) if rng.random() < 0.5 else pick(rng, pick(rng, (TIMES, PLACES, ACTIONS)))
    return say(rng, CONTAINS, f"{text}|{word}", "有" if word in text else "没有", x=text, c=word)


def replace(rng: Random, difficulty: int) -> Draw:
    """One character of a word, then one word of two or three, swapped for another."""
    if difficulty == 1:
        text = pick(rng, SHORT_WORDS)
        old, new = pick(rng, text), pick(rng, COMMON)
    else:
        words = some(rng, SHORT_WORDS, difficulty)
        old, new = pick(rng, words), pick(rng, SHORT_WORDS)
        text = "".join(words)
    return say(rng, REPLACE, f"{text}|{old}|{new}", text.replace(old, new), x=text, a=old, b=new)


def repeat(rng: Random, difficulty: int) -> Draw:
    """A word written out several times."""
    text = pick(rng, SHORT_WORDS) if rng.random() < 0.5 else "".join(some(rng, COMMON, whole(rng, 1, 2)))
    times = whole(rng, 2, 2 + difficulty)
    return say(rng, REPEAT, f"{text}|{times}", text * times, x=text, n="两三四五"[times - 2])


def pattern(rng: Random, difficulty: int) -> Draw:
    """What comes next: a progression, a cycle of characters, the alphabet or the heavenly stems."""
    kind = rng.random()
    shown = 3 if difficulty == 1 else 4
    if kind < 0.45:
        step = whole(rng, 1, (3, 5, 10)[difficulty - 1])
        start = whole(rng, 1, (20, 40, 60)[difficulty - 1])
        if difficulty > 1 and rng.random() < 0.3:
            start, step = start + step * shown, -step
        row = [str(start + step * place) for place in range(shown + 1)]
    elif kind < 0.75:
        cycle = some(rng, COMMON, 2 if difficulty < 3 else 3)
        shown = whole(rng, len(cycle) * 2 - 1, len(cycle) * 2 + 1)
        row = [cycle[place % len(cycle)] for place in range(shown + 1)]
    else:
        # The alphabet and the stems are closed: where a window starts is nearly all there is to them.
        series = LATIN if rng.random() < 0.6 else STEMS
        start = whole(rng, 0, len(series) - 4)
        row = list(series[start : start + 4])
        return say(rng, CONTINUE, "".join(row), row[-1], fact=True, x="、".join(row[:-1]))
    return say(rng, CONTINUE, ",".join(row), row[-1], x="、".join(row[:-1]))


def _string(rng: Random, length: int, readable: float) -> str:
    """`length` characters: cut from words, from numbers and letters, or from nowhere."""
    kind = rng.random()
    if kind < readable:
        text = pick(rng, WORDS if length <= 3 else CITIES)
        while len(text) < length:
            text += pick(rng, SHORT_WORDS)
        return text[:length]
    if kind < readable + 0.15:
        return "".join(pick(rng, LATIN) for _ in range(length))
    return "".join(pick(rng, COMMON) for _ in range(length))
