"""Families of sums: the four operations a child starts with, in digits, in Chinese numerals and in stories.

Commutative operands are sorted before they enter the content, so that 3+5 and 5+3 fall into the same split.
The multiplication table is closed: a product nobody has shown cannot be worked out in one breath, so its
content names the phrasing.
"""

from random import Random

from data_gen.curriculum.drawing import Draw, chinese, phrasings, pick, say, whole
from data_gen.curriculum.words import GIVEN_NAMES, STORY_THINGS, SURNAMES

ADD = phrasings(
    "{a}+{b}等于多少？", "{a}加{b}等于几？", "计算{a}+{b}。", "算一算{a}加{b}。", "计算下面的算式。|{a}+{b}",
    "求出两个数的和。|{a}和{b}", "~{a}+{b}=？", "{a}与{b}的和是多少？", "把这两个数加起来。|{a}、{b}",
    "比{a}多{b}的数是几？", "写出算式的得数。|{a}+{b}=", "口算{a}+{b}。",
)
SUBTRACT = phrasings(
    "{a}-{b}等于多少？", "{a}减{b}等于几？", "计算{a}-{b}。", "算一算{a}减{b}。", "计算下面的算式。|{a}-{b}",
    "求出两个数的差。|{a}和{b}", "~{a}-{b}=？", "{a}减去{b}还剩多少？", "{a}与{b}的差是多少？",
    "比{a}少{b}的数是几？", "写出算式的得数。|{a}-{b}=", "口算{a}-{b}。",
)
ADD_CHINESE = phrasings(
    "{a}加{b}等于几？", "{a}加上{b}是多少？", "{a}与{b}的和是几？", "~用汉字回答：{a}加{b}等于几？",
    "算一算{a}加{b}。", "计算并用汉字作答。|{a}加{b}", "写出汉字得数。|{a}加{b}", "比{a}多{b}的数是什么？",
    "求和，用汉字写。|{a}、{b}", "口算{a}加{b}。",
)
SUBTRACT_CHINESE = phrasings(
    "{a}减{b}等于几？", "{a}减去{b}是多少？", "{a}与{b}的差是几？", "~用汉字回答：{a}减{b}等于几？",
    "算一算{a}减{b}。", "计算并用汉字作答。|{a}减{b}", "写出汉字得数。|{a}减{b}", "比{a}少{b}的数是什么？",
    "求差，用汉字写。|{a}、{b}", "口算{a}减{b}。",
)
MULTIPLY = phrasings(
    "{a}×{b}等于多少？", "{a}乘{b}等于几？", "计算{a}×{b}。", "算一算{a}乘以{b}。",
    "计算下面的乘法。|{a}×{b}", "求出两个数的积。|{a}和{b}", "~{a}×{b}=？", "{a}与{b}的积是多少？",
    "{b}个{a}一共是多少？", "写出乘法的得数。|{a}×{b}=", "口算{a}乘{b}。", "{a}的{b}倍是多少？",
)
STORY_ADD = phrasings(
    "{who}有{a}{m}{x}，又买了{b}{m}，现在有几{m}？", "{who}有{a}{m}{x}，妈妈又给了{b}{m}，一共有几{m}？",
    "桌上有{a}{m}{x}，{who}又放了{b}{m}，共有几{m}？",
    "回答应用题。|{who}有{a}{m}{x}，又得到{b}{m}，共有几{m}？",
    "{who}昨天买{a}{m}{x}，今天买{b}{m}，一共买了几{m}？", "{x}有{a}{m}，{who}再拿来{b}{m}，总共几{m}？",
    "算一算总数。|{who}有{a}{m}{x}，哥哥有{b}{m}",
    "算出答案。|原来有{a}{m}{x}，{who}加了{b}{m}，现在几{m}？",
)
STORY_TAKE = phrasings(
    "{who}有{a}{m}{x}，送人{b}{m}，还剩几{m}？", "{who}有{a}{m}{x}，用掉{b}{m}，还有几{m}？",
    "桌上有{a}{m}{x}，{who}拿走{b}{m}，剩下几{m}？",
    "回答应用题。|{who}有{a}{m}{x}，丢了{b}{m}，还剩几{m}？",
    "{who}买了{a}{m}{x}，给弟弟{b}{m}，自己还有几{m}？", "{x}有{a}{m}，{who}卖掉{b}{m}，剩几{m}？",
    "算一算剩下多少。|{who}有{a}{m}{x}，少了{b}{m}",
    "算出答案。|原来有{a}{m}{x}，{who}取走{b}{m}，还剩几{m}？",
)


def add(rng: Random, difficulty: int) -> Draw:
    """Sums: up to 20, up to 100, then two digits each."""
    a, b = _addends(rng, difficulty)
    return say(rng, ADD, f"{min(a, b)}+{max(a, b)}", str(a + b), a=a, b=b)


def subtract(rng: Random, difficulty: int) -> Draw:
    """Differences that are never negative, inverse to `add`."""
    a, b = _addends(rng, difficulty)
    return say(rng, SUBTRACT, f"{a + b}-{b}", str(a), a=a + b, b=b)


def chinese_sum(rng: Random, difficulty: int) -> Draw:
    """Sums and differences in Chinese numerals, up to 十, 二十 and 九十九."""
    total = whole(rng, 2, (10, 20, 99)[difficulty - 1])
    a = whole(rng, 1, total - 1)
    b = total - a
    if rng.random() < 0.5:
        return say(rng, ADD_CHINESE, f"{min(a, b)}+{max(a, b)}", chinese(total), a=chinese(a), b=chinese(b))
    return say(rng, SUBTRACT_CHINESE, f"{total}-{b}", chinese(a), a=chinese(total), b=chinese(b))


def multiply(rng: Random, difficulty: int) -> Draw:
    """The small table, then the whole table, then a digit times 10..19; closed."""
    a = whole(rng, 1, 5) if difficulty == 1 else whole(rng, 2, 9)
    b = whole(rng, 10, 19) if difficulty == 3 else whole(rng, 1, 9)
    if rng.random() < 0.5:
        a, b = b, a
    return say(rng, MULTIPLY, f"{a}×{b}", str(a * b), fact=True, a=a, b=b)


def story(rng: Random, difficulty: int) -> Draw:
    """One-step word problems; who and what are decoration, so only the operands are content."""
    total = whole(rng, 3, (10, 20, 60)[difficulty - 1])
    a = whole(rng, 1, total - 1)
    b = total - a
    thing, measure = pick(rng, STORY_THINGS)
    who = "小" + pick(rng, GIVEN_NAMES) if rng.random() < 0.7 else pick(rng, SURNAMES) + "老师"
    if rng.random() < 0.5:
        content = f"{min(a, b)}+{max(a, b)}"
        return say(rng, STORY_ADD, content, str(total), a=a, b=b, who=who, x=thing, m=measure)
    return say(rng, STORY_TAKE, f"{total}-{b}", str(a), a=total, b=b, who=who, x=thing, m=measure)


def _addends(rng: Random, difficulty: int) -> tuple[int, int]:
    if difficulty == 3:
        return whole(rng, 10, 99), whole(rng, 10, 99)
    total = whole(rng, 2, 20) if difficulty == 1 else whole(rng, 11, 100)
    a = whole(rng, 1, total - 1)
    return a, total - a
