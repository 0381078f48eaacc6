"""Cards carry the licences of the parts; the numbers of `describe` are counted by hand here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.cards import card
from data_gen.describe import chinese_share, describe
from data_gen.mix_recipe import mix_names
from data_gen.mixes import build_mix
from data_gen.records import DataError, Record
from data_gen.registry import load_registry
from data_gen.shards import characters


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def front_matter(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


TAGS = {
    "alpaca-zh": "cc-by-nc-4.0",
    "coco-cn": "mit",
    "curriculum": "apache-2.0",
    "dolly-zh": "cc-by-sa-3.0",
    "luotuo": "cc-by-nc-4.0",
    "moss": "cc-by-nc-4.0",
    "wiki": "cc-by-sa-3.0",
    "wizardlm-zh": "cc-by-nc-4.0",
}
"""What a machine may read from a card; of the other sources a licence's name does not say all"""


@pytest.mark.parametrize("name", sorted(load_registry()))
def test_a_source_has_a_card(name: str) -> None:
    source, text = load_registry()[name], card(name)
    assert source.licence.spdx in text
    assert source.licence.note in text
    assert ("Non-commercial" in text) == source.licence.noncommercial
    assert all(file.name in text for file in source.files)
    assert front_matter(text)["license"] == TAGS.get(name, "other")
    assert ("\n## Contains\n" in text) == bool(source.contains)


@pytest.mark.parametrize("name", mix_names())
def test_a_mix_has_a_card(name: str) -> None:
    text = card(name)
    assert front_matter(text)["pretty_name"] == name
    assert text.count("\n## ") == 2
    assert "\n\n\n" not in text


def test_the_card_of_mini_luotuo_says_what_may_not_be_sold() -> None:
    text = card("mini_luotuo")
    assert "683,235 rows" in text
    assert "non-commercial use only, because of luotuo, alpaca-zh" in text
    assert front_matter(text)["license"] == "other"
    assert front_matter(text)["size_categories"] == ["100K<n<1M"]


def test_what_is_inside_of_what_is_said() -> None:
    assert "Other sources of the registry are inside of it: coig, coig-dialogs.\n" in card("panda-coig")
    assert "scored on" not in card("panda-coig")
    text = card("pclue")
    assert "**It holds what models are scored on: c3, cmrc2018, ocnli," in text
    assert "Other sources" not in text
    recipe = {"name": "all", "sources": {"panda-coig": 10, "pclue": 10, "coig": 10, "luotuo": 10}}
    Path("all.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    text = card("all.yaml")
    assert "- coig is inside of panda-coig: its rows come up twice.\n" in text
    assert "- pclue holds what models are scored on (c3, cmrc2018, " in text
    assert text.split("---\n")[2].count("\n- ") == 2  # coig-dialogs and luotuo-alpaca are no parts of this mix


def test_a_built_mix_says_what_is_inside_of_what() -> None:
    Path("sources").mkdir()
    for name, contains in (("whole", ["half", "c3"]), ("half", [])):
        Path(f"{name}.jsonl").write_bytes(b'{"instruction": "q", "output": "a"}\n')
        said: dict[str, Any] = {"id": name, "title": name, "contains": contains, "licence": {"spdx": "MIT"}}
        said["files"] = [{"path": f"{name}.jsonl"}]
        Path(f"sources/{name}.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    recipe = {"name": "both", "sources": {"half": "all", "whole": "all"}, "dedup": "none"}
    Path("both.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    manifest = build_mix("both.yaml", "both.jsonl")
    assert manifest["overlaps"] == {"contained": [["whole", "half"]], "scored_on": {"whole": ["c3"]}}
    assert "- half is inside of whole: its rows come up twice.\n" in card("both.manifest.json")
    assert "- whole holds what models are scored on (c3)" in card("both.manifest.json")
    assert "scored on" not in card("half")


def test_the_card_of_a_built_mix_has_its_digests() -> None:
    manifest = build_mix("demo", "demo.jsonl")
    text = card("demo.manifest.json")
    assert manifest["output"]["sha256"] in text
    assert "5,000" in text
    assert "duplicate" in text


def test_the_tags_of_a_mix_are_those_of_its_parts() -> None:
    """No machine may read apache-2.0 from what is non-commercial, nor Chinese from what is English."""
    for sources, licence, languages in (
        (["coqa"], "other", ["en"]),
        (["coco-cn"], "mit", ["zh"]),
        (["luotuo-alpaca"], "other", ["zh"]),
        (["luotuo", "alpaca-zh", "moss"], "cc-by-nc-4.0", ["multilingual", "zh"]),
    ):
        recipe = {"name": "m", "sources": dict.fromkeys(sources, 10)}
        Path("m.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        head = front_matter(card("m.yaml"))
        assert (head["license"], head["language"]) == (licence, languages)


def test_a_card_of_nothing() -> None:
    with pytest.raises(DataError, match=r"no source and no mix 'coigg' \(did you mean 'coig'\?\)"):
        card("coigg")
    with pytest.raises(DataError, match=r"no file none.json"):
        card("none.json")
    Path("a.json").write_text("{}")
    with pytest.raises(DataError, match=r"is no manifest of a mix"):
        card("a.json")


def test_describe_counts() -> None:
    records = [
        Record("你好", "", "你好。"),
        Record("你好", "", "你好。", source="again"),
        Record("你好", "", "再见。"),
        Record("say hello", "cat", ""),
        Record("问", "", "a" * 20, history=[["甲", "一"]]),
    ]
    numbers = describe(records)
    assert numbers["rows"] == 5
    assert numbers["duplicates"] == 1
    assert numbers["repeated_questions"] == 2
    assert (numbers["with_input"], numbers["with_history"], numbers["empty_output"]) == (1, 1, 1)
    assert numbers["characters"] == sum(map(characters, records)) == 5 + 5 + 5 + 12 + 23
    assert numbers["length"]["output"] == {"mean": 5.8, "median": 3, "p90": 3, "p99": 3, "max": 20}
    assert numbers["chinese_share"]["rows_below_half"] == 2
    assert numbers["histogram"]["output"] == [
        {"from": 0, "below": 1, "rows": 1},
        {"from": 1, "below": 8, "rows": 3},
        {"from": 8, "below": 16, "rows": 0},
        {"from": 16, "below": 32, "rows": 1},
    ]
    assert describe([]) == {"rows": 0}
    assert describe([Record("", output="字" * 5000)])["histogram"]["output"] == [{"from": 4096, "below": 0, "rows": 1}]


@pytest.mark.parametrize(("text", "share"), [("", 0), ("你好 ab", 0.5), ("𠮷", 1), ("。", 0), ("ﾊﾝ", 0)])
def test_chinese_share(text: str, share: float) -> None:
    assert chinese_share(text) == share
