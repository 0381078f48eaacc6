"""The same samples and mixes on a Ray cluster of two nodes as in one process, to the byte."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_gen import near_duplicates
from data_gen.contamination import Contamination
from data_gen.mixes import build_mix
from data_gen.records import DataError
from data_gen.sampling import sample_rows

ray = pytest.importorskip("ray", reason="part of the extra dev on Linux only: pip install 'minituo[ray]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """Two nodes of one CPU each on this machine."""
    from ray.cluster_utils import Cluster

    from data_gen.ray_engine import ray_engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs on this machine is not its business
        node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.add_node(**node)
        patch.setenv("RAY_ADDRESS", cluster.address)
        try:
            yield ray_engine()
            assert len(ray.nodes()) == 2
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture(autouse=True)
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of many files of several forms, with duplicates across them."""
    monkeypatch.chdir(tmp_path)
    Path("corpus").mkdir()
    for n in range(7):
        rows = [
            {
                "instruction": f"第{(n * 60 + i) % 300}個問題",
                "output": f"答案{i}",
                "star": i % 5,
                "kind": "甲乙丙"[i % 3],
            }
            for i in range(100)
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        if n == 2:
            Path("corpus/part-2.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        elif n == 4:
            Path("corpus/part-4.json").write_text(json.dumps(rows), encoding="utf-8")
        else:
            Path(f"corpus/part-{n}.jsonl").write_text(text, encoding="utf-8")


OPTIONS: dict[str, dict[str, Any]] = {
    "draw": {"rows": 90},
    "convert and filter": {"rows": 90, "convert": True, "where": ["star>=2"]},
    "strata": {"rows": 60, "by": "kind"},
    "all": {"where": ["star==1"]},
    "held out": {"rows": 90, "heldout": 0.2, "heldout_out": "held.jsonl"},
}


@pytest.mark.parametrize("what", OPTIONS)
def test_samples_are_the_same(engine: Any, what: str) -> None:
    found = []
    for options in ({}, {"engine": engine}):
        sample_rows(["./corpus/"], "out.jsonl", seed=5, force=True, **OPTIONS[what], **options)
        found.append(Path("out.jsonl").read_bytes())
    assert found[0] == found[1]
    assert found[0].count(b"\n") >= 60


def test_mixes_are_the_same(engine: Any) -> None:
    recipe = {"name": "mine", "seed": 3, "sources": {"all": {"rows": 150, "path": "corpus/part-0.jsonl"}}}
    recipe["sources"] |= {f"./corpus/part-{n}.jsonl": {"rows": 40} for n in (1, 3, 5)}  # type: ignore[operator]
    recipe["sources"]["all"]["rows"] = 60  # type: ignore[index]
    recipe |= {"nfkc": True, "filters": {"length": {"max_output": 4}}}
    Path("mix.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    here = build_mix("mix.yaml", "here.jsonl")
    there = build_mix("mix.yaml", "there.jsonl", engine=engine)
    assert here["output"]["sha256"] == there["output"]["sha256"]
    assert [part["dropped"] for part in here["sources"]] == [part["dropped"] for part in there["sources"]]
    assert any(part["dropped"] for part in here["sources"])


def test_comparing_is_the_same_and_its_costly_part_is_done_on_the_cluster(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near duplicates and evaluation items."""
    texts = [f"第{n}{'甲乙丙丁戊己庚辛'[n % 8] * (n % 5 + 2)}個關於{n**9:020}的長長的問題" * 3 for n in range(60)]
    for name, step in (("a", 1), ("b", 7)):
        rows = [{"instruction": text, "output": "答" if n % step else "答。"} for n, text in enumerate(texts)]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        Path(f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    Path("eval.jsonl").write_text(json.dumps({"question": f"{11**9:020}"}) + "\n", encoding="utf-8")
    recipe = {"name": "mine", "sources": {"./a.jsonl": 50, "./b.jsonl": "all"}, "simplified": True, "dedup": "near"}
    recipe |= {"decontaminate": ["eval.jsonl"], "near_threshold": 0.7}
    Path("mix.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    here = build_mix("mix.yaml", "here.jsonl")
    monkeypatch.setattr(Contamination, "hit", None)
    monkeypatch.setattr(near_duplicates, "_minhash", None)
    there = build_mix("mix.yaml", "there.jsonl", engine=engine)
    assert here["output"]["sha256"] == there["output"]["sha256"]
    assert [part["dropped"] for part in here["sources"]] == [part["dropped"] for part in there["sources"]]
    assert {"duplicate", "near duplicate", "in an evaluation file"} <= set(there["sources"][1]["dropped"])
    assert Path("here.decontamination.jsonl").read_bytes() == Path("there.decontamination.jsonl").read_bytes()


def test_what_is_wrong_is_told_as_without_ray(engine: Any) -> None:
    path = Path("corpus/part-3.jsonl")
    path.write_text(path.read_text(encoding="utf-8") + '{"torn', encoding="utf-8")
    with pytest.raises(DataError, match=r"part-3.jsonl, line 101: the last line is torn"):
        sample_rows(["./corpus/"], "out.jsonl", rows=9, engine=engine)
    assert not Path("out.jsonl").exists()
