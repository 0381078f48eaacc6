"""Sources of the user's own: their YAML, in every way it may be written and what is told where it is wrong; digests."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_gen.provenance import check_digest, git_blob
from data_gen.records import DataError, Record
from data_gen.registry import get_source, load_registry, locate, open_source, raw_rows
from data_gen.source_yaml import Source, load_source
from distill.cli import main
from tests.unit import test_registry
from tests.unit.test_registry import shown

in_empty_folder = test_registry.in_empty_folder


def test_a_source_of_the_user_counts_and_wins(tmp_path: Path) -> None:
    shown("sources/mine.yaml", files=[{"name": "a.jsonl", "path": "raw/a.jsonl"}])
    (tmp_path / "raw").mkdir()
    Path("raw/a.jsonl").write_text(json.dumps({"instruction": "问", "output": "答"}))
    assert list(open_source("mine")) == [Record("问", output="答", source="mine")]
    shown("sources/other.yaml", id="coig", title="My COIG")
    assert load_registry()["coig"].title == "My COIG"


def test_files_of_the_user_in_every_way(tmp_path: Path) -> None:
    """What docs/datasets.md shows of a YAML of one's own."""
    row = {"instruction": "问", "output": "答"}
    lines = json.dumps(row) + "\n"
    Path("raw").mkdir()
    Path("raw/a.csv").write_text("instruction,output\n问,答\n")
    with zipfile.ZipFile("raw/all.zip", "w") as archive:
        archive.writestr("a.jsonl", lines * 2)
        archive.writestr("b.jsonl", lines)
    Path("raw/squad.json").write_text(json.dumps({"version": 1, "data": [row]}))
    files: list[dict[str, Any]] = [
        {"path": "raw/a.csv"},
        {"path": "raw/all.zip"},
        {"path": "raw/all.zip", "archive": "all.zip", "name": "b.jsonl"},
        {"path": "raw/squad.json", "at": "data"},
        {"name": "c.jsonl", "url": "https://example.org/c.jsonl"},
    ]
    shown("sources/mine.yaml", converter=None, files=files)
    with pytest.raises(DataError, match=r"needs c.jsonl: 'distill datasets fetch mine' does, or: download https://exa"):
        list(open_source("mine"))
    Path("data/mine").mkdir(parents=True)
    Path("data/mine/c.jsonl").write_text(lines)
    assert [len(list(raw_rows(replace(get_source("mine"), files=[f])))) for f in get_source("mine").files] == [
        1,
        3,
        1,
        1,
        1,
    ]
    assert {(record.instruction, record.output) for record in open_source("mine")} == {("问", "答")}
    Path("raw/a.csv").write_text("题目,答案\n问,答\n")
    shown("sources/mine.yaml", converter=None, columns={"instruction": "题目", "output": "答案"}, files=files[:1])
    assert [record.output for record in open_source("mine")] == ["答"]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed_files_are_found_and_their_digest_is_that_of_the_content(tmp_path: Path, ending: str) -> None:
    import pyarrow as pa

    content = b'{"instruction": "q", "output": "a"}\n' * 9
    shown("sources/mine.yaml", files=[{"name": "a.jsonl", "sha256": hashlib.sha256(content).hexdigest()}])
    Path("data/mine").mkdir(parents=True)
    with pa.CompressedOutputStream(f"data/mine/a.jsonl{ending}", "gzip" if ending == ".gz" else "zstd") as file:
        file.write(content)
    source = get_source("mine")
    path = locate(source, source.files[0])
    assert path.name == f"a.jsonl{ending}"
    assert check_digest(source.files[0], path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(list(open_source("mine"))) == 9


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"licens": "MIT"}, r"mine.yaml: unknown key 'licens' \(did you mean 'licence'\?\)"),
    "no title": ({"title": None}, r"mine.yaml: 'title' is missing$"),
    "no licence": ({"licence": None}, r"mine.yaml, licence: 'spdx' is missing$"),
    "file key": ({"files": [{"nam": "a"}]}, r"mine.yaml, files: unknown key 'nam' \(did you mean 'name'\?\)"),
    "file type": ({"files": [{"name": "a", "rows": "many"}]}, r"rows must be a whole number, found 'many'"),
    "flag": ({"verified": "perhaps"}, "verified must be true or false, found 'perhaps'"),
    "files": ({"files": "a.jsonl"}, "'files' must be a list"),
    "converter": ({"converter": "alpacca"}, r"unknown converter 'alpacca' \(did you mean 'alpaca'\?\)"),
    "format": ({"files": [{"name": "a", "format": "jsonlines"}]}, r"unknown format 'jsonlines' .*'jsonl'"),
    "place": ({"files": [{"name": "../a.jsonl"}]}, "'../a.jsonl' must be a name inside of the source's folder"),
    "archive": (
        {"files": [{"name": "a", "archive": "/a.zip"}]},
        "archive '/a.zip' must be a name inside of the source's",
    ),
    "id": ({"id": "../../home"}, "id '../../home' must be a plain name"),
    "no id": ({"id": ""}, "id '' must be a plain name"),
    "generated": ({"files": [], "generated": True}, "only curriculum can be 'generated: true', not 'mine'"),
    "nothing": ({"files": []}, "either 'files' or 'generated: true'"),
    "columns": ({"converter": "columns", "columns": {"ouput": "a"}}, "no 'ouput'.*'output'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_yaml_is_told_what_is_wrong(what: str) -> None:
    keys, why = WRONG[what]
    shown("sources/mine.yaml", **keys)
    with pytest.raises(DataError, match=why):
        load_registry()


def test_yaml_that_is_none(tmp_path: Path) -> None:
    path = shown("sources/mine.yaml")
    path.write_text("id: [")
    with pytest.raises(DataError, match=r"mine.yaml is not valid YAML, line 2: [^\n]*$"):
        load_registry()
    path.write_text("- a list")
    with pytest.raises(DataError, match=r"mine.yaml must hold 'key: value' lines, found list"):
        load_registry()


def test_an_id_is_there_once() -> None:
    shown("sources/a.yaml")
    for name in ("b.yaml", "b.yml"):
        other = shown(f"sources/{name}")
        with pytest.raises(DataError, match=rf"{name}: id 'mine' is also that of sources/a.yaml"):
            load_registry()
        other.unlink()


def test_digests_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    assert git_blob(path) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"  # sha256sum
    source: Source = load_source(shown("sources/mine.yaml"))
    file = source.files[0]
    file.sha256, file.git_blob = sha, git_blob(path)
    assert check_digest(file, path) == sha
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(b"hello\n"))
    assert check_digest(file, packed) == hashlib.sha256(packed.read_bytes()).hexdigest()
    path.write_bytes(b"hallo\n")
    with pytest.raises(DataError, match=f"its sha256 is [0-9a-f]{{64}}, expected {sha}"):
        check_digest(file, path)
    file.sha256 = ""
    with pytest.raises(DataError, match=r"its git blob is"):
        check_digest(file, path)


def test_a_folder_is_a_source_for_every_action(capsys: pytest.CaptureFixture[str]) -> None:
    Path("corpus").mkdir()
    for n in range(3):
        Path(f"corpus/{n}.jsonl").write_text(f'{{"instruction": "问{n}", "output": "答"}}\n' * 2)
    Path("corpus/README.md").write_text("of three files")
    for name in ("./corpus/", "./corpus/*.jsonl"):
        assert main(["datasets", "stats", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == 6
        assert main(["datasets", "check", name]) == 0
        assert capsys.readouterr().out.count(": 2 rows, sha256 ") == 3
    Path("corpus/3.jsonl").write_bytes(Path("corpus/0.jsonl").read_bytes())
    Path("corpus/4.jsonl").write_bytes(Path("corpus/0.jsonl").read_bytes())
    assert main(["datasets", "add", "corpus", "--id", "mine"]) == 0
    assert "; 2.jsonl (alpaca) begins '问2' -> '答'; and 2 files more\n" in capsys.readouterr().out
    assert [file.path for file in get_source("mine").files] == [f"corpus/{n}.jsonl" for n in range(5)]
    assert main(["datasets", "add", "corpus", "--id", "other", "--converter", "alpca"]) == 2
    assert "--converter 'alpca' is none (did you mean 'alpaca'?)" in capsys.readouterr().err
