"""What a generated row costs: processor time and rows a second of `distill generate` against its peers.

    python benchmarks/bench_generate.py                    1,000 rows, 50 ms an answer, 64 in flight, 3 rounds
    python benchmarks/bench_generate.py --rows 300 --rounds 1 --peers plain

A server in a process of its own (loopback, standard library, fixed Chinese answers) serves every candidate in turn,
each in a fresh process, the rounds interleaved. Figures of each: processor milliseconds a row and rows a second, from
the first request to the finished file (imports apart: they are paid once a run); and rows a second of the whole
process, from its start to its end, as somebody sees it who types the command. Peers:

    plain      the loop everybody writes: AsyncOpenAI, chat.completions.create, a semaphore, json lines at the end
    post       the least the `openai` client can cost: client.post over its aiohttp transport, no journal, no parsing
    curator    bespokelabs-curator, when it is installed
    distilabel distilabel, when it is installed

`--interpreter curator=/path/to/python` runs a peer in an environment of its own: their dependencies exclude each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEXT = (
    "保持健康有三个秘诀：第一，均衡饮食，多吃蔬菜和水果，少吃油腻食物；第二，坚持锻炼，每天至少活动三十分钟；"
    "第三，保证充足的睡眠，保持规律的作息时间和乐观的心态。"
)
LENGTH = re.compile(rb"(?i)content-length:[ \t]*(\d+)")


class Answers(asyncio.Protocol):
    """HTTP, just enough of it: every POST gets the same answer after the delay."""

    delay_s = 0.05
    body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self.buffer[:end])
            stop = end + 4 + (int(found.group(1)) if found else 0)
            if len(self.buffer) < stop:
                return
            self.buffer = self.buffer[stop:]
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, self.body)


async def serve(delay_s: float) -> None:
    """Listen on a free port of this machine, say which, and answer until killed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 64, "completion_tokens": 80, "total_tokens": 144}
    answer = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [choice],
        "usage": usage,
    }
    content = json.dumps(answer, ensure_ascii=False).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    Answers.delay_s, Answers.body = delay_s, head.encode() + content
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


@contextmanager
def server(delay_s: float) -> Iterator[str]:
    """The address of a server in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(delay_s)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def question(n: int) -> str:
    """Another text a row, of the length that instructions have."""
    return f"请用两三句话回答第{n}个问题：怎样才能在忙碌的工作中保持健康？"


def ours(url: str, rows: int, in_flight: int, folder: Path) -> Any:
    """`distill generate --strategy answer`, whole: journal, filters, provenance, files."""
    import tenacity  # noqa: F401  (imports are not counted)

    from data_gen.job import run
    from data_gen.strategies.answer import Answer
    from teachers.chatgpt import ChatGPTTeacher

    with (folder / "in.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"instruction": question(n)}, ensure_ascii=False) + "\n" for n in range(rows))

    def go() -> int:
        teacher = ChatGPTTeacher("mock", url, concurrency=in_flight)
        return run(Answer(str(folder / "in.jsonl")), teacher, folder / "out.jsonl").accepted

    return go


def plain(url: str, rows: int, in_flight: int, folder: Path) -> Any:
    """What one writes in ten minutes."""
    from openai import AsyncOpenAI

    async def all_of_them() -> int:
        places = asyncio.Semaphore(in_flight)
        async with AsyncOpenAI(api_key="none", base_url=url) as client:

            async def one(n: int) -> dict[str, Any]:
                async with places:
                    messages: Any = [{"role": "user", "content": question(n)}]
                    reply = await client.chat.completions.create(
                        model="mock", messages=messages, max_tokens=512, temperature=0.0
                    )
                    return {"instruction": question(n), "output": reply.choices[0].message.content}

            got = await asyncio.gather(*(one(n) for n in range(rows)))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in got)
        (folder / "out.jsonl").write_text("".join(lines), encoding="utf-8")
        return len(got)

    return lambda: asyncio.run(all_of_them())


def post(url: str, rows: int, in_flight: int, folder: Path) -> Any:
    """The floor under the `openai` client: raw posts."""
    import httpx2
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def all_of_them() -> int:
        places = asyncio.Semaphore(in_flight)
        limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        async with AsyncOpenAI(api_key="none", base_url=url, http_client=DefaultAioHttpClient(limits=limits)) as client:

            async def one(n: int) -> int:
                async with places:
                    messages = [{"role": "user", "content": question(n)}]
                    body = {"model": "mock", "messages": messages, "max_tokens": 512, "temperature": 0.0}
                    reply = await client.post("/chat/completions", cast_to=httpx2.Response, body=body)
                    return len(reply.content)

            return len(await asyncio.gather(*(one(n) for n in range(rows))))

    return lambda: asyncio.run(all_of_them())


def curator(url: str, rows: int, in_flight: int, folder: Path) -> Any:
    """bespokelabs-curator's LLM over its openai backend."""
    os.environ.update({"CURATOR_CACHE_DIR": str(folder), "TELEMETRY_ENABLED": "0", "OPENAI_API_KEY": "none"})
    os.environ["CURATOR_DISABLE_RICH_DISPLAY"] = "1"
    _counts_tokens_offline()
    from bespokelabs import curator as peer

    llm = peer.LLM(
        model_name="mock",
        backend="openai",
        backend_params={
            "base_url": url,
            "api_key": "none",
            "max_concurrent_requests": in_flight,
            "max_requests_per_minute": 1_000_000,
            "max_tokens_per_minute": 1_000_000_000,
            "require_all_responses": True,
        },
    )
    return lambda: len(llm([question(n) for n in range(rows)]).dataset)


def _counts_tokens_offline() -> None:
    """curator counts tokens with tiktoken, which fetches its tables; without a network bytes are counted instead."""
    import tiktoken

    try:
        tiktoken.get_encoding("cl100k_base")
    except OSError:
        ranks = {bytes([n]): n for n in range(256)}
        by_bytes = tiktoken.Encoding("bytes", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
        tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_, **__: by_bytes


def distilabel(url: str, rows: int, in_flight: int, folder: Path) -> Any:
    """distilabel's TextGeneration step over its OpenAI client, one batch of `in_flight` rows after the other."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    data = [{"instruction": question(n)} for n in range(rows)]
    with Pipeline("bench", cache_dir=folder) as pipeline:
        load = LoadDataFromDicts(data=data, batch_size=in_flight)
        llm = OpenAILLM(model="mock", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": 512})
        load >> TextGeneration(llm=llm, input_batch_size=in_flight)

    return lambda: len(pipeline.run(use_cache=False)["default"]["train"])


CANDIDATES = {"ours": ours, "plain": plain, "post": post, "curator": curator, "distilabel": distilabel}
MODULES = {"curator": "bespokelabs.curator", "distilabel": "distilabel"}


def child(name: str, url: str, rows: int, in_flight: int) -> None:
    """Run one candidate here and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        go = CANDIDATES[name](url, rows, in_flight, Path(folder))
        before, start = os.times(), time.perf_counter()
        done = go()
        wall, after = time.perf_counter() - start, os.times()
    assert done == rows, f"{name} gave {done} of {rows} rows"
    print(json.dumps({"cpu_ms": sum(after[:4]) * 1000 / rows - sum(before[:4]) * 1000 / rows, "rows_s": rows / wall}))


def measure(name: str, python: str, url: str, rows: int, in_flight: int) -> dict[str, float]:
    """One run of a candidate in a fresh process."""
    argv = [python, __file__, "--child", name, url, str(rows), str(in_flight)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    start = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "whole": rows / took}


def installed(name: str, python: str) -> bool:
    """Whether that interpreter has the peer."""
    if name not in MODULES:
        return True
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({MODULES[name].split('.')[0]!r}) is None)"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Interleaved rounds, then a table with the ratios to ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--delay-ms", type=float, default=50.0)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="plain,post,curator,distilabel")
    parser.add_argument("--interpreter", action="append", default=[], metavar="PEER=PYTHON")
    args = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in args.interpreter)
    wanted = {name: pythons.get(name, sys.executable) for name in ["ours", *args.peers.split(",")]}
    there = {name: python for name, python in wanted.items() if installed(name, python)}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in there}
    with server(args.delay_ms / 1000) as url:
        for _ in range(args.rounds):
            for name, python in there.items():
                results[name].append(measure(name, python, url, args.rows, args.in_flight))
    print(
        f"{args.rows} rows, {args.delay_ms:g} ms an answer, {args.in_flight} in flight, {args.rounds} rounds (median)\n"
    )
    print("| | CPU ms a row | rows a second | of the whole process | our CPU | our rows a second | whole |")
    print("|---|---|---|---|---|---|---|")
    middle = {
        name: {key: statistics.median(run[key] for run in runs) for key in ("cpu_ms", "rows_s", "whole")}
        for name, runs in results.items()
    }
    ours = middle["ours"]
    for name, its in middle.items():
        ratios = its["cpu_ms"] / ours["cpu_ms"], ours["rows_s"] / its["rows_s"], ours["whole"] / its["whole"]
        said = " | ".join(f"{ratio:.2f}x" for ratio in ratios)
        print(f"| {name} | {its['cpu_ms']:.2f} | {its['rows_s']:.0f} | {its['whole']:.0f} | {said} |")
    waves = math.ceil(args.rows / args.in_flight)
    print(f"\nnobody can do more than {args.rows / (waves * args.delay_ms / 1000):.0f} rows a second here")
    for name in wanted.keys() - there.keys():
        print(f"\n{name} is not installed: not measured")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(float(sys.argv[2])))
    elif sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
