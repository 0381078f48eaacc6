"""Sources of texts, questions, stories and captions, in exactly their raw form."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.raw_forms import Expected, Writer, write_array, write_lines, write_zip


def _baike(folder: Path, n: int, broken: int) -> Expected:
    expected: Expected = []
    for part in ("train", "valid"):
        rows = [
            {
                "qid": f"qid_{i}",
                "category": "教育-学习",
                "title": f"{part}题{i}",
                "desc": f"{part}题{i}" if i % 2 else "详情",
                "answer": f"第一行<br>第{i}行\r\r",
            }
            for i in range(n)
        ]
        write_lines(folder / f"baike_qa_{part}.json", rows)
        expected += [(f"{part}题{i}", "" if i % 2 else "详情", f"第一行\n第{i}行", []) for i in range(n)]
    return expected


def _webtext(folder: Path, n: int, broken: int) -> Expected:
    expected: Expected = []
    for part in ("train", "valid", "testa"):
        rows = [
            {
                "qid": i,
                "title": f"{part}题{i}",
                "desc": "",
                "topic": "生活",
                "star": i,
                "content": f"内容{i}\r\n",
                "answer_id": i,
                "answerer_tags": "无",
            }
            for i in range(n)
        ]
        write_lines(folder / f"web_text_zh_{part}.json", rows)
        expected += [(f"{part}题{i}", "", f"内容{i}", []) for i in range(n)]
    return expected


def _wiki(folder: Path, n: int, broken: int) -> Expected:
    rows = [
        {
            "id": str(i),
            "url": f"https://zh.wikipedia.org/wiki?curid={i}",
            "title": f"题{i}",
            "text": f"题{i}\n\n正文。\n\n{i}",
        }
        for i in range(n)
    ]
    write_zip(folder / "wiki_zh_2019.zip", {"wiki_zh/AA/wiki_00": rows[:1], "wiki_zh/AB/wiki_00": rows[1:]})
    return [(f"介绍一下“题{i}”。", "", f"正文。\n\n{i}", []) for i in range(n)]


def _news(folder: Path, n: int, broken: int) -> Expected:
    rows = [
        {
            "news_id": str(i),
            "keywords": "导游，门票",
            "title": f"标题{i}",
            "desc": "内容的开头",
            "source": "新华网",
            "time": "03-22 12:00",
            "content": f"内容的开头，和第{i}段。",
        }
        for i in range(n)
    ]
    write_zip(folder / "new2016zh.zip", {"news2016zh_train.json": rows, "news2016zh_valid.json": rows})
    return [(f"以“标题{i}”为题写一篇新闻。", "", f"内容的开头，和第{i}段。", []) for i in range(n)] * 2


def _translation(folder: Path, n: int, broken: int) -> Expected:
    rows = [{"english": f"Sentence {i}.", "chinese": f"第{i}句。"} for i in range(n)]
    # Out of the zip, train lies as a file; valid is still inside.
    write_lines(folder / "translation2019zh_train.json", rows)
    write_zip(
        folder / "translation2019zh.zip", {"translation2019zh_train.json": [], "translation2019zh_valid.json": rows}
    )
    return [("把下面的英文翻译成中文。", f"Sentence {i}.", f"第{i}句。", []) for i in range(n)] * 2


def _coqa(folder: Path, n: int, broken: int) -> Expected:
    expected: Expected = []
    for part in ("train", "dev"):
        stories = [
            {
                "source": "wikipedia",
                "id": f"{part}{i}",
                "filename": "Vatican.txt",
                "story": f"Story {i}. ",
                "questions": [{"input_text": f"Q{k}?", "turn_id": k + 1} for k in range(i + 1)],
                "answers": [
                    {"span_start": 0, "span_end": 5, "span_text": "Story", "input_text": f"A{k}", "turn_id": k + 1}
                    for k in range(i + 1)
                ],
                "name": "Vatican.txt",
            }
            for i in range(n)
        ]
        (folder / f"coqa-{part}-v1.0.json").write_text(
            json.dumps({"version": "1.0", "data": stories}), encoding="utf-8"
        )
        for i in range(n):
            turns = [[f"Q{k}?", f"A{k}"] for k in range(i + 1)]
            turns[0][0] = f"Story {i}.\n\nQ0?" if i else "Q0?"
            expected.append((turns[-1][0], "" if i else f"Story {i}.", turns[-1][1], turns[:-1]))
    return expected


def _coqa_zh(folder: Path, n: int, broken: int) -> Expected:
    rows = [
        {
            "story": "Story.",
            "story_zh": f"故事{i}。",
            "questions": ["Q?"],
            "questions_zh": [["问甲？", "换个说法问甲？"], "问乙？"],
            "answers": ["A"],
            "answers_zh": ["甲", "乙"],
        }
        for i in range(n)
    ]
    write_array(folder / "luotuo-qa-a.json", rows)
    return [("问乙？", "", "乙", [[f"故事{i}。\n\n问甲？", "甲"]]) for i in range(n)]


def _cnewsum(folder: Path, n: int, broken: int) -> Expected:
    rows = [{"id": i, "article": [f"第{i}句。", "又一句。"], "summary": f"概要{i}", "label": [0]} for i in range(n)]
    for part in ("train", "dev", "test"):
        write_lines(folder / f"{part}.simple.label.jsonl", rows)
    return [("用一句话概括下面的新闻。", f"第{i}句。又一句。", f"概要{i}", []) for i in range(n)] * 3


def _coco(folder: Path, n: int, broken: int) -> Expected:
    lines = "".join(f"COCO_val2014_00000021715{i}#{i}\t一个男人和{i}只猫\n" for i in range(n)).encode()
    with tarfile.open(folder / "coco-cn-version1805v1.1.tar.gz", "w:gz") as archive:
        for name, content in {
            "imageid.human-written-caption.bosonseg.txt": b"no",
            "imageid.human-written-caption.txt": lines,
            "imageid.manually-translated-caption.txt": lines,
        }.items():
            info = tarfile.TarInfo(f"coco-cn-version1805v1.1/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return [("写一句话，描述一张照片。", "", f"一个男人和{i}只猫", []) for i in range(n)] * 2


TEXTS: dict[str, Writer] = {
    "baike": _baike,
    "webtext": _webtext,
    "wiki": _wiki,
    "news": _news,
    "translation": _translation,
    "coqa": _coqa,
    "coqa-zh": _coqa_zh,
    "cnewsum": _cnewsum,
    "coco-cn": _coco,
}
