"""A lost piece of the log is refused, and with --resnapshot becomes a gap and a new baseline."""

from __future__ import annotations

import json

import pytest

from capture.rig import Rig
from flux.capture import confirmed
from flux.decoder.slot import create_slot, drop_slot
from flux.model.errors import LedgerDamaged, SlotError, SlotLost
from servers import on


def advance(rig: Rig) -> None:
    """Let someone else read from the slot."""
    with rig.database.connect() as connection:
        connection.execute("select pg_logical_emit_message(true, 'other', 'x')")
        connection.execute(
            "select pg_replication_slot_advance(%s, pg_current_wal_lsn())", [rig.settings.slot]
        )


@on((15, "wal2json"), (15, "pgoutput"), (18, "pgoutput"))
def test_a_dropped_slot(rig: Rig) -> None:
    rig.once()
    drop_slot(rig.database.dsn, rig.settings.slot)
    rig.execute(
        "insert into item values (101, 'unseen', 1)",
        "delete from item where id = 1",
        "update item set name = 'unseen' where id = 2",
    )
    before = rig.ask("select count(*) from changes")
    with pytest.raises(SlotLost, match="missing") as caught:
        rig.once()
    assert caught.value.exit_code == 2
    assert rig.ask("select count(*) from changes") == before
    rig.once(resnapshot=True)
    rig.check("public.item")
    assert rig.ask("select count(*), min(from_lsn) < min(to_lsn) from gaps") == [(1, True)]
    differences = rig.ask(
        "select op, key from changes where commit_lsn = (select to_lsn - 1 from gaps) order by key"
    )
    assert differences == [("delete", "1"), ("baseline", "101"), ("baseline", "2")]
    rig.execute("insert into item values (102, 'seen', 1)")
    rig.once()
    rig.check("public.item")


@on((15, "pgoutput"))
def test_a_slot_made_anew(rig: Rig) -> None:
    rig.once()
    drop_slot(rig.database.dsn, rig.settings.slot)
    rig.execute("insert into item values (101, 'unseen', 1)")
    create_slot(rig.database.dsn, rig.settings.slot, "pgoutput").connection.close()
    with pytest.raises(SlotLost, match="ahead of the ledger"):
        rig.once()
    rig.once(resnapshot=True)
    rig.check("public.item")


@on((17, "pgoutput"))
def test_someone_else_read_from_the_slot(rig: Rig) -> None:
    rig.once()
    advance(rig)
    with pytest.raises(SlotLost, match="something else read from it"):
        rig.once()


@on((15, "pgoutput"), (18, "pgoutput"))
def test_our_own_idling_is_not_taken_for_someone_else(rig: Rig) -> None:
    rig.once()
    for _ in range(2):
        rig.execute("select pg_logical_emit_message(true, 'other', repeat('x', 100000))")
        assert rig.once().rows == 0


@on((15, "pgoutput"))
def test_a_slot_of_the_other_plugin(rig: Rig) -> None:
    rig.once()
    with pytest.raises(SlotError, match="is for the plugin pgoutput"):
        rig.once(plugin="wal2json")


@on((15, "pgoutput"))
def test_another_cluster_or_timeline(rig: Rig) -> None:
    rig.once()
    path = confirmed.file_of(rig.settings.ledger, rig.settings.source)
    content = json.loads(path.read_text())
    for name, value, why in (
        ("system_identifier", "7", "another database cluster"),
        ("timeline", 9, "timeline"),
    ):
        path.write_text(json.dumps(content | {name: value}))
        with pytest.raises(SlotLost, match=why):
            rig.once()
    path.write_text("{")
    with pytest.raises(LedgerDamaged):
        rig.once()


@on((15, "pgoutput"))
def test_a_new_baseline_of_a_healthy_source_leaves_no_gap(rig: Rig) -> None:
    rig.once()
    rig.execute("insert into item values (101, 'seen', 1)")
    rig.once(resnapshot=True)
    rig.check("public.item")
    assert rig.ask("select count(*) from gaps") == [(0,)]
    assert rig.ask("select count(*) from baselines") == [(2,)]
    assert rig.ask("select count(*) from changes") == [(101,)]
