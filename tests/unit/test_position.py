"""Is the slot where the ledger left it? Each way that it may not be is told apart and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flux.capture.confirmed import Confirmed
from flux.capture.position import Stored, check, check_log, check_relations, check_resnapshot, last_commit
from flux.decoder.slot import SlotState, System
from flux.model.batch import Position
from flux.model.errors import SlotError, SlotLost, SourceError
from flux.model.relation import Column, Relation

SYSTEM = System("42", 1, 1000, "shop")
SLOT = SlotState(
    slot="flux",
    plugin="pgoutput",
    database="shop",
    active_pid=None,
    confirmed_lsn=500,
    restart_lsn=450,
    server_lsn=1000,
    wal_status="reserved",
    safe_wal_bytes=None,
    invalidation_reason=None,
)
STORED = Stored("42", 1, 490, 500)
CONFIRMED = Confirmed("flux", "42", 1, 100, 500, 490)


def examine(
    system: System = SYSTEM,
    slot: SlotState | None = SLOT,
    stored: Stored | None = STORED,
    confirmed: Confirmed | None = CONFIRMED,
) -> None:
    check("flux", "pgoutput", system, slot, stored, confirmed)


def test_what_may_go_on() -> None:
    examine()
    examine(confirmed=None)
    examine(slot=None, stored=None, confirmed=None)  # a new source
    examine(stored=None, confirmed=None)  # a slot that `flux init` made
    examine(stored=None, confirmed=replace(CONFIRMED, commit_lsn=0))
    examine(slot=replace(SLOT, confirmed_lsn=400))  # a server that crashed remembers less
    examine(stored=replace(STORED, end_lsn=700, commit_lsn=690))  # attempts were open
    examine(
        slot=replace(SLOT, confirmed_lsn=900), confirmed=replace(CONFIRMED, confirmed_lsn=900)
    )  # our idling


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"slot": None}, "missing"),
        ({"slot": replace(SLOT, wal_status="lost")}, "lost its log"),
        ({"slot": replace(SLOT, restart_lsn=None)}, "lost its log"),
        ({"slot": replace(SLOT, invalidation_reason="idle_timeout")}, "idle_timeout"),
        ({"slot": replace(SLOT, confirmed_lsn=501)}, "ahead of the ledger"),
        ({"slot": replace(SLOT, confirmed_lsn=501), "confirmed": None}, "ahead of the ledger"),
        ({"system": replace(SYSTEM, system_identifier="43")}, "another database cluster"),
        ({"system": replace(SYSTEM, timeline=2)}, "another timeline"),
        ({"system": replace(SYSTEM, lsn=499)}, "restored backup"),
        ({"stored": replace(STORED, commit_lsn=300, end_lsn=310)}, "put back to an older state"),
        ({"stored": None}, "put back to an older state"),
    ],
)
def test_a_lost_piece_of_the_log_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(SlotLost, match=why) as caught:
        examine(**changes)  # type: ignore[arg-type]
    assert "--resnapshot" in caught.value.hint


@pytest.mark.parametrize("changes", [{"plugin": "wal2json"}, {"database": "other"}])
def test_a_slot_that_is_not_ours_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(SlotError) as caught:
        examine(slot=replace(SLOT, **changes))  # type: ignore[arg-type]
    assert not isinstance(caught.value, SlotLost)


def test_a_new_generation_counts_by_its_own_server() -> None:
    young = replace(CONFIRMED, system_identifier="43", timeline=5, generation_lsn=600, confirmed_lsn=600)
    examine(
        system=replace(SYSTEM, system_identifier="43", timeline=5),
        slot=replace(SLOT, confirmed_lsn=600),
        confirmed=young,
    )


def test_a_baseline_before_what_is_stored_is_refused() -> None:
    check_resnapshot(501, STORED)
    check_resnapshot(1, None)
    with pytest.raises(SourceError, match="new name"):
        check_resnapshot(500, STORED)


def test_the_last_commit_known_is_looked_for() -> None:
    stored, idle = Stored("42", 1, 490, 500, 7), Position(590, 600, 8)
    assert last_commit(None, None) is None
    assert last_commit(None, CONFIRMED) is None
    assert last_commit(stored, CONFIRMED) == Position(490, 500, 7)
    assert last_commit(stored, replace(CONFIRMED, last=idle)) == idle
    assert last_commit(replace(stored, commit_lsn=690, end_lsn=700), replace(CONFIRMED, last=idle)) != idle
    check_log(idle, True)
    check_log(idle, None)  # nobody can tell
    with pytest.raises(SlotLost, match="not the one that the ledger has read") as caught:
        check_log(idle, False)
    assert "--resnapshot" in caught.value.hint


def test_in_another_cluster_a_number_must_mean_the_same() -> None:
    one = table(7, "public.item", "id", "name")
    check_relations([], [one])
    check_relations([table(7, "public.old", "id"), one], [one, table(8, "public.note", "id")])
    check_relations([one], [table(7, "public.item", "id")])  # a column was dropped
    check_relations([table(9, "public.item", "id")], [one])  # another OID: a table of its own
    for found in (table(7, "public.note", "id", "name"), table(7, "public.item", "name", "id")):
        with pytest.raises(SourceError, match="cannot continue this source") as caught:
            check_relations([one], [found])
        assert "NEWNAME" in caught.value.hint


def table(oid: int, name: str, *columns: str) -> Relation:
    numbered = [
        Column(column, "text", number, is_key=False, not_null=False, missing=None)
        for number, column in enumerate(columns, 1)
    ]
    return Relation(oid, name, oid, name, 0, tuple(numbered), (), "d", tuple(columns), ())
