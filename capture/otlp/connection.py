"""One connection of an exporter: HTTP/1.1, one export after the other, each within its time and size.

What is wrong with a request is known from its head wherever it can be, and answered before its body is
read. A connection that is refused is closed: its body is not read to find the next request.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

import h11

from flux.capture.otlp.admission import Budget, Rate
from flux.capture.otlp.reading import Encoding, refusal
from flux.capture.otlp.refusal import Refused
from flux.capture.settings import IntakeSettings

PATH = b"/v1/traces"
HEAD_BYTES_MAX = 16 << 10
"""Of a request's line and headers."""
CHUNK_BYTES = 16 << 10
"""Read from a connection at once; it buffers twice as much, which is what an idle one costs."""
ANSWER_S = 10.0
"""An exporter that does not take its answer for so long is left."""
LINGER_S = 2.0
LINGER_BYTES_MAX = 32 << 20
"""After a refusal this much is read and thrown away, so that the answer is not lost with the connection."""


class Phase(Enum):
    """What a connection is waiting for."""

    IDLE = "a request"
    READING = "the rest of a request"
    STORING = "us"


@dataclass(frozen=True, slots=True)
class Export:
    """A request that was let in, whole."""

    body: bytes
    gzipped: bool
    encoding: Encoding
    dropped: int
    """As the recorder's header `x-flux-dropped` says."""


Take = Callable[[Export], Awaitable[bytes]]
"""Make an export durable and return the body of its answer; raises `Refused`."""


class Connection:
    """See the module's contract."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: IntakeSettings,
        budget: Budget,
        rate: Rate,
        take: Take,
        refused: Callable[[Refused], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._settings = settings
        self._bounds = settings.bounds
        self._budget = budget
        self._rate = rate
        self._take = take
        self._refused = refused
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._encoding = Encoding.PROTOBUF
        self.phase = Phase.IDLE
        self.since = time.monotonic()
        """When the phase began."""
        self.is_last = False
        """No further request is read."""

    async def serve(self) -> None:
        """Answer requests until one side has enough. Raises nothing but cancellation."""
        with suppress(ConnectionError, TimeoutError):
            try:
                while not self.is_last and await self._one():
                    self._enter(Phase.IDLE)
            except h11.RemoteProtocolError as error:
                status = HTTPStatus(error.error_status_hint)
                await self._refuse(Refused(status, "this is not the HTTP that OTLP speaks"))
            except Refused as error:
                await self._refuse(error)
        self.close()

    def close(self) -> None:
        """End the connection after what was written to it."""
        self._writer.close()

    def give_way(self) -> None:
        """End it in favour of another one: it has been waited for too long."""
        refused = self._busy("too many connections")
        with suppress(h11.LocalProtocolError, ConnectionError):
            if self.phase is Phase.READING:
                self._refused(refused)
                self._write(refused.status, refusal(self._encoding, refused), refused)
        self._writer.close()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = time.monotonic()

    def _busy(self, why: str) -> Refused:
        return Refused(HTTPStatus.SERVICE_UNAVAILABLE, why, retry_after_s=self._bounds.retry_after_s)

    async def _one(self) -> bool:
        """Answer one request; False when there is none or none after it."""
        head = await self._head()
        if head is None:
            return False
        gzipped, dropped = self._examine(head)
        held = 0
        try:
            body = bytearray()
            async with _within(self._bounds.body_s, "the body took too long"):
                while isinstance(event := await self._event(), h11.Data):
                    if len(body) + len(event.data) > self._bounds.body_bytes_max:
                        raise self._too_large()
                    if not self._budget.take(len(event.data)):
                        raise self._busy("too much is waiting to be stored")
                    held += len(event.data)
                    body += event.data
            self._enter(Phase.STORING)
            answer = await self._take(Export(bytes(body), gzipped, self._encoding, dropped))
        finally:
            self._budget.give_back(held)
        self._write(HTTPStatus.OK, answer, None)
        await self._drain()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _head(self) -> h11.Request | None:
        """Return the next request's head; None when there is no further one."""
        if not self._http.trailing_data[0]:
            try:
                async with asyncio.timeout(self._bounds.idle_s):
                    first = await self._reader.read(CHUNK_BYTES)
            except TimeoutError:
                return None
            if not first:
                return None
            self._http.receive_data(first)
        self._enter(Phase.READING)
        async with _within(self._bounds.headers_s, "the headers took too long"):
            event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._reader.read(CHUNK_BYTES))
        return event  # type: ignore[return-value]  # NEED_DATA ended above

    def _examine(self, head: h11.Request) -> tuple[bool, int]:
        """Return whether the body is gzip, and the spans its sender dropped. Raises `Refused`."""
        headers = dict(list(head.headers))
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        with suppress(ValueError):
            self._encoding = Encoding(kind.decode("latin-1"))
        self._authorize(headers)
        if head.target.partition(b"?")[0] != PATH:
            raise Refused(HTTPStatus.NOT_FOUND, "only /v1/traces is here; metrics and logs are not taken")
        if head.method != b"POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "send a POST")
        if kind.decode("latin-1") != self._encoding.value:
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "the content type must be application/x-protobuf or application/json",
            )
        packing = headers.get(b"content-encoding", b"identity").strip().lower()
        if packing not in {b"gzip", b"identity", b""}:
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content encoding must be gzip or none")
        if int(headers.get(b"content-length", b"0")) > self._bounds.body_bytes_max:
            raise self._too_large()
        wait_s = self._rate.wait_s()
        if wait_s:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many spans for the time", retry_after_s=wait_s)
        dropped = headers.get(b"x-flux-dropped", b"0")
        return packing == b"gzip", int(dropped) if dropped.isdigit() and len(dropped) < 16 else 0

    def _authorize(self, headers: dict[bytes, bytes]) -> None:
        token = self._settings.token
        if token is None:
            # A page that this machine's browser shows may send what it likes to loopback; it says so.
            if b"origin" in headers:
                raise Refused(HTTPStatus.FORBIDDEN, "no exports from web pages without a token")
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), token.encode()):
            raise Refused(HTTPStatus.UNAUTHORIZED, "the bearer token is missing or wrong")

    def _too_large(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the export is larger than {self._bounds.body_bytes_max:,} bytes; send fewer spans at once",
        )

    async def _refuse(self, refused: Refused) -> None:
        """Answer a refusal, and see to it that it arrives."""
        self._refused(refused)
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        self._write(refused.status, refusal(self._encoding, refused), refused)
        await self._drain()
        if self._http.their_state is h11.DONE:
            return
        # Closing while bytes of it are unread would take the answer back (a reset).
        if self._writer.can_write_eof():
            self._writer.write_eof()
        left = LINGER_BYTES_MAX
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (thrown := await self._reader.read(CHUNK_BYTES)):
                left -= len(thrown)

    def _write(self, status: HTTPStatus, body: bytes, refused: Refused | None) -> None:
        headers = [
            ("Content-Type", self._encoding.value),
            ("Content-Length", str(len(body))),
        ]
        if refused is not None and refused.retry_after_s is not None:
            headers.append(("Retry-After", str(refused.retry_after_s)))
        if status is HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", "Bearer"))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "POST"))
        if refused is not None or self.is_last:
            headers.append(("Connection", "close"))
        for event in (
            h11.Response(status_code=status.value, headers=headers, reason=status.phrase.encode()),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self._writer.write(self._http.send(event) or b"")

    async def _drain(self) -> None:
        async with asyncio.timeout(ANSWER_S):
            await self._writer.drain()


class _within:  # noqa: N801 - reads as what it is
    """`asyncio.timeout` whose end is a 408."""

    def __init__(self, seconds: float, why: str) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._why = why

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._timeout.__aexit__(*error)  # type: ignore[arg-type]
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, self._why) from None
