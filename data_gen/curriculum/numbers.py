"""Families about numbers as such: comparisons, order, numerals, neighbours.

A set of numbers is sorted before it enters the content: all its orders, and both directions of the question,
share a split.
"""

from random import Random

from data_gen.curriculum.drawing import FORMAL, Draw, chinese, phrasings, pick, say, some_numbers, whole

LIST_MARK = "、"

LARGER = phrasings(
    "{a}和{b}哪个大？", "{a}与{b}，哪个数更大？", "比一比{a}和{b}，写出大的数。", "找出较大的数。|{a}和{b}",
    "在{a}和{b}中选出大的那个。", "比较大小，答较大的数。|{a}、{b}", "{a}和{b}里谁大？",
    "{a}、{b}两个数中，大的是几？", "选出更大的数。|{a}，{b}", "写出两个数中大的一个。|{a}和{b}",
)
SMALLER = phrasings(
    "{a}和{b}哪个小？", "{a}与{b}，哪个数更小？", "比一比{a}和{b}，写出小的数。", "找出较小的数。|{a}和{b}",
    "在{a}和{b}中选出小的那个。", "比较大小，答较小的数。|{a}、{b}", "{a}和{b}里谁小？",
    "{a}、{b}两个数中，小的是几？", "选出更小的数。|{a}，{b}", "写出两个数中小的一个。|{a}和{b}",
)
ASCENDING = phrasings(
    "把下面的数从小到大排列。|{x}", "把{x}从小到大排序。", "将这些数按升序排列。|{x}", "{x}从小到大怎么排？",
    "从小到大写出这些数。|{x}", "按从小到大的顺序排一排。|{x}", "给数字排队，小的在前。|{x}",
    "升序排列{x}。", "整理这些数，由小到大。|{x}",
)
DESCENDING = phrasings(
    "把下面的数从大到小排列。|{x}", "把{x}从大到小排序。", "将这些数按降序排列。|{x}", "{x}从大到小怎么排？",
    "从大到小写出这些数。|{x}", "按从大到小的顺序排一排。|{x}", "给数字排队，大的在前。|{x}",
    "降序排列{x}。", "整理这些数，由大到小。|{x}",
)
LARGEST = phrasings(
    "{x}中最大的数是几？", "找出最大的数。|{x}", "下面哪个数最大？|{x}", "{x}里面谁最大？",
    "写出最大数。|{x}", "从{x}里选出最大的。", "这些数的最大值是多少？|{x}", "挑出最大的一个数。|{x}",
    "{x}，哪个最大？",
)
SMALLEST = phrasings(
    "{x}中最小的数是几？", "找出最小的数。|{x}", "下面哪个数最小？|{x}", "{x}里面谁最小？",
    "写出最小数。|{x}", "从{x}里选出最小的。", "这些数的最小值是多少？|{x}", "挑出最小的一个数。|{x}",
    "{x}，哪个最小？",
)
TO_CHINESE = phrasings(
    "把{x}写成汉字。", "{x}用汉字怎么写？", "把下面的数写成中文数字。|{x}", "将数字转成汉字。|{x}",
    "{x}的中文写法是什么？", "用中文数字表示{x}。", "写出这个数的汉字。|{x}", "数字{x}读作什么？",
    "读出这个数。|{x}",
)
TO_DIGITS = phrasings(
    "把{x}写成阿拉伯数字。", "{x}用数字怎么写？", "把下面的中文数字写成数字。|{x}",
    "将汉字转成阿拉伯数字。|{x}", "{x}是数字几？", "用阿拉伯数字表示{x}。", "写出对应的数字。|{x}",
    "{x}写作多少？", "转成数字形式。|{x}",
)
TO_FORMAL = phrasings(
    "把{x}写成大写数字。", "{x}的大写是什么？", "写出数字的中文大写。|{x}", "将数字转成大写汉字。|{x}",
    "{x}用大写怎么写？", "用大写数字表示{x}。", "填支票时{x}怎么写？", "写成财务大写。|{x}",
    "{x}的财务大写是什么？",
)
FROM_FORMAL = phrasings(
    "大写{x}是数字几？", "把大写{x}写成数字。", "大写数字{x}等于多少？", "将大写转成阿拉伯数字。|{x}",
    "写出大写对应的数字。|{x}", "支票上的{x}是多少？", "把财务大写转成数字。|{x}",
    "用阿拉伯数字写大写的{x}。", "读出大写数字，用数字答。|{x}",
)
NEXT = phrasings(
    "{x}的下一个数是几？", "{x}后面的数是多少？", "紧跟在{x}后面的数是几？", "写出下一个整数。|{x}",
    "比{x}大1的数是几？", "数到{x}，接下来是几？", "写出{x}的后一个数。", "接着往下数一个。|{x}",
    "{x}之后是几？",
)
PREVIOUS = phrasings(
    "{x}的上一个数是几？", "{x}前面的数是多少？", "紧挨在{x}前面的数是几？", "写出上一个整数。|{x}",
    "比{x}小1的数是几？", "倒着数到{x}，接下来是几？", "写出{x}的前一个数。", "往回数一个。|{x}",
    "{x}之前是几？",
)
PARITY = phrasings(
    "{x}是奇数还是偶数？", "判断{x}是奇数还是偶数。", "判断奇偶。|{x}", "数字{x}是奇数还是偶数？",
    "{x}属于奇数还是偶数？", "回答奇数或偶数。|{x}", "说出这个数是奇数还是偶数。|{x}",
    "{x}这个数，奇数还是偶数？", "判断下面的数的奇偶性。|{x}",
)


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
