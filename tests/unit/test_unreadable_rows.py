"""Rows that are none: as many as were asked for are drawn all the same, and each one is told of, in mixes too."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from data_gen.mixes import build_mix
from data_gen.records import DataError
from data_gen.sampling import Summary, sample_rows
from tests import mixing
from tests.mixing import recipe
from tests.samples import rows_of

in_empty_folder = mixing.in_empty_folder
NULL = "line 4: field 'output' is null"


def write(name: str = "in.jsonl", broken: bool = False) -> str:
    """Thirty rows, of which the fourth has no answer; with another line that is no JSON."""
    rows = rows_of(30)
    rows[3]["output"] = None
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    lines[9:9] = ['{"broken'] * broken
    text = "[" + ",\n".join(lines) + "]" if name.endswith(".json") else "\n".join(lines) + "\n"
    Path(name).write_text(text, encoding="utf-8")
    return f"./{name}"


def draw(*inputs: str, **options: Any) -> Summary:
    return sample_rows(inputs, "out.jsonl", **{"on_error": "skip", "force": True} | options)


@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
@pytest.mark.parametrize("options", [{"rows": 29}, {"budget": 87}, {"rows": 29, "by": "star"}])
def test_rows_that_make_no_record_are_told_of_however_they_are_drawn(name: str, options: dict[str, Any]) -> None:
    summary = draw(write(name), convert=True, measure=lambda record: 3, **options)
    assert summary.rows == options.get("rows", 29)
    assert summary.tally.report().endswith(f"{name}: 1 unreadable row skipped, the first at {NULL}")


@pytest.mark.parametrize(
    ("options", "total"),
    [({"rows": 29}, 2), ({"rows": 6, "where": ["star>=4"]}, 1), ({}, 2), ({"convert": False}, 1)],
    ids=str,
)
def test_those_that_cannot_be_parsed_are_counted_once(options: dict[str, Any], total: int) -> None:
    """They come up in every pass over the file."""
    assert draw(write(broken=True), **{"convert": True} | options).tally.total == total


def test_inputs_of_unlike_forms_give_their_share_of_records() -> None:
    """Only that they are unlike makes records of them."""
    Path("web.jsonl").write_bytes(
        b"".join(orjson.dumps({"title": f"题{n}", "content": "文", "star": 1}) + b"\n" for n in range(30))
    )
    summary = draw(write(), "./web.jsonl", rows=58)
    assert [taken.taken for taken in summary.taken] == [29, 29]
    assert summary.tally.total == 1


def test_known_unreadable_rows_cost_no_row_of_a_sample() -> None:
    """Dialogs whose inner JSON is torn are read, and make no record."""
    path = Path("data/coig-dialogs/counterfactural_correction_multi_round_chat.tar.gz")
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for n in range(20):
            inner = '{"Q": "torn' if n % 5 == 2 else json.dumps({"Q": f"问{n}", "A": f"答{n}"})
            content = json.dumps({"round_0": {"prompt": "请提问", "response": inner}}).encode()
            info = tarfile.TarInfo(f"chat/{n}.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for rows in (1, 5, 16):
        assert draw("coig-dialogs", rows=rows, convert=True, on_error="stop").rows == rows
    with pytest.raises(
        DataError, match=r"has 16 rows to draw from \(4 unreadable, the first at member chat/2.json, line 1"
    ):
        draw("coig-dialogs", rows=17, convert=True, on_error="stop")


def test_a_mix_counts_and_names_them() -> None:
    source = write()
    manifest = build_mix(recipe({source: 29}), "out.jsonl", on_error="skip")
    assert manifest["sources"][0]["dropped"] == {"unreadable": 1}
    Path("twice.jsonl").write_bytes(Path("in.jsonl").read_bytes() * 2)
    wanted = recipe({"./twice.jsonl": 30})
    said = rf"29 rows to draw from \(29 left out: duplicate; 2 unreadable, the first at {NULL}\), 30 are wanted"
    with pytest.raises(DataError, match=said):
        build_mix(wanted, "two.jsonl", on_error="skip")


def test_a_file_of_which_nothing_can_be_read_gives_no_empty_output() -> None:
    Path("gbk.csv").write_bytes("instruction,output\n问,答\n再,答\n".encode("gbk"))
    said = r"gbk.csv: none of its rows can be read \(2 cannot, the first at line 2: text that is not UTF-8"
    with pytest.raises(DataError, match=said):
        draw("./gbk.csv")
    with pytest.raises(DataError, match=said):
        build_mix(recipe({"./gbk.csv": "all"}), "out.jsonl", on_error="skip")
    assert not Path("out.jsonl").exists()
    assert draw("./gbk.csv", allow_fewer=True).rows == 0


@pytest.mark.parametrize("wanted", [{"budget": 30, "measure": len}, {"rows": 3, "by": "star"}, {"rows": 3}])
@pytest.mark.parametrize("convert", [False, True])
def test_where_nothing_passes_the_filter_is_named(wanted: dict[str, Any], convert: bool) -> None:
    """And neither the budget nor the stratum."""
    source = write()
    with pytest.raises(DataError, match=r"--where: no row of in.jsonl has a field 'stars' \(did you mean 'star'"):
        draw(source, where=["stars==3"], convert=convert, **wanted)
    with pytest.raises(
        DataError, match=r"none of its rows passes \(30 left out: where\); (3 rows|30 characters) are wanted"
    ):
        draw(source, where=["star==77"], convert=convert, **wanted)
    assert draw(source, where=["star==77"], convert=convert, allow_fewer=True, **wanted).rows == 0
