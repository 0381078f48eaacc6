"""What a licence's name tells however it is spelt, and what a mix for commercial use therefore refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen.cards import card
from data_gen.cleaning import Cleaner
from data_gen.licences import permitted, terms_of
from data_gen.mixes import build_mix
from data_gen.provenance import effective_licence
from data_gen.records import DataError, Record, write_records
from data_gen.registry import load_registry
from data_gen.source_yaml import load_source
from distill.cli import main
from distill.training_data import manifest_of
from students.card import sources_of

NC, SA, UNCLEAR, OPEN = "noncommercial", "share_alike", "unclear", "commercial"
NAMES: dict[str, set[str]] = {
    "CC-BY-NC-4.0": {NC},
    "cc-by-nc-4.0": {NC},
    "CC BY NC 4.0": {NC},
    "cc_by_nc_sa_4.0": {NC, SA},
    "CC-BY-NC4.0": {NC},
    "CC-BY-NC-ND-4.0": {NC},
    "research only": {NC},
    "Research-Only": {NC},
    "for academic research": {NC},
    "LicenseRef-NonCommercial": {NC},
    "not for commercial use": {NC},
    "仅供研究使用": {NC},
    "MIT OR CC-BY-NC-4.0": {NC},
    "Apache-2.0 (non-commercial)": {NC},
    "cc-by-sa-4.0": {SA, OPEN},
    "CC BY-SA 3.0": {SA, OPEN},
    "GPL-3.0-only": {SA, OPEN},
    "gpl-3.0": {SA, OPEN},
    "GPLv3": {SA, OPEN},
    "gpl_3.0_or_later": {SA, OPEN},
    "LGPL 2.1+": {SA, OPEN},
    "agpl-3.0": {SA, OPEN},
    "GPL-2.0-only WITH Classpath-exception-2.0": {SA, OPEN},
    "ODbL-1.0": {SA, OPEN},
    "Apache-2.0 AND MIT AND CC-BY-SA-4.0": {SA, OPEN},
    "LicenseRef-Custom-SA": {SA},
    "MIT": {OPEN},
    "apache 2.0": {OPEN},
    "Apache License, Version 2.0": {OPEN},
    "BSD-3-Clause": {OPEN},
    "cc0-1.0": {OPEN},
    "CC 0": {OPEN},
    "cc-by-4.0": {OPEN},
    "(mit or apache-2.0)": {OPEN},
    "public domain": {OPEN},
    "other": {UNCLEAR},
    "unknown": {UNCLEAR},
    "": {UNCLEAR},
    "LicenseRef-unclear": {UNCLEAR},
    "MIT AND unknown": {UNCLEAR},
    "LicenseRef-Proprietary": set(),
    "proprietary": set(),
    "LicenseRef-MIT": set(),
    "CC-BY-ND-4.0": set(),
    "openrail": set(),
    "llama3": set(),
    "Apache-2.0 WITH Commons-Clause": set(),
}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINITUO_DATA", raising=False)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_name_tells(name: str) -> None:
    terms = terms_of(name)._asdict()
    assert {what for what, told in terms.items() if told} == NAMES[name]


def source(name: str = "mine", **licence: Any) -> None:
    """A source of the user's own, with one row."""
    Path("sources").mkdir(exist_ok=True)
    write_records(f"{name}.jsonl", [Record("问题", output="回答")])
    values = {"id": name, "title": name, "files": [{"path": f"{name}.jsonl"}], "licence": licence}
    Path(f"sources/{name}.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")


def build(part: Any = "all", name: str = "mine") -> dict[str, Any]:
    Path("mix.yaml").write_text(yaml.safe_dump({"name": "m", "licence": "commercial", "sources": {name: part}}))
    return build_mix("mix.yaml", "out.jsonl")


@pytest.mark.parametrize("name", [name for name in NAMES if OPEN in NAMES[name]])
def test_what_a_mix_for_commercial_use_takes(name: str) -> None:
    source(spdx=name)
    assert build()["licence"]["unrecognised"] == []


@pytest.mark.parametrize("name", [name for name in NAMES if OPEN not in NAMES[name]])
def test_what_a_mix_for_commercial_use_refuses(name: str) -> None:
    """In one sentence with the source, its licence and the way out."""
    source(spdx=name)
    why = {NC: "forbids commercial use", UNCLEAR: "has unclear rights"}
    what = next((why[told] for told in (NC, UNCLEAR) if told in NAMES[name]), "is not known to allow it")
    said = f"mix 'm' is for commercial use, and mine {what} ({name or 'no licence'}); leave it out, or"
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        build()
    assert ("'noncommercial: false'" in str(caught.value)) == (NC not in NAMES[name])
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("name", ["LicenseRef-Proprietary", "LicenseRef-unclear", "openrail"])
def test_terms_that_somebody_read(name: str) -> None:
    """`noncommercial: false` vouches for a name that tells nothing; it must be said."""
    source(spdx=name, noncommercial=False, note="rights of the texts unclear to others, bought by us")
    manifest = build()
    assert (manifest["rows"], manifest["licence"]["noncommercial"]) == (1, [])
    assert manifest["licence"]["summary"] == f"no part forbids commercial use (parts: {name})"
    source(spdx=name)
    with pytest.raises(DataError, match=r"mine has unclear rights|mine is not known to allow it"):
        build()


def test_a_name_that_forbids_is_not_vouched_for() -> None:
    source(spdx="cc-by-nc-4.0", noncommercial=False)
    assert load_source(Path("sources/mine.yaml")).licence.noncommercial
    with pytest.raises(
        DataError, match=r"forbids commercial use \(cc-by-nc-4.0\); leave it out, or say 'licence: any'"
    ):
        build()
    source(spdx="MIT", noncommercial="no")
    with pytest.raises(DataError, match=r"noncommercial must be true or false"):
        load_registry()
    source(spdx="MIT", vouched=True)
    with pytest.raises(DataError, match=r"unknown key 'vouched'"):
        load_registry()


def test_the_licence_that_a_recipe_states_is_read_the_same_way() -> None:
    write_records("a.jsonl", [Record("问题", output="回答")])
    with pytest.raises(DataError, match=r"./a.jsonl forbids commercial use \(cc by nc 4.0\)"):
        build({"rows": "all", "licence": "cc by nc 4.0"}, "./a.jsonl")
    assert build({"rows": "all", "licence": "apache 2.0"}, "./a.jsonl")["rows"] == 1
    with pytest.raises(
        DataError, match=r"./a.jsonl is not known to allow it \(ours\); .*, or name its licence, './a.jsonl: "
    ):
        build({"rows": "all", "licence": "ours"}, "./a.jsonl")


def test_ls_manifests_and_cards_know_the_spellings_of_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    source("nc", spdx="cc-by-nc-4.0")
    source("sa", spdx="cc-by-sa-4.0")
    source("odd", spdx="LicenseRef-Proprietary")
    assert main(["datasets", "ls", "--json"]) == 0
    assert {row["id"] for row in json.loads(capsys.readouterr().out) if row["noncommercial"]} >= {"nc", "luotuo"}
    known = load_registry()
    found = effective_licence({name: known[name] for name in ("nc", "sa", "odd")})
    assert [found[key] for key in (NC, SA, UNCLEAR, "unrecognised")] == [["nc"], ["sa"], [], ["odd"]]
    assert found["summary"].startswith(
        "non-commercial use only, because of nc; share alike, because of sa; not known to allow commercial use: odd ("
    )
    assert "**Non-commercial use only.**" in card("nc")
    assert "**Share alike.**" in card("sa")
    Path("mix.yaml").write_text("name: m\nsources: {nc: all, sa: all}\ndedup: none\n")
    assert [part["licence"][NC] for part in build_mix("mix.yaml", "out.jsonl")["sources"]] == [True, False]
    rows = [Record("问", output="答", source="x", meta={"licence": "cc by nc 4.0"})]
    assert json.loads(manifest_of(["nc.jsonl"], rows))["sources"][0]["licence"][NC]
    entries = [{"id": name, "licence": name} for name in ("cc by nc 4.0", "research only", "MIT", "Vincent-1.0")]
    assert [row["noncommercial"] for row in sources_of({"sources": entries})] == [True, True, False, False]


def test_a_licence_of_the_packaging_alone_is_marked_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    source("other", spdx="LicenseRef-unclear")
    source("bought", spdx="MIT", note="rights of the texts unclear to others, bought by us", noncommercial=False)
    assert main(["datasets", "ls"]) == 0
    said = capsys.readouterr().out
    marked = [line.split()[0] for line in said.splitlines() if "? " in line[:70] and not line.startswith("?")]
    assert marked == ["baike", "cnewsum", "guanaco", "news", "translation", "webtext"]
    assert said.count("MIT? ") == 4
    assert "?: rights of the texts unclear" in said.splitlines()[-1]
    assert main(["datasets", "ls", "--json"]) == 0
    unclear = {row["id"] for row in json.loads(capsys.readouterr().out) if row["unclear"]}
    assert unclear == {*marked, "other", "firefly", "pclue", "sharegpt"}
    known = load_registry()
    assert unclear == {*effective_licence(known)["unclear"]}
    for name in known:
        assert main(["datasets", "show", name]) == 0
        assert ("rights unclear" in capsys.readouterr().out) == (name in unclear)
        assert ("**Rights unclear.**" in card(name)) == (name in unclear)


def test_a_filter_of_licences_knows_what_a_name_does_not_tell() -> None:
    """baike is MIT by its repository, luotuo-alpaca-gpt4 Apache-2.0 by a tag: neither is kept by the name alone."""
    known = load_registry()
    row = {"title": "问", "desc": "", "answer": "答", "instruction_zh": "问", "input_zh": "", "output_zh": "答"}
    for name, spdx, more in (("baike", "MIT", "unclear"), ("luotuo-alpaca-gpt4", "Apache-2.0", "noncommercial")):
        for file in known[name].files:
            Path("data", name).mkdir(parents=True, exist_ok=True)
            Path("data", name, file.name).write_text(json.dumps(row) + "\n")
        mix = f"name: m\ndedup: none\nsources: {{{name}: all}}\n"
        Path("plain.yaml").write_text(f"{mix}licences: [{spdx}]\n")
        assert build_mix("plain.yaml", f"{name}.jsonl")["sources"][0]["taken"] == 0
        Path("said.yaml").write_text(f"{mix}licences: [{spdx}, LicenseRef-{more}]\n")
        assert build_mix("said.yaml", f"{name}-said.jsonl")["sources"][0]["taken"] == len(known[name].files)


def test_a_filter_of_licences_reads_expressions_and_spellings() -> None:
    keep = Cleaner(licences=("MIT", "Apache-2.0"))
    for name, kept in (
        ("mit", True),
        ("apache 2.0", True),
        ("Apache-2.0 AND MIT", True),
        ("Apache-2.0 AND CC-BY-SA-4.0", False),
        ("Apache-1.1", False),
        ("", False),
    ):
        assert (keep(Record("问", output="答", meta={"licence": name}))[1] == "") == kept, name
    assert permitted("Apache-2.0 AND MIT", ["Apache-2.0 AND MIT"])
    assert permitted("LicenseRef-unclear", ["LicenseRef-unclear"])
    assert not permitted("", ["MIT"])


def test_the_stricter_of_what_is_said() -> None:
    """The hub's tag of these is freer than the page of the data that they are, or are made of."""
    known = load_registry()
    for name in ("alpaca-zh", "luotuo-alpaca", "luotuo-alpaca-gpt4", "belle-1m", "moss", "wizardlm-zh"):
        assert known[name].licence.noncommercial
        assert "taken as the stricter one" in known[name].licence.note
    assert not any("licence" in source.unverified and source.verified for source in known.values())


def test_coig_names_all_its_licences() -> None:
    known = load_registry()
    parts = {name: known[name] for name in ("coig", "coig-dialogs", "panda-coig")}
    found = effective_licence(parts)
    assert found["share_alike"] == list(parts)
    assert found["noncommercial"] == found["unclear"] == found["unrecognised"] == []
    assert "share alike, because of coig, coig-dialogs (parts: Apache-2.0 AND MIT AND CC-BY-SA-4.0)" in card(
        "panda_coig"
    )
    assert "license: other" in card("coig")
