"""The report's page: its words in two languages, its style sheet, and the small pieces of HTML it is made of.

The page stands alone: no script, no picture, no font, no address to fetch; a content policy inside says so.
Every text that comes from a file passes through `esc`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from distill.errors import DistillError
from distill.metrics import METRICS
from teachers.base import nearest

Word = Callable[[str], str]

# key -> (Chinese with the English term where it helps, English)
WORDS: dict[str, tuple[str, str]] = {
    "title": ("蒸馏报告", "Distillation report"),
    "scores": ("成绩 Scores", "Scores"),
    "families": ("按题型 By family", "By family"),
    "samples": ("回答对照 Samples", "Samples"),
    "training": ("训练过程 Training", "Training"),
    "data": ("训练数据 Data", "Data"),
    "recipes": ("配方 Recipes", "Recipes"),
    "model": ("模型 model", "model"),
    "parameters": ("参数量 parameters", "parameters"),
    "seconds": ("用时（秒） seconds", "seconds"),
    "unknown_characters": ("未知字 unknown", "unknown characters"),
    "seeds": ("种子", "seeds"),
    "rows_scored": ("评测 {rows} 题（{data}）。", "Scored on {rows} rows of {data}."),
    "best": ("粗体绿字：学生模型中最好的一项。", "Bold green: the best of the students."),
    "spread": ("± 为不同随机种子之间的波动。", "± is the spread between seeds."),
    "unknown_note": (
        "* 有些字不在该模型的词表中，其每字比特不可与其他模型比较。",
        "* Some characters are not in this model's vocabulary; its bits/char do not compare with the others'.",
    ),
    "headline": (
        "{student} 用教师 {size} 的参数，答对 {right}（教师 {teacher}）。",
        "{student} answers {right} right with {size} of the teacher's parameters (teacher: {teacher}).",
    ),
    "gain": (
        "与 student-sft 相比，蒸馏带来 {gain} 个百分点。",
        "Distillation brings {gain} percentage points over student-sft.",
    ),
    "within": ("该差别不大于种子间的波动。", "That is no more than the spread between seeds."),
    "family": ("题型 family", "family"),
    "expected": ("参考答案", "expected"),
    "right": ("对", "right"),
    "wrong": ("错", "wrong"),
    "loss": ("训练损失 training loss（nats/token）", "training loss (nats/token)"),
    "loss_note": (
        "不同损失的总和不可互比；可比的是验证集每字比特。",
        "Sums of different losses do not compare; validation bits per character do.",
    ),
    "part": ("其中 {name}", "of which {name}"),
    "val_bpc": ("验证集每字比特 validation bits/char ↓", "validation bits/char ↓"),
    "step": ("步 step", "step"),
    "run": ("运行 run", "run"),
    "steps": ("步数 steps", "steps"),
    "last_loss": ("末次损失 last loss", "last loss"),
    "best_bpc": ("最好每字比特 best bits/char", "best bits/char"),
    "source": ("来源 source", "source"),
    "rows_in": ("原有 rows", "rows in"),
    "taken": ("取用 taken", "taken"),
    "share": ("占比 share", "share"),
    "dropped": ("剔除 dropped", "dropped"),
    "licence": ("许可 licence", "licence"),
    "noncommercial": ("非商用", "non-commercial"),
    "rows": ("行", "rows"),
    "seed": ("种子 seed", "seed"),
    "recipe_of": ("{kind} 类运行的配方（取自 {run}）", "recipe of the {kind} runs (from {run})"),
    "made_by": ("由 minituo {version} 生成。", "Made by minituo {version}."),
}
LANGUAGES = {"zh": 0, "en": 1}
NOTHING = "–"

CSS = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2126;--dim:#5a6570;--line:#d8dee4;--soft:#f4f6f8;--good:#0a7a3e;
--bad:#b3261e;--bar:#c9defa;--k0:#2563eb;--k1:#c2410c;--k2:#047857;--k3:#7c3aed;--k4:#be185d;--k5:#0e7490;--k6:#4d7c0f;
--k7:#a16207}
@media (prefers-color-scheme:dark){:root{--bg:#14181c;--fg:#e6e9ec;--dim:#9aa5b0;--line:#343c45;--soft:#1d2329;
--good:#4ade80;--bad:#f87171;--bar:#1e3f70;--k0:#60a5fa;--k1:#fb923c;--k2:#34d399;--k3:#a78bfa;--k4:#f472b6;--k5:#22d3ee;
--k6:#a3e635;--k7:#facc15}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--bg);color:var(--fg);
font:16px/1.6 system-ui,"PingFang SC","Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC",sans-serif}
h1{font-size:1.7rem;line-height:1.3;margin:.5rem 0}h1 small{display:block;font-size:1rem;font-weight:400;
color:var(--dim);overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.4rem 0 .4rem;overflow-wrap:anywhere}
p{margin:.5rem 0}.note,footer{color:var(--dim);font-size:.875rem}.lead{font-size:1.1rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{padding:.4rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
thead th{font-weight:600;color:var(--dim);vertical-align:bottom}
.num{text-align:right;font-variant-numeric:tabular-nums}td.num,td:first-child{white-space:nowrap}
td small{white-space:normal}td.num small{white-space:nowrap}td:first-child small{display:block}
td:last-child{min-width:7rem}
.num small,td small{color:var(--dim);font-weight:400}
.best{font-weight:700;color:var(--good)}
.bar{background:linear-gradient(var(--bar),var(--bar)) no-repeat left/var(--w) 100%;
background-origin:content-box;background-clip:content-box;min-width:6.5rem}
figure{margin:0}figcaption{font-size:.9rem;font-weight:600}
.charts{display:grid;gap:1.2rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
svg{display:block;width:100%;height:auto;font-size:12.5px;fill:var(--dim)}
.grid{stroke:var(--line);fill:none}.line{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}
.dot{fill:currentColor}.spot{fill:transparent}.spot:hover{fill:currentColor}
svg g:hover .line{stroke-width:3.2}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0;margin:.3rem 0 .8rem;font-size:.9rem}
.legend i{display:inline-block;width:1.2em;height:.25em;margin-right:.4em;vertical-align:middle;background:currentColor}
.legend span{color:var(--fg)}
.sample{background:var(--soft);border-radius:.5rem;padding:.7rem .9rem;margin:.8rem 0}
.said{white-space:pre-wrap;overflow-wrap:anywhere}
.question{font-weight:600}
.answers{display:grid;gap:.6rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,13rem),1fr));margin-top:.6rem}
.answers>div{background:var(--bg);border:1px solid var(--line);border-left:.25rem solid var(--line);border-radius:.3rem;
padding:.3rem .6rem;min-width:0}
.answers .right{border-left-color:var(--good)}.answers .wrong{border-left-color:var(--bad)}
.right b{color:var(--good)}.wrong b{color:var(--bad)}
.who{font-size:.8rem;color:var(--dim);overflow-wrap:anywhere}
details{margin:.5rem 0}summary{cursor:pointer}
pre{background:var(--soft);padding:.8rem;border-radius:.4rem;overflow-x:auto;font-size:.8rem;line-height:1.45}
""" + "".join(f".k{n}{{color:var(--k{n})}}" for n in range(8))


def words(language: str) -> Word:
    """The page's words in a language; DistillError for one it does not speak."""
    if language not in LANGUAGES:
        raise DistillError(f"a report has no language {language!r}{nearest(language, LANGUAGES)}")
    column = LANGUAGES[language]
    return lambda key: (METRICS[key].words if key in METRICS else WORDS[key])[column]


def page(language: str, title: str, name: str, sections: Sequence[str]) -> str:
    """The whole document."""
    from distill import __version__

    word = words(language)
    text = (
        f'<!DOCTYPE html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{esc(title)} · {esc(name)}</title><style>{CSS}</style></head>\n<body>"
        f"<h1>{esc(title)}<small>{esc(name)}</small></h1>\n"
        + "\n".join(sections)
        + f"\n<footer><p>{esc(word('made_by').format(version=__version__))}</p></footer></body></html>\n"
    )
    return text.encode("utf-8", "replace").decode()  # a lone surrogate in an answer must not cost the page


def section(title: str, *parts: str) -> str:
    """A headed part of the page."""
    return f"<section><h2>{esc(title)}</h2>{''.join(parts)}</section>"


def table(heads: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """A table from heads `(text, whether numbers stand below)` and rows of ready `<td>`s; it can scroll sideways."""
    head = "".join(f'<th class="num">{esc(text)}</th>' if number else f"<th>{esc(text)}</th>" for text, number in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(text: str, number: bool = False, mark: str = "", more: str = "") -> str:
    """A `<td>`; `more` is small print, `mark` a class."""
    names = " ".join(n for n in ("num" if number else "", mark) if n)
    kind = f' class="{names}"' if names else ""
    small = f" <small>{esc(more)}</small>" if more else ""
    return f"<td{kind}>{esc(text)}{small}</td>"


def bar(share: float | None) -> str:
    """A `<td>` with a percentage and a bar of that length behind it."""
    if share is None:
        return cell(NOTHING, number=True)
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<td class="num bar" style="--w:{width:.1f}%">{percent(share)}</td>'


def note(text: str) -> str:
    """Small print."""
    return f'<p class="note">{esc(text)}</p>' if text else ""


def esc(text: Any) -> str:
    """Text as HTML says it, quotes too; None is empty."""
    return "" if text is None else escape(str(text), quote=True)


def real(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and not math.isnan(value) else None


def percent(share: float | None) -> str:
    """0.9321 -> 93.2 %."""
    return NOTHING if share is None else f"{100 * share:.1f} %"
