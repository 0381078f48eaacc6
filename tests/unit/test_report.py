"""The report: a section for everything found, nothing for the rest; text from files never becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from data_gen.records import DataError
from distill.cli import run as verb
from distill.errors import DistillError
from distill.report import build_page
from tests import report_folder
from tests.report_folder import MANIFEST, SCORES, Balance, headings, put

demo = report_folder.demo


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
