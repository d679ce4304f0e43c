"""Schema changes: what the event triggers say, and what they keep from harming the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postgres.stream import Attempt, Change, Source, attempts, messages_of
from servers import on

TWO = on((15, "pgoutput"), (18, "pgoutput"))

USERS = "create table users (id int primary key, plan text)"
EVENTS = (
    "create table events (region text, id int, primary key (region, id)) partition by list (region)",
    "create table events_eu partition of events for values in ('eu')",
)


def announced(source: Source) -> list[dict[str, Any]]:
    """Return the transactional DDL messages, after checking that each came a second time without."""
    messages = source.messages("flux.ddl")
    sent = [message.json for message in messages if message.transactional]
    early = [message.json for message in messages if not message.transactional]
    for one, other in zip(sent, early, strict=True):
        assert int(other.pop("xid")) > 0
        assert one == other
    return sent


def published(source: Source, publication: str) -> set[str]:
    rows = source.connection.execute(
        "select tablename from pg_publication_tables where pubname = %s", [publication]
    ).fetchall()
    return {row[0] for row in rows}


@TWO
def test_columns_come_go_and_are_renamed(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "insert into users values (1, 'free')")
    source.track("users")
    source.listen()
    source.connection.execute("begin")
    source.connection.execute("select flux.tag('migration')")
    source.connection.execute("alter table users add since timestamptz default '2026-01-01 00:00+02'")
    source.connection.execute("alter table users rename plan to tier")
    source.connection.execute("alter table users drop tier")
    source.connection.execute("alter table users rename to customers")
    source.connection.execute("commit")
    added, renamed, dropped, moved = announced(source)
    (relation,) = added["relations"]
    assert added["command"] == "ALTER TABLE"
    assert added["object"] == "public.users"
    assert added["statement"].startswith("alter table users add since")
    assert added["request_id"] == "migration"
    assert added["dropped"] == added["resync"] == []
    assert relation["key"] == ["id"]
    assert (relation["tracked"], relation["rollbacks"], relation["replica_identity"]) == (True, True, "d")
    assert relation["columns"][0] == {
        "name": "id",
        "type": "integer",
        "attnum": 1,
        "is_key": True,
        "not_null": True,
        "generated": False,
        "missing": None,
    }
    assert relation["columns"][2]["missing"] == "2025-12-31 22:00:00+00"
    assert [column["name"] for column in renamed["relations"][0]["columns"]] == ["id", "tier", "since"]
    assert [column["attnum"] for column in dropped["relations"][0]["columns"]] == [1, 3]
    assert moved["relations"][0]["relation"] == "public.customers"


@TWO
def test_missing_values_of_arrays_and_odd_texts(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "insert into users values (1, 'free')")
    source.track("users")
    source.listen()
    source.connection.execute(
        "alter table users add a int[] default '{1,null}', add b text default 'q\"\\ ,{'"
    )
    (message,) = announced(source)
    columns = message["relations"][0]["columns"]
    assert [column["missing"] for column in columns] == [None, None, "{1,NULL}", 'q"\\ ,{']


@TWO
def test_a_rewrite_asks_for_a_new_first_state(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, *EVENTS)
    source.track("users", "events")
    source.listen()
    source.connection.execute("alter table users alter id type bigint")
    source.connection.execute("alter table events add at timestamptz default clock_timestamp()")
    source.connection.execute("alter table users add note text")
    messages = announced(source)
    users, events = source.oid("users"), source.oid("events")
    assert [message["resync"] for message in messages] == [[users], [events], []]
    assert {entry["relation"] for entry in messages[1]["relations"]} == {"public.events", "public.events_eu"}


@TWO
def test_the_application_updates_a_table_that_lost_its_key(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "insert into users values (1, 'free')")
    source.track("users")
    source.listen()
    connection = source.connection
    connection.execute("begin")
    connection.execute("alter table users drop constraint users_pkey")
    connection.execute("update users set plan = 'same transaction'")
    connection.execute("commit")
    connection.execute("update users set plan = 'later'")
    assert (published(source, "flux"), published(source, "flux_inserts")) == (set(), {"users"})
    connection.execute("alter table users add primary key (id)")
    connection.execute("update users set plan = 'again'")
    assert (published(source, "flux"), published(source, "flux_inserts")) == ({"users"}, set())
    kinds = [event.kind for event in source.events() if isinstance(event, Change)]
    assert kinds == ["U"]


@TWO
def test_every_way_to_lose_a_key(new_source: Callable[..., Source]) -> None:
    ways = {
        "nothing": "alter table t replica identity nothing",
        "column": "alter table t drop column id",
        "type": "drop domain code cascade",
        "index": "drop index i",
        "deferrable": "alter table t drop constraint t_pkey, add primary key (id) deferrable",
        "schema": "drop schema types cascade",
    }
    setups = {
        "column": "create table t (id int primary key, n int)",
        "type": "create domain code as int; create table t (id code primary key, n int)",
        "index": "create table t (id int not null, n int); create unique index i on t (id);"
        "alter table t replica identity using index i",
        "schema": "create schema types; create domain types.code as int;"
        "create table t (id types.code primary key, n int)",
    }
    source = new_source()
    for way, statement in ways.items():
        source.connection.execute("drop table if exists t")
        source.connection.execute(setups.get(way, "create table t (id int primary key, n int)"))
        source.track("t")
        assert published(source, "flux") == {"t"}, way
        source.connection.execute("insert into t values (1, 1)")
        source.connection.execute(statement)
        source.connection.execute("update t set n = 2")
        assert published(source, "flux_inserts") == {"t"}, way


@TWO
def test_generated_columns_in_a_full_identity(new_source: Callable[..., Source]) -> None:
    source = new_source("create table t (n int, twice int generated always as (n * 2) stored)")
    (tracked,) = source.track("t", identity_full=True)
    source.connection.execute("insert into t values (1)")
    source.connection.execute("update t set n = 2")
    source.connection.execute("delete from t")
    assert bool(tracked.inserts_only) == (source.database.major >= 18)


@TWO
def test_partitions_come_and_go(new_source: Callable[..., Source]) -> None:
    source = new_source(*EVENTS, "create table events_us (region text not null, id int not null)")
    source.track("events")
    events, eu, us = source.oid("events"), source.oid("events_eu"), source.oid("events_us")
    source.connection.execute("insert into events_us values ('us', 1)")
    source.listen()
    connection = source.connection
    connection.execute("create table events_asia partition of events for values in ('asia')")
    connection.execute("alter table events attach partition events_us for values in ('us')")
    connection.execute("truncate events_us")
    connection.execute("alter table events detach partition events_eu")
    connection.execute("insert into events_eu values ('eu', 1)")
    asia = source.oid("events_asia")
    connection.execute("drop table events_asia")
    events_seen = source.events()
    messages = [event.json for event in messages_of(events_seen, "flux.ddl") if event.transactional]
    assert [(message["dropped"], message["resync"]) for message in messages] == [
        ([], []),
        ([], [events]),
        ([eu], [events]),
        ([asia], [events]),
    ]
    described = [{entry["relation"] for entry in message["relations"]} for message in messages]
    assert described[0] == {"public.events", "public.events_eu", "public.events_asia"}
    assert described[3] == {"public.events", "public.events_us"}
    assert {entry["root_id"] for entry in messages[1]["relations"]} == {events}
    found: list[Attempt] = attempts(events_seen)
    assert [(attempt.op, attempt.relation_id) for attempt in found] == [("t", us)]
    triggers = connection.execute("select count(*) from pg_trigger where tgrelid = %s::oid", [eu]).fetchone()
    assert triggers == (0,)
    assert published(source, "flux") == {"events_us"}


@TWO
def test_a_tracked_table_is_attached_to_a_tracked_root(new_source: Callable[..., Source]) -> None:
    source = new_source(
        *EVENTS, "create table other (region text not null, id int not null, primary key (region, id))"
    )
    source.track("events", "other")
    source.connection.execute("alter table events attach partition other for values in ('us')")
    source.listen()
    source.connection.execute("insert into events values ('us', 1)")
    source.connection.execute("truncate events")
    assert sorted(attempt.op for attempt in attempts(source.events())) == ["i", "t", "t"]
    rows = source.connection.execute("select relation_id::bigint from flux.tracked").fetchall()
    assert rows == [(source.oid("events"),)]


@TWO
def test_sub_partitions_without_keys_get_their_own_place(new_source: Callable[..., Source]) -> None:
    source = new_source(
        "create table logs (region text, id int) partition by list (region)",
        "create table logs_eu partition of logs for values in ('eu') partition by range (id)",
        "create table logs_eu_1 partition of logs_eu for values from (0) to (10)",
    )
    source.track("logs")
    source.connection.execute(
        "create table logs_eu_2 partition of logs_eu (primary key (id)) for values from (10) to (20)"
    )
    source.listen()
    source.connection.execute("insert into logs values ('eu', 1), ('eu', 11)")
    source.connection.execute("update logs set id = id + 1")
    assert [event.kind for event in source.events() if isinstance(event, Change)] == ["I", "I", "U"]
    assert (published(source, "flux"), published(source, "flux_inserts")) == ({"logs_eu_2"}, {"logs_eu_1"})


@TWO
def test_all_tracks_what_comes_later(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track(all_tables=True)
    source.listen()
    connection = source.connection
    connection.execute("create table later (id int primary key)")
    connection.execute("create table filled as select 1 as id")
    connection.execute("create temp table passing (id int)")
    connection.execute("create unlogged table light (id int)")
    connection.execute("create view seen as select 1 as one")
    connection.execute("insert into later values (1)")
    events = source.events()
    messages = [event.json for event in messages_of(events, "flux.ddl") if event.transactional]
    assert [(message["object"], message["resync"]) for message in messages] == [
        ("public.later", []),
        ("public.filled", [source.oid("filled")]),
    ]
    assert messages[0]["relations"][0]["rollbacks"]
    assert [attempt.new for attempt in attempts(events)] == ["(1)"]
    rows = connection.execute("select relation_id::regclass::text from flux.tracked order by 1").fetchall()
    assert [row[0] for row in rows] == ["filled", "later", "users"]


@TWO
def test_a_dropped_table_is_forgotten(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, *EVENTS)
    source.track("users", "events")
    users, events, eu = source.oid("users"), source.oid("events"), source.oid("events_eu")
    source.listen()
    source.connection.execute("drop table users")
    source.connection.execute("drop schema public cascade")
    first, second = announced(source)
    assert (first["dropped"], first["relations"], first["resync"]) == ([users], [], [])
    assert sorted(second["dropped"]) == sorted([events, eu])
    assert source.connection.execute("select count(*) from flux.member").fetchone() == (0,)


@TWO
def test_ddl_goes_through_when_flux_is_broken(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "create role builder", "grant create, usage on schema public to builder")
    source.track("users", all_tables=False)
    source.connection.execute("alter table users owner to builder")
    source.connection.execute("alter table flux.member rename to lost")
    for statement in (
        "set role builder",
        "alter table users add note text",
        "alter table users alter id type bigint",
        "create table another (id int)",
        "drop table another",
        "drop table users",
    ):
        source.connection.execute(statement)
    assert source.connection.execute("show flux.busy").fetchone() == ("",)


@TWO
def test_ddl_by_a_role_without_rights(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "create role builder", "revoke all on schema flux from public")
    source.track("users")
    source.connection.execute("alter table users owner to builder")
    source.listen()
    source.connection.execute("begin")
    source.connection.execute("set local role builder")
    source.connection.execute("alter table users drop constraint users_pkey")
    source.connection.execute("insert into users values (1, 'a')")
    source.connection.execute("update users set plan = 'b'")
    source.connection.execute("commit")
    assert len(announced(source)) == 1


@TWO
def test_types_and_schemas_are_renamed(new_source: Callable[..., Source]) -> None:
    source = new_source(
        "create schema shop",
        "create domain shop.code as text",
        "create table shop.t (id shop.code primary key)",
    )
    source.track("shop.t")
    source.listen()
    source.connection.execute("alter domain shop.code rename to label")
    source.connection.execute("alter schema shop rename to store")
    first, second = announced(source)
    assert first["relations"][0]["columns"][0]["type"] == "shop.label"
    assert second["relations"][0]["relation"] == "store.t"


@TWO
def test_inheritance_children_follow_their_parent(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "create table children (extra int, primary key (id)) inherits (users)")
    source.track("children")
    source.listen()
    source.connection.execute("alter table users add note text")
    (message,) = announced(source)
    assert [column["name"] for column in message["relations"][0]["columns"]] == [
        "id",
        "plan",
        "extra",
        "note",
    ]
    source.connection.execute("insert into users values (1, 'parent')")
    assert not [event for event in source.events() if isinstance(event, Change)]
