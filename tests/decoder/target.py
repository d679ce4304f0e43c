"""What may be fed with any bytes: the decoder and the parsers beside it, by the first byte of an input.

    0, 1  a stream of pgoutput, of wal2json (`damage.pack`)
    2     COPY's text; its second byte is how many columns
    3     a page of the log, after 24 bytes of a commit's position
    4, 5  the content of a message of ours, told by pgoutput, by wal2json; its second byte says which

`run` returns, or the code is wrong. A stream may be refused with `DecodeError`; a message of ours may not,
for any role can write one: it is counted and left out.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import pairwise

import pyarrow as pa

from decoder.damage import unpack
from decoder.encode import TABLE, Change, Message, Streams, Transaction, relation_message
from flux.decoder import Decoder, pgoutput, wal2json
from flux.decoder.commit_record import holds
from flux.decoder.copy_text import parse_rows
from flux.decoder.decoder import Plugin
from flux.decoder.frames import HEADER_BYTES
from flux.model.batch import Batch, Position
from flux.model.errors import DecodeError

PLUGINS: tuple[Plugin, Plugin] = ("pgoutput", "wal2json")

TRUNCATES = {"pgoutput": b"T", "wal2json": b'{"action":"T"'}
"""How the message of a truncate begins."""

KINDS = tuple(
    (f"flux.{name}", transactional)
    for name in ("attempt", "context", "heartbeat", "ddl", "mark", "track", "tag")
    for transactional in (False, True)
)
"""By second byte: prefix of the message, and whether it waits for a commit."""

_OVER = '{"snapshot":"1:4000000000000000000:","nonce":"over"}'
"""A heartbeat after which every attempt is over."""


def run(data: bytes) -> None:
    """Feed one input."""
    if len(data) < 2:
        return
    kind, rest = data[0] % 6, data[1:]
    if kind < 2:
        feed_stream(PLUGINS[kind], unpack(rest))
    elif kind == 2:
        with contextlib.suppress(DecodeError, UnicodeDecodeError):
            rest[1:].decode()  # what the server is asked for, and what it keeps to
            parse_rows(rest[1:], [f"c{number}" for number in range(rest[0] % 8)]).validate(full=True)
    elif kind == 3 and len(rest) >= 24:
        holds(rest[24:], Position(*struct.unpack("!QQq", rest[:24])))
    elif kind > 3:
        feed_message(PLUGINS[kind - 4], rest)


def feed_stream(plugin: Plugin, messages: list[bytes]) -> None:
    """Decode a stream in one call, as capture does after a moment, and in three calls."""
    for length in (max(len(messages), 1), len(messages) // 3 + 1):
        with contextlib.suppress(DecodeError):
            for _ in decode(plugin, Decoder(plugin), messages, length):
                pass


def decode(plugin: Plugin, decoder: Decoder, messages: list[bytes], length: int) -> Iterable[Batch]:
    """Give the batches of calls with so many messages; each is whole and can be stored.

    The last transaction begins a call, for there it does not wait for a commit that may not come.
    """
    opening = (pgoutput if plugin == "pgoutput" else wal2json).BEGIN_OPENING
    begun = (number for number, each in enumerate(messages) if each.startswith(opening, HEADER_BYTES))
    places = sorted({*range(0, len(messages), length), *deque(begun, 1), len(messages)})
    for first, last in pairwise(places):
        batch = decoder.decode(messages[first:last])
        batch = replace(batch, changes=pa.concat_tables([batch.changes, *batch.late]), late=())
        check_batch(batch)
        yield batch


def check_batch(batch: Batch) -> None:
    """What is handed out can be stored: every text is UTF-8, every offset within its buffer."""
    for each in fields(batch):
        table = getattr(batch, each.name)
        if isinstance(table, pa.Table):
            table.validate(full=True)
    for relation_id in (*batch.resync, *(gone for gone, _ in batch.gone)):
        assert 0 <= relation_id < 1 << 32, "no OID"
    for nonce in batch.heartbeats:
        nonce.encode()


def feed_message(plugin: Plugin, rest: bytes) -> None:
    """Put a message of ours into a good stream; the rest of which is decoded as if it were not there."""
    prefix, transactional = KINDS[rest[0] % len(KINDS)]
    messages = stream_with(plugin, prefix, rest[1:], transactional=transactional)
    describes = transactional and prefix in ("flux.ddl", "flux.track")
    try:
        batch = Decoder(plugin, relations=[TABLE]).decode(messages)
        check_batch(batch)
    except DecodeError as error:
        # Well-formed, and it says that the table has another shape than its rows: believed, and refused.
        if describes and "other columns" in str(error):
            return
        raise
    if not describes:  # that may end the table's tracking
        lsns, ops = batch.changes.column("commit_lsn").to_pylist(), batch.changes.column("op").to_pylist()
        assert [op for lsn, op in zip(lsns, ops, strict=True) if lsn] == ["insert"]


def stream_with(plugin: Plugin, prefix: str, content: bytes, *, transactional: bool) -> list[bytes]:
    """Return a transaction with that message in it, a change, and a heartbeat behind it."""
    streams = Streams()
    streams.pgoutput.append(relation_message(TABLE))
    mark = "?" * len(content)
    message = Message(prefix, mark, transactional=transactional)
    items: list[Message | Change] = [Change("insert", TABLE, new={"id": "1"})]
    if transactional:
        items.insert(0, message)
    else:
        streams.message(message, 0, 0)
    streams.transaction(Transaction(5, 0, tuple(items)), [])
    streams.transaction(Transaction(6, 0, (Message("flux.heartbeat", _OVER),)), [])
    told: list[bytes] = getattr(streams, plugin)
    if plugin == "pgoutput":
        before = f"{prefix}\0".encode() + struct.pack("!I", len(content))
    else:
        before, content = f'"prefix":"{prefix}","content":"'.encode(), _escaped(content)
    return [each.replace(before + mark.encode(), before + content, 1) for each in told]


def _escaped(content: bytes) -> bytes:
    """Write a text within JSON as the server does, which leaves bytes beyond ASCII alone."""
    named = {34: b'\\"', 92: b"\\\\", 8: b"\\b", 12: b"\\f", 10: b"\\n", 13: b"\\r", 9: b"\\t"}
    return b"".join(
        named.get(byte) or (b"\\u%04x" % byte if byte < 32 else bytes((byte,))) for byte in content
    )
