"""Damaged streams of a real server, messages and rows of any bytes: a `DecodeError` or a batch, in bounds.

What `make fuzz` found once, and what was found by hand, is replayed from `seeds`.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from decoder import target
from decoder.damage import (
    CPU_S_MAX,
    HEADER_BYTES,
    MEMORY_BYTES_MAX,
    TookTooLong,
    bounded,
    damage,
    damage_bytes,
    pack,
    shrink,
)
from decoder.encode import TABLE, dumps, framed, relation_message
from decoder.recorded import record
from flux.decoder import Decoder
from flux.decoder.decoder import Plugin
from flux.model.batch import Batch, Position
from flux.model.errors import DecodeError
from oracle.recording import rows_of
from servers import Database, on

SEEDS = sorted((Path(__file__).parent / "seeds").iterdir())

DAMAGED_STREAMS = 60
"""For each plugin."""
DAMAGED_MESSAGES = 200
FAULTS = 6

LSN = 0x1_0000_1000


def failure(data: bytes) -> str | None:
    """Return what is wrong with how an input was taken; None if nothing is."""
    try:
        with bounded(CPU_S_MAX, MEMORY_BYTES_MAX):
            target.run(data)
    except (Exception, TookTooLong) as error:  # noqa: BLE001 - anything at all is a fault here
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.name)
def test_what_was_found_once(seed: Path) -> None:
    assert failure(seed.read_bytes()) is None


@on((15, "pgoutput"))
def test_streams(database: Database, tmp_path: Path, subtests: pytest.Subtests) -> None:
    streams = record(database)
    assert set(streams) == set(target.PLUGINS)
    for plugin, messages in streams.items():
        with subtests.test(plugin=plugin, check="all of it is there"):
            check_recorded(plugin, messages)
        with subtests.test(plugin=plugin, check="cut anyhow"):
            check_cuts(plugin, messages)
        with subtests.test(plugin=plugin, check="damaged"):
            check_damaged(plugin, messages, tmp_path)
        with subtests.test(plugin=plugin, check="a fault, then the rest"):
            check_faults(plugin, messages)


def check_recorded(plugin: Plugin, messages: list[bytes]) -> None:
    """A stream without a phenomenon would show nothing about it."""
    batch = Decoder(plugin).decode(messages)
    batch = replace(batch, changes=pa.concat_tables([batch.changes, *batch.late]))
    rows = rows_of(batch.changes)
    assert {row["op"] for row in rows} == {"insert", "update", "delete", "truncate"}
    assert {row["outcome"] for row in rows} == {"committed", "rolled_back", "savepoint_rolled_back"}
    assert {row["request_id"] for row in rows} >= {None, "r1", "r2", "r3"}
    assert any(row["unchanged"] for row in rows)
    assert any(row["old_key"] for row in rows)
    assert any(row["after"] and len(row["after"]) > 60 for row in rows)
    assert batch.ddl.num_rows > 4
    assert batch.heartbeats
    assert batch.gone


def check_cuts(plugin: Plugin, messages: list[bytes]) -> None:
    """However the messages are cut into calls, the same comes out."""
    whole, truncate = told(plugin, messages), target.TRUNCATES[plugin]
    assert told(plugin, messages, 1) == whole
    # One statement's truncates are several messages of wal2json, and one change.
    for place in (number for number, each in enumerate(messages) if each.startswith(truncate, HEADER_BYTES)):
        assert told(plugin, messages, place + 1) == whole, f"cut behind message {place}"


def told(plugin: Plugin, messages: list[bytes], length: int | None = None) -> Counter[str]:
    """Return what calls with so many messages said, one with all of them if that is None."""
    found: Counter[str] = Counter()
    resync: set[int] = set()
    for batch in target.decode(plugin, Decoder(plugin), messages, length or len(messages)):
        found.update(said(batch))
        resync = (resync - {relation_id for relation_id, _ in batch.gone}) | set(batch.resync)
    return found + Counter(f"resync {relation_id}" for relation_id in resync)


def said(batch: Batch) -> list[str]:
    """Return every row of a batch as a text."""
    tables = (batch.changes, batch.contexts, batch.transactions, batch.ddl)
    return [repr(row) for table in tables for row in rows_of(table)]


def check_damaged(plugin: Plugin, messages: list[bytes], folder: Path) -> None:
    kind = bytes((target.PLUGINS.index(plugin),))
    for number in range(DAMAGED_STREAMS):
        chance = random.Random(number)
        damaged = messages
        for _ in range(chance.randint(1, 3)):
            damaged = damage(damaged, chance)
        if (wrong := failure(kind + pack(damaged))) is not None:
            found = folder / f"{plugin}-{number}"
            found.write_bytes(kind + pack(shrink(damaged, lambda few: failure(kind + pack(few)) is not None)))
            pytest.fail(f"{wrong} (once mended, a seed: {found})")


def check_faults(plugin: Plugin, messages: list[bytes]) -> None:
    """A message that cannot be decoded ends the stream; sent again whole, every row is told exactly once."""
    everything = target.decode(plugin, Decoder(plugin), messages, len(messages))
    whole = Counter(each for batch in everything for each in said(batch))
    for place in random.Random(plugin).sample(range(len(messages)), FAULTS):
        faulty = [*messages[:place], messages[place][:26], *messages[place + 1 :]]
        stored, position = stored_before_the_fault(plugin, faulty)
        again = target.decode(plugin, Decoder(plugin, position=position), messages, 16)
        rest = [each for batch in again for each in said(batch)]
        assert Counter(stored + rest) == whole, f"a fault at message {place}"


def stored_before_the_fault(plugin: Plugin, faulty: list[bytes]) -> tuple[list[str], Position]:
    """Return what capture would have committed, and up to where."""
    stored: list[str] = []
    waiting: list[str] = []
    position = Position(0, 0)
    try:
        for batch in target.decode(plugin, Decoder(plugin), faulty, 16):
            waiting += said(batch)
            if not batch.open_transaction:  # as capture does: the ledger ends with a commit
                stored, waiting, position = stored + waiting, [], batch.position
    except DecodeError:
        return stored, position
    raise AssertionError("the fault was not seen")


OURS = {
    "attempt": f'1 8 9 {TABLE.relation_id} - - 1700000000000000 u5 (1,"a,""b",,t,)'.encode(),
    "context": b'{"request_id":"r1","actor":"a","attributes":"{\\"a\\":1}","backend_pid":5,"xid":"8"}',
    "heartbeat": b'{"snapshot":"7:9:8","nonce":"n","committed":[1],"aborted":[2]}',
    "ddl": dumps(
        {
            "command": "ALTER TABLE",
            "object": "public.other",
            "statement": "alter",
            "request_id": "r",
            "dropped": [5],
            "resync": [77],
            "xid": 8,
            "relations": [
                {
                    "relation_id": 77,
                    "relation": "public.other",
                    "root_id": 77,
                    "root": "public.other",
                    "columns": [
                        {"name": "id", "type": "int", "attnum": 1, "is_key": True, "not_null": True},
                    ],
                    "key": ["id"],
                    "replica_identity": "d",
                    "tracked": True,
                }
            ],
        }
    ),
    "mark": b"",
}
OURS["track"] = OURS["ddl"]
OURS["tag"] = OURS["context"]


def test_messages_of_ours_with_other_bytes() -> None:
    """Any role may write one: it is counted and left out, and what is around it is decoded."""
    for number in range(DAMAGED_MESSAGES):
        chance = random.Random(number)
        kind = chance.randrange(len(target.KINDS))
        content = OURS[target.KINDS[kind][0].removeprefix("flux.")]
        for _ in range(chance.randint(1, 3)):
            content = damage_bytes(content, chance)
        data = bytes((chance.choice((4, 5)), kind)) + content
        assert failure(data) is None, data


def test_copied_rows_and_pages_of_the_log_with_other_bytes() -> None:
    rows = b"1\ta\\tb\t\\N\n2\t\\\\N\t\xc3\xa9\n"
    page = (Path(__file__).parent / "seeds" / "commit-record-good").read_bytes()[1:]
    for number in range(DAMAGED_MESSAGES):
        chance = random.Random(number)
        copied, log = rows, page
        for _ in range(chance.randint(1, 3)):
            copied, log = damage_bytes(copied, chance), damage_bytes(log, chance)
        for data in (bytes((2, chance.choice((2, 3, 3)))) + copied, b"\x03" + log):
            assert failure(data) is None, data


def begin() -> bytes:
    return framed(LSN, b"B" + struct.pack("!QqI", LSN, 0, 7))


def row(count: int, length: int) -> bytes:
    body = b"I" + struct.pack("!I", TABLE.relation_id) + b"N" + struct.pack("!H", count)
    return framed(LSN, body + b"t" + struct.pack("!I", length))


def wal2json_begin(**said: object) -> bytes:
    usual = {"action": "B", "xid": 7, "timestamp": "2026-01-01 00:00:00+00", "origin": 0, "lsn": "1/1000"}
    text = dumps({**usual, "nextlsn": "1/1030", **said})
    return framed(LSN, text.replace(b'"xid":"', b'"xid":').replace(b'","timestamp', b',"timestamp'))


LONG = 300_000

STREAMS: dict[str, tuple[Plugin, list[bytes]]] = {
    "columns claimed": ("pgoutput", [begin(), relation_message(TABLE), *[row(65535, 0)] * 3000]),
    "length 2^31-1": ("pgoutput", [begin(), relation_message(TABLE), row(5, 0x7FFF_FFFF)]),
    "length 2^32-1": ("pgoutput", [begin(), relation_message(TABLE), row(5, 0xFFFF_FFFF)]),
    "truncated tables": (
        "pgoutput",
        [begin(), relation_message(TABLE), framed(LSN, b"T" + struct.pack("!IB", 0xFFFF_FFFF, 0))],
    ),
    "digits": ("wal2json", [wal2json_begin(xid="9" * LONG)]),
    "a position's digits": ("wal2json", [wal2json_begin(lsn="0/" + "0" * LONG)]),
    "two slashes": ("wal2json", [wal2json_begin(lsn="1/2/3")]),
    "a position of 68 bits": ("wal2json", [wal2json_begin(lsn="FFFFFFFFF/1")]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_numbers_that_are_too_large(name: str) -> None:
    plugin, messages = STREAMS[name]
    with bounded(CPU_S_MAX, MEMORY_BYTES_MAX), pytest.raises(DecodeError):
        Decoder(plugin, relations=[TABLE]).decode(messages)


def test_the_bounds_hold() -> None:
    with pytest.raises(TookTooLong), bounded(0.05, MEMORY_BYTES_MAX):
        all(number >= 0 for number in itertools.count())
    with pytest.raises(MemoryError), bounded(CPU_S_MAX, MEMORY_BYTES_MAX):
        bytearray(2 * MEMORY_BYTES_MAX)
