"""Markup of the web goes, formulas, code and what is said about HTML stay; which descriptions repeat their title."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.converters import CONVERTERS
from data_gen.web_text import clean

CLEANED = {
    "甲<br>乙<BR />丙< br/>丁": "甲\n乙\n丙\n丁",
    "甲\r\r乙\r\n丙\r": "甲\n乙\n丙",
    "&nbsp;&nbsp;甲&nbsp;乙&nbsp;": "甲 乙",
    "A&amp;B，1&lt;2&gt;0，&quot;引&quot;，&#39;x&#39;，&#x4e2d;，&hellip;": "A&B，1<2>0，\"引\"，'x'，中，…",
    "<p>甲</p><p>乙</p>\n<p class='x'>丙": "甲\n\n乙\n\n丙",
    "看<a href=\"http://x.cn/?a=1&amp;b=2\" target='_blank'>这里</a>吧": "看这里吧",
    "<A HREF=http://x.cn/>这里</A>": "这里",
    "<b>粗</b>和<strong>重</strong>和<font color=red size=2>红</font>": "粗和重和红",
    '图：<img src="a.jpg" alt="猫"/>如上': "图：如上",
    "<div>甲</div><ul><li>一<li>二</ul>": "甲\n\n一\n二",
    "完了。</p>": "完了。",
    "甲<p>乙": "甲\n乙",
}
STAYS = [
    "若a<b>c则退",
    "若x<p>y，求p",
    "a<b且c>d",
    "当x<a 且 y>b时",
    "1<2",
    "vector<int> v; map<string, list<i>> m;",
    "#include <map>",
    "List<A> 与 Map<K,V>",
    "html中<div>和<span>有什么区别",
    "<b>是什么意思",
    "<script>document.write('<p>x</p>')</script>怎么改",
    "```\n<p>x</p>\n```",
    '<table><tr><td><a href="x">x</a></td></tr></table>居中',
    "<3 你",
    "<甲>乙</甲>",
    "R&D，AT&T，a&&b，&x;",
    "http://x.cn/?a=1&copy=2&lt=3",
    "&notanentity;",
    "i<5;i++)",
]


@pytest.mark.parametrize("text", CLEANED)
def test_markup_goes(text: str) -> None:
    assert clean(text) == CLEANED[text]


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_markup_stays(text: str) -> None:
    assert clean(text) == text


def test_what_was_escaped_is_unescaped_once_and_is_text_then() -> None:
    assert clean("用&lt;p&gt;分段，写作&amp;lt;p&amp;gt;") == "用<p>分段，写作&lt;p&gt;"
    assert clean("&lt;br&gt;换行") == "<br>换行"


@given(st.text(alphabet="<>/ab p=\"'&;\n\r甲", max_size=40))
def test_text_without_a_tag_or_an_entity_is_only_trimmed(text: str) -> None:
    if "<" not in text and "&" not in text and "\r" not in text:
        assert clean(text) == text.strip()
    clean(text)


def test_a_long_torn_tag_takes_no_time() -> None:
    before = time.process_time()
    for text in (
        "<a" + " b=c" * 20_000,
        "<a " * 20_000,
        "<a b=" * 20_000,
        "<" * 50_000,
        "&" * 50_000,
        "\n " * 20_000 + "</p>",
    ):
        clean(text)
    assert time.process_time() - before < 5


TITLE = "如何学习数学？"
REPEATS = [
    "",
    " ",
    "？？",
    "如何学习数学",
    "如何学习数学？<br>",
    "如何，学习 数学!!",
    "&nbsp;如何学习数学～",
    "<p>如何学习数学</p>",
    "。<br><br>",
]
SAYS_MORE = ["数学", "学习", "如何", "如何学习数学？急", "如何学习数学+", "😊", "数学？"]


@pytest.mark.parametrize("name", ["baike", "webtext"])
@pytest.mark.parametrize("desc", REPEATS + SAYS_MORE)
def test_only_an_empty_description_or_the_title_again_is_left_out(name: str, desc: str) -> None:
    row = {"title": TITLE, "desc": desc, "answer": "读", "content": "读", "star": 1}
    record = CONVERTERS[name](row)
    assert (record.instruction, record.input) == (TITLE, "" if desc in REPEATS else desc)


@pytest.mark.parametrize(
    ("title", "desc"), [("1+1=？", "1-1=？"), ("C++难吗", "C难吗"), ("a<b", "a>b"), ("？", "！！")]
)
def test_signs_that_say_something_are_no_punctuation(title: str, desc: str) -> None:
    record = CONVERTERS["baike"]({"title": title, "desc": desc, "answer": "读"})
    assert record.input == ("" if desc == "！！" else desc)


def test_titles_answers_and_news_are_cleaned_too() -> None:
    row = {"title": "甲&amp;乙", "desc": "<p>丙</p>", "answer": "<a href=x>丁</a>&nbsp;戊"}
    record = CONVERTERS["baike"](row)
    assert (record.instruction, record.input, record.output) == ("甲&乙", "丙", "丁 戊")
    news = CONVERTERS["news"]({"news_id": 1, "title": "题&quot;", "content": "<p>文</p>"})
    assert (news.instruction, news.output) == ('以“题"”为题写一篇新闻。', "文")
