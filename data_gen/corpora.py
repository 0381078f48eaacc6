"""Converters of corpora: pages, news, sentence pairs, captions. Where a set asks no question, a fixed one stands in."""

from __future__ import annotations

import re
from typing import Any

from data_gen.fields import as_dict, kept, text_of
from data_gen.records import DataError, Record
from data_gen.web_text import clean, same_words

WIKI = "介绍一下“{title}”。"
NEWS = "以“{title}”为题写一篇新闻。"
TRANSLATION = "把下面的英文翻译成中文。"
SUMMARY = "用一句话概括下面的新闻。"
CAPTION = "写一句话，描述一张照片。"


def _titled(row: Any, answer: str, *keep: str) -> Record:
    row = as_dict(row)
    title, desc = clean(text_of(row, "title", required=True)), clean(text_of(row, "desc"))
    return Record(
        instruction=title,
        input="" if same_words(desc, "") or same_words(desc, title) else desc,
        output=clean(text_of(row, answer, required=True)),
        meta=kept(row, *keep),
    )


def baike(row: Any) -> Record:
    """baike2018qa: `qid, category, title, desc, answer`; an empty description, or the title again, is left out."""
    return _titled(row, "answer", "qid", "category")


def webtext(row: Any) -> Record:
    """webtext2019zh: `qid, title, desc, topic, star, content, answer_id, answerer_tags`; `star` counts the likes."""
    return _titled(row, "content", "qid", "topic", "star")


def wiki(row: Any) -> Record:
    """wiki2019zh: `id, url, title, text`; the text's first line, which is the title again, is left out."""
    row = as_dict(row)
    title, text = (text_of(row, name, required=True).strip() for name in ("title", "text"))
    first, _, rest = text.partition("\n")
    body = rest.strip() if first.strip() == title else text
    return Record(instruction=WIKI.format(title=title), output=body, meta=kept(row, "id", "url"))


def news(row: Any) -> Record:
    """news2016zh: `news_id, title, content, source, time, keywords, desc`; `desc` is mostly how the content begins."""
    row = as_dict(row)
    return Record(
        instruction=NEWS.format(title=clean(text_of(row, "title", required=True))),
        output=clean(text_of(row, "content", required=True)),
        meta=kept(row, "news_id", "source", "time", "keywords"),
    )


def translation(row: Any) -> Record:
    """translation2019zh: `english, chinese`."""
    row = as_dict(row)
    english, chinese = (text_of(row, name, required=True).strip() for name in ("english", "chinese"))
    return Record(instruction=TRANSLATION, input=english, output=chinese)


def cnewsum(row: Any) -> Record:
    """CNewSum: `article`, a list of sentences, and `summary`."""
    row = as_dict(row)
    return Record(
        instruction=SUMMARY, input=_joined(row, "article"), output=_joined(row, "summary"), meta=kept(row, "id")
    )


def _joined(row: dict[str, Any], name: str) -> str:
    said = row.get(name)
    if isinstance(said, list):
        return "".join(text_of({name: sentence}, name, required=True) for sentence in said).strip()
    return text_of(row, name, required=True).strip()


_CAPTION = re.compile(r"([^\s#]+)#(\d+)\s+(.*\S)\s*", re.DOTALL)


def coco_cn(row: Any) -> Record:
    """COCO-CN: lines `COCO_val2014_000000217153#0<TAB>一个男人…`."""
    line = text_of(as_dict(row), "text", required=True)
    match = _CAPTION.fullmatch(line)
    if not match:
        raise DataError(f"expected 'image#number<TAB>caption', found {line[:40]!r}")
    return Record(instruction=CAPTION, output=match[3], meta={"image": match[1], "number": int(match[2])})
