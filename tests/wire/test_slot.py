"""Slots and the system behind them, on real servers."""

from __future__ import annotations

import psycopg
import pytest

from flux.decoder.slot import connect_replication, create_slot, drop_slot, identify, read_slot
from flux.decoder.wire import open_stream
from flux.model.errors import Interrupted, SlotBusy, SlotError, SlotLost, SourceError, Unreachable
from servers import Database, NewServer, eventually, on
from wire.conftest import SLOT, Open


def test_the_system_says_who_it_is(database: Database) -> None:
    connection = connect_replication(database.dsn)
    system = identify(connection)
    connection.close()
    with database.connect() as ordinary:
        row = ordinary.execute("select system_identifier::text from pg_control_system()").fetchone()
    assert row == (system.system_identifier,)
    assert (system.database, system.timeline) == (database.name, 1)
    assert system.lsn > 0


def test_a_snapshot_shows_what_was_there_before_the_slot(wide: Database) -> None:
    with wide.connect() as connection, wide.connect(autocommit=False) as reader:
        connection.execute("insert into item values (1, 'before')")
        made = create_slot(wide.dsn, SLOT, wide.plugin)
        connection.execute("insert into item values (2, 'after')")
        reader.execute("set transaction isolation level repeatable read")
        reader.execute(f"set transaction snapshot '{made.snapshot_name}'")
        assert reader.execute("select id from item").fetchall() == [(1,)]
        made.connection.close()
        state = read_slot(connection, SLOT)
        assert state is not None
        assert (state.plugin, state.database, state.active_pid) == (wide.plugin, wide.name, None)
        assert state.confirmed_lsn == made.consistent_point
        assert not state.lost


@on((17, "pgoutput"))
def test_a_temporary_slot_ends_with_its_connection(wide: Database) -> None:
    made = create_slot(wide.dsn, "aside", "pgoutput", temporary=True)
    with wide.connect() as connection:
        assert read_slot(connection, "aside") is not None
        made.connection.close()
        assert eventually(lambda: read_slot(connection, "aside") is None)


@on((15, "pgoutput"))
def test_waiting_for_running_transactions_can_be_stopped(wide: Database) -> None:
    with wide.connect(autocommit=False) as busy:
        busy.execute("insert into item values (1, 'open')")
        asked = []

        def stop() -> bool:
            asked.append(1)
            return len(asked) > 2

        with pytest.raises(Interrupted):
            create_slot(wide.dsn, SLOT, wide.plugin, stop=stop)
    with wide.connect() as connection:
        assert eventually(lambda: read_slot(connection, SLOT) is None)


@on((15, "wal2json"), (17, "pgoutput"))
def test_each_refusal_names_its_remedy(wide: Database, open_test_stream: Open) -> None:
    with pytest.raises(SlotLost, match="--resnapshot"):
        open_stream(wide.dsn, slot="nowhere", plugin=wide.plugin)
    denied = wide.server.installation.restricts_plugins
    with pytest.raises(SourceError, match="output_plugin_libraries" if denied else "flux doctor"):
        create_slot(wide.dsn, "odd", "no_such_plugin")
    open_test_stream()
    with pytest.raises(SlotBusy, match=r"PID \d+"):
        open_stream(wide.dsn, slot=SLOT, plugin=wide.plugin)
    with pytest.raises(SlotBusy):
        drop_slot(wide.dsn, SLOT)
    with pytest.raises(SlotError, match="exists"):
        create_slot(wide.dsn, SLOT, wide.plugin)
    assert not drop_slot(wide.dsn, "nowhere")


def test_a_server_without_logical_decoding_says_how_to_get_it(new_server: NewServer) -> None:
    server = new_server(17, {"wal_level": "replica"})
    with pytest.raises(SourceError, match="alter system set wal_level = logical"):
        create_slot(server.dsn("postgres"), SLOT, "pgoutput")


def test_nobody_there(database: Database) -> None:
    database.server.stop()
    with pytest.raises(Unreachable) as caught:
        connect_replication(database.dsn + " password=secret")
    assert "secret" not in str(caught.value)


def test_a_slot_that_lost_its_log(new_server: NewServer) -> None:
    server = new_server(16, {"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
    dsn = server.dsn("postgres")
    create_slot(dsn, SLOT, "pgoutput").connection.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(5):
            connection.execute(
                "select pg_logical_emit_message(false, 'x', repeat('x', 1000000)), pg_switch_wal()"
            )
        connection.execute("checkpoint")
        state = read_slot(connection, SLOT)
    assert state is not None
    assert state.lost
    with pytest.raises(SlotLost, match="--resnapshot"):
        open_stream(dsn, slot=SLOT, plugin="pgoutput")
