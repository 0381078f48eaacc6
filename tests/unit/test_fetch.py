"""Fetching resumes, verifies and says what it cannot do; the hub and the web are a server on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_gen import fetch as fetching
from data_gen.fetch import fetch
from data_gen.provenance import git_blob
from data_gen.records import DataError
from data_gen.registry import get_source, load_registry, open_source
from data_gen.source_yaml import Licence, Source, SourceFile
from tests.hub_server import COMMIT, Site, serve
from tests.raw_files import write_raw

CONTENT = b'{"instruction": "q", "output": "a"}\n' * 5000


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINITUO_DATA", raising=False)
    monkeypatch.setattr(fetching, "TRIES", 2)


def of_the_web(site: Site, **keys: str) -> Source:
    site.files["/a.jsonl"] = CONTENT
    file = SourceFile(name="sub/a.jsonl", url=f"{site.url}/a.jsonl", **keys)  # type: ignore[arg-type]
    return Source("mine", "Mine", Licence("MIT"), "alpaca", [file])


def test_a_web_file_is_fetched_checked_and_not_fetched_again(site: Site, tmp_path: Path) -> None:
    source = of_the_web(site, sha256=hashlib.sha256(CONTENT).hexdigest())
    (one,) = fetch(source)
    assert one.path == Path("data/mine/sub/a.jsonl")
    assert one.path.read_bytes() == CONTENT
    assert one.note.endswith("as known")
    assert [path.name for path in one.path.parent.iterdir()] == ["a.jsonl"]
    asked = len(site.asked)
    assert fetch(source)[0].note == "here already"
    assert len(site.asked) == asked


def test_a_broken_download_goes_on_where_it_stopped(site: Site) -> None:
    source = of_the_web(site)
    site.break_after = 70_000
    fetch(source)  # the second attempt finds the rest
    assert Path("data/mine/sub/a.jsonl").read_bytes() == CONTENT
    assert [span for _, _, span in site.asked] == ["", "bytes=70000-"]


def test_what_an_earlier_run_left_is_used_only_while_the_file_is_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    source = of_the_web(site)
    site.break_after = 1000
    with pytest.raises(
        DataError, match=r"could not fetch http://127.*broke off after 1,000 of 180,000.*again to go on"
    ):
        fetch(source)
    part = Path("data/mine/sub/a.jsonl.part")
    assert part.stat().st_size == 1000
    site.files["/a.jsonl"] = other = CONTENT.replace(b"q", b"p")
    fetch(source)
    assert Path("data/mine/sub/a.jsonl").read_bytes() == other
    Path("data/mine/sub/a.jsonl").rename(part)  # whole, but killed before the new name
    part.with_name(part.name + ".tag").write_text(f'"{hashlib.sha256(other).hexdigest()}"')
    fetch(source)
    assert Path("data/mine/sub/a.jsonl").read_bytes() == other


@pytest.mark.parametrize("known", ["sha256", "git_blob"])
def test_a_file_of_other_bytes_does_not_stay(site: Site, known: str) -> None:
    source = of_the_web(site, **{known: "0" * (64 if known == "sha256" else 40)})
    with pytest.raises(DataError, match=r"a.jsonl is not the file it should be"):
        fetch(source)
    assert not list(Path("data").rglob("a.jsonl*"))


def test_servers_that_refuse_or_are_not_there(site: Site) -> None:
    source = of_the_web(site)
    site.files.clear()
    with pytest.raises(DataError, match=r"could not fetch .*/a.jsonl: the server says 404"):
        fetch(source)
    source.files[0].url = "http://127.0.0.1:9/a.jsonl"
    with pytest.raises(DataError, match=r"could not fetch http://127.0.0.1:9/a.jsonl: .*refused"):
        fetch(source)
    source.files[0].url = "file:///etc/passwd"
    with pytest.raises(DataError, match=r"is no web address"):
        fetch(source)


def test_a_server_that_sends_another_part_is_not_believed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TRIES", 1)
    source = of_the_web(site)
    part = Path("data/mine/sub/a.jsonl.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:1000])
    part.with_name(part.name + ".tag").write_text(f'"{hashlib.sha256(CONTENT).hexdigest()}"')
    site.shifted = 7
    with pytest.raises(DataError, match=r"sends another part of the file than was asked for; run it again"):
        fetch(source)
    site.shifted = 0
    fetch(source)
    assert Path("data/mine/sub/a.jsonl").read_bytes() == CONTENT


def test_a_full_disk_is_foreseen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match=r"needs 180,000 bytes, 10 are free"):
        fetch(of_the_web(site))


def test_what_only_a_person_can_fetch_is_told(tmp_path: Path) -> None:
    told = fetch(get_source("baike"))
    assert [one.path for one in told] == [None, None]
    assert "download https://drive.google.com/" in told[0].note
    write_raw(tmp_path / "data", "baike")
    assert {one.note for one in fetch(get_source("baike"))} == {"here already"}
    Path("mine.jsonl").write_bytes(CONTENT)
    assert fetch(get_source("./mine.jsonl"))[0].note == "here already"
    with pytest.raises(DataError, match=r"no file .*other.jsonl"):
        fetch(get_source("./other.jsonl"))


def run(site: Site, *argv: str, code: int = 0, **more: str) -> str:
    """Output and errors of `distill datasets`, whose hub is the site."""
    nowhere = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}  # a test asks nobody but the site
    hub = {"HF_ENDPOINT": site.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
    env = {**os.environ, **hub, **nowhere, **more}
    argv = (sys.executable, "-m", "distill", "datasets", *argv)
    done = subprocess.run(argv, env=env, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_the_hub_at_a_pinned_revision(site: Site, tmp_path: Path) -> None:
    """COIG's files from the hub; then the source reads."""
    expected = write_raw(tmp_path / "hub", "coig", rows=20)
    source = load_registry()["coig"]
    assert source.revision == COMMIT
    for file in source.files:
        path = f"/datasets/BAAI/COIG/resolve/{COMMIT}/{file.name}"
        site.files[path] = (tmp_path / "hub" / "coig" / file.name).read_bytes()
    said = run(site, "fetch", "coig")
    assert said.count("as the hub says") == 5
    assert all(COMMIT in path for _, path, _ in site.asked)
    records = list(open_source("coig"))
    assert [(r.instruction, r.input, r.output, r.history) for r in records] == expected
    assert run(site, "fetch", "coig").count("here already") == 5


def test_a_broken_download_from_the_hub_goes_on(site: Site) -> None:
    source = load_registry()["alpaca-zh"]
    path = f"/datasets/{source.hub}/resolve/{source.revision}/{source.files[0].name}"
    site.files[path] = b"[" + b" " * 12_000_000 + b"]"
    site.break_after = 11_000_000  # huggingface_hub keeps what it has by tens of MiB
    assert "as the hub says" in run(site, "fetch", "alpaca-zh")
    assert [span for method, _, span in site.asked if method == "GET"] == ["", "bytes=10485760-"]


@pytest.mark.parametrize("same", [True, False])
def test_what_a_killed_run_left_of_a_hub_file_is_used_while_the_file_is_the_same(site: Site, same: bool) -> None:
    source = load_registry()["alpaca-zh"]
    site.files[f"/datasets/{source.hub}/resolve/{source.revision}/{source.files[0].name}"] = CONTENT
    path = Path("data/alpaca-zh") / source.files[0].name
    path.parent.mkdir(parents=True)
    path.with_name(path.name + ".part").write_bytes(CONTENT[:1000] if same else b"x" * 1000)
    etag = hashlib.sha256(CONTENT).hexdigest() if same else "0" * 64
    path.with_name(path.name + ".part.tag").write_text(etag)
    run(site, "fetch", "alpaca-zh")
    assert [span for method, _, span in site.asked if method == "GET"] == ["bytes=1000-" if same else ""]
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_hub_without_a_revision_says_which_one_it_was(site: Site, tmp_path: Path) -> None:
    write_raw(tmp_path / "hub", "guanaco")
    for file in (tmp_path / "hub/guanaco").iterdir():
        for revision in ("main", COMMIT):
            site.files[f"/datasets/JosephusCheung/GuanacoDataset/resolve/{revision}/{file.name}"] = file.read_bytes()
    assert f"not pinned: the hub's main was {COMMIT}" in run(site, "fetch", "guanaco")
    assert len(list(open_source("guanaco"))) == 4


def test_an_archive_is_fetched_once_for_all_its_members(site: Site, tmp_path: Path) -> None:
    write_raw(tmp_path / "hub", "coco-cn")
    name, revision = "coco-cn-version1805v1.1.tar.gz", load_registry()["coco-cn"].revision
    content = (tmp_path / "hub/coco-cn" / name).read_bytes()
    site.files[f"/datasets/AIMClab-RUC/COCO-CN/resolve/{revision}/{name}"] = content
    said = run(site, "fetch", "coco-cn")
    assert said.count(name) == 2  # its progress and its line
    assert len(list(open_source("coco-cn"))) == 4


def test_the_hub_refuses(site: Site, tmp_path: Path) -> None:
    name = "alpaca_gpt4_data_zh.json"
    path = f"/datasets/shibing624/alpaca-zh/resolve/{load_registry()['alpaca-zh'].revision}/{name}"
    assert re.search(r"no data set shibing624/alpaca-zh", run(site, "fetch", "alpaca-zh", code=2))
    site.files[path + "x"] = b""
    assert re.search(r"shibing624/alpaca-zh has no alpaca_gpt4", run(site, "fetch", "alpaca-zh", code=2))
    site.gated.add("shibing624/alpaca-zh")
    assert "accepted its terms" in run(site, "fetch", "alpaca-zh", code=2)
    site.gated.clear()
    site.files[path] = b"[]"
    site.etags[path] = "0" * 64
    assert "is not what the hub says" in run(site, "fetch", "alpaca-zh", code=2)
    assert not Path("data/alpaca-zh", name).exists()


def test_a_token_stays_with_the_hub(site: Site) -> None:
    """The bytes come from a store of another name, to which the hub leads: the user's token is not sent there."""
    source = load_registry()["alpaca-zh"]
    path = f"/datasets/{source.hub}/resolve/{source.revision}/{source.files[0].name}"
    site.files[path] = CONTENT
    with serve() as store:
        store.files[path], site.elsewhere = CONTENT, store.url
        part = Path("data/alpaca-zh") / f"{source.files[0].name}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(CONTENT[:1000])
        part.with_name(part.name + ".tag").write_text(hashlib.sha256(CONTENT).hexdigest())
        assert "as the hub says" in run(site, "fetch", "alpaca-zh", HF_TOKEN="hf_secret")
    assert site.tokens == ["Bearer hf_secret"]
    assert store.tokens == [""]
    assert store.asked == [("GET", path, "bytes=1000-")]
    assert part.with_suffix("").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("code", "why", "sentence"),
    [
        (403, "GatedRepo", "is open to those who accepted its terms: do that on https://huggingface.co"),
        (403, "", r"the hub refuses shibing624/alpaca-zh \(.*403.*hf auth login"),
        (401, "", r"the hub refuses shibing624/alpaca-zh \(.*401.*hf auth login"),
        (404, "RevisionNotFound", "shibing624/alpaca-zh has no alpaca_gpt4_data_zh.json at revision f39db01"),
        (503, "", r"could not fetch from https://huggingface.co/.*503.*run it again to go on"),
    ],
)
def test_what_the_hub_says_no_with(site: Site, code: int, why: str, sentence: str) -> None:
    site.refused = (code, why)
    said = run(site, "fetch", "alpaca-zh", code=2, HF_TOKEN="hf_wrong")
    assert re.search(sentence, said.strip().splitlines()[-1])
    assert not list(Path("data").rglob("*.json"))


def test_offline_means_offline(site: Site) -> None:
    assert "HF_HUB_OFFLINE is set, so https://huggingface.co/" in run(
        site, "fetch", "alpaca-zh", code=2, HF_HUB_OFFLINE="1"
    )
    assert not site.asked


def test_a_mix_is_fetched_as_far_as_it_goes(site: Site, tmp_path: Path) -> None:
    for name in ("baike", "coig"):
        write_raw(tmp_path / "data", name)
    said = run(site, "fetch", "mini_luotuo", code=1)
    assert said.count("here already") == 2 + 5
    assert "failed: could not fetch https://raw.githubusercontent.com/LC1332" in said
    assert "failed: the hub has no data set shibing624/alpaca-zh" in said
    assert said.count("by hand: download https://drive") == 1
    assert "put it at data/webtext/webtext2019zh.zip" in said


def test_git_blobs_of_the_hub_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(CONTENT)
    assert "as the hub says" in fetching._checked(SourceFile(name="a.jsonl"), path, git_blob(path))
    with pytest.raises(DataError, match=r"its digest is [0-9a-f]{40}, expected 0{40}"):
        fetching._checked(SourceFile(name="a.jsonl"), path, "0" * 40)
    assert not path.exists()
