"""flux doctor: each fault is found, and what it says mends it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flux.capture import doctor
from flux.capture.doctor import Finding
from flux.model.errors import SourceError
from postgres.stream import Source
from servers import Database, NewServer, eventually, on
from servers.installation import find_installations

TWO = on((15, "pgoutput"), (18, "pgoutput"))

SHOP = (
    "create table users (id int primary key, plan text)",
    "create table events (id int primary key) partition by list (id)",
    "create table events_1 partition of events for values in (1)",
)


def found(source: Source, slot: str | None = None) -> list[Finding]:
    """Return what is not right, but for what no fresh server has right."""
    findings = doctor.examine(source.connection, slot=slot)
    assert all(finding.hint or finding.sql for finding in findings if finding.level != "ok")
    return [
        finding
        for finding in findings
        if finding.level != "ok" and finding.name not in {"max_slot_wal_keep_size", "max_replication_slots"}
    ]


@on((15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
def test_nothing_is_wrong_after_init_and_track(new_source: Callable[..., Source]) -> None:
    source = new_source(*SHOP)
    source.track("users", "events")
    assert found(source) == []
    with source.database.connect(user="flux_capture") as capture:
        wrong = [finding for finding in doctor.examine(capture) if finding.level == "fault"]
    assert wrong == []


@pytest.mark.parametrize(
    ("harm", "name", "what"),
    [
        ("alter publication flux drop table users", "publication", "not published: users"),
        ("alter publication flux add table keyless", "replica_identity", "FAIL in the application"),
        ("alter table users disable trigger flux_tag", "triggers", "not tagged: public.users"),
        ("drop trigger flux_tag on events_1", "triggers", "not tagged: public.events_1"),
        ("alter table users disable trigger user", "triggers", "rolled-back changes are not recorded"),
        ("drop event trigger flux_ddl_drop", "event_triggers", "no event triggers"),
        ("alter event trigger flux_ddl_end disable", "event_triggers", "switched off: flux_ddl_end"),
        ("comment on function flux.attempt() is 'Flux old'", "schema", "function flux.attempt()"),
        ("drop function flux.refusal(oid)", "schema", "function flux.refusal(oid)"),
        ("revoke select on users from flux_capture", "role", "may not read users"),
        ("alter role flux_capture noreplication", "role", "may not replicate"),
        ("alter table users enable row level security", "row_security", "public.users"),
        ("delete from flux.member where relation_id = 'events_1'::regclass", "partitions", "events"),
    ],
)
@on((15, "pgoutput"))
def test_faults(new_source: Callable[..., Source], harm: str, name: str, what: str) -> None:
    source = new_source(*SHOP, "create table keyless (id int)")
    source.track("users", "events")
    if "keyless" in harm:
        source.track("keyless")
    source.connection.execute(harm)
    wrong = found(source)
    assert any(finding.name == name and what in finding.what for finding in wrong), wrong


@TWO
def test_a_table_without_key_is_a_warning(new_source: Callable[..., Source]) -> None:
    source = new_source("create table keyless (id int)")
    source.track("keyless")
    (finding,) = found(source)
    assert (finding.name, finding.level) == ("replica_identity", "warn")
    assert finding.sql == "flux track 'keyless' --rollbacks --identity-full"


@TWO
def test_slots(new_source: Callable[..., Source]) -> None:
    source = new_source(*SHOP)
    source.track("users")
    assert [finding.sql for finding in found(source, "flux_shop")] == ["flux up"]
    source.connection.execute("select pg_create_logical_replication_slot('flux_shop', 'pgoutput')")
    (finding,) = found(source, "flux_shop")
    assert "nobody reads it" in finding.why
    source.connection.execute("select pg_drop_replication_slot('flux_shop')")
    source.connection.execute("select pg_create_logical_replication_slot('flux_shop', 'test_decoding')")
    (finding,) = found(source, "flux_shop")
    assert (finding.level, finding.what) == ("fault", "the replication slot flux_shop is not ours")


@on((15, "wal2json"))
def test_an_old_wal2json_loses_numbers(database: Database) -> None:
    source = Source(database, "create table t (id int primary key, price numeric, rates float8[], f real)")
    source.track("t")
    findings = doctor.examine(source.connection, plugin="wal2json")
    assert [finding.what for finding in findings if finding.name == "lossy_numbers"] == [
        "NaN and infinities arrive as null: public.t.price, public.t.f"
    ]
    source.close()


@TWO
def test_before_init(database: Database) -> None:
    with database.connect() as connection:
        (finding,) = [entry for entry in doctor.examine(connection) if entry.level == "fault"]
    assert finding.sql == "flux init"


def test_wal_level(new_server: NewServer) -> None:
    server = new_server(17, {"wal_level": "replica"})
    with server.connect() as connection:
        names = {entry.name: entry for entry in doctor.examine(connection)}
    assert names["wal_level"].sql == "alter system set wal_level = logical;"


def test_the_remedy_for_a_denied_plugin_allows_it(new_server: NewServer) -> None:
    (installation, *_) = [each for each in find_installations(18) if each.restricts_plugins]
    settings = {"wal_level": "logical", "output_plugin_libraries": "pgoutput"}
    server = new_server(installation, settings)
    with server.connect() as connection:

        def plugin() -> Finding:
            (finding,) = [
                entry for entry in doctor.examine(connection, plugin="wal2json") if entry.name == "plugin"
            ]
            return finding

        remedy, _, other = plugin().sql.partition(" or run: ")
        assert other == "flux init --plugin pgoutput"
        for statement in remedy.split(";")[:2]:
            connection.execute(statement)
        # These wheels come without wal2json: allowed, it is not found.
        assert eventually(lambda: plugin().level == "ok" or "install it" in plugin().sql)


def test_another_flux_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "flux"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (finding,) = doctor.examine_machine()
    assert (finding.name, finding.level) == ("command", "warn")
    assert str(other) in finding.what


@on((15, "pgoutput"))
def test_what_an_earlier_release_installed(new_source: Callable[..., Source]) -> None:
    source = new_source(*SHOP)
    source.track("users")
    source.connection.execute("alter table flux.tracked drop column tag_trigger")
    source.connection.execute("drop function flux.track(oid, boolean, boolean, boolean)")
    assert [finding.name for finding in found(source)] == ["schema"]
    with pytest.raises(SourceError) as refused:
        source.track("users")
    assert "flux init" in refused.value.hint
