"""What is written to a signal store is read back; what was cut off or belongs to something else is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teachers.base import TeacherError
from teachers.signal_store import Manifest, Row, SignalStore, SignalWriter, read_manifest, save_sets

SIZE = 50
MANIFEST = Manifest(
    method="sampled", size=SIZE, temperature=1.0, teacher="panda", teacher_weights="w", teacher_vocabulary="t",
    vocabulary="v", vocabulary_size=1000, tokenization="c", moved=False, template="qa", teacher_template="qa",
    max_length=64, data="d", rows=3,
)  # fmt: skip
KINDS = [(method, moved) for method in ("sampled", "topk") for moved in (False, True)]


def manifest(method: str, moved: bool, **more: Any) -> Manifest:
    return replace(MANIFEST, method=method, moved=moved, **more)


def made(key: int, positions: int, method: str, moved: bool, seed: int = 0, vocabulary: int = 1000) -> Row:
    """A row of random signals, some positions without any."""
    rng = np.random.default_rng([seed, key])
    entries, ids, weights, tail, sets = [], [], [], [], []
    for _ in range(positions):
        n = int(rng.integers(0, 12))
        entries.append(n)
        chosen = rng.choice(vocabulary, n, replace=False)
        if moved and n:
            of = rng.random(n) < 0.4
            chosen[of] = -1
            lows = rng.choice(5000, of.sum(), replace=False).tolist()
            sets += [[low, low + 2, int(rng.integers(-1, 50))] for low in lows]
        ids.append(chosen)
        if method == "sampled":
            counts = np.bincount(rng.integers(0, n, SIZE), minlength=n) if n else np.zeros(0, np.int64)
            weights.append(-np.sort(-np.maximum(counts, 1)))
        else:
            shares = rng.dirichlet(np.ones(n + 1)) if n else np.zeros(1)
            weights.append(-np.sort(-shares[:n]))
            tail.append(shares[n])
    return Row(
        key, key % 7919, np.array(entries, np.int64), np.concatenate([np.zeros(0, np.int64), *ids]),
        np.concatenate([np.zeros(0), *weights]), np.array(tail) if method == "topk" else None,
        np.array(sets, np.int64).reshape(-1, 3) if moved else None,
        rng.random(positions) * 11 if method == "sampled" else None,
    )  # fmt: skip


def fill(folder: Path, wanted: Manifest, rows: list[Row], shard_tokens: int = 40) -> SignalWriter:
    with SignalWriter(folder, wanted, shard_tokens) as writer:
        if wanted.moved:
            save_sets(folder, np.arange(6000), np.array([3, 4]))
        for row in rows:
            if row.key not in writer:
                writer.add(row)
    return writer


def said(entries: np.ndarray, ids: np.ndarray, mass: np.ndarray, sets: np.ndarray | None) -> list[dict[Any, float]]:
    """What each position holds: an id, or a set, and its weight; the order is the store's own."""
    of_sets = iter([] if sets is None else sets.tolist())
    names = [tuple(next(of_sets)) if id_ < 0 else id_ for id_ in ids.tolist()]
    ends = np.cumsum(entries).tolist()
    pairs = list(zip(names, mass.tolist(), strict=True))
    return [dict(pairs[end - n : end]) for n, end in zip(entries.tolist(), ends, strict=True)]


def check_row(store: SignalStore, row: Row, first: int | None = None) -> None:
    place = store.find(np.array([row.key], np.uint64))
    assert place[0] >= 0
    assert [int(x[0]) for x in store.about(place)] == [len(row.entries), row.check]
    positions = len(row.entries) if first is None else first
    got = store.read(place.tolist(), [positions])
    end = int(row.entries[:positions].sum())
    assert got.entries.tolist() == row.entries[:positions].tolist()
    wrote = said(row.entries[:positions], row.ids[:end], row.weights[:end], row.sets)
    assert [found.keys() for found in said(got.entries, got.ids, got.mass, got.sets)] == [w.keys() for w in wrote]
    for found, wanted in zip(said(got.entries, got.ids, got.mass, got.sets), wrote, strict=True):
        for name, weight in wanted.items():
            if row.tail is None:
                assert found[name] == pytest.approx(weight / SIZE, rel=1e-6)
            else:
                assert found[name] == pytest.approx(weight, abs=5e-4)
    if row.tail is None:
        assert not got.tail.any()
        assert row.entropy is not None
        np.testing.assert_allclose(got.entropy, row.entropy[:positions], atol=0.0251)
        return
    whole = np.bincount(np.repeat(np.arange(positions), got.entries), got.mass, positions) + got.tail
    np.testing.assert_allclose(whole[got.entries > 0], 1.0, atol=1e-6)
    assert not whole[got.entries == 0].any()


@pytest.mark.parametrize(("method", "moved"), KINDS)
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(0, 25), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_round_trip(method: str, moved: bool, lengths: list[int], seed: int, tmp_path_factory: Any) -> None:
    """Whole rows and beginnings of them, whatever shard they are in; ids of 16 and of 32 bits."""
    folder = tmp_path_factory.mktemp("store")
    vocabulary = 1000 if seed % 2 else 100_000
    wanted = manifest(method, moved, rows=len(lengths), vocabulary_size=vocabulary)
    rows = [made(2**63 + n, length, method, moved, seed, vocabulary) for n, length in enumerate(lengths)]
    fill(folder, wanted, rows)
    store = SignalStore(folder)
    assert (len(store), store.missing(), store.tokens) == (len(rows), 0, sum(lengths))
    assert store.manifest == wanted
    for row in rows:
        check_row(store, row)
        check_row(store, row, len(row.entries) // 2)
    assert store.find(np.array([5], np.uint64)).tolist() == [-1]
    if moved:
        assert store.sets()[0].tolist() == list(range(6000))


@pytest.mark.parametrize(("method", "moved"), KINDS)
def test_cut_off_at_any_byte(method: str, moved: bool, tmp_path: Path) -> None:
    """A shard of any shorter length is refused by readers and thrown away by writers, who then write its rows again."""
    wanted = manifest(method, moved)
    rows = [made(n + 1, 20, method, moved) for n in range(3)]
    fill(tmp_path, wanted, rows)
    shards = sorted(tmp_path.glob("shard-*"))
    assert len(shards) == 2
    whole = shards[0].read_bytes()
    for size in [*range(0, 40), *range(40, len(whole), 37), len(whole) - 1]:
        shards[0].write_bytes(whole[:size])
        with pytest.raises(TeacherError, match=r"shard-00000.* damaged or cut off .* run the same 'distill capture'"):
            SignalStore(tmp_path)
    shards[0].write_bytes(whole + b"\0")
    with pytest.raises(TeacherError, match="damaged"):
        SignalStore(tmp_path)
    writer = fill(tmp_path, wanted, rows)
    assert writer.damaged == 1
    store = SignalStore(tmp_path)
    assert store.missing() == 0
    for row in rows:
        check_row(store, row)


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"7", b'{"a": 7}'])
def test_headers_that_are_none(header: bytes, tmp_path: Path) -> None:
    fill(tmp_path, manifest(*KINDS[0]), [made(1, 5, *KINDS[0])])
    (shard,) = tmp_path.glob("shard-*")
    shard.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(TeacherError, match=r"shard-00000.* damaged or cut off .* run the same 'distill capture'"):
        SignalStore(tmp_path)


def test_a_file_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    """What a kill leaves under another name is gone at the next opening; what a shard holds is not written twice."""
    rows = [made(n + 1, 20, "sampled", False) for n in range(3)]
    fill(tmp_path, MANIFEST, rows[:2])
    (tmp_path / "shard-00001.safetensors.part").write_bytes(b"torn")
    (tmp_path / "manifest.json.part").write_bytes(b"{")
    assert SignalStore(tmp_path).missing() == 1
    before = (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns
    writer = fill(tmp_path, MANIFEST, rows)
    assert len(writer.keys) == 3
    assert not list(tmp_path.glob("*.part"))
    assert (tmp_path / "shard-00000.safetensors").stat().st_mtime_ns == before
    assert SignalStore(tmp_path).missing() == 0


def test_a_lost_shard_is_counted(tmp_path: Path) -> None:
    rows = [made(n + 1, 40, "topk", False) for n in range(3)]
    fill(tmp_path, manifest("topk", False), rows)
    (tmp_path / "shard-00001.safetensors").unlink()
    store = SignalStore(tmp_path)
    assert store.missing() == 1
    assert store.find(np.array([1, 2, 3], np.uint64)).tolist() == [0, -1, 1]
    check_row(store, rows[2])


@pytest.mark.parametrize("name", [f.name for f in fields(Manifest) if f.name not in ("files", "format")])
def test_another_manifest_is_refused_naming_what_differs(name: str, tmp_path: Path) -> None:
    fill(tmp_path, MANIFEST, [])
    old: Any = getattr(MANIFEST, name)
    new: Any = {"method": "topk"}.get(name, not old if isinstance(old, bool) else old + (1 if old != str(old) else "x"))
    other: dict[str, Any] = {name: new}
    with pytest.raises(TeacherError, match=rf"holds other signals: {name} \({old}, not {new}\); give another folder"):
        SignalWriter(tmp_path, replace(MANIFEST, **other))
    SignalWriter(tmp_path, replace(MANIFEST, files=["elsewhere.jsonl"])).close()


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    with SignalWriter(tmp_path, MANIFEST), pytest.raises(TeacherError, match="another capture is writing"):
        SignalWriter(tmp_path, MANIFEST)
    SignalWriter(tmp_path, MANIFEST).close()


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"holds no signals: no manifest\.json"):
        SignalStore(tmp_path / "nowhere")
    fill(tmp_path / "signals", MANIFEST, [])
    with pytest.raises(TeacherError, match="did you mean 'signals'"):
        SignalStore(tmp_path / "signal")
    path = tmp_path / "signals" / "manifest.json"
    whole = path.read_text(encoding="utf-8")
    for damaged in [*(whole[:size] for size in range(len(whole) - 2)), "[" * 100_000]:
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(TeacherError, match="is damaged"):
            read_manifest(tmp_path / "signals")
    path.write_text(json.dumps(json.loads(whole) | {"format": 9}), encoding="utf-8")
    with pytest.raises(TeacherError, match="was written in format 9"):
        SignalStore(tmp_path / "signals")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(TeacherError, match=r"manifest\.json was not written by 'distill capture'"):
        SignalWriter(tmp_path / "signals", MANIFEST)
    path.unlink()
    (tmp_path / "signals" / "shard-00000.safetensors").write_bytes(b"x")
    with pytest.raises(TeacherError, match=r"shards without a manifest"):
        SignalWriter(tmp_path / "signals", MANIFEST)


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TeacherError, match=r"holds tokenizer\.json and no signals; give another folder"):
        SignalWriter(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_row_is_not_longer_than_it_is(tmp_path: Path) -> None:
    fill(tmp_path, MANIFEST, [made(1, 4, "sampled", False)])
    with pytest.raises(TeacherError, match="a row has 4 tokens, 5 are asked"):
        SignalStore(tmp_path).read([0], [5])


@pytest.mark.parametrize(("noise", "differ", "most"), [(1.5, 20, 40), (3.0, 12, 34)])
def test_bytes_a_token(noise: float, differ: int, most: int, tmp_path: Path) -> None:
    """50 draws from distributions around a skewed one, as languages have, of which `differ` or more differ."""
    rng = np.random.default_rng(0)
    usual = -2.0 * np.log(rng.permutation(30_000) + 10.0)
    rows = []
    for key in range(30):
        drawn = []
        for _ in range(50):
            p = np.exp(usual + noise * rng.standard_normal(30_000))
            drawn.append(np.unique(rng.choice(30_000, SIZE, p=p / p.sum()), return_counts=True))
        entries = np.array([len(ids) for ids, _ in drawn])
        ids, counts = (np.concatenate(column) for column in zip(*drawn, strict=True))
        rows.append(Row(key, 0, entries, ids, counts, entropy=np.ones(50)))
    fill(tmp_path, replace(MANIFEST, vocabulary_size=30_000, rows=30), rows, 1 << 16)
    store = SignalStore(tmp_path)
    assert np.concatenate([row.entries for row in rows]).mean() > differ
    assert store.bytes / store.tokens <= most
    for row in rows:
        check_row(store, row)


@pytest.mark.parametrize(("method", "moved"), KINDS)
def test_a_damaged_row_is_named(method: str, moved: bool, tmp_path: Path) -> None:
    """Any byte that changed on the disk, in a file of the right size."""
    rows = [made(n + 1, 12, method, moved) for n in range(3)]
    fill(tmp_path, manifest(method, moved), rows, 1 << 16)
    (path,) = tmp_path.glob("shard-*")
    whole, tensors = path.read_bytes(), SignalStore(tmp_path)._shards[0].tensors
    rng = np.random.default_rng(0)
    start = len(whole) - sum(t.nbytes for t in tensors.values())
    places = {name: int(np.asarray(t).ctypes.data) for name, t in tensors.items()}
    first = min(places.values())
    for name, tensor in tensors.items():
        if name in ("key", "check"):  # what a row is found and compared by
            continue
        for at in rng.integers(0, tensor.nbytes, 6).tolist():
            wrong = bytearray(whole)
            wrong[start + places[name] - first + at] ^= int(rng.integers(1, 256))
            path.write_bytes(wrong)
            with pytest.raises(TeacherError, match=r"shard-00000.*(damaged|does not fit together)"):
                SignalStore(tmp_path).read([0, 1, 2], [12, 12, 12])
