"""The log that the server keeps for the slot: it follows, and what threatens it is said in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from capture.conftest import ITEM
from capture.rig import BOUNDS, Rig, make_rig
from flux.capture.doctor import examine
from flux.cli.main import run
from flux.decoder.slot import SlotState, read_slot
from flux.decoder.wire import open_stream
from flux.ledger import sources
from flux.ledger.sources import Source
from servers import Database, NewDatabase, NewServer, database_on, eventually

database = database_on((17, "pgoutput"))

MIB = 1 << 20

# Alone they move the slot (heartbeats), or not at all within a test.
OFTEN = replace(BOUNDS, heartbeat_interval_s=0.3)
NEVER = replace(BOUNDS, heartbeat_interval_s=3600.0)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    """`item`, tracked; nothing captured yet."""
    with database.connect() as connection:
        connection.execute(ITEM)
    rig = make_rig(database, tmp_path, "item")
    yield rig
    if rig.running is not None:
        rig.running.stop()


def slot_of(rig: Rig) -> SlotState:
    with rig.database.connect() as connection:
        state = read_slot(connection, rig.settings.slot)
    assert state is not None
    return state


def write_log(connection: psycopg.Connection[tuple[object, ...]], mib: int) -> None:
    for _ in range(mib):
        connection.execute("select pg_logical_emit_message(false, 'other', repeat('x', 1048576), true)")


@pytest.fixture
def follows(rig: Rig) -> None:
    """Start capture, without heartbeats but the first."""
    rig.start(bounds=NEVER)
    eventually(lambda: any("baseline public.item" in line for line in rig.lines), within_s=30)


@pytest.mark.usefixtures("follows")
def test_a_busy_neighbour_does_not_hold_the_slot_back(rig: Rig, new_database: NewDatabase) -> None:
    with new_database().connect() as neighbour:
        neighbour.execute("create table busy (id int, body text)")
        neighbour.execute("insert into busy select i, repeat('x', 500) from generate_series(1, 40000) i")
        write_log(neighbour, 20)
        before = slot_of(rig).server_lsn
        eventually(lambda: (slot_of(rig).confirmed_lsn or 0) >= before, what="the slot's following")

        def is_let_go() -> bool:
            # What is kept begins at a record that a checkpoint makes.
            neighbour.execute("checkpoint")
            return slot_of(rig).retained_bytes < 2 * MIB

        eventually(is_let_go, what="the end of the log kept")


def test_an_idle_database_alone(rig: Rig) -> None:
    """Nobody writes anything: heartbeats alone carry the slot on."""
    rig.start(bounds=OFTEN)
    eventually(lambda: any("baseline public.item" in line for line in rig.lines), within_s=30)
    for _ in range(3):
        before = slot_of(rig).confirmed_lsn or 0
        eventually(lambda: (slot_of(rig).confirmed_lsn or 0) > before, what="a step")  # noqa: B023


@pytest.fixture
def bounded(new_server: NewServer, tmp_path: Path) -> Rig:
    """A source that keeps 64 MiB of log for a slot, less than between two of its checkpoints."""
    server = new_server(17, {"max_slot_wal_keep_size": "64MB", "max_wal_size": "256MB"})
    database = server.create_database("shop")
    with database.connect() as connection:
        connection.execute(ITEM)
    rig = make_rig(database, tmp_path, "item")
    sources.write(rig.settings.ledger, Source("shop", "pgoutput", rig.settings.slot))
    rig.once()
    return rig


@dataclass(frozen=True)
class Said:
    """What the two commands say of the slot."""

    status: str
    """The lines of `flux status`."""
    level: str
    """Of the doctor's finding."""
    what: str
    code: int
    """The doctor's exit code."""


def said(rig: Rig, capfd: pytest.CaptureFixture[str]) -> Said:
    where = ("--ledger", str(rig.settings.ledger), "--dsn", rig.database.dsn)
    capfd.readouterr()
    assert run(("status", *where)) == 0
    status = capfd.readouterr().out
    code = run(("doctor", *where, "--json"))
    (finding,) = [one for one in json.loads(capfd.readouterr().out) if one["name"] == "slot"]
    return Said(status, finding["level"], finding["what"], code)


def test_what_threatens_the_slot_is_said_before_it_is_lost(
    bounded: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    with bounded.database.connect() as connection:
        write_log(connection, 10)
        calm = said(bounded, capfd)
        assert (calm.level, calm.code) == ("warn", 0)  # nobody reads it
        assert "reserved" in calm.status
        assert "danger" not in calm.status

        write_log(connection, 30)
        half = said(bounded, capfd)
        assert "danger" in half.status
        assert "more until it is lost" in half.status
        assert (half.level, half.code) == ("warn", 0)

        connection.execute("alter system set max_wal_size = '32MB'")
        connection.execute("select pg_reload_conf()")
        write_log(connection, 20)
        eventually(lambda: slot_of(bounded).wal_status == "extended")
        assert "danger" in said(bounded, capfd).status

        # No checkpoint but those of the test from here on: one takes what is over the bound.
        connection.execute("alter system set max_wal_size = '1GB'")
        connection.execute("select pg_reload_conf()")
        connection.execute("checkpoint")
        while (slot_of(bounded).safe_wal_bytes or 0) > 5 * MIB:
            write_log(connection, 1)
        assert slot_of(bounded).wal_status != "unreserved"
        near = said(bounded, capfd)
        assert (near.level, near.code) == ("fault", 1)
        assert "about to be lost" in near.what

        write_log(connection, 20)
        assert slot_of(bounded).wal_status == "unreserved"
        over = said(bounded, capfd)
        assert (over.level, over.code) == ("fault", 1)
        assert "danger" in over.status

        connection.execute("checkpoint")
        lost = said(bounded, capfd)
        assert slot_of(bounded).lost
        assert (lost.level, lost.code) == ("fault", 1)
        assert "--resnapshot" in lost.status


def test_a_slot_that_is_read_too_slowly(bounded: Rig) -> None:
    """Nobody can start capture for it: it runs."""
    stream = open_stream(bounded.database.dsn, slot=bounded.settings.slot, plugin="pgoutput")
    with bounded.database.connect() as connection, closing(stream):
        write_log(connection, 40)
        findings = examine(connection, slot=bounded.settings.slot)
    (finding,) = [one for one in findings if one.name == "slot"]
    assert (finding.level, finding.sql) == ("warn", "flux status")
    assert "max_slot_wal_keep_size" in finding.hint
