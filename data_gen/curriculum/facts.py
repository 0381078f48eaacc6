"""Families that look something up: antonyms, measure words, capitals, orders, the two scripts.

All of them are closed, so the phrasing is part of the content: a held-out antonym question is about a pair
that training has seen, asked in a way that training has not seen for that pair. The exceptions are strings
and words in the other script, which follow from their characters and are held out whole.
"""

from random import Random

from data_gen.curriculum.drawing import Draw, chinese, phrasings, pick, say, some, whole
from data_gen.curriculum.script_pairs import PAIRS, TRADITIONAL
from data_gen.curriculum.script_pairs import WORDS as SCRIPT_WORDS
from data_gen.curriculum.tables import (
    ANTONYMS,
    CAPITALS,
    MEASURES,
    PROVINCES,
    SEASON_OF_MONTH,
    SEASONS,
    ZODIAC,
)

NOUNS = tuple(MEASURES)
SHORT_ANTONYMS = tuple(pair for pair in ANTONYMS if len(pair[0]) == 1)
NEAR_CAPITALS = tuple(pair for pair in CAPITALS if len(pair[0] + pair[1]) <= 5)

OPPOSITE = phrasings(
    "“{x}”的反义词是什么？", "写出“{x}”的反义词。", "写出反义词。|{x}", "和“{x}”意思相反的词是什么？",
    "找出意思相反的词。|{x}", "“{x}”的反义词是？", "说出“{x}”的反义词。", "给下面的词找反义词。|{x}",
    "与{x}相反的词是哪个？", "填反义词：{x}—（　）。", "{x}反过来说是什么？", "回答反义词。|{x}",
)
MEASURE = phrasings(
    "一（　）{x}，填什么量词？", "{x}的量词是什么？", "写出合适的量词。|一（　）{x}",
    "填量词：一（　）{x}。", "“一（　）{x}”里填哪个量词？", "给名词配量词。|{x}", "说出{x}的常用量词。",
    "数{x}用什么量词？", "补上量词。|两（　）{x}", "{x}用哪个量词？", "选一个量词填空。|三（　）{x}",
)
CAPITAL = phrasings(
    "{x}的首都是哪里？", "{x}的首都是哪座城市？", "写出{x}的首都。", "写出这个国家的首都。|{x}",
    "说出{x}的首都。", "哪座城市是{x}的首都？", "{x}首都叫什么？", "回答首都的名字。|{x}",
    "查一查{x}的首都。", "{x}的首都叫什么名字？",
)
COUNTRY = phrasings(
    "{x}是哪个国家的首都？", "{x}是哪国首都？", "哪个国家的首都是{x}？", "写出这个首都所在的国家。|{x}",
    "说出以{x}为首都的国家。", "首都是{x}的国家是哪个？", "根据首都说出国家。|{x}", "{x}是什么国家的首都？",
    "回答国家的名字。|首都：{x}",
)
SEAT = phrasings(
    "{x}的省会或首府是哪里？", "{x}的省会（首府）叫什么？", "写出{x}的省会或首府。", "写出省会或首府。|{x}",
    "说出{x}的省会或首府。", "哪座城市是{x}的省会或首府？", "{x}的省会或首府是哪座城市？",
    "回答省会或首府的名字。|{x}",
)
PROVINCE = phrasings(
    "{x}是哪个省区的省会或首府？", "哪个省区的省会（首府）是{x}？", "写出{x}所在的省区。",
    "根据省会或首府说出省区。|{x}", "{x}在哪个省区？", "说出以{x}为省会或首府的省区。", "{x}属于哪个省区？",
    "回答省区的名字。|{x}",
)
AFTER_ANIMAL = phrasings(
    "十二生肖中{x}的后面是什么？", "生肖{x}后面是哪个生肖？", "写出生肖{x}的下一个。",
    "写出下一个生肖。|{x}", "~{x}年的下一年是什么年？只答生肖。", "按十二生肖的顺序，{x}之后是谁？",
    "生肖排队，{x}后面是谁？", "接着说下一个生肖。|{x}",
)
BEFORE_ANIMAL = phrasings(
    "十二生肖中{x}的前面是什么？", "生肖{x}前面是哪个生肖？", "写出生肖{x}的上一个。",
    "写出上一个生肖。|{x}", "~{x}年的上一年是什么年？只答生肖。", "按十二生肖的顺序，{x}之前是谁？",
    "生肖排队，{x}前面是谁？", "说出前一个生肖。|{x}",
)
NTH_ANIMAL = phrasings(
    "十二生肖中第{n}个是什么？", "第{n}个生肖是什么？", "写出第{n}个生肖。", "十二生肖排第{n}的是谁？",
    "说出生肖里的第{n}个。", "生肖排第{n}位的是？", "写出生肖。|第{n}个", "按顺序，十二生肖第{n}位是什么？",
)
AFTER_SEASON = phrasings(
    "{x}过后是什么季节？", "{x}的下一个季节是什么？", "写出{x}之后的季节。", "写出下一个季节。|{x}",
    "{x}结束后是哪个季节？", "一年四季，{x}后面是什么？", "说出{x}后面的季节。", "接着说下一个季节。|{x}",
)
MONTH_SEASON = phrasings(
    "{x}月是什么季节？", "{x}月属于哪个季节？", "写出{x}月所在的季节。", "根据月份说出季节。|{x}月",
    "北京的{x}月是哪个季节？", "说出{x}月的季节。", "判断季节。|{x}月", "{x}月在四季中是哪一季？",
)
TO_TRADITIONAL = phrasings(
    "把“{x}”写成繁体。", "“{x}”的繁体怎么写？", "转换成繁体字。|{x}", "写出繁体。|{x}",
    "将简体转成繁体。|{x}", "“{x}”的繁体字是什么？", "用繁体字写“{x}”。", "简体变繁体。|{x}",
    "{x}写成繁体是什么？",
)
TO_SIMPLIFIED = phrasings(
    "把“{x}”写成简体。", "“{x}”的简体怎么写？", "转换成简体字。|{x}", "写出简体。|{x}",
    "将繁体转成简体。|{x}", "“{x}”的简体字是什么？", "用简体字写“{x}”。", "繁体变简体。|{x}",
    "{x}写成简体是什么？",
)


def antonym(rng: Random, difficulty: int) -> Draw:
    """Single characters at difficulty 1, all pairs later; both directions."""
    pair = pick(rng, SHORT_ANTONYMS if difficulty == 1 else ANTONYMS)
    word, answer = pair if rng.random() < 0.5 else pair[::-1]
    return say(rng, OPPOSITE, word, answer, fact=True, x=word)


def measure_word(rng: Random, difficulty: int) -> Draw:
    """The measure word of a noun; nouns of one character at difficulty 1."""
    noun = pick(rng, NOUNS)
    while difficulty == 1 and len(noun) > 2:
        noun = pick(rng, NOUNS)
    return say(rng, MEASURE, noun, MEASURES[noun], fact=True, x=noun)


def capital(rng: Random, difficulty: int) -> Draw:
    """Capitals with short names, then also seats of provinces, then all capitals; from 2 on also back."""
    kind = rng.random()
    back = difficulty > 1 and kind < 0.4
    if difficulty == 2 and rng.random() < 0.5:
        place, city = pick(rng, PROVINCES)
        ways, other = SEAT, PROVINCE
    else:
        place, city = pick(rng, CAPITALS if difficulty == 3 else NEAR_CAPITALS)
        ways, other = CAPITAL, COUNTRY
    if back:
        return say(rng, other, city, place, fact=True, x=city)
    return say(rng, ways, place, city, fact=True, x=place)


def order(rng: Random, difficulty: int) -> Draw:
    """The zodiac, the seasons and the months in them."""
    kind = rng.random()
    if kind < 0.2:
        place = whole(rng, 0, 3)
        answer = SEASONS[(place + 1) % 4]
        return say(rng, AFTER_SEASON, SEASONS[place], answer, fact=True, x=SEASONS[place])
    if kind < 0.4:
        month = whole(rng, 1, 12)
        return say(rng, MONTH_SEASON, str(month), SEASON_OF_MONTH[month], fact=True, x=month)
    place = whole(rng, 0, 11)
    animal = ZODIAC[place]
    if difficulty > 1 and kind < 0.7:
        return say(rng, NTH_ANIMAL, str(place), animal, fact=True, n=chinese(place + 1))
    if difficulty == 1 or kind < 0.85:
        return say(rng, AFTER_ANIMAL, animal, ZODIAC[(place + 1) % 12], fact=True, x=animal)
    return say(rng, BEFORE_ANIMAL, animal, ZODIAC[place - 1], fact=True, x=animal)


def script(rng: Random, difficulty: int) -> Draw:
    """Simplified to traditional and back: characters, then words, then strings of characters too."""
    fact = difficulty == 1 or rng.random() < 0.25
    if fact:
        simple = pick(rng, PAIRS)[0]
    elif difficulty == 2 or rng.random() < 0.4:
        simple = pick(rng, SCRIPT_WORDS)
    else:
        simple = "".join(pair[0] for pair in some(rng, PAIRS, whole(rng, 2, 3)))
    traditional = "".join(TRADITIONAL.get(character, character) for character in simple)
    if rng.random() < 0.5:
        return say(rng, TO_TRADITIONAL, simple, traditional, fact=fact, x=simple)
    return say(rng, TO_SIMPLIFIED, simple, simple, fact=fact, x=traditional)
