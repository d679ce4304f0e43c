"""The same transactions as pgoutput and as wal2json would send them, written byte by byte.

An encoder of its own, so that the decoders are held against the formats' documentation and not against
themselves. Log positions follow one another as a server's would: a change at the start of its record, a
message at the end of its.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

from flux.model.lsn import lsn_text
from flux.model.relation import Column, Relation

Row = dict[str, str | None]

UNSENT = object()
"""An unchanged TOAST value."""

TABLE = Relation(
    relation_id=16400,
    relation="public.users",
    root_id=16400,
    root="public.users",
    lsn=0,
    columns=(
        Column("id", "integer", 1, is_key=True, not_null=True),
        Column("plan", "text", 2, is_key=False, not_null=False),
        Column("raw", "bytea", 3, is_key=False, not_null=False),
        Column("on", "boolean", 4, is_key=False, not_null=False),
        Column("amount", "numeric", 5, is_key=False, not_null=False),
    ),
    key=("id",),
    row_columns=("id", "plan", "raw", "on", "amount"),
)

COMPOSITE = Relation(
    relation_id=16410,
    relation='odd."Sch\\ema".é t',
    root_id=16410,
    root='odd."Sch\\ema".é t',
    lsn=0,
    columns=(
        Column("note", "text", 1, is_key=False, not_null=False),
        Column("b", "text", 2, is_key=True, not_null=True),
        Column("a", "text", 3, is_key=True, not_null=True),
    ),
    key=("a", "b"),
    row_columns=("note", "b", "a"),
)

SCHEMAS = {TABLE.relation_id: ("public", "users"), COMPOSITE.relation_id: ('odd."Sch\\ema"', "é t")}


@dataclass(frozen=True, slots=True)
class Change:
    """One row change; `old` is None unless the key changed (updates) or it is a delete."""

    op: str
    relation: Relation
    new: dict[str, object] | None = None
    old: Row | None = None


@dataclass(frozen=True, slots=True)
class Message:
    prefix: str
    content: str
    transactional: bool = True


@dataclass(frozen=True, slots=True)
class Transaction:
    xid: int
    at_us: int
    items: tuple[Change | Message, ...]


@dataclass(slots=True)
class Streams:
    """Both encodings of one log, and where each thing lies."""

    pgoutput: list[bytes] = field(default_factory=list)
    wal2json: list[bytes] = field(default_factory=list)
    lsn: int = 0x1_0000_1000

    def advance(self, size: int) -> tuple[int, int]:
        """Take the next record; return its start and end."""
        start = self.lsn
        self.lsn += (size + 31) // 8 * 8
        return start, self.lsn

    def message(self, message: Message, xid: int, at_us: int) -> int:
        """Write a logical message; return its position."""
        _, end = self.advance(len(message.content))
        content = message.content.encode()
        flags = int(message.transactional)
        body = b"M" + struct.pack("!BQ", flags, end) + message.prefix.encode() + b"\0"
        self.pgoutput.append(framed(end, body + struct.pack("!I", len(content)) + content))
        inside = message.transactional
        self.wal2json.append(
            framed(
                end,
                dumps(
                    {
                        "action": "M",
                        "xid": xid if inside else None,
                        "timestamp": stamp(at_us) if inside else None,
                        "origin": 0 if inside else None,
                        "lsn": lsn_text(end),
                        "transactional": inside,
                        "prefix": message.prefix,
                        "content": message.content,
                    }
                ),
            )
        )
        return end

    def transaction(self, transaction: Transaction, places: list[tuple[Change, int]]) -> tuple[int, int]:
        """Write a transaction; append each change with its position; return the commit's start and end."""
        pg, wj = self.pgoutput, self.wal2json
        begin, opening = len(pg), len(wj)
        pg.append(b"")
        wj.append(b"")
        for item in transaction.items:
            if isinstance(item, Message):
                self.message(item, transaction.xid, transaction.at_us)
            else:
                start, _ = self.advance(64)
                places.append((item, start))
                pg.append(framed(start, pgoutput_change(item)))
                wj.append(framed(start, wal2json_change(item, transaction, start)))
        start, end = self.advance(48)
        pg[begin] = framed(
            start, b"B" + struct.pack("!QqI", start, transaction.at_us - 946_684_800_000_000, transaction.xid)
        )
        pg.append(
            framed(end, b"C" + struct.pack("!BQQq", 0, start, end, transaction.at_us - 946_684_800_000_000))
        )
        for action in "BC":
            text = dumps(
                {
                    "action": action,
                    "xid": transaction.xid,
                    "timestamp": stamp(transaction.at_us),
                    "origin": 0,
                    "lsn": lsn_text(start),
                    "nextlsn": lsn_text(end),
                }
            )
            if action == "B":
                wj[opening] = framed(start, text)
            else:
                wj.append(framed(end, text))
        return start, end


def framed(lsn: int, body: bytes) -> bytes:
    """Wrap `body` as XLogData."""
    return b"w" + struct.pack("!QQq", lsn, lsn, 0) + body


def dumps(value: object) -> bytes:
    """Write JSON as wal2json does: no white space, nothing but control characters escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def stamp(at_us: int) -> str:
    """Print a time as PostgreSQL does in UTC."""
    from datetime import UTC, datetime, timedelta

    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).strftime(
        "%Y-%m-%d %H:%M:%S.%f+00"
    )


def relation_message(relation: Relation) -> bytes:
    """Write a Relation message (R)."""
    schema, table = SCHEMAS[relation.relation_id]
    body = b"R" + struct.pack("!I", relation.relation_id) + schema.encode() + b"\0" + table.encode() + b"\0"
    body += relation.replica_identity.encode() + struct.pack("!H", len(relation.columns))
    for column in relation.columns:
        body += bytes([column.is_key]) + column.name.encode() + b"\0" + struct.pack("!Ii", 25, -1)
    return framed(0, body)


def _tuple(relation: Relation, row: dict[str, object]) -> bytes:
    body = struct.pack("!H", len(relation.columns))
    for column in relation.columns:
        value = row.get(column.name)
        if value is None:
            body += b"n"
        elif value is UNSENT:
            body += b"u"
        else:
            text = str(value).encode()
            body += b"t" + struct.pack("!I", len(text)) + text
    return body


def pgoutput_change(change: Change) -> bytes:
    """Write a row change (I, U, D) or a truncate (T)."""
    relation_id = struct.pack("!I", change.relation.relation_id)
    if change.op == "truncate":
        return b"T" + struct.pack("!IB", 1, 0) + relation_id
    body = {"insert": b"I", "update": b"U", "delete": b"D"}[change.op] + relation_id
    if change.old is not None:
        body += b"K" + _tuple(change.relation, dict(change.old))
    if change.new is not None:
        body += b"N" + _tuple(change.relation, change.new)
    return body


def wal2json_change(change: Change, transaction: Transaction, lsn: int) -> bytes:
    """Write a row change or a truncate."""
    schema, table = SCHEMAS[change.relation.relation_id]
    letter = {"insert": "I", "update": "U", "delete": "D", "truncate": "T"}[change.op]
    head = dumps(
        {
            "action": letter,
            "xid": transaction.xid,
            "timestamp": stamp(transaction.at_us),
            "origin": 0,
            "lsn": lsn_text(lsn),
            "schema": schema,
            "table": table,
        }
    )[:-1]
    if change.new is not None:
        head += b',"columns":[' + _columns(change.relation, change.new) + b"]"
    if change.op in {"update", "delete"}:
        old = change.old
        if old is None:
            assert change.new is not None
            old = {name: str(change.new[name]) for name in change.relation.key}
        kept: dict[str, object] = {name: old[name] for name in change.relation.key}
        head += b',"identity":[' + _columns(change.relation, kept) + b"]"
    return head + b"}"


def _columns(relation: Relation, row: dict[str, object]) -> bytes:
    parts = []
    for column in relation.columns:
        if column.name not in row or row[column.name] is UNSENT:
            continue
        value = row[column.name]
        name = b'{"name":' + dumps(column.name) + b',"value":'
        if value is None:
            parts.append(name + b"null}")
        elif column.type in {"integer", "numeric"}:
            parts.append(name + str(value).encode() + b"}")
        elif column.type == "boolean":
            parts.append(name + (b"true}" if value == "t" else b"false}"))
        elif column.type == "bytea":
            parts.append(name + dumps(str(value)[2:]) + b"}")
        else:
            parts.append(name + dumps(value) + b"}")
    return b",".join(parts)
