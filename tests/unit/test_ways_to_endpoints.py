"""Which way requests take to an endpoint: straight, through a proxy, after a redirect; hosts that never answer."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys

import pytest

from teachers import efforts, post, wire
from teachers.base import Completion, Request
from teachers.chatgpt import ChatGPTTeacher
from teachers.post import Client, way_to
from teachers.wire import Wires
from tests.fault_server import FaultServer


def ask(teacher: ChatGPTTeacher, count: int = 3) -> list[Completion]:
    return list(teacher.generate(Request(f"r{n}", [{"role": "user", "content": f"#{n}#"}]) for n in range(count)))


def test_a_redirect_is_followed() -> None:
    """By the client, which knows how; the questions that met it count no attempt less."""

    async def go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        there = f"{server.url}/chat/completions"
        writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {there}\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    with FaultServer() as server:
        start = asyncio.run_coroutine_threadsafe(asyncio.start_server(go, "127.0.0.1", 0), server._loop)
        moved = start.result(5)
        port = moved.sockets[0].getsockname()[1]
        got = ask(ChatGPTTeacher("mock", f"http://127.0.0.1:{port}/v1", concurrency=2, max_attempts=1))
        server._loop.call_soon_threadsafe(moved.close)
    assert sorted(completion.text.split(" ")[0] for completion in got) == ["#0#", "#1#", "#2#"]


@pytest.mark.parametrize("through", ["straight", "a proxy"])
def test_a_host_that_leaves_the_handshake_unanswered_is_given_up_soon(
    through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https to a server that waits for plain http. One that has answered before is tried as often as any other."""
    for module in (efforts, wire, post):
        monkeypatch.setattr(module, "CONNECT_S", 0.15)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        url = f"https://{address}/v1"
        if through == "a proxy":
            monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
            url = "https://endpoint.invalid/v1"
        teacher = ChatGPTTeacher("mock", url, max_attempts=4, backoff_s=0.01, timeout_s=1.0)
        (first,) = ask(teacher, 1)
        assert (first.fatal, first.attempts) == (True, 1)
        assert f"cannot reach {url}" in (first.error or "")
        assert (first.error or "").endswith("does it speak https?")
        teacher.heard()
        (later,) = ask(teacher, 1)
        assert (later.fatal, later.attempts) == (False, 4)


def test_proxies_are_the_clients_business(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with FaultServer() as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
        far = ChatGPTTeacher("mock", "http://endpoint.invalid/v1", max_attempts=1)
        got = ask(far)
        assert isinstance(way_to(ChatGPTTeacher("mock", server.url)), Wires)
        assert isinstance(way_to(ChatGPTTeacher("mock", "https://endpoint.invalid/v1")), Wires)
        assert isinstance(way_to(far), Client)
    assert [completion.error for completion in got] == [None] * 3
    assert server.keys == {"sk-test": 3}


def test_headers_name_the_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    wires = Wires(ChatGPTTeacher("mock", "http://127.0.0.1:1/v1"))
    assert "OpenAI-Organization: org-1\r\n" in wires._head
    assert "OpenAI-Project" not in wires._head


def test_the_body_is_what_was_meant() -> None:
    with FaultServer() as server:
        ask(ChatGPTTeacher("mock", server.url), 1)
    assert json.dumps(server.bodies[0]["messages"]) == '[{"role": "user", "content": "#0#"}]'


def test_the_straight_way_needs_no_client() -> None:
    """What a run never imports it need not load, hold, or give back when it dies."""
    code = (
        "import sys\nfrom teachers.base import Request\nfrom teachers.chatgpt import ChatGPTTeacher\n"
        "teacher = ChatGPTTeacher('mock', sys.argv[1])\n"
        "(done,) = teacher.generate([Request('r', [{'role': 'user', 'content': '#0#'}])])\n"
        "print(done.text, [name for name in ('openai', 'httpx2', 'aiohttp', 'torch') if name in sys.modules])"
    )
    with FaultServer() as server:
        got = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "#0# 这是第0个问题的回答，祝您一切顺利。 []"
