"""One attempt to deliver a batch over OTLP/HTTP (OpenTelemetry protocol 1.x, binary protobuf).

The standard library's client: no library that the application may have instrumented, no proxy from the
environment on the way to a daemon on the same machine.
"""

from __future__ import annotations

import http.client
import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from flux.recorder.settings import BACKOFF_S_MAX, SEND_TIMEOUT_S, Settings, own_version

LATER = frozenset({401, 403, 404, 408, 425, 429})
"""Answers, besides all of 500 and above, after which the same batch may be taken later: the daemon is
too busy, or its operator has still to mend the token or the address."""
GZIP = b"\x1f\x8b"
"""What a packed batch begins with; one that is not begins with a field of protobuf, 0x0a."""
NEAR = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that are this machine."""
ANSWER_BYTES_MAX = 64 * 1024
"""Of an answer that are read; it holds nothing for us, but the connection is to be used again."""


class Outcome(Enum):
    """What became of a batch."""

    ACCEPTED = "accepted"
    """It is the daemon's now."""
    LATER = "later"
    """Keep it and try again."""
    REJECTED = "rejected"
    """It will never be taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an attempt came to."""

    outcome: Outcome
    """What is to be done with the batch."""
    wait_s: float = 0.0
    """How long the server asks to be left alone."""
    status: int = 0
    """Its status; 0 when there was no answer."""


class Delivery:
    """Sends batches to one address, on one connection that is kept."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the endpoint of the recorder must be http://HOST[:PORT]/PATH or https://…")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._path = (parts.path or "/v1/traces") + (f"?{parts.query}" if parts.query else "")
        self._headers = {
            "content-type": "application/x-protobuf",
            "user-agent": f"flux-recorder/{own_version()}",
        }
        if settings.token:
            self._headers["authorization"] = f"Bearer {settings.token}"
        self.near = self._host in NEAR
        """Whether the daemon is on this machine: packing a batch would only cost time."""
        self._connection: http.client.HTTPConnection | None = None

    def send(self, payload: bytes, *, dropped: int = 0, timeout_s: float = SEND_TIMEOUT_S) -> Answer:
        """Send a batch, gzipped or not, with the number of spans dropped before it."""
        headers = dict(self._headers)
        if dropped:
            headers["x-flux-dropped"] = str(dropped)
        if payload.startswith(GZIP):
            headers["content-encoding"] = "gzip"
        # A kept connection may have been closed by the other side meanwhile: that is no failure yet.
        for kept in (self._connection is not None, False):
            try:
                return self._attempt(payload, headers, timeout_s)
            except TimeoutError:
                self.close()
                break
            except (OSError, http.client.HTTPException):
                self.close()
                if not kept:
                    break
        return Answer(Outcome.LATER)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
        self._connection = None

    def forget(self) -> None:
        """Leave the connection to the parent process that it is shared with."""
        self._connection = None

    def _attempt(self, payload: bytes, headers: dict[str, str], timeout_s: float) -> Answer:
        if self._connection is None:
            self._connection = self._connect(timeout_s)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        self._connection.request("POST", self._path, payload, headers)
        response = self._connection.getresponse()
        response.read(ANSWER_BYTES_MAX)
        if response.will_close or not response.isclosed():
            self.close()
        status = response.status
        if 200 <= status < 300:
            return Answer(Outcome.ACCEPTED, status=status)
        if status >= 500 or status in LATER:
            return Answer(Outcome.LATER, _seconds(response.getheader("retry-after")), status)
        return Answer(Outcome.REJECTED, status=status)

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)


def _seconds(text: str | None) -> float:
    """Return a Retry-After in seconds, bounded; a date counts as no answer."""
    try:
        return min(max(float(text or 0), 0.0), BACKOFF_S_MAX)
    except ValueError:
        return 0.0
