"""The address of an endpoint: whole for whoever sends, with its query hidden for everybody else.

Some gateways take their key in the query (`http://host/v1?key=...`). It goes with every request, and appears in no
message, log or file: `shown` has `***` in its place, and `scrub` cuts its values out of what others say.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from teachers.base import TeacherError

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}
SHORTEST = 4
"""What is shorter is no secret, and stands in every other text"""
KEY = re.compile(r"\bsk-[\w-]{6,}")
"""What looks like a key wherever it stands"""
LOGGERS = ("httpx2", "openai._base_client")
"""Those of the client that tell addresses, when somebody has switched them on"""


@dataclass(slots=True, frozen=True)
class Address:
    """`read_address("http://host/v1?key=abc")`."""

    base: str
    """Without the query"""
    query: str

    @property
    def shown(self) -> str:
        """For messages."""
        return hidden(self.whole(""))

    @property
    def on_this_machine(self) -> bool:
        """Nothing between here and there."""
        return (urlsplit(self.base).hostname or "") in LOCAL_HOSTS

    def whole(self, path: str) -> str:
        """The address of something at this endpoint, query and all."""
        return f"{self.base}{path}?{self.query}" if self.query else f"{self.base}{path}"

    def for_client(self) -> dict[str, Any]:
        """What the `openai` client is to be told; its logs tell no query."""
        for name in LOGGERS if self.query else ():
            logging.getLogger(name).addFilter(self.filter)
        told: dict[str, Any] = {"base_url": self.base}
        if self.query:
            told["default_query"] = dict(parse_qsl(self.query, keep_blank_values=True)) or {self.query: ""}
        return told

    def filter(self, record: logging.LogRecord) -> bool:
        """As a filter of a logger: what it says, scrubbed."""
        record.msg, record.args = self.scrub(record.getMessage()), ()
        return True

    def scrub(self, text: str) -> str:
        """`text` without the values of the query, however they are written."""
        if not self.query:
            return text
        values = [pair.partition("=")[2] or pair for pair in self.query.split("&")]
        for value in sorted({*values, *map(unquote_plus, values)}, key=len, reverse=True):
            if len(value) >= SHORTEST:
                text = text.replace(value, "***")
        return text


def hidden(url: str) -> str:
    """An address, or what was given for one, without the values of its query and what looks like a key."""
    base, mark, query = url.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&")]
    return (
        KEY.sub("sk-***", base)
        + mark
        + "&".join(f"{name}=***" if equals else "***" for name, equals, _ in pairs if mark)
    )


def read_address(url: str) -> Address:
    """TeacherError when it is none; what it says holds no query."""
    base, _, query = url.strip().partition("#")[0].partition("?")
    base = base.rstrip("/").removesuffix("/chat/completions")
    try:
        parts = urlsplit(base)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond all ports, half a bracket
        good = False
    if not good:
        raise TeacherError(f"base url {hidden(url.strip())!r} is no address; it looks like http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise TeacherError(f"the base url of {parts.hostname} holds a password; put the key into the environment")
    if re.search(r"[^!-~]", query):
        raise TeacherError(
            f"the query of {hidden(url.strip())!r} holds characters that no address has; write them as %xx"
        )
    return Address(base, query)
