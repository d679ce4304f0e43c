"""flux init: what it makes, makes again, prints, refuses and takes back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from flux import sql
from flux.capture import install, source, tracking
from flux.model.errors import SlotError, SourceError
from postgres.stream import Source
from servers import Database, NewServer, on

EVERY = on((15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
TWO = on((15, "pgoutput"), (18, "pgoutput"))

CATALOG = """
select format('function %s %s %s %s', oid::regprocedure, md5(prosrc || coalesce(proconfig::text, '')),
    prosecdef, proacl)
from pg_proc where oid >= 16384
union all
select format('relation %s %s %s', oid::regclass, coalesce(relacl, acldefault('r', relowner)),
    case when relkind = 'r' then relreplident end)
from pg_class where oid >= 16384 and relkind in ('r', 'p', 'v')
union all select format('schema %s %s', nspname, coalesce(nspacl, acldefault('n', nspowner)))
from pg_namespace where nspname !~ '^pg_(toast_)?temp'
union all select format('role %s', rolname) from pg_roles
union all select format('publication %s %s', pubname, array[pubinsert, pubupdate, pubdelete, pubtruncate])
from pg_publication
union all select format('event trigger %s %s %s', evtname, evtenabled, evttags) from pg_event_trigger
union all select format('trigger %s %s', tgrelid::regclass, tgname) from pg_trigger where not tgisinternal
union all select format('published %s %s', pubname, tablename) from pg_publication_tables
union all select format('slot %s', slot_name) from pg_replication_slots
order by 1
"""


def catalog(connection: psycopg.Connection[tuple[str]]) -> list[str]:
    """Return everything in the database and cluster that Flux might touch."""
    return [row[0] for row in connection.execute(CATALOG).fetchall()]


SHOP = (
    "create table users (id int primary key)",
    "create table keyless (id int)",
    "create table events (region text, id int) partition by list (region)",
    "create table events_eu partition of events for values in ('eu')",
    "create schema app",
    "create table app.orders (id int primary key)",
    "create publication theirs for table users",
    "create function note() returns trigger language plpgsql as $$ begin return null; end $$",
    "create trigger theirs after insert on users for each row execute function note()",
)


@EVERY
def test_remove_leaves_what_was_there_before(database: Database) -> None:
    with database.connect() as connection:
        for statement in SHOP:
            connection.execute(statement)
        before = catalog(connection)
        install.init(connection)
        tracking.track(connection, ["users", "app.orders"], rollbacks=True)
        tracking.track(connection, ["keyless", "events"], rollbacks=True, identity_full=True)
        connection.execute("select pg_create_logical_replication_slot('flux_test', 'pgoutput')")
        assert catalog(connection) != before
        assert install.remove(connection, slots=("flux_test", "never_made"))
        assert catalog(connection) == before
        assert not install.remove(connection)


@TWO
def test_remove_keeps_what_it_did_not_make(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("create role flux_capture")
        connection.execute("create table users (id int primary key)")
        connection.execute("create table keyless (id int)")
        connection.execute("alter table keyless replica identity full")
        connection.execute("grant select on users to flux_capture")
        before = catalog(connection)
        install.init(connection)
        tracking.track(connection, ["users", "keyless"], identity_full=True)
        install.remove(connection)
        assert catalog(connection) == before


@TWO
def test_remove_refuses_when_something_depends_on_it(database: Database) -> None:
    with database.connect() as connection:
        install.init(connection)
        connection.execute("create view mine as select * from flux.tracked")
        with pytest.raises(SourceError) as refused:
            install.remove(connection)
        assert "view mine" in refused.value.hint
        assert source.facts(connection).is_installed


@TWO
def test_remove_refuses_a_slot_in_use(database: Database) -> None:
    with database.connect() as connection, database.connect() as other:
        install.init(connection)
        other.execute("select pg_create_logical_replication_slot('flux_used', 'pgoutput', true)")
        with pytest.raises(SlotError, match="in use"):
            install.remove(connection, slots=("flux_used",))


@EVERY
def test_init_is_repeatable_and_upgrades_in_place(database: Database) -> None:
    with database.connect() as connection:
        first = install.init(connection, source="shop")
        assert (first.plugin, first.source) == ("pgoutput", "shop")
        assert (first.was_installed, first.follows_ddl) == (False, True)
        connection.execute("create table users (id int primary key)")
        tracking.track(connection, ["users"], rollbacks=True)
        before = catalog(connection)
        connection.execute(
            "comment on function flux.attempt() is 'Flux 030_attempt.sql sha256:of an old release'"
        )
        connection.execute(
            "create or replace function flux.attempt() returns trigger language plpgsql"
            " as $$ begin return null; end $$"
        )
        connection.execute("drop trigger flux_tag on users")
        # As it was before tables could do without a trigger.
        connection.execute("alter table flux.tracked drop column tag_trigger")
        connection.execute("drop function flux.track(oid, boolean, boolean, boolean)")
        connection.execute(
            "create function flux.track(oid, boolean, boolean) returns boolean language sql as 'select true'"
        )
        assert install.init(connection).was_installed
        assert catalog(connection) == before
        row = connection.execute(
            "select obj_description('flux.attempt()'::regprocedure, 'pg_proc')"
        ).fetchone()
        assert row == (install.stamp("postgres/030_attempt.sql"),)


@EVERY
def test_the_printed_sql_is_what_is_run(
    database: Database, new_database: Callable[[], Database], tmp_path: Path
) -> None:
    script = tmp_path / "init.sql"
    script.write_text(install.print_sql(), encoding="utf-8")
    other = new_database()
    subprocess.run(
        ["psql", "-qXv", "ON_ERROR_STOP=1", "-d", other.dsn, "-f", str(script)],
        check=True,
        capture_output=True,
    )
    with other.connect() as connection:
        printed = catalog(connection)
    with database.connect() as connection:
        install.init(connection)
        assert catalog(connection) == printed


def test_files_name_their_objects_and_are_ascii() -> None:
    """Stamps cover every function; a database of any encoding takes the script."""
    for name in sql.files("postgres"):
        text = sql.text(name)
        assert text.isascii(), name
        named = {entry.split("(")[0] for entry in install.objects(name) if entry.startswith("function")}
        made = {
            "function " + line.split()[4].split("(")[0]
            for line in text.splitlines()
            if line.startswith("create or replace function")
        }
        assert named == made, name


@TWO
def test_without_event_triggers(new_source: Callable[..., Source]) -> None:
    source_ = new_source("create table users (id int primary key)")
    connection = source_.connection
    install.remove(connection)
    connection.execute("create role admin login replication createrole nosuperuser")
    connection.execute(
        "do $$ begin execute format('grant create on database %I to admin', current_database()); end $$"
    )
    connection.execute("create role flux_capture login replication")
    connection.execute("alter table users owner to admin")
    with source_.database.connect(user="admin") as admin:
        installed = install.init(admin, plugin="pgoutput")
        assert not installed.follows_ddl
        assert "schema changes" in installed.warnings[0]
        tracking.track(admin, ["users"], rollbacks=True)
        admin.execute("insert into users values (1)")
        admin.execute("update users set id = 2")
        assert install.remove(admin)
        if source_.database.major == 15:
            with pytest.raises(SourceError, match="event triggers"):
                install.init(admin, plugin="wal2json")
            assert not source.facts(admin).is_installed


@TWO
def test_names_that_are_taken(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("create publication flux")
        with pytest.raises(SourceError) as refused:
            install.init(connection)
        assert "alter publication flux rename" in refused.value.hint
        assert not source.facts(connection).is_installed
        connection.execute("drop publication flux")
        connection.execute("create schema flux")
        with pytest.raises(SourceError, match="cannot install"):
            install.init(connection)


@on((18, "pgoutput"))
def test_a_missing_plugin(database: Database) -> None:
    with database.connect() as connection:
        with pytest.raises(SourceError) as refused:
            install.init(connection, plugin="wal2json")
        assert "--plugin pgoutput" in refused.value.hint
        assert not source.facts(connection).is_installed


@on((15, "wal2json"))
def test_an_old_wal2json_is_known(database: Database) -> None:
    with database.connect() as connection:
        installed = install.init(connection, plugin="wal2json")
        assert (installed.plugin, installed.numerics_as_text) == ("wal2json", False)
        assert connection.execute("select count(*) from pg_replication_slots").fetchone() == (0,)


def test_wal_level_replica(new_server: NewServer) -> None:
    server = new_server(17, {"wal_level": "replica"})
    with server.connect() as connection, pytest.raises(SourceError) as refused:
        install.init(connection)
    assert "alter system set wal_level = logical" in refused.value.hint
