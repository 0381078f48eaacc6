"""The report: a section for everything found, nothing for the rest; text from files never becomes markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.records import DataError
from distill.charts import Axis, Series, line_chart, names, path, thin, ticks
from distill.cli import run as verb
from distill.errors import DistillError
from distill.report import build_page, find_runs, read_curves

SCORES = {
    "data": "curriculum",
    "rows": 500,
    "models": [
        {"name": "teacher", "parameters": 5_000_000, "exact_match": 0.962, "bits_per_character": 0.31, "seconds": 9.0},
        {
            "name": "student-sft",
            "parameters": 500_000,
            "exact_match": 0.741,
            "bits_per_character": 0.62,
            "teacher_agreement": 0.75,
            "by_family": {"乘法": 0.5, "加法": 1.0},
        },
        {
            "name": "student-kd",
            "parameters": 500_000,
            "exact_match": 0.832,
            "bits_per_character": 0.47,
            "teacher_agreement": 0.85,
            "spread": {"exact_match": 0.012, "bits_per_character": 0.004},
            "seeds": [0, 1, 2],
            "by_family": {"乘法": 0.75, "加法": None},
        },
    ],
}
SAMPLES = [
    {
        "instruction": "把下面的数相加。",
        "input": "37 + 45",
        "output": "82",
        "answers": {"teacher": "82。", "student-sft": "<script>alert('x')</script>"},
    }
]
MANIFEST = {
    "name": "mini",
    "rows": 40,
    "seed": 42,
    "licence": {"summary": "non-commercial use only"},
    "sources": [
        {"id": "coig", "rows_in": 100, "taken": 30, "dropped": {"empty": 2}, "licence": {"spdx": "Apache-2.0"}},
        {"id": "other", "taken": 10, "licence": "CC-BY-NC-4.0"},
    ],
}
CSV = """epoch,loss,loss/ce,loss/forward_kl,step,val_bpc
0,4.0,4.5,3.5,0,
0,2.0,2.5,1.5,10,
0,,,,10,1.25
0,1.0,1.5,0.5,20,
"""


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    put(folder / "scores.json", SCORES)
    put(folder / "samples.json", SAMPLES)
    put(folder / "data" / "train.manifest.json", MANIFEST)
    for name in ("sft-0", "sft-10", "sft-2", "kd-0"):
        put(folder / name / "logs" / "csv" / "metrics.csv", CSV)
        put(folder / name / "recipe.yaml", f"model:\n  student: tiny # {name} <b>\n")
    return folder


class Balance(HTMLParser):
    """Collects tags and attributes; every tag that opens must close, in order."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_everything(demo: Path) -> None:
    text = build_page(demo)
    assert headings(text) == ["成绩 Scores", "回答对照 Samples", "训练过程 Training", "训练数据 Data", "配方 Recipes"]
    assert '<html lang="zh">' in text
    Balance(text)


@pytest.mark.parametrize(
    ("file", "title"),
    [
        ("scores.json", "成绩 Scores"),
        ("samples.json", "回答对照 Samples"),
        ("kd-0/logs/csv/metrics.csv", "训练过程 Training"),
        ("data/train.manifest.json", "训练数据 Data"),
        ("kd-0/recipe.yaml", "配方 Recipes"),
    ],
)
def test_one_piece_alone(demo: Path, tmp_path: Path, file: str, title: str) -> None:
    put(tmp_path / "alone" / file, (demo / file).read_text(encoding="utf-8"))
    assert headings(build_page(tmp_path / "alone")) == [title]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to report .*scores\.json.*metrics\.csv"):
        build_page(tmp_path)
    put(tmp_path / "scores.json", {"models": []})
    with pytest.raises(DataError, match="nothing to report"):
        build_page(tmp_path)


def test_no_folder_names_the_nearest(demo: Path) -> None:
    with pytest.raises(DataError, match=r"no run folder .*did you mean 'demo'"):
        build_page(demo.with_name("dmo"))


def test_broken_json_names_the_file(demo: Path) -> None:
    put(demo / "samples.json", "[{")
    with pytest.raises(DataError, match=r"samples\.json is not valid JSON"):
        build_page(demo)


def test_scores_table(demo: Path) -> None:
    text = build_page(demo)
    assert '<td class="num best">83.2 % <small>± 1.2</small></td>' in text
    assert '<td class="num best">0.470 <small>± 0.004</small></td>' in text
    assert '<td class="num">96.2 %</td>' in text, "the teacher is no student and never the best"
    assert text.count('class="num best"') == 3
    assert '<td class="num bar" style="--w:75.0%">75.0 %</td>' in text
    assert "种子 0, 1, 2" in text
    assert "student-kd 用教师 10.0 % 的参数，答对 83.2 %（教师 96.2 %）" in text
    assert "+9.1 个百分点" in text
    assert "波动。" in text.split("+9.1")[1], "what ± means is said"
    assert "不大于" not in text


def test_a_gain_within_the_spread_is_called_that(demo: Path) -> None:
    close = json.loads(json.dumps(SCORES))
    close["models"][1]["exact_match"] = 0.825
    put(demo / "scores.json", close)
    assert "+0.7 个百分点。 该差别不大于种子间的波动。" in build_page(demo)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    put(
        tmp_path / "scores.json",
        '{"models": [{"name": "a", "parameters": null, "exact_match": NaN, "bits_per_character": Infinity},'
        ' {"name": "b", "parameters": "many", "exact_match": 0.5, "spread": 3, "by_family": {"x": "y"}}, 7]}',
    )
    text = build_page(tmp_path)
    assert "50.0 %" in text
    assert not re.search(r">\s*(nan|inf|NaN|Infinity|None)", text)


def test_unknown_characters_take_the_comparison_away(demo: Path) -> None:
    lossy = json.loads(json.dumps(SCORES))
    lossy["models"][2]["unknown_characters"] = 12
    put(demo / "scores.json", lossy)
    text = build_page(demo)
    assert '<td class="num">0.470 * <small>' in text
    assert "不可与其他模型比较" in text


def test_samples_are_marked_and_escaped(demo: Path) -> None:
    text = build_page(demo)
    assert text.count('<div class="right">') == 1, "82。 answers 82"
    assert text.count('<div class="wrong">') == 1
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in text
    assert "script" not in Balance(text).tags
    assert "tiny # kd-0 &lt;b&gt;" in text


NASTY = "\"><script>x</script><img src=http://x onerror='y'>&"


def test_no_text_becomes_markup_wherever_it_comes_from(tmp_path: Path) -> None:
    run = tmp_path / NASTY.replace("/", "∕")
    model = {"name": NASTY, "seeds": [NASTY], "exact_match": 1, "by_family": {NASTY: 1}}
    put(run / "scores.json", {"data": NASTY, "rows": 1, "models": [model]})
    put(run / "samples.json", [{"instruction": NASTY, "input": NASTY, "output": NASTY, "answers": {NASTY: NASTY}}])
    source = {"id": NASTY, "title": NASTY, "taken": 1, "dropped": {NASTY: 1}, "licence": {"spdx": NASTY, "note": NASTY}}
    put(
        run / "data_manifest.json",
        {"name": NASTY, "seed": NASTY, "sha256": NASTY, "licence": NASTY, "sources": [source]},
    )
    put(
        run / "logs" / "csv" / "metrics.csv",
        f'step,loss,"loss/{NASTY.replace(chr(34), chr(34) * 2)}",loss/ce\n1,1,2,3\n',
    )
    put(run / "recipe.yaml", NASTY)
    tags = set(Balance(build_page(run)).tags)
    assert not tags & {"script", "img"}
    assert "svg" in tags


def test_a_lone_surrogate_costs_nothing(tmp_path: Path) -> None:
    put(tmp_path / "samples.json", '[{"instruction": "\\ud83d", "output": "x", "answers": {"a": "\\ud83d"}}]')
    page = build_page(tmp_path)
    assert page.encode("utf-8")
    assert page.count('">?</div>') == 2  # it stands for the question and for the answer


def test_the_page_fetches_nothing(demo: Path) -> None:
    text = build_page(demo)
    found = Balance(text)
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & set(found.tags)
    assert not {"src", "href", "xlink:href", "srcset", "data", "action"} & {name for name, _ in found.attributes}
    assert not re.search(r"https?://|url\(|@import", text)


def test_curves_of_a_sparse_torn_file(tmp_path: Path) -> None:
    put(tmp_path / "m.csv", CSV + "0,nan,oops,,30,\n0,0.5")
    curves = read_curves(tmp_path / "m.csv")
    assert curves["val_bpc"] == [(10.0, 1.25)]
    assert curves["loss"][:3] == [(0.0, 4.0), (10.0, 2.0), (20.0, 1.0)]
    assert "step" not in curves
    assert "epoch" not in curves


def test_runs_of_a_kind(demo: Path) -> None:
    assert [(r.name, r.kind) for r in find_runs(demo)] == [
        ("kd-0", "kd"), ("sft-0", "sft"), ("sft-2", "sft"), ("sft-10", "sft")
    ]  # fmt: skip
    text = build_page(demo)
    assert "kd × 1" in text
    assert "sft × 3" in text
    first = text.split("</svg>")[0]
    assert [int(n) for n in re.findall(r'<g class="k(\d)">', first)] == [0, 1, 1, 1]
    assert "<title>sft-10 · 20 · 1</title>" in first
    assert text.count("<details>") == 2, "one recipe a kind"
    assert len(re.findall("<svg", text)) == 4, "loss, its two parts, validation"


def test_a_single_run(demo: Path) -> None:
    text = build_page(demo / "kd-0")
    assert headings(text) == ["训练过程 Training", "配方 Recipes"]
    assert "<h1>蒸馏报告<small>kd-0</small></h1>" in text
    assert "<td>kd-0</td>" in text
    assert '<td class="num">1.250</td>' in text


def test_a_run_that_diverged_or_has_not_begun(tmp_path: Path) -> None:
    put(tmp_path / "a-0" / "logs" / "csv" / "metrics.csv", "step,loss\n0,nan\n1,inf\n")
    put(tmp_path / "a-1" / "logs" / "csv" / "metrics.csv", "")
    put(tmp_path / "a-2" / "logs" / "csv" / "metrics.csv", "step,loss\n5,3.5\n6,nan\n7,1e300\n")
    text = build_page(tmp_path)
    assert "<td>a-2</td>" in text
    assert "<td>a-0</td>" not in text
    assert "<title>a-2 · 5 · 3.5</title>" in text
    assert not re.search(r"[\",LM>]-?(nan|inf)", text)


def test_the_data_table(demo: Path) -> None:
    text = build_page(demo)
    assert "40 行 · 种子 seed 42 · non-commercial use only" in text
    assert '<td class="num bar" style="--w:75.0%">75.0 %</td>' in text.split("训练数据")[1]
    assert "<td>empty 2</td>" in text
    assert "CC-BY-NC-4.0" in text


def test_copies_of_the_manifest_count_once(tmp_path: Path) -> None:
    for name in ("a-0", "a-1"):
        put(tmp_path / name / "data_manifest.json", MANIFEST)
    text = build_page(tmp_path)
    assert text.count("<h3>mini</h3>") == 1


def test_english_and_no_other(demo: Path) -> None:
    text = build_page(demo, "en")
    assert '<html lang="en">' in text
    assert headings(text) == ["Scores", "Samples", "Training", "Data", "Recipes"]
    with pytest.raises(DistillError, match="no language 'fr'"):
        build_page(demo, "fr")


def test_the_verb(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb("report", [str(demo)]) == 0
    assert (demo / "report.html").read_text(encoding="utf-8") == build_page(demo)
    out = tmp_path / "new" / "page.html"
    assert verb("report", [str(demo), "-o", str(out)]) == 0
    assert [p.name for p in out.parent.iterdir()] == ["page.html"]
    assert verb("report", [str(demo), "-o", str(tmp_path)]) == 2
    assert verb("report", [str(tmp_path / "none")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_path_golden() -> None:
    points = [(0, 4.0), (10, 2.0), (20, 1.0)]
    assert path(points, Axis(0, 20, 52, 460), Axis(1, 4, 230, 12)) == "M52,12L256,157.3L460,230"
    svg = line_chart([Series("kd-0", 1, points)], "loss", "step")
    assert '<g class="k1"><title>kd-0</title><path class="line" d="M52,12L256,157.3L460,230"/>' in svg
    assert line_chart([Series("x", 0, [(1, float("nan"))])], "loss", "step") == ""


def test_thin_keeps_the_mean_and_the_ends_of_the_range() -> None:
    points = [(float(n), float(n % 2)) for n in range(1000)]
    few = thin(points, 100)
    assert len(few) == 100
    assert all(y == 0.5 for _, y in few)
    assert few[0][0] == 4.5
    assert few[-1][0] == 994.5
    assert thin(points[:100], 100) == points[:100]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, ["0", "2", "4", "6", "8", "10"]),
        (0.31, 0.62, ["0.3", "0.4", "0.5", "0.6", "0.7"]),
        (-0.05, 0.05, ["-0.06", "-0.04", "-0.02", "0.00", "0.02", "0.04", "0.06"]),
        (0, 2_000_000, ["0", "5e+05", "1e+06", "1.5e+06", "2e+06"]),
    ],
)
def test_tick_names(low: float, high: float, expected: list[str]) -> None:
    assert names(ticks(low, high)) == expected


@given(st.lists(st.floats(-1e14, 1e14), min_size=1, max_size=5))
def test_ticks_cover_the_data(values: list[float]) -> None:
    found = ticks(min(values), max(values))
    room = 1e-6 * (found[-1] - found[0])
    assert found[0] - room <= min(values)
    assert max(values) <= found[-1] + room
    assert 2 <= len(found) <= 12
    assert all(a < b for a, b in pairwise(found))
    svg = line_chart([Series("a", 0, [(float(n), v) for n, v in enumerate(values)])], "y", "x")
    assert not re.search(r"[\",LM>]-?(nan|inf)", svg)
