"""asyncpg; so SQLAlchemy's asynchronous connections over it.

asyncpg waits for each answer, and a round trip more for a tag would show. So the tag travels in the same
packet:
a subclass of asyncpg's protocol puts Parse, Bind and Execute of the tag, without a Sync, before the first
message of
the write, and takes their four answers out of what the server sends (PostgreSQL documentation, 55.2.3
"Extended
Query": without a Sync it is one transaction with what follows). It works for every kind of statement,
`copy` included.

In autocommit mode `call`, and a `do` with a commit in it, go untagged: nothing may be before what commits
inside.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from flux.recorder import tag
from flux.recorder.ambient import Tag
from flux.recorder.database.step import Connections, Step, first_of
from flux.recorder.fault import failing_open
from flux.recorder.patches import Patches

ANSWERS = b"12DC"
"""ParseComplete, BindComplete, DataRow, CommandComplete: what the server says to the tag, in this order."""
UNASKED = b"NSA"
"""NoticeResponse, ParameterStatus, NotificationResponse: may come at any time, and are the application's."""


def patch(patches: Patches, library: ModuleType) -> None:
    """Have asyncpg make its connections with our protocol."""
    patches.replace(library.protocol, "Protocol", _protocol_class(library.protocol.Protocol))


def messages(tag_: Tag) -> bytes:
    """Return Parse, Bind and Execute of the statement that sets a tag; statement and portal are unnamed."""
    statement = tag.statement().encode()
    parse = b"\0" + statement + b"\0" + struct.pack("!h", 0)
    bind = b"\0\0" + struct.pack("!hh", 0, len(tag_))
    for value in tag_:
        text = value.encode("utf-8")
        bind += struct.pack("!i", len(text)) + text
    bind += struct.pack("!h", 0)
    execute = b"\0" + struct.pack("!i", 0)
    return b"".join(
        kind + struct.pack("!i", len(body) + 4) + body
        for kind, body in ((b"P", parse), (b"B", bind), (b"E", execute))
    )


class Filter:
    """Takes the answers to a tag out of the server's stream of messages."""

    __slots__ = ("_held", "_left")

    def __init__(self) -> None:
        self._left = b""
        self._held = b""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to take out."""
        return not self._left

    def expect(self) -> None:
        """Begin: a tag was sent."""
        self._left = ANSWERS

    def passed(self, data: bytes) -> bytes:
        """Return what the driver is to see of the data."""
        data = self._held + data
        self._held = b""
        kept = []
        at = 0
        while self._left and len(data) - at >= 5:
            kind = data[at : at + 1]
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if kind in UNASKED or kind == self._left[:1]:
                if len(data) < end:
                    break
                if kind in UNASKED:
                    kept.append(data[at:end])
                else:
                    self._left = self._left[1:]
                at = end
            else:
                # An error: the server skips all that follows it, the write included. It is the driver's.
                self._left = b""
        if self._left:
            self._held = data[at:]
        else:
            kept.append(data[at:])
        return b"".join(kept)


class _Transport:
    """The connection's transport; what is written next may get a tag in front."""

    __slots__ = ("_filter", "_transport", "armed")

    def __init__(self, transport: Any, filter_: Filter) -> None:
        self._transport = transport
        self._filter = filter_
        self.armed: bytes | None = None
        """Messages to be sent before the next."""

    def write(self, data: Any) -> None:
        """Send, as asyncio's transport does."""
        if self.armed is not None:
            data = self._take() + bytes(data)
        self._transport.write(data)

    def writelines(self, lines: Any) -> None:
        """Send, as asyncio's transport does."""
        if self.armed is not None:
            lines = [self._take(), *lines]
        self._transport.writelines(lines)

    def _take(self) -> bytes:
        armed, self.armed = self.armed, None
        self._filter.expect()
        return armed or b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _protocol_class(base: Any) -> Any:
    """Return asyncpg's protocol with our hooks."""
    names = {"__module__": base.__module__, "_flux_connections": Connections()}
    return type(base.__name__, (_Hooked, base), names)


_Base: Any = object


class _Hooked(_Base):  # type: ignore[misc]
    """Before asyncpg's protocol in the order of its bases: what tags and records."""

    _flux_connections: Connections

    def __init__(self, addr: Any, connected: Any, parameters: Any, *arguments: Any) -> None:
        super().__init__(addr, connected, parameters, *arguments)
        self._flux_database = str(getattr(parameters, "database", "") or "")

    def connection_made(self, transport: Any) -> None:
        self._flux_filter = Filter()
        self._flux_transport = _Transport(transport, self._flux_filter)
        super().connection_made(self._flux_transport)

    def data_received(self, data: bytes) -> None:
        if not self._flux_filter.idle:
            data = self._flux_filter.passed(bytes(data))
            if not data:
                return
        super().data_received(data)

    async def query(self, query: Any, timeout: Any) -> Any:  # noqa: ASYNC109 (asyncpg's interface)
        async with _running(self._flux_connections, self, query, ()) as step:
            status = await super().query(query, timeout)
            step.rows = _rows_of(status)
            return status

    async def prepare(self, stmt_name: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        # A statement too long for the cache is parsed under no name, where the tag's own Parse would take its
        # place: so the tag goes before it, in what is one transaction up to the next Sync.
        if stmt_name == "":
            step = _begin(self._flux_connections, self, query, (), recorded=False)
            if step is not None and step.tag is not None:
                _arm(self, step)
                step.finish(None, None)
        try:
            return await super().prepare(stmt_name, query, *arguments, **named)
        finally:
            self._flux_transport.armed = None

    async def bind_execute(self, state: Any, args: Any, *arguments: Any, **named: Any) -> Any:
        async with _running(self._flux_connections, self, state.query, args, state) as step:
            result = await super().bind_execute(state, args, *arguments, **named)
            step.rows = _rows_of(result)
            return result

    async def bind_execute_many(self, state: Any, args: Any, *arguments: Any, **named: Any) -> Any:
        first, number = first_of(args)
        async with _running(self._flux_connections, self, state.query, first, state, batch=number):
            return await super().bind_execute_many(state, args, *arguments, **named)

    async def copy_in(self, copy_stmt: Any, *arguments: Any, **named: Any) -> Any:
        async with _running(self._flux_connections, self, copy_stmt, ()) as step:
            status = await super().copy_in(copy_stmt, *arguments, **named)
            step.rows = _rows_of(status)
            return status

    async def copy_out(self, copy_stmt: Any, *arguments: Any, **named: Any) -> Any:
        async with _running(self._flux_connections, self, copy_stmt, ()) as step:
            status = await super().copy_out(copy_stmt, *arguments, **named)
            step.rows = _rows_of(status)
            return status


class _Rows:
    """How many rows a statement returned or changed, once it is known."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: int | None = None


@asynccontextmanager
async def _running(
    connections: Connections,
    protocol: Any,
    text: str,
    parameters: Any,
    state: Any = None,
    batch: int | None = None,
) -> AsyncIterator[_Rows]:
    """Run a statement in the block, the tag armed before it."""
    outcome = _Rows()
    step = _begin(connections, protocol, text, parameters, batch=batch)
    if step is None:
        yield outcome
        return
    # Parsed under no name a moment ago: the tag was put before that.
    if step.tag is not None and not (state is not None and state.name == "" and state.prepared):
        _arm(protocol, step)
    try:
        yield outcome
    except BaseException as error:
        step.finish(None, error)
        raise
    finally:
        protocol._flux_transport.armed = None
    step.finish(outcome.rows, None)


def _begin(
    connections: Connections,
    protocol: Any,
    text: str,
    parameters: Any,
    *,
    batch: int | None = None,
    recorded: bool = True,
) -> Step | None:
    """Return the statement's step; None when it is nobody's."""
    with failing_open("a statement's beginning"):
        open_ = protocol.is_in_transaction()
        step = connections.step(
            protocol,
            text,
            parameters,
            in_transaction=open_,
            usable=True,
            database=lambda: protocol._flux_database,
            batch=batch,
            recorded=recorded,
        )
        if step is not None and step.tag is not None and step.statement.alone and not open_:
            step.untagged()
        return step
    return None


def _arm(protocol: Any, step: Step) -> None:
    if step.tag is not None:
        with failing_open("the tag of an asyncpg connection"):
            protocol._flux_transport.armed = messages(step.tag)


def _rows_of(result: Any) -> int | None:
    """Return the number of rows in a command's tag, or of records in a result."""
    if isinstance(result, tuple) and len(result) == 3:
        records, status, _ = result
        return len(records) if records else _rows_of(status)
    if isinstance(result, list):
        return len(result)
    if isinstance(result, bytes | str):
        text = result.decode() if isinstance(result, bytes) else result
        last = text.rpartition(" ")[2]
        return int(last) if last.isdigit() else None
    return None
