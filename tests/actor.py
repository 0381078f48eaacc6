"""A teacher's part, played: answers to the prompts of every strategy, each another one, as a good model words them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from data_gen.curriculum.drawing import listed
from teachers.base import Request

THINGS = listed("茶壶 风筝 台灯 雨伞 毛笔 铁轨 窗帘 灯塔 蜂箱 木桥 算盘 邮筒 石磨 皮影 陶罐 稻田 渡船 集市 风车 琴键")
DEEDS = listed("描写 比较 解释 设计 翻译 总结 评价 计算 想象 整理 介绍 改写 分析 推荐 命名")


def play(text: str) -> str:
    """The answer to a prompt."""
    if "个新的、各不相同的中文任务" in text:
        first, last = map(int, re.findall(r"从第(\d+)个任务写到第(\d+)个任务", text)[0])
        return "\n\n".join(
            f"{n}. 指令：{task(text, n)}\n{n}. 输入：无\n{n}. 输出：{words(text, n, 18)}。"
            for n in range(first, last + 1)
        )
    if "条各不相同的中文指令" in text:
        return "\n".join(f"<例>{task(text, n)}</例>" for n in range(int(re.findall(r"再写出(\d+)条", text)[0])))
    if "改得更难一些" in text or "另出一个全新的任务" in text:
        return task(text, 0) + "，并说明" + words(text, 1, 6) + "。"
    if "是否实质相同" in text:
        return "不同"
    if "用户与智能助手的中文对话" in text:
        turns = int(re.findall(r"共(\d+)轮", text)[0])
        return "\n".join(f"用户：{task(text, n)}？\n助手：{words(text, n, 20)}。" for n in range(turns))
    if "只写出它的" in text:
        return f"译文{words(quoted(text), 0, max(2, len(quoted(text)) // 3))}"
    if "请阅读标记之间的短文" in text:
        count = int(re.findall(r"提出(\d+)个新的问题", text)[0])
        return "\n".join(f"{n}. 问：{task(text, n)}？\n{n}. 答：{words(text, n, 6)}。" for n in range(1, count + 1))
    return f"{words(text, 0, 24)}。"


def said(request: Request) -> str:
    """What a request asks, in whichever form."""
    return request.messages[-1]["content"] if request.messages else request.prompt or ""


def answer(request: Request) -> str:
    """For a ScriptedTeacher."""
    return play(f"{request.seed}{said(request)}")


def reply(body: dict[str, Any]) -> str:
    """For a FaultServer."""
    return play(f"{body.get('seed')}{body['messages'][-1]['content']}")


def quoted(text: str) -> str:
    """What stands between the marks of a prompt."""
    found = re.search(r"<\w+ ([0-9a-f]{8})>\n(.*)\n</\w+ \1>", text, re.DOTALL)
    return found.group(2) if found else ""


def task(text: str, number: int) -> str:
    """An instruction that is unlike others."""
    draw = _draw(text, number)
    return f"{DEEDS[draw % 15]}{THINGS[draw // 15 % 20]}：{words(text, number + 100, 12)}"


def words(text: str, number: int, count: int) -> str:
    """So many 汉字 that follow from text and number."""
    draws = (_draw(text, number * 1000 + n) for n in range(count))
    return "".join(chr(0x4E00 + draw % 6000) for draw in draws)


def _draw(text: str, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{number}:{text}".encode(), digest_size=6).digest(), "big")
