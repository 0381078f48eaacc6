"""HTTP as far as an endpoint needs it: one POST after the other, over connections that stay open.

An answer is handed over in the very call that reads its last byte, before anything else has its turn: whoever wants to
write it down has done so before the next request leaves. That, and the cost, is what it is for: a general client wakes
several tasks on the way from the socket to the answer. Proxies and redirects are left to the client (teachers.post).
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from teachers.http_errors import Again, Never, Response, broken, unreachable

if TYPE_CHECKING:
    from teachers.base import Completion
    from teachers.chatgpt import ChatGPTTeacher
    from teachers.keys import Key

Take = Callable[[Response], "Completion"]
"""Reads a reply, and keeps it; raises Again or Never for everything that is no good answer"""
CONNECT_S = 20.0
SECOND_ADDRESS_S = 0.25
"""A host with several addresses is tried at the next one so soon"""
MOST_HEAD = 1 << 16
UNZIPS = 47
"""zlib's name for: gzip or deflate, whichever it is"""


class Line(asyncio.Protocol):
    """One connection. `ask` sends a request; the future that it gives is what `take` made of the reply."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.open = False
        self._answer: asyncio.Future[Completion] | None = None
        self._buffer = bytearray()
        self._status, self._headers = 0, dict[str, str]()
        self._left: int | None = None
        """Bytes of the body that are still to come; None: all until the other side closes"""
        self._chunked = self._stays = False
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def ask(self, content: bytes, take: Take) -> asyncio.Future[Completion]:
        """Send a whole request, head and body."""
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._answer, self._take, self._status = answer, take, 0
        self._transport.write(content)
        return answer

    def give_up(self, error: Again) -> None:
        """No answer is waited for any more."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()

    def close(self) -> None:
        """Close at once."""
        self.open = False
        self._transport.abort()

    @property
    def waiting(self) -> bool:
        """There is an answer to come."""
        return self._answer is not None

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody has asked, or nobody waits for it any more
            self.close()
            return
        self._buffer += data
        try:
            whole = (self._status or self._read_head()) and self._read_body()
        except ValueError as error:
            self.give_up(broken(self._url, error))
            return
        if whole:
            self._hand_over()

    def eof_received(self) -> None:
        if self._status and self._left is None and not self._chunked:  # that was the sign for its end
            self._stays = False
            self._hand_over()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            ours = exc is not None and not isinstance(exc, OSError)  # a mistake of ours is not to look like theirs
            self._answer.set_exception(exc if exc is not None and ours else broken(self._url, exc))

    def _read_head(self) -> bool:
        """Status and headers, once they are there."""
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            version, status = first.split(" ", 2)[:2]
            if not version.startswith("HTTP/"):
                raise ValueError(first)
            if status.startswith("1"):  # a word in between
                continue
            self._status = int(status)
            fields = (line.partition(":") for line in lines)
            self._headers = {name.strip().lower(): value.strip() for name, _, value in fields}
            told = self._headers.get("connection", "").lower()
            self._stays = "close" not in told and (version != "HTTP/1.0" or "keep-alive" in told)
            self._chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
            length = "0" if self._status in {204, 304} else self._headers.get("content-length")
            self._left = None if self._chunked or length is None else int(length)
            self._body.clear()
            return True
        if len(self._buffer) > MOST_HEAD:
            raise ValueError("a head without an end")
        return False

    def _read_body(self) -> bool:
        """Whether the body is there to its end."""
        if self._chunked:
            return self._read_chunks()
        self._body += self._buffer
        self._buffer.clear()
        if self._left is None or len(self._body) < self._left:
            return False
        self._stays = self._stays and len(self._body) == self._left
        del self._body[self._left :]
        return True

    def _read_chunks(self) -> bool:
        while (line := self._buffer.find(b"\r\n")) >= 0:
            size = int(self._buffer[:line].split(b";")[0], 16)
            end = line + 2 + size
            if not size:  # there may be trailers
                end = self._buffer.find(b"\r\n\r\n", line)
                self._stays = self._stays and (end < 0 or end + 4 == len(self._buffer))
                return end >= 0
            if len(self._buffer) < end + 2:
                return False
            self._body += self._buffer[line + 2 : end]
            del self._buffer[: end + 2]
        return False

    def _hand_over(self) -> None:
        """The reply is whole: what becomes of it is decided here and now."""
        answer, content = self._answer, bytes(self._body)
        assert answer is not None
        self._buffer.clear()
        try:
            if self._headers.get("content-encoding", "identity") != "identity":
                content = zlib.decompress(content, UNZIPS)
            answer.set_result(self._take(Response(self._status, self._headers, content)))
        except zlib.error as error:
            answer.set_exception(broken(self._url, error))
        except (Again, Never, OSError) as error:  # OSError: it could not be written down
            answer.set_exception(error)
        if self._stays:
            self._answer = None
        else:
            self.close()


class Wires:
    """Connections to one endpoint: `line = await wires.line(); await wires.send(line, content, key, take)`."""

    def __init__(self, teacher: ChatGPTTeacher) -> None:
        self._url, self._timeout_s = teacher.base_url, teacher.timeout_s
        parts = urlsplit(teacher.base_url)
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        self._how: dict[str, Any] = {}
        if parts.scheme == "https":
            from httpx2 import create_ssl_context

            self._how["ssl"] = create_ssl_context()
        if self._host.strip("0123456789."):  # a name
            self._how["happy_eyeballs_delay"] = SECOND_ADDRESS_S
        told = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": "minituo",
            "OpenAI-Organization": os.environ.get("OPENAI_ORG_ID", ""),
            "OpenAI-Project": os.environ.get("OPENAI_PROJECT_ID", ""),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
        path = f"{parts.path}/chat/completions" + (f"?{parts.query}" if parts.query else "")
        self._head = f"POST {path} HTTP/1.1\r\n{lines}Authorization: Bearer "
        self._heads: dict[str, bytes] = {}
        self._free: list[Line] = []
        self._lines: set[Line] = set()

    async def line(self) -> Line:
        """A connection that is open: one that has nothing to do, or a new one."""
        while self._free:
            if (line := self._free.pop()).open:
                return line
            self._lines.discard(line)
        try:
            async with asyncio.timeout(min(self._timeout_s, CONNECT_S)):
                loop = asyncio.get_running_loop()
                _, line = await loop.create_connection(lambda: Line(self._url), self._host, self._port, **self._how)
        except (OSError, TimeoutError) as error:
            raise unreachable(self._url, error) from None
        self._lines.add(line)
        return line

    def leave(self, line: Any) -> None:
        """A line that was not used after all."""
        self._free.append(line)

    def send(self, line: Any, content: bytes, key: Key, take: Take) -> asyncio.Future[Completion]:
        """Write the request now; what `take` makes of the reply comes later."""
        head = self._heads.get(key.secret)
        if head is None:
            head = f"{self._head}{key.secret or 'none-needed'}\r\nContent-Length: ".encode()
            self._heads[key.secret] = head
        answer = line.ask(b"%b%d\r\n\r\n%b" % (head, len(content), content), take)
        late = Again(f"no answer within {self._timeout_s:g} s (--timeout gives it more)")
        alarm = asyncio.get_running_loop().call_later(self._timeout_s, line.give_up, late)
        answer.add_done_callback(lambda _: self._done(line, alarm))
        return answer

    def _done(self, line: Line, alarm: asyncio.TimerHandle) -> None:
        alarm.cancel()
        if line.open and not line.waiting:
            self._free.append(line)
        else:
            line.close()
            self._lines.discard(line)

    async def close(self) -> None:
        """Close all connections."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        await asyncio.sleep(0)
