"""What a failed HTTP attempt means: try again (when?), or never.

Kept apart from the teacher so that it can be read, and tested, as the table it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson

QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
TRANSIENT = {408, 409, 425, 429}
UNABLE = {501, 505}
"""What a server cannot do now it cannot do later"""
LONG_S = 600.0
"""A pause that is worth a word"""
TLS_HINTS = {
    "CERTIFICATE_VERIFY_FAILED": "if its certificate is your own, name a file with it in SSL_CERT_FILE",
    "WRONG_VERSION_NUMBER": "it does not speak https; should the address begin with http://?",
}
REFUSED = {"ClientConnectorError", "ClientConnectorDNSError", "ConnectionTimeoutError", "ConnectionRefusedError"}


@dataclass(slots=True)
class Response:
    """What came back, whole."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class Again(Exception):
    """Another attempt may succeed."""

    def __init__(
        self,
        reason: str,
        wait_s: float | None = None,
        *,
        limited: bool = False,
        no_endpoint: bool = False,
        free: bool = False,
    ) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        """What the server asks to wait at least"""
        self.limited = limited
        """A rate limit: nothing is wrong but the pace"""
        self.no_endpoint = no_endpoint
        """No sign of one: no connection, or an answer of another kind. As long as nothing else comes, that is final"""
        self.free = free
        """It counts as no attempt: the next one is another request"""
        self.fatal = False


class Never(Exception):
    """No further attempt of this request can succeed; `fatal`: nor of any other."""

    def __init__(self, reason: str, *, fatal: bool = False, status: int = 0) -> None:
        super().__init__(reason)
        self.fatal, self.status = fatal, status
        self.no_endpoint = False


class NoApi(Never):
    """What answers there is none. Before any good answer the address is wrong; after one it is a passing trouble."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, fatal=True)


def of_status(status: int, headers: Mapping[str, str], content: bytes) -> Again | Never:
    """The verdict on an HTTP error status. A spent quota is given the status 402, whatever the server calls it."""
    message, codes = _said(content)
    if status == 429 and (codes & QUOTA_CODES or "exceeded your current quota" in message):
        return Never(message, status=402)
    reason = f"HTTP {status}: {message}"
    if status in TRANSIENT or (status >= 500 and status not in UNABLE):
        wait_s = retry_after(headers)
        asks = f" (asks for a pause of {wait_s / 3600:,.1f} hours)" if wait_s is not None and wait_s > LONG_S else ""
        return Again(reason + asks, wait_s, limited=status == 429)
    return Never(reason, status=status)


def of_connection(url: str, error: BaseException | None) -> Again:
    """The verdict on a connection that failed or broke. The first cause knows best: aiohttp's errors come wrapped."""
    causes = [error] if error is not None else []
    while causes and (inner := causes[-1].__cause__) is not None:
        causes.append(inner)
    names = {type(cause).__name__ for cause in causes}
    first = causes[-1] if causes else None
    if names & {"ServerDisconnectedError", "ClientOSError", "ClientConnectionResetError"} and not names & REFUSED:
        return broken(url, first)
    if names & {"ConnectError", "ConnectTimeout", *REFUSED}:
        return unreachable(url, first)
    return broken(url, first)


def broken(url: str, error: BaseException | None) -> Again:
    """A connection that ended before its answer did."""
    why = type(error).__name__ if error is not None else "closed without an answer"
    return Again(f"the connection to {url} broke ({why})")


def no_http(url: str) -> NoApi:
    """Something else listens there."""
    return NoApi(f"what answers at {url} does not speak {url.split(':')[0]}: is the address right, and its port?")


def unreachable(url: str, error: BaseException | None) -> Again:
    """No connection came about."""
    why = str(error or "") or "the attempt to connect timed out"
    secure = url.startswith("https:") and "timed out" in why
    usual = f"is the server running and the address right{', and does it speak https?' if secure else '?'}"
    hint = next((text for sign, text in TLS_HINTS.items() if sign in why), usual)
    return Again(f"cannot reach {url} ({why}); {hint}", no_endpoint=True)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or a date) ask for."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            try:
                date = parsedate_to_datetime(value)
            except ValueError:
                continue
            if date.tzinfo is None:
                date = date.replace(tzinfo=UTC)
            return max(0.0, (date - datetime.now(UTC)).total_seconds())
    return None


def _said(content: bytes) -> tuple[str, set[str]]:
    """(message, codes and types) of an error's body, whatever its shape."""
    text = content[:300].decode("utf-8", "replace")
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return ("a web page" if text.lstrip()[:1] == "<" else text or "no text"), set()
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error), set()
    codes = {str(error[name]) for name in ("code", "type") if error.get(name)}
    return str(error.get("message") or error.get("detail") or text), codes
