"""Families about time and measure: weekdays, dates, clocks, units.

Weekdays, months and the lengths of months go round a short circle. They are tables of a few dozen facts, so
their content names the phrasing; the day after a date, a time on the clock and a unit with its number are
rules.
"""

from random import Random

from data_gen.curriculum.drawing import Draw, chinese, phrasings, pick, say, whole

WEEKDAYS = "一二三四五六日"
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

WEEKDAY_AFTER = phrasings(
    "今天星期{a}，{n}天后星期几？",
    "今天是星期{a}，再过{n}天是星期几？",
    "如果今天星期{a}，过{n}天星期几？",
    "推算星期。|今天星期{a}，{n}天后",
    "算一算是星期几。|星期{a}的{n}天后",
    "星期{a}往后数{n}天是星期几？",
    "星期{a}过{n}天是星期几？",
    "写出星期几。|今天星期{a}，再过{n}天",
    "星期{a}之后的第{n}天是星期几？",
    "回答星期几。|今天星期{a}，问{n}天以后",
)
WEEKDAY_BEFORE = phrasings(
    "今天星期{a}，{n}天前星期几？",
    "今天是星期{a}，{n}天以前是星期几？",
    "如果今天星期{a}，{n}天之前星期几？",
    "推算星期。|今天星期{a}，{n}天前",
    "算一算是星期几。|星期{a}的{n}天前",
    "星期{a}往前数{n}天是星期几？",
    "星期{a}倒退{n}天是星期几？",
    "写出星期几。|今天星期{a}，{n}天之前",
    "星期{a}之前的第{n}天是星期几？",
    "回答星期几。|今天星期{a}，问{n}天以前",
)
MONTH_AFTER = phrasings(
    "现在是{a}月，{n}个月后是几月？",
    "{a}月再过{n}个月是几月？",
    "{a}月往后数{n}个月是几月？",
    "推算月份。|{a}月的{n}个月后",
    "算一算是几月。|现在{a}月，过{n}个月",
    "写出月份。|本月是{a}月，{n}个月以后",
    "这个月是{a}月，过{n}个月是几月？",
    "{a}月的{n}个月后是几月？",
)
MONTH_BEFORE = phrasings(
    "现在是{a}月，{n}个月前是几月？",
    "{a}月之前{n}个月是几月？",
    "{a}月往前数{n}个月是几月？",
    "推算月份。|{a}月的{n}个月前",
    "算一算是几月。|现在{a}月，倒退{n}个月",
    "写出月份。|本月是{a}月，{n}个月以前",
    "这个月是{a}月，倒退{n}个月是几月？",
    "{a}月的{n}个月前是几月？",
)
MONTH_LENGTH = phrasings(
    "{a}月有多少天？",
    "{year}{a}月有几天？",
    "{a}月一共多少天？",
    "写出这个月的天数。|{year}{a}月",
    "说出{a}月的天数。",
    "{a}月共有几天？",
    "查一查{a}月有多少天。",
    "回答天数。|{a}月",
    "{year}{a}月有多少日？",
)
COMMON_YEAR_LENGTH = phrasings(
    "{year}{a}月有多少天？",
    "{year}{a}月有几天？",
    "{year}的{a}月一共多少天？",
    "写出这个月的天数。|{year}{a}月",
    "说出{year}{a}月的天数。",
    "{year}{a}月共有几天？",
    "查一查{year}{a}月有多少天。",
    "回答天数。|{year}{a}月",
)
NEXT_DAY = phrasings(
    "{x}的后一天是几月几日？",
    "今天{x}，明天几月几日？",
    "写出{x}的第二天。",
    "推算明天的日期。|今天{x}",
    "{x}过一天是哪天？",
    "写出下一天的日期。|{x}",
    "如果今天是{x}，明天是哪天？",
    "{x}的下一天是哪一天？",
    "算出后一天。|{x}",
)
LAST_DAY = phrasings(
    "{x}的前一天是几月几日？",
    "今天{x}，昨天几月几日？",
    "写出{x}的前一天。",
    "推算昨天的日期。|今天{x}",
    "{x}的上一天是哪天？",
    "写出前一天的日期。|{x}",
    "如果今天是{x}，昨天是哪天？",
    "{x}往前一天是哪一天？",
    "算出昨天的日期。|今天是{x}",
)
CLOCK_LATER = phrasings(
    "现在{x}，过{n}是几点？",
    "{x}再过{n}是什么时间？",
    "{x}的{n}后是几点？",
    "推算时间。|{x}，{n}后",
    "算一算是几点。|现在{x}，再过{n}",
    "{x}开始，{n}后结束，几点结束？",
    "写出时间。|{x}之后{n}",
    "{x}往后{n}是几点？",
)
CLOCK_EARLIER = phrasings(
    "现在{x}，{n}前是几点？",
    "{x}之前{n}是什么时间？",
    "{x}的{n}前是几点？",
    "推算时间。|{x}，{n}前",
    "算一算是几点。|现在{x}，{n}以前",
    "用了{n}，{x}结束，几点开始？",
    "写出时间。|{x}之前{n}",
    "{x}往前{n}是几点？",
)
CONVERT = phrasings(
    "{n}{a}等于多少{b}？",
    "{n}{a}是多少{b}？",
    "把{n}{a}换算成{b}。",
    "~单位换算，答{b}。|{n}{a}",
    "{n}{a}合多少{b}？",
    "将下面的量换算成{b}。|{n}{a}",
    "~{n}{a}=？{b}",
    "用{b}表示{n}{a}。",
    "{n}{a}有多少{b}？",
    "换成{b}。|{n}{a}",
)
UNITS: tuple[tuple[str, str, int, int], ...] = (
    ("米", "厘米", 100, 1),
    ("米", "分米", 10, 1),
    ("分米", "厘米", 10, 1),
    ("厘米", "毫米", 10, 1),
    ("元", "角", 10, 1),
    ("角", "分", 10, 1),
    ("元", "分", 100, 1),
    ("小时", "分钟", 60, 2),
    ("分钟", "秒", 60, 2),
    ("天", "小时", 24, 2),
    ("星期", "天", 7, 2),
    ("公里", "米", 1000, 1),
    ("千克", "克", 1000, 1),
    ("吨", "千克", 1000, 1),
    ("千米", "米", 1000, 1),
    ("千克", "斤", 2, 1),
    ("斤", "两", 10, 1),
    ("升", "毫升", 1000, 1),
)
"""Large unit, small unit, how many of it, and the least difficulty it is met at"""


def weekday(rng: Random, difficulty: int) -> Draw:
    """Up to three days on or back, then up to a week, then up to ten days."""
    today = whole(rng, 0, 6)
    days = whole(rng, 1, (3, 7, 10)[difficulty - 1])
    after = rng.random() < 0.6
    answer = (today + (days if after else -days)) % 7
    content = f"{today}{'+' if after else '-'}{days}"
    way = pick(rng, WEEKDAY_AFTER if after else WEEKDAY_BEFORE)
    number = str(days) if rng.random() < 0.5 else chinese(days)
    # Two days are 两天, but the second is 第二天.
    if number == "二" and "第{n}" not in way.line:
        number = "两"
    return say(rng, (way,), content, "星期" + WEEKDAYS[answer], fact=True, a=WEEKDAYS[today], n=number)


def date(rng: Random, difficulty: int) -> Draw:
    """Lengths of months, months on and back, neighbouring days; at 3 also across the end of a month."""
    kind = rng.random()
    month = whole(rng, 1, 12)
    if kind < 0.25:
        # A bare 二月 would have two answers, so February always comes with a common year.
        ways = MONTH_LENGTH if month != 2 else COMMON_YEAR_LENGTH
        year = "平年" if month == 2 else pick(rng, ("", "今年"))
        return say(rng, ways, f"{month}", f"{MONTH_DAYS[month - 1]}天", fact=True, a=month, year=year)
    if kind < 0.5:
        months = whole(rng, 1, (2, 4, 6)[difficulty - 1])
        after = rng.random() < 0.6
        answer = (month + (months if after else -months) - 1) % 12 + 1
        content = f"{month}{'+' if after else '-'}{months}"
        ways = MONTH_AFTER if after else MONTH_BEFORE
        return say(rng, ways, content, f"{answer}月", fact=True, a=month, n=months)
    last = MONTH_DAYS[month - 1]
    if difficulty == 3 and rng.random() < 0.2 and month not in (2, 12):
        # The turns of the months are few and each is a fact of its own.
        today, tomorrow, fact = f"{month}月{last}日", f"{month + 1}月1日", True
    else:
        day = whole(rng, 1, last - 1)
        today, tomorrow, fact = f"{month}月{day}日", f"{month}月{day + 1}日", False
    if rng.random() < 0.6:
        return say(rng, NEXT_DAY, f"{today}~{tomorrow}", tomorrow, fact=fact, x=today)
    return say(rng, LAST_DAY, f"{today}~{tomorrow}", today, fact=fact, x=tomorrow)


def clock(rng: Random, difficulty: int) -> Draw:
    """Hours, then minutes within the hour, then both; never past twelve."""
    hour = whole(rng, 1, 11)
    minute = 0 if difficulty == 1 else whole(rng, 1, 10) * 5
    hours = whole(rng, 1, 12 - hour) if difficulty != 2 and minute < 60 else 0
    minutes = whole(rng, 1, (55 - minute) // 5) * 5 if difficulty == 2 and minute < 55 else 0
    early = f"{hour}点" + (f"{minute}分" if minute else "")
    late = f"{hour + hours}点" + (f"{minute + minutes}分" if minute + minutes else "")
    span = f"{hours}小时" if hours else f"{minutes}分钟"
    content = f"{early}~{late}"
    fact = difficulty == 1
    if rng.random() < 0.6:
        return say(rng, CLOCK_LATER, content, late, fact=fact, x=early, n=span)
    return say(rng, CLOCK_EARLIER, content, early, fact=fact, x=late, n=span)


def unit(rng: Random, difficulty: int) -> Draw:
    """From a large unit to a small one, from difficulty 2 on also back; 60, 24, 7 and 2 are closed."""
    large, small, factor, level = pick(rng, UNITS)
    while level > difficulty:
        large, small, factor, level = pick(rng, UNITS)
    number = whole(rng, 1, 9 if level == 2 or difficulty < 3 else 30)
    content = f"{number}{large}={number * factor}{small}"
    fact = factor not in (10, 100, 1000)
    if difficulty == 1 or rng.random() < 0.6:
        return say(rng, CONVERT, content, f"{number * factor}{small}", fact=fact, n=number, a=large, b=small)
    return say(rng, CONVERT, content, f"{number}{large}", fact=fact, n=number * factor, a=small, b=large)
