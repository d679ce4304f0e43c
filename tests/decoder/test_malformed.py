"""Streams that are cut, changed or made up: a `DecodeError` or a batch, never anything else."""

from __future__ import annotations

import contextlib
import json
import struct
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.encode import TABLE, UNSENT, Change, Message, Streams, Transaction, framed, relation_message
from flux.decoder import Decoder, pgoutput, wal2json
from flux.decoder.decoder import Plugin
from flux.model.errors import DecodeError

PLUGINS: list[Plugin] = ["pgoutput", "wal2json"]


def log() -> Streams:
    streams = Streams()
    row: dict[str, object] = {"id": "1", "plan": 'fr"ee\\\n', "raw": "\\xdead", "on": "t", "amount": "1.10"}
    items = (
        Message("flux.context", '{"request_id":"r1"}'),
        Change("insert", TABLE, new=row),
        Change("update", TABLE, new={**row, "id": "2", "plan": UNSENT}, old={"id": "1"}),
        Change("delete", TABLE, old={"id": "2"}),
        Change("truncate", TABLE),
        Message("flux.heartbeat", '{"snapshot":"7:9:8","nonce":"n"}'),
    )
    streams.pgoutput.append(relation_message(TABLE))
    attempt = f'1 8 9 {TABLE.relation_id} - - 1700000000000000 i0 (1,"a,""b",,t,)'
    streams.message(Message("flux.attempt", attempt, transactional=False), 0, 0)
    streams.transaction(Transaction(7, 1_700_000_000_000_000, items), [])
    return streams


def messages_of(plugin: Plugin) -> list[bytes]:
    return getattr(log(), plugin)  # type: ignore[no-any-return]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_log_itself_decodes(plugin: Plugin) -> None:
    batch = Decoder(plugin, relations=[TABLE]).decode(messages_of(plugin))
    assert batch.changes.num_rows == 4
    assert batch.heartbeats == ("n",)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_an_unknown_tag_names_its_position(plugin: Plugin) -> None:
    body = b'{"action":"Z"}' if plugin == "wal2json" else b"Z123"
    with pytest.raises(DecodeError, match="unknown") as caught:
        Decoder(plugin).decode([framed(0x16B374D848, body)])
    assert caught.value.lsn == 0x16B374D848
    assert caught.value.exit_code == 3
    assert "flux doctor" in caught.value.hint


MODULES = {id(module): module for module in (pgoutput, wal2json)}
"""What a copy of a decoder shares with it."""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_message_cut_anywhere_is_a_decode_error(plugin: Plugin) -> None:
    messages = messages_of(plugin)
    for number, message in enumerate(messages):
        decoder = Decoder(plugin, relations=[TABLE])
        decoder.decode(messages[:number])
        for size in range(len(message)):
            with pytest.raises(DecodeError):
                deepcopy(decoder, dict(MODULES)).decode([message[:size]])


@pytest.mark.property
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(PLUGINS),
    st.lists(st.tuples(st.integers(0), st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_changed_bytes_never_crash(plugin: Plugin, changes: list[tuple[int, int, int]]) -> None:
    messages = messages_of(plugin)
    for which, place, byte in changes:
        message = bytearray(messages[which % len(messages)])
        message[25 + place % (len(message) - 25)] = byte
        messages[which % len(messages)] = bytes(message)
    with contextlib.suppress(DecodeError):
        Decoder(plugin, relations=[TABLE]).decode(messages)


def test_a_row_with_other_columns_than_its_relation_is_refused() -> None:
    short = b"I" + struct.pack("!I", TABLE.relation_id) + b"N" + struct.pack("!H", 1) + b"n"
    messages = messages_of("pgoutput")
    with pytest.raises(DecodeError, match="other columns"):
        Decoder("pgoutput", relations=[TABLE]).decode([*messages[:3], framed(9, short), messages[-1]])


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize(
    "message",
    [
        Message("flux.context", "no json"),
        Message("flux.context", '{"request_id":1}'),
        Message("flux.context", "[]"),
        Message("flux.tag", "null"),
        Message("flux.tag", '{"attributes":{"a":' + "[" * 300 + "]" * 300 + "}}"),
        Message("flux.tag", '{"request_id":"r"}{"request_id":"s"}'),
        Message("flux.tag", '{"request_id":"r"}', transactional=False),
        Message("flux.heartbeat", "{}"),
        Message("flux.heartbeat", '{"snapshot":"x"}'),
        Message("flux.ddl", "{"),
        Message("flux.ddl", '{"relations":[{"columns":1}]}'),
        Message("flux.attempt", "1 2 3", transactional=False),
        Message("flux.attempt", f"1 8 9 {TABLE.relation_id} - - 17 i99 (1)", transactional=False),
        Message("flux.context", '{"xid":"x"}', transactional=False),
        Message("flux.ddl", "nonsense", transactional=False),
    ],
)
def test_a_malformed_message_of_ours_is_counted_and_ignored(plugin: Plugin, message: Message) -> None:
    streams = Streams()
    if message.transactional:
        streams.transaction(Transaction(7, 0, (message, Change("truncate", TABLE))), [])
    else:
        streams.message(message, 0, 0)
    batch = Decoder(plugin, relations=[TABLE]).decode(getattr(streams, plugin))
    assert batch.ignored_messages == 1
    assert batch.changes.num_rows == int(message.transactional)
    assert batch.open_attempts == 0


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("prefix", ["flux.context", "flux.tag"])
def test_attributes_nested_too_deeply_are_kept_as_they_are(plugin: Plugin, prefix: str) -> None:
    """They can be read, and not written again."""
    streams = Streams()
    deep = '{"a":' + "[" * 300 + "]" * 300 + "}"
    message = Message(prefix, json.dumps({"request_id": "r", "attributes": deep}))
    streams.transaction(Transaction(7, 0, (message, Change("truncate", TABLE))), [])
    batch = Decoder(plugin, relations=[TABLE]).decode(getattr(streams, plugin))
    assert batch.ignored_messages == 0
    assert batch.contexts.column("attributes").to_pylist() == [[("malformed", deep)]]


@pytest.mark.parametrize("end", [b"7}}", b"7}]}", b"7,}", b"7 }", b"-}"])
def test_a_number_ends_with_its_column(end: bytes) -> None:
    """One that is damaged is refused, or it would be another value."""
    messages = [each.replace(b'"value":7}', b'"value":' + end) for each in numbered()]
    assert messages != numbered()
    with pytest.raises(DecodeError):
        Decoder("wal2json", relations=[TABLE]).decode(messages)


def numbered() -> list[bytes]:
    streams = Streams()
    changes = (Change("update", TABLE, new={"id": "7", "plan": "a", "amount": "1.5"}, old={"id": "7"}),)
    streams.transaction(Transaction(7, 0, changes), [])
    return streams.wal2json
