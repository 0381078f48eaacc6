"""Families about meaning: fields of a sentence, classes, feelings, the odd one out.

The content of a sentence is its slots and what is asked of them, so a held-out sentence is new whatever its
wording. Which class a word belongs to is a closed fact and names the phrasing.
"""

from random import Random

from data_gen.curriculum.drawing import Draw, phrasings, pick, say, shuffle, some, whole
from data_gen.curriculum.words import (
    CITIES,
    CLASSES,
    DISLIKED,
    GIVEN_NAMES,
    JOBS,
    LIKED,
    SECOND_NAMES,
    SURNAMES,
    TOPICS,
    WORDS,
)

CLASS_NAMES = tuple(CLASSES)
CLASS_OF = {word: name for name, words in CLASSES.items() for word in words}
EASY_WORDS = tuple(word for name in CLASS_NAMES[:6] for word in CLASSES[name])

NAME, AGE, CITY, JOB, PHONE = "name", "age", "city", "job", "phone"
FIELDS = {
    NAME: phrasings(
        "这个人叫什么名字？|{s}", "从句中找出姓名。|{s}", "{s}。这个人叫什么？", "写出人名。|{s}",
        "提取姓名。|{s}", "句子里的人叫什么？|{s}", "找出名字：{s}。", "句中提到的是谁？|{s}",
        "把姓名摘出来。|{s}",
    ),
    AGE: phrasings(
        "这个人几岁？|{s}", "从句中找出年龄。|{s}", "{s}。这个人多大？", "写出年龄。|{s}", "提取年龄。|{s}",
        "句子里的人几岁？|{s}", "找出年龄：{s}。", "句中的人多大年纪？|{s}", "把年龄摘出来。|{s}",
    ),
    CITY: phrasings(
        "这个人住在哪里？|{s}", "从句中找出城市。|{s}", "{s}。这个人在哪个城市？", "写出城市名。|{s}",
        "提取城市。|{s}", "句子里提到哪个城市？|{s}", "找出城市：{s}。", "句中的人在哪座城市？|{s}",
        "把城市摘出来。|{s}",
    ),
    JOB: phrasings(
        "这个人做什么工作？|{s}", "从句中找出职业。|{s}", "{s}。这个人是做什么的？", "写出职业。|{s}",
        "提取职业。|{s}", "句子里的人是什么职业？|{s}", "找出职业：{s}。", "句中的人从事什么职业？|{s}",
        "把职业摘出来。|{s}",
    ),
    PHONE: phrasings(
        "这个人的电话是多少？|{s}", "从句中找出电话号码。|{s}", "{s}。电话是多少？", "写出电话号码。|{s}",
        "提取电话。|{s}", "句子里的电话是多少？|{s}", "找出电话：{s}。", "句中的号码是什么？|{s}",
        "把电话摘出来。|{s}",
    ),
}
SENTENCES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (NAME, AGE),
        ("我叫{name}，今年{age}岁", "{name}今年{age}岁", "他叫{name}，{age}岁了", "姓名{name}，年龄{age}岁"),
    ),
    (
        (NAME, CITY),
        ("{name}住在{city}", "我叫{name}，家在{city}", "{name}来自{city}", "她叫{name}，在{city}生活"),
    ),
    (
        (NAME, JOB),
        ("{name}是一名{job}", "我叫{name}，是{job}", "{name}的职业是{job}", "他叫{name}，当{job}"),
    ),
    (
        (NAME, PHONE),
        ("{name}的电话是{phone}", "我是{name}，电话{phone}", "联系人{name}，号码{phone}"),
    ),
    (
        (NAME, AGE, CITY),
        ("{name}今年{age}岁，住在{city}", "我叫{name}，{age}岁，家在{city}", "{age}岁的{name}来自{city}"),
    ),
    (
        (NAME, AGE, JOB),
        ("{name}今年{age}岁，是{job}", "我叫{name}，{age}岁，是一名{job}", "{age}岁的{name}是{job}"),
    ),
    (
        (NAME, CITY, JOB),
        ("{name}在{city}当{job}", "我叫{name}，是{city}的一名{job}", "{job}{name}住在{city}"),
    ),
    (
        (NAME, CITY, PHONE),
        ("{city}的{name}，电话{phone}", "{name}住{city}，电话是{phone}"),
    ),
    (
        (NAME, AGE, CITY, JOB),
        ("{name}，{age}岁，{city}人，{job}", "{name}今年{age}岁，在{city}当{job}"),
    ),
)
"""Fields, and sentences that hold exactly these"""
BY_DIFFICULTY = (SENTENCES[:4], SENTENCES[:8], SENTENCES[4:])
"""What sentences a difficulty draws from: two fields, two or three, three or four"""

CLASSIFY = phrasings(
    "{x}属于哪一类？", "{x}是什么类别？", "给下面的词分类。|{x}", "判断{x}的类别。", "写出类别。|{x}",
    "“{x}”这个词归在哪类？", "说出{x}属于哪类。", "把词语归类。|{x}", "{x}是哪一类东西？", "填写类别。|{x}",
    "“{x}”可以归为哪一类？",
)
SENTIMENT = phrasings(
    "判断情感是正面还是负面。|{s}", "“{s}”是正面还是负面？", "这句话是正面还是负面？|{s}",
    "分析情感，答正面或负面。|{s}", "判断评价的情感。|{s}", "说出这条评论是正面还是负面。|{s}",
    "{s}。这是正面还是负面评价？", "~情感分类：正面或负面。|{s}", "评论的态度是正面还是负面？|{s}",
    "“{s}”这句评价正面还是负面？",
)
ODD = phrasings(
    "哪个词不同类？|{x}", "找出不同类的词。|{x}", "{x}中，哪个不是一类？", "下面哪一个与众不同？|{x}",
    "挑出不是一类的词。|{x}", "{x}，哪个不同类？", "选出和其他不同类的词。|{x}", "{x}里面谁不合群？",
    "哪个词应该去掉？|{x}", "划掉不同类的一个，写出它。|{x}",
)


def extract(rng: Random, difficulty: int) -> Draw:
    """One of two to four fields of a sentence about a person."""
    fields, wordings = pick(rng, BY_DIFFICULTY[difficulty - 1])
    slots: dict[str, str] = {}
    for field in fields:
        if field == NAME:
            second = pick(rng, SECOND_NAMES) if rng.random() < 0.5 else ""
            slots[NAME] = pick(rng, SURNAMES) + pick(rng, GIVEN_NAMES) + second
        elif field == AGE:
            slots[AGE] = str(whole(rng, 6, 79))
        elif field == CITY:
            slots[CITY] = pick(rng, CITIES)
        elif field == JOB:
            slots[JOB] = pick(rng, JOBS)
        else:
            slots[PHONE] = "".join(str(whole(rng, 0, 9)) for _ in range(4 + difficulty))
    asked = pick(rng, fields)
    sentence = pick(rng, wordings).format(**slots)
    answer = slots[asked] + ("岁" if asked == AGE else "")
    return say(rng, FIELDS[asked], f"{asked}|{','.join(slots.values())}", answer, s=sentence)


def classify(rng: Random, difficulty: int) -> Draw:
    """Which class a word belongs to: six classes of things at difficulty 1, all of them later."""
    word = pick(rng, EASY_WORDS if difficulty == 1 else WORDS)
    return say(rng, CLASSIFY, word, CLASS_OF[word], fact=True, x=word)


def sentiment(rng: Random, difficulty: int) -> Draw:
    """Whether a remark is pleased or not; from difficulty 2 on with two remarks that agree."""
    pleased = rng.random() < 0.5
    topic, feelings = pick(rng, TOPICS), some(rng, LIKED if pleased else DISLIKED, 2)
    remark = topic + "，".join(feelings[: 1 if difficulty == 1 else 2])
    return say(rng, SENTIMENT, remark, "正面" if pleased else "负面", s=remark)


def odd_one_out(rng: Random, difficulty: int) -> Draw:
    """Two to four words of one class and a stranger."""
    home, abroad = some(rng, CLASS_NAMES, 2)
    stranger = pick(rng, CLASSES[abroad])
    words = [*some(rng, CLASSES[home], 1 + difficulty), stranger]
    content = ",".join(sorted(words))
    shuffle(rng, words)
    return say(rng, ODD, content, stranger, x="、".join(words))
