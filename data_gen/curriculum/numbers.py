"""Families about numbers: sums, comparisons, order, numerals.

Commutative operands are sorted before they enter the content, so that 3+5 and 5+3 fall into the same split.
The multiplication table is closed: a product nobody has shown cannot be worked out in one breath, so its content
names the phrasing.
"""

from random import Random

from data_gen.curriculum.drawing import (
    FORMAL,
    Draw,
    chinese,
    phrasings,
    pick,
    say,
    shuffle,
    some_numbers,
    whole,
)
from data_gen.curriculum.words import GIVEN_NAMES, STORY_THINGS, SURNAMES

LIST_MARK = "、"

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
    "{a}×{b}等于多少？", "{a}乘{b}等于几？", "计算{a}×{b}。", "算一算{a}乘以{b}。", "计算下面的乘法。|{a}×{b}",
    "求出两个数的积。|{a}和{b}", "~{a}×{b}=？", "{a}与{b}的积是多少？", "{b}个{a}一共是多少？",
    "写出乘法的得数。|{a}×{b}=", "口算{a}乘{b}。", "{a}的{b}倍是多少？",
)
STORY_ADD = phrasings(
    "{who}有{a}{m}{x}，又买了{b}{m}，现在有几{m}？", "{who}有{a}{m}{x}，妈妈又给了{b}{m}，一共有几{m}？",
    "桌上有{a}{m}{x}，{who}又放了{b}{m}，共有几{m}？", "回答应用题。|{who}有{a}{m}{x}，又得到{b}{m}，共有几{m}？",
    "{who}昨天买{a}{m}{x}，今天买{b}{m}，一共买了几{m}？", "{x}有{a}{m}，{who}再拿来{b}{m}，总共几{m}？",
    "算一算总数。|{who}有{a}{m}{x}，哥哥有{b}{m}", "算出答案。|原来有{a}{m}{x}，{who}加了{b}{m}，现在几{m}？",
)
STORY_TAKE = phrasings(
    "{who}有{a}{m}{x}，送人{b}{m}，还剩几{m}？", "{who}有{a}{m}{x}，用掉{b}{m}，还有几{m}？",
    "桌上有{a}{m}{x}，{who}拿走{b}{m}，剩下几{m}？", "回答应用题。|{who}有{a}{m}{x}，丢了{b}{m}，还剩几{m}？",
    "{who}买了{a}{m}{x}，给弟弟{b}{m}，自己还有几{m}？", "{x}有{a}{m}，{who}卖掉{b}{m}，剩几{m}？",
    "算一算剩下多少。|{who}有{a}{m}{x}，少了{b}{m}", "算出答案。|原来有{a}{m}{x}，{who}取走{b}{m}，还剩几{m}？",
)
LARGER = phrasings(
    "{a}和{b}哪个大？", "{a}与{b}，哪个数更大？", "比一比{a}和{b}，写出大的数。", "找出较大的数。|{a}和{b}",
    "在{a}和{b}中选出大的那个。", "比较大小，答较大的数。|{a}、{b}", "{a}和{b}里谁大？", "{a}、{b}两个数中，大的是几？",
    "选出更大的数。|{a}，{b}", "写出两个数中大的一个。|{a}和{b}",
)
SMALLER = phrasings(
    "{a}和{b}哪个小？", "{a}与{b}，哪个数更小？", "比一比{a}和{b}，写出小的数。", "找出较小的数。|{a}和{b}",
    "在{a}和{b}中选出小的那个。", "比较大小，答较小的数。|{a}、{b}", "{a}和{b}里谁小？", "{a}、{b}两个数中，小的是几？",
    "选出更小的数。|{a}，{b}", "写出两个数中小的一个。|{a}和{b}",
)
ASCENDING = phrasings(
    "把下面的数从小到大排列。|{x}", "把{x}从小到大排序。", "将这些数按升序排列。|{x}", "{x}从小到大怎么排？",
    "从小到大写出这些数。|{x}", "按从小到大的顺序排一排。|{x}", "给数字排队，小的在前。|{x}", "升序排列{x}。",
    "整理这些数，由小到大。|{x}",
)
DESCENDING = phrasings(
    "把下面的数从大到小排列。|{x}", "把{x}从大到小排序。", "将这些数按降序排列。|{x}", "{x}从大到小怎么排？",
    "从大到小写出这些数。|{x}", "按从大到小的顺序排一排。|{x}", "给数字排队，大的在前。|{x}", "降序排列{x}。",
    "整理这些数，由大到小。|{x}",
)
LARGEST = phrasings(
    "{x}中最大的数是几？", "找出最大的数。|{x}", "下面哪个数最大？|{x}", "{x}里面谁最大？", "写出最大数。|{x}",
    "从{x}里选出最大的。", "这些数的最大值是多少？|{x}", "挑出最大的一个数。|{x}", "{x}，哪个最大？",
)
SMALLEST = phrasings(
    "{x}中最小的数是几？", "找出最小的数。|{x}", "下面哪个数最小？|{x}", "{x}里面谁最小？", "写出最小数。|{x}",
    "从{x}里选出最小的。", "这些数的最小值是多少？|{x}", "挑出最小的一个数。|{x}", "{x}，哪个最小？",
)
TO_CHINESE = phrasings(
    "把{x}写成汉字。", "{x}用汉字怎么写？", "把下面的数写成中文数字。|{x}", "将数字转成汉字。|{x}", "{x}的中文写法是什么？",
    "用中文数字表示{x}。", "写出这个数的汉字。|{x}", "数字{x}读作什么？", "读出这个数。|{x}",
)
TO_DIGITS = phrasings(
    "把{x}写成阿拉伯数字。", "{x}用数字怎么写？", "把下面的中文数字写成数字。|{x}", "将汉字转成阿拉伯数字。|{x}",
    "{x}是数字几？", "用阿拉伯数字表示{x}。", "写出对应的数字。|{x}", "{x}写作多少？", "转成数字形式。|{x}",
)
TO_FORMAL = phrasings(
    "把{x}写成大写数字。", "{x}的大写是什么？", "写出数字的中文大写。|{x}", "将数字转成大写汉字。|{x}", "{x}用大写怎么写？",
    "用大写数字表示{x}。", "填支票时{x}怎么写？", "写成财务大写。|{x}", "{x}的财务大写是什么？",
)
FROM_FORMAL = phrasings(
    "大写{x}是数字几？", "把大写{x}写成数字。", "大写数字{x}等于多少？", "将大写转成阿拉伯数字。|{x}", "写出大写对应的数字。|{x}",
    "支票上的{x}是多少？", "把财务大写转成数字。|{x}", "用阿拉伯数字写大写的{x}。", "读出大写数字，用数字答。|{x}",
)
NEXT = phrasings(
    "{x}的下一个数是几？", "{x}后面的数是多少？", "紧跟在{x}后面的数是几？", "写出下一个整数。|{x}", "比{x}大1的数是几？",
    "数到{x}，接下来是几？", "写出{x}的后一个数。", "接着往下数一个。|{x}", "{x}之后是几？",
)
PREVIOUS = phrasings(
    "{x}的上一个数是几？", "{x}前面的数是多少？", "紧挨在{x}前面的数是几？", "写出上一个整数。|{x}", "比{x}小1的数是几？",
    "倒着数到{x}，接下来是几？", "写出{x}的前一个数。", "往回数一个。|{x}", "{x}之前是几？",
)
PARITY = phrasings(
    "{x}是奇数还是偶数？", "判断{x}是奇数还是偶数。", "判断奇偶。|{x}", "数字{x}是奇数还是偶数？", "{x}属于奇数还是偶数？",
    "回答奇数或偶数。|{x}", "说出这个数是奇数还是偶数。|{x}", "{x}这个数，奇数还是偶数？", "判断下面的数的奇偶性。|{x}",
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
    """The small table, then the whole table, then a digit times 10..19. Closed: see the module's docstring."""
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
        return say(rng, STORY_ADD, f"{min(a, b)}+{max(a, b)}", str(total), a=a, b=b, who=who, x=thing, m=measure)
    return say(rng, STORY_TAKE, f"{total}-{b}", str(a), a=total, b=b, who=who, x=thing, m=measure)


def compare(rng: Random, difficulty: int) -> Draw:
    """The larger or smaller of two numbers, in digits or in Chinese numerals."""
    a, b = some_numbers(rng, 0, (20, 99, 999)[difficulty - 1], 2)
    larger = rng.random() < 0.5
    answer = max(a, b) if larger else min(a, b)
    write = chinese if difficulty < 3 and rng.random() < 0.4 else str
    content = f"{min(a, b)}<{max(a, b)}"
    return say(rng, LARGER if larger else SMALLER, content, write(answer), a=write(a), b=write(b))


def sort(rng: Random, difficulty: int) -> Draw:
    """Three to five numbers in order; all orders and directions of one set share a split."""
    high, count = pick(rng, (((20, 3),), ((99, 3), (20, 4)), ((99, 4), (9, 5)))[difficulty - 1])
    numbers = some_numbers(rng, 1, high, count)
    rising = rng.random() < 0.5
    ordered = sorted(numbers)
    content = ",".join(map(str, ordered))
    output = LIST_MARK.join(map(str, ordered if rising else ordered[::-1]))
    return say(rng, ASCENDING if rising else DESCENDING, content, output, x=LIST_MARK.join(map(str, numbers)))


def extreme(rng: Random, difficulty: int) -> Draw:
    """The largest or smallest of three to five numbers."""
    high, count = ((20, 3), (99, 4), (999 if rng.random() < 0.4 else 99, 5))[difficulty - 1]
    numbers = some_numbers(rng, 1, high, count)
    largest = rng.random() < 0.5
    output = str(max(numbers) if largest else min(numbers))
    content = ",".join(map(str, sorted(numbers)))
    shuffle(rng, numbers)
    return say(rng, LARGEST if largest else SMALLEST, content, output, x=LIST_MARK.join(map(str, numbers)))


def numeral(rng: Random, difficulty: int) -> Draw:
    """Digits to Chinese numerals and back, up to 20, 99 and 999."""
    number = whole(rng, *((0, 20), (10, 99), (100, 999))[difficulty - 1])
    # Up to ten a numeral is a name to be known; beyond, it is put together by rule.
    fact = number <= 10
    if rng.random() < 0.5:
        return say(rng, TO_CHINESE, f"{number}", chinese(number), fact=fact, x=number)
    return say(rng, TO_DIGITS, f"{number}", str(number), fact=fact, x=chinese(number))


def formal_numeral(rng: Random, difficulty: int) -> Draw:
    """The numerals of cheques: one digit, then up to 贰拾 (both closed), then any number of two digits."""
    number = whole(rng, *((0, 9), (10, 20), (10, 99))[difficulty - 1])
    written = chinese(number, FORMAL, "拾", "佰")
    if rng.random() < 0.5:
        return say(rng, TO_FORMAL, written, written, fact=number <= 20, x=number)
    return say(rng, FROM_FORMAL, written, str(number), fact=number <= 20, x=written)


def neighbour(rng: Random, difficulty: int) -> Draw:
    """The next or the previous integer."""
    number = whole(rng, *((1, 30), (10, 99), (100, 998))[difficulty - 1])
    if rng.random() < 0.5:
        return say(rng, NEXT, f"{number}", str(number + 1), x=number)
    return say(rng, PREVIOUS, f"{number}", str(number - 1), x=number)


def parity(rng: Random, difficulty: int) -> Draw:
    """Odd or even."""
    number = whole(rng, *((1, 30), (10, 99), (100, 999))[difficulty - 1])
    return say(rng, PARITY, f"{number}", "奇数" if number % 2 else "偶数", x=number)


def _addends(rng: Random, difficulty: int) -> tuple[int, int]:
    if difficulty == 3:
        return whole(rng, 10, 99), whole(rng, 10, 99)
    total = whole(rng, 2, 20) if difficulty == 1 else whole(rng, 11, 100)
    a = whole(rng, 1, total - 1)
    return a, total - a
