"""Connections to an endpoint: every way in which a reply may come, and that it is kept before anything else happens."""

from __future__ import annotations

import asyncio
import itertools
import random
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from teachers.base import Completion
from teachers.chatgpt import ChatGPTTeacher
from teachers.http_errors import Again, NoApi, Response
from teachers.wire import Line, Wires

URL = "http://here/v1"
BODY = '{"text": "小猫在家里。"}'.encode()


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.aborted = b"", False

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


def reply(*lines: str, body: bytes = BODY, length: bool = True) -> bytes:
    told = [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", *lines, *told, "", ""]).encode() + body


def chunks(body: bytes, *sizes: int) -> bytes:
    parts, at = [], 0
    for size in [*sizes, len(body) - sum(sizes)]:
        parts.append(b"%x;name=value\r\n%b\r\n" % (size, body[at : at + size]))
        at += size
    return b"".join(parts)


Talk = Callable[[Line], Any]


def through(talk: Talk) -> tuple[Response | Exception, Line, Transport]:
    """What a line makes of what `talk` feeds it."""

    async def go() -> tuple[Response | Exception, Line, Transport]:
        line, transport, taken = Line(URL), Transport(), []
        line.connection_made(transport)

        def take(response: Response) -> Completion:
            taken.append(response)
            return Completion("r")

        answer = line.ask(b"POST", take)
        talk(line)
        try:
            await asyncio.wait_for(answer, 1)
        except (Again, NoApi, OSError, TypeError) as error:
            return error, line, transport
        return taken[0], line, transport

    return asyncio.run(go())


FORMS = {
    "length": (reply(), True),
    "chunks": (reply("Transfer-Encoding: chunked", body=chunks(BODY, 3, 7) + b"0\r\n\r\n", length=False), True),
    "trailers": (reply("transfer-encoding: Chunked", body=chunks(BODY) + b"0\r\nX: y\r\n\r\n", length=False), True),
    "gzip": (reply("Content-Encoding: gzip", body=zlib.compress(BODY, wbits=31)), True),
    "deflate": (reply("Content-Encoding: deflate", body=zlib.compress(BODY)), True),
    "word before": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(), True),
    "closing": (reply("Connection: close"), False),
    "old": (reply().replace(b"HTTP/1.1", b"HTTP/1.0"), False),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_replies_are_read_however_they_come(form: str, seed: int) -> None:
    data, stays = FORMS[form]
    draw = random.Random(seed)
    cuts = sorted({0, len(data), *draw.sample(range(1, len(data)), len(data) - 1 if seed == 0 else 5 * seed)})

    def talk(line: Line) -> None:
        for start, end in itertools.pairwise(cuts):
            line.data_received(data[start:end])

    got, line, transport = through(talk)
    assert isinstance(got, Response)
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, BODY, "application/json")
    assert (line.open, line.waiting, transport.aborted) == (stays, not stays, not stays)


def test_a_body_may_end_with_the_connection() -> None:
    def talk(line: Line) -> None:
        line.data_received(reply(length=False)[:-5])
        line.data_received(BODY[-5:])
        line.eof_received()

    got, line, _ = through(talk)
    assert isinstance(got, Response)
    assert (got.content, line.open) == (BODY, False)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            reply()[:-1],
            reply()[:20],
            reply("Content-Encoding: gzip"),
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        ),
        reply("Transfer-Encoding: chunked", body=b"what?\r\n", length=False),
    ],
    ids=["nothing", "cut", "cut head", "no gzip", "no end", "no chunk"],
)
def test_what_is_no_reply_is_a_broken_connection(data: bytes) -> None:
    def talk(line: Line) -> None:
        if data:
            line.data_received(data)
        line.connection_lost(None)

    got, line, _ = through(talk)
    assert isinstance(got, Again)
    assert f"the connection to {URL} broke" in str(got)
    assert not line.open


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"x" * 70_000, b"\x15\x03\x03\x00\x02\x02\x46"])
def test_something_else_listens(data: bytes) -> None:
    """Another protocol, or TLS where none was asked for."""
    got, line, _ = through(lambda line: line.data_received(data))
    assert isinstance(got, NoApi)
    assert got.fatal
    assert str(got) == f"what answers at {URL} does not speak http: is the address right, and its port?"
    assert not line.open


@pytest.mark.parametrize("parts", [[reply() + reply()], [reply(), reply()]], ids=["at once", "later"])
def test_two_replies_to_one_question_close_the_line(parts: list[bytes]) -> None:
    def talk(line: Line) -> None:
        for part in parts:
            line.data_received(part)

    got, line, transport = through(talk)
    assert isinstance(got, Response)
    assert (line.open, transport.aborted) == (False, True)


def test_nothing_is_kept_for_whoever_has_gone() -> None:
    def talk(line: Line) -> None:
        line.give_up(Again("no answer in time"))
        line.data_received(reply())

    got, line, _ = through(talk)
    assert (str(got), line.open) == ("no answer in time", False)


def test_a_disk_that_is_full_is_no_broken_connection() -> None:
    async def go() -> None:
        line = Line(URL)
        line.connection_made(Transport())

        def take(response: Response) -> Completion:
            raise OSError(28, "No space left on device")

        answer = line.ask(b"", take)
        line.data_received(reply())
        with pytest.raises(OSError, match="No space left"):
            await answer

    asyncio.run(go())


def run_with_server(answers: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], go: Any) -> Any:
    """`go(wires)` against a server in the same event loop."""

    async def both() -> Any:
        server = await asyncio.start_server(answers, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wires = Wires(ChatGPTTeacher("mock", f"http://127.0.0.1:{port}/v1", timeout_s=5))
        try:
            return await go(wires)
        finally:
            await wires.close()
            server.close()

    return asyncio.run(both())


def test_answers_that_come_together_are_all_kept_before_anything_is_sent() -> None:
    """16 answers written at once, while every one that is taken lets another request go."""
    count, writers, events = 16, [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        writers.append(writer)
        if len(writers) == count:
            for other in writers:
                other.write(reply())

    async def go(wires: Wires) -> None:
        key = ChatGPTTeacher("mock", "http://127.0.0.1:1/v1").ring.keys[0]

        async def one(n: int) -> None:
            def take(response: Response) -> Completion:
                events.append("kept")
                return Completion(str(n))

            line = await wires.line()
            await wires.send(line, b"{}", key, take)
            line = await wires.line()
            events.append("sent")
            wires.send(line, b"{}", key, take)

        await asyncio.gather(*(one(n) for n in range(count)))

    run_with_server(serve, go)
    assert events == ["kept"] * count + ["sent"] * count


def test_lines_are_used_again_and_closed_ones_are_not() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):  # so many, then it hangs up
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
            seen.append(head)
            writer.write(reply())
        writer.close()

    async def go(wires: Wires) -> set[int]:
        key = ChatGPTTeacher("mock", "http://127.0.0.1:1/v1").ring.keys[0]
        lines = []
        for _ in range(7):
            line = await wires.line()
            lines.append(line)
            await wires.send(line, BODY, key, lambda response: Completion(response.content.decode()))
            await asyncio.sleep(0.01)
        return {id(line) for line in lines}

    assert len(run_with_server(serve, go)) == 3
    assert len(seen) == 7
    assert seen[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer none-needed\r\n" in seen[0]
