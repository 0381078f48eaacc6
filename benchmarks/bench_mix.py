"""Building the mix `mini_luotuo` at its full size, 683,235 of 6.1 million rows, from files of its sources' raw forms.

    python benchmarks/bench_mix.py                     # about 6 GB of disk in the system's temporary folder
    python benchmarks/bench_mix.py --zip               # baike and webtext in the zips they come in
    python benchmarks/bench_mix.py --rows-share 0.02

The files are made in a temporary folder and deleted at the end: their rows say nothing, but have the fields, the forms,
the lengths and the oddities (`<br>`, runs of `\\r`, descriptions that repeat the title, unreadable lines) of the real
ones. The mix is built by `distill sample --mix` as a process of its own: from nothing; again, with nothing changed; and
again after the smallest file of webtext has changed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import yaml

ROOT = Path(__file__).parents[1]
COIG = (63_532, 3_000, 19_464, 11_737, 67_798)
"""Rows of its five files"""
LETTERS = 200_000


def main() -> None:
    """Make the files, build three times, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows-share", type=float, default=1.0, help="of the rows of every file and of the mix")
    parser.add_argument("--zip", action="store_true", help="leave baike and webtext in their zips")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-mix-"))
    try:
        files = Files(folder, options.rows_share, options.zip)
        files.write()
        size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
        print(f"{files.count:,} rows, {size / 1e9:.2f} GB")
        rows = sum(write_recipe(folder, options.rows_share))
        report("from nothing", *build(folder), rows, folder)
        report("nothing changed", *build(folder), rows, folder)
        files.change()
        report("webtext changed", *build(folder), rows, folder)
    finally:
        shutil.rmtree(folder)


class Files:
    """The raw files of the five sources, below `folder/data`."""

    def __init__(self, folder: Path, share: float, zipped: bool) -> None:
        self.data, self.share, self.zipped, self.count = folder / "data", share, zipped, 0
        self.rng = random.Random(0)
        text = "".join(chr(self.rng.randrange(0x4E00, 0x9FA5)) for _ in range(LETTERS)).encode()
        self.text = text

    def said(self, mean: int) -> bytes:
        """Some Chinese, exponentially long."""
        size = min(int(self.rng.expovariate(1 / mean)) + 4, 4_000)
        at = 3 * self.rng.randrange(LETTERS - 4_000)
        return self.text[at : at + 3 * size]

    def rows(self, count: int) -> range:
        """The numbers of that many rows of the full size."""
        scaled = range(max(10, round(count * self.share)))
        self.count += len(scaled)
        return scaled

    def write(self) -> None:
        """All files."""
        self.array("luotuo/luotuo_all_data.json", 168_886, (b"instruction", b"input", b"output"), (20, 15, 130))
        self.array("alpaca-zh/alpaca_gpt4_data_zh.json", 48_818, (b"instruction", b"input", b"output"), (20, 15, 220))
        self.coig()
        self.packed("baike", "baike2018qa.zip", {"baike_qa_train.json": 1_425_000, "baike_qa_valid.json": 45_000})
        members = {
            "web_text_zh_train.json": 4_120_000,
            "web_text_zh_valid.json": 68_000,
            "web_text_zh_testa.json": 68_000,
        }
        self.packed("webtext", "webtext2019zh.zip", members)

    def array(self, name: str, count: int, fields: tuple[bytes, ...], means: tuple[int, ...]) -> None:
        """A JSON array, indented as such files are."""
        form = b"    {\n" + b",\n".join(b'        "%s": "%%s"' % field for field in fields) + b"\n    }"
        self._write(name, self._joined(form % tuple(map(self.said, means)) for _ in self.rows(count)))

    def coig(self) -> None:
        """Its five files: lines, an array, lines under the name of an array with six that are broken."""
        exam = (
            "textbox_q_instruction",
            "textbox_q_context",
            "textbox_question",
            "textbox_answer",
            "textbox_answer_analysis",
        )
        boxes = tuple(name.encode() for name in exam)
        self.lines("coig/exam_instructions.jsonl", COIG[0], boxes, (15, 20, 40, 5, 90))
        alpaca = (b"instruction", b"input", b"output")
        self.array("coig/human_value_alignment_instructions_part1.json", COIG[1], alpaca, (25, 10, 120))
        self.lines("coig/human_value_alignment_instructions_part2.json", COIG[2], boxes, (15, 20, 40, 5, 90), broken=6)
        self.lines("coig/leetcode_instructions.jsonl", COIG[3], alpaca, (30, 200, 250))
        trans = (b"trans_instruction", b"trans_input", b"trans_output")
        self.lines("coig/translated_instructions.jsonl", COIG[4], trans, (60, 60, 60))

    def lines(self, name: str, count: int, fields: tuple[bytes, ...], means: tuple[int, ...], broken: int = 0) -> None:
        """JSON lines."""
        form = b"{" + b", ".join(b'"%s": "%%s"' % field for field in fields) + b"}\n"
        rows = (form % tuple(map(self.said, means)) for _ in self.rows(count))
        self._write(name, self._with_broken(rows, broken))

    def packed(self, source: str, archive: str, members: dict[str, int]) -> None:
        """JSON lines of questions from the web, as files or in the zip they come in."""
        make = self.baike if source == "baike" else self.webtext
        if not self.zipped:
            for name, count in members.items():
                self._write(f"{source}/{name}", (make(number) for number in self.rows(count)))
            return
        path = self.data / source / archive
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name, count in members.items():
                with packed.open(name, "w", force_zip64=True) as file:
                    file.writelines(make(number) for number in self.rows(count))

    def baike(self, number: int) -> bytes:
        """A row; every third description is the title again, some answers have `<br>` and runs of `\\r`."""
        title = self.said(16)
        desc = title if number % 3 == 0 else self.said(30) if number % 3 == 1 else b""
        answer = (
            self.said(130) + (b"<br>" if number % 4 == 0 else b"\\r\\r" if number % 4 == 1 else b"") + self.said(110)
        )
        form = b'{"qid": "qid_%d", "category": "%s", "title": "%s", "desc": "%s", "answer": "%s"}\n'
        return form % (number, self.text[: 3 * (4 + number % 5)], title, desc, answer)

    def webtext(self, number: int) -> bytes:
        """A row."""
        title = self.said(18)
        desc = title if number % 3 == 0 else self.said(40) if number % 3 == 1 else b""
        form = (
            b'{"qid": %d, "title": "%s", "desc": "%s", "topic": "%s", "star": %d, "content": "%s", '
            b'"answer_id": %d, "answerer_tags": "%s"}\n'
        )
        values = (number, title, desc, self.text[:6], number % 50, self.said(210) + b"\\r\\n", number, self.text[9:24])
        return form % values

    def change(self) -> None:
        """Another row at the end of webtext's smallest file, or in its zip."""
        if self.zipped:
            with zipfile.ZipFile(self.data / "webtext/webtext2019zh.zip", "a") as packed:
                packed.writestr("readme.txt", "another")
            return
        with (self.data / "webtext/web_text_zh_testa.json").open("ab") as file:
            file.write(self.webtext(68_000))

    def _write(self, name: str, pieces: Iterator[bytes]) -> None:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=1 << 20) as file:
            file.writelines(pieces)

    def _joined(self, rows: Iterator[bytes]) -> Iterator[bytes]:
        yield b"["
        mark = b"\n"
        for row in rows:
            yield mark + row
            mark = b",\n"
        yield b"\n]\n"

    def _with_broken(self, rows: Iterator[bytes], broken: int) -> Iterator[bytes]:
        for number, row in enumerate(rows):
            if number < broken:
                yield row[: len(row) // 3].decode(errors="ignore").encode() + b"\n"
            yield row


def write_recipe(folder: Path, share: float) -> list[int]:
    """The shipped recipe with its numbers scaled, and luotuo without the digest of the real file; rows of each part."""
    recipe = yaml.safe_load((ROOT / "data_gen/mix_recipes/mini_luotuo.yaml").read_text(encoding="utf-8"))
    for name, part in recipe["sources"].items():
        few = sum(max(10, round(rows * share)) for rows in (COIG if name == "coig" else (part["rows"],)))
        part["rows"] = few
    (folder / "mix.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True, sort_keys=False), encoding="utf-8")
    luotuo = yaml.safe_load((ROOT / "data_gen/sources/luotuo.yaml").read_text(encoding="utf-8"))
    del luotuo["files"][0]["git_blob"]
    (folder / "sources").mkdir()
    (folder / "sources/luotuo.yaml").write_text(yaml.safe_dump(luotuo, allow_unicode=True), encoding="utf-8")
    return [part["rows"] for part in recipe["sources"].values()]


def build(folder: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and memory in MB of one build."""
    command = [sys.executable, "-m", "distill", "sample", "--mix", "mix.yaml", "-o", "mix.jsonl"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    env.pop("MINITUO_DATA", None)
    before = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"the build ended with {process.returncode}"
    return time.monotonic() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def report(name: str, wall: float, cpu: float, memory: float, rows: int, folder: Path) -> None:
    """One line, when the mix is what it should be."""
    manifest = orjson.loads((folder / "mix.manifest.json").read_bytes())
    with (folder / "mix.jsonl").open("rb") as file:
        found = sum(1 for _ in file)
    assert found == manifest["rows"] == rows, f"{found:,} rows, expected {rows:,}"
    print(f"{name:<16}{wall:7.1f} s {cpu:7.1f} CPU s {memory:7.0f} MB {rows:10,} rows", flush=True)


if __name__ == "__main__":
    main()
