"""The messages and changes that a slot decodes, read with pgoutput through SQL: an independent reader."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flux.capture import install, source, tracking
from flux.model.lsn import lsn_text
from servers import Database

SLOT = "reader"


@dataclass(frozen=True, slots=True)
class Message:
    """A logical message."""

    lsn: str
    prefix: str
    transactional: bool
    content: str

    @property
    def json(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.content)
        return loaded


@dataclass(frozen=True, slots=True)
class Change:
    """A decoded row change: kind I, U, D or T, and the relations it names."""

    kind: str
    relations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A `flux.attempt`, parsed."""

    lsn: str
    xid: int
    subxid: int
    relation_id: int
    context_lsn: str
    mark_lsn: str
    clock_us: int
    op: str
    old: str
    new: str


class Source:
    """A database with Flux in it and a slot that reads it."""

    def __init__(self, database: Database, *setup: str) -> None:
        self.database = database
        self.connection = source.connect(database.dsn)
        install.init(self.connection, plugin="pgoutput")
        for statement in setup:
            self.connection.execute(statement)

    def track(self, *names: str, rollbacks: bool = True, **options: Any) -> list[tracking.Tracked]:
        return tracking.track(self.connection, list(names), rollbacks=rollbacks, **options)

    def listen(self) -> None:
        """Begin to read from here."""
        self.connection.execute(
            "select pg_create_logical_replication_slot(%s || pg_backend_pid(), 'pgoutput', true)", [SLOT]
        )

    def events(self) -> list[Message | Change | str]:
        """Return everything since the last call: messages, changes, 'begin' and 'commit'."""
        # A commit that wrote something flushes what was written before it.
        self.connection.execute("select pg_logical_emit_message(true, 'flush', '')")
        rows = self.connection.execute(
            "select data from pg_logical_slot_get_binary_changes(%s || pg_backend_pid(), null, null,"
            " 'proto_version', '1', 'publication_names', 'flux,flux_inserts', 'messages', 'true')",
            [SLOT],
        ).fetchall()
        secret = source.secret(self.connection)
        return [event for row in rows for event in _parse(bytes(row[0]), secret)][:-3]

    def messages(self, prefix: str | None = None) -> list[Message]:
        found = [event for event in self.events() if isinstance(event, Message)]
        return [message for message in found if prefix in (None, message.prefix)]

    def oid(self, name: str) -> int:
        row = self.connection.execute("select %s::regclass::oid::bigint", [name]).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self.connection.close()


def messages_of(events: list[Any], prefix: str) -> list[Message]:
    """Return the messages under `prefix` among `events`."""
    return [event for event in events if isinstance(event, Message) and event.prefix == prefix]


def attempts(events: list[Any]) -> list[Attempt]:
    """Return the attempts among `events`."""
    return [parse_attempt(message) for message in messages_of(events, "flux.attempt")]


def parse_attempt(message: Message) -> Attempt:
    version, xid, subxid, relation, context, mark, clock, payload = message.content.split(" ", 7)
    length, rows = payload[1:].split(" ", 1)
    encoded = rows.encode()
    assert version == "1"
    assert not message.transactional
    old, new = encoded[: int(length)].decode(), encoded[int(length) :].decode()
    return Attempt(
        message.lsn, int(xid), int(subxid), int(relation), context, mark, int(clock), payload[0], old, new
    )


def survived(events: list[Any]) -> dict[str, bool]:
    """Return, for each attempt that names a mark, whether that mark was decoded: new row text → fate."""
    marks = {
        event.lsn
        for event in events
        if isinstance(event, Message) and event.prefix == "flux.mark" and event.transactional
    }
    return {
        f"{attempt.op} {attempt.old}{attempt.new}": attempt.mark_lsn == "-" or attempt.mark_lsn in marks
        for attempt in attempts(events)
    }


SECRET = ("flux.context", "flux.attempt", "flux.heartbeat", "flux.ddl", "flux.track")
"""Prefixes of messages that begin with the secret."""


def _parse(data: bytes, secret: str) -> Iterator[Message | Change | str]:
    kind = data[:1].decode()
    if kind == "M":
        flags, lsn = struct.unpack(">BQ", data[1:10])
        end = data.index(0, 10)
        (length,) = struct.unpack(">I", data[end + 1 : end + 5])
        content = data[end + 5 :]
        assert len(content) == length
        prefix = data[10:end].decode()
        if prefix in SECRET:
            opening = f"{secret} ".encode()
            assert content.startswith(opening)
            content = content.removeprefix(opening)
        yield Message(lsn_text(lsn), prefix, bool(flags & 1), content.decode())
    elif kind in "IUD":
        yield Change(kind, struct.unpack(">I", data[1:5]))
    elif kind == "T":
        (count,) = struct.unpack(">I", data[1:5])
        yield Change(kind, struct.unpack(f">{count}I", data[6:]))
    elif kind in "BC":
        yield "begin" if kind == "B" else "commit"
