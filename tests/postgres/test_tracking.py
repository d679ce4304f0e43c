"""flux track and untrack: names, refusals, publications, and the messages about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flux.capture import doctor, source, tracking
from flux.model.errors import SourceError, UsageError
from postgres.stream import Change, Message, Source, attempts
from servers import Database, on

TWO = on((15, "pgoutput"), (18, "pgoutput"))

USERS = "create table users (id int primary key, plan text)"


@TWO
def test_names_as_sql_reads_them(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS, 'create table "Odd Name" (id int primary key)', "create schema app")
    source_.connection.execute('create table app."a.b" (id int primary key)')
    tracked = source_.track("users", "PUBLIC.Users", '"Odd Name"', 'app."a.b"')
    assert [entry.relation for entry in tracked] == [
        "public.users",
        "public.users",
        "public.Odd Name",
        "app.a.b",
    ]
    assert [entry.is_new for entry in tracked] == [True, False, True, True]


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("user", "no table user", "did you mean users?"),
        ("Odd Name", "not a table name", '"Odd Name"'),
        ("odd_name", "no table odd_name", 'did you mean "Odd Name"?'),
        ("public.usrs", "no table public.usrs", "did you mean users?"),
        ("zzz", "no table zzz", 'there are: "Odd Name", parts, users'),
        ("seen", "it is a view", ""),
        ("sums", "it is a materialized view", ""),
        ("light", "it is unlogged", ""),
        ("passing", "it is a temporary table", ""),
        ("pg_class", "it is a system table", ""),
        ("flux.tracked", "it is a system table", ""),
        ("users_pkey", "it is not a table", ""),
        ("part", "it is a partition: track public.parts", ""),
        ("far", "it is a foreign table", ""),
        ("a..b", "not a table name", ""),
        ("'; drop table users", "not a table name", ""),
    ],
)
@on((15, "pgoutput"))
def test_what_cannot_be_tracked(new_source: Callable[..., Source], name: str, what: str, hint: str) -> None:
    source_ = new_source(
        USERS,
        'create table "Odd Name" (id int)',
        "create view seen as select 1 as one",
        "create materialized view sums as select 1 as one",
        "create unlogged table light (id int)",
        "create temp table passing (id int)",
        "create table parts (id int) partition by list (id)",
        "create table part partition of parts for values in (1)",
        "create foreign data wrapper w",
        "create server s foreign data wrapper w",
        "create foreign table far (id int) server s",
    )
    with pytest.raises(UsageError) as refused:
        source_.track("users", name)
    assert what in str(refused.value)
    assert hint in refused.value.hint
    assert source_.connection.execute("select count(*) from flux.tracked").fetchone() == (0,)


@TWO
def test_a_table_without_key_never_breaks_the_application(new_source: Callable[..., Source]) -> None:
    source_ = new_source("create table logs (line text)", "insert into logs values ('a')")
    (tracked,) = source_.track("logs")
    assert tracked.inserts_only == ("public.logs",)
    assert "add a primary key" in tracked.warnings[0]
    assert "--identity-full" in tracked.warnings[0]
    source_.listen()
    source_.connection.execute("insert into logs values ('b')")
    source_.connection.execute("update logs set line = 'c'")
    source_.connection.execute("truncate logs")
    assert [event.kind for event in source_.events() if isinstance(event, Change)] == ["I", "T"]
    (tracked,) = source_.track("logs", identity_full=True)
    assert not tracked.inserts_only
    source_.events()
    source_.connection.execute("insert into logs values ('b')")
    source_.connection.execute("update logs set line = 'c'")
    assert [event.kind for event in source_.events() if isinstance(event, Change)] == ["I", "U"]
    tracking.untrack(source_.connection, ["logs"])
    assert source_.connection.execute(
        "select relreplident from pg_class where relname = 'logs'"
    ).fetchone() == ("d",)


@TWO
def test_what_the_log_hears_of_it(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS)
    oid = source_.oid("users")
    source_.listen()
    source_.track("users", rollbacks=False)
    source_.track("users", rollbacks=True)
    tracking.untrack(source_.connection, ["users"])
    source_.connection.execute("insert into users values (1, 'unseen')")
    events = source_.events()
    assert not [event for event in events if isinstance(event, Change)]
    messages = [event for event in events if isinstance(event, Message)]
    assert {message.prefix for message in messages} == {"flux.track"}
    assert all(message.transactional for message in messages)
    told = [message.json for message in messages]
    assert [(entry["command"], entry["object"], entry["resync"]) for entry in told] == [
        ("TRACK", "public.users", [oid]),
        ("TRACK", "public.users", []),
        ("UNTRACK", "public.users", []),
    ]
    flags = [(entry["relations"][0]["tracked"], entry["relations"][0]["rollbacks"]) for entry in told]
    assert flags == [(True, False), (True, True), (False, False)]


@TWO
def test_rollbacks_are_switched_off_again(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS)
    source_.track("users", rollbacks=True)
    source_.track("users", rollbacks=False)
    source_.listen()
    source_.connection.execute("insert into users values (1, 'a')")
    source_.connection.execute("truncate users")
    events = source_.events()
    assert not attempts(events)
    assert [event.transactional for event in events if isinstance(event, Message)] == [True, True]


@TWO
def test_all_and_none(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS, "create table parts (id int) partition by list (id)")
    source_.connection.execute("create table part partition of parts for values in (1)")
    tracked = tracking.track(source_.connection, [], all_tables=True)
    assert [entry.relation for entry in tracked] == ["public.parts", "public.users"]
    assert len(tracking.untrack(source_.connection, all_tables=True)) == 2
    source_.connection.execute("create table later (id int)")
    assert source_.connection.execute("select count(*) from flux.tracked").fetchone() == (0,)


@on((15, "pgoutput"))
def test_a_busy_table_is_not_waited_for(
    new_source: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source_ = new_source(USERS, "create table free (id int primary key)")
    monkeypatch.setattr(tracking, "LOCK_TIMEOUT_S", 0.1)
    with source_.database.connect() as other:
        other.execute("begin; insert into users values (1, 'open')")
        with pytest.raises(SourceError) as refused:
            source_.track("free", "users")
        assert f"process {other.info.backend_pid}" in refused.value.why
        assert refused.value.why.endswith("tracked before it: public.free")


@on((15, "pgoutput"))
def test_before_init(database: Database) -> None:
    with database.connect() as connection:
        connection.execute(USERS)
        with pytest.raises(SourceError, match="flux init"):
            tracking.track(connection, ["users"])
        with pytest.raises(SourceError, match="flux init"):
            source.describe(connection)


@TWO
def test_the_capture_role_reads_what_it_needs_and_no_more(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS, "create schema app", "create table app.t (id int primary key)")
    source_.connection.execute("create table private (id int)")
    source_.track("users", "app.t")
    with source_.database.connect(user="flux_capture") as capture:
        assert {entry.relation for entry in source.describe(capture)} == {"public.users", "app.t"}
        capture.execute("select * from users; select * from app.t; select flux.heartbeat('x')")
        for statement in (
            "select * from private",
            "insert into users values (1)",
            "delete from flux.tracked",
        ):
            with pytest.raises(Exception, match="permission denied"):
                capture.execute(statement)
        tracking.untrack(source_.connection, ["app.t"])
        with pytest.raises(Exception, match="permission denied"):
            capture.execute("select * from app.t")


@TWO
def test_no_other_role_reaches_the_machinery(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS, "create role nobody_special login")
    with source_.database.connect(user="nobody_special") as connection:
        connection.execute("select flux.tag('r', 'a', '{}')")
        for statement in (
            "select flux.heartbeat('x')",
            "select flux.track('users'::regclass, true, false, true)",
            "select flux.describe('{1}')",
            "create temp table t (); create trigger t after insert on t execute function flux.attempt()",
            "select * from flux.tracked",
        ):
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(statement)


def tag_triggers(source_: Source) -> list[str]:
    rows = source_.connection.execute(
        "select tgrelid::regclass::text from pg_trigger where tgname = 'flux_tag' order by 1"
    )
    return [name for (name,) in rows]


@TWO
def test_a_table_without_trigger(new_source: Callable[..., Source]) -> None:
    source_ = new_source(
        USERS,
        "create table events (id int primary key) partition by range (id)",
        "create table events_1 partition of events for values from (0) to (10)",
    )
    source_.track("users", "events", rollbacks=False, tag_trigger=False)
    source_.connection.execute("create table events_2 partition of events for values from (10) to (20)")
    assert tag_triggers(source_) == []
    assert [finding for finding in doctor.examine(source_.connection) if finding.level == "fault"] == []
    bare = next(finding for finding in doctor.examine(source_.connection) if finding.name == "triggers")
    assert "none, by choice: public.events, public.events_1, public.events_2, public.users" in bare.what
    source_.track("events", rollbacks=False)
    assert tag_triggers(source_) == ["events", "events_1", "events_2"]
    source_.track("events", rollbacks=True)
    source_.track("events", rollbacks=False, tag_trigger=False)
    assert tag_triggers(source_) == []
    rows = source_.connection.execute("select count(*) from pg_trigger where tgname like '%flux%'").fetchall()
    assert rows == [(0,)]
    source_.track("users", rollbacks=True, tag_trigger=False)
    assert tag_triggers(source_) == ["users"], "what is rolled back needs it"


@TWO
def test_all_tables_without_triggers(new_source: Callable[..., Source]) -> None:
    source_ = new_source(USERS)
    source_.track(all_tables=True, rollbacks=False, tag_trigger=False)
    source_.connection.execute("create table later (id int primary key)")
    assert tag_triggers(source_) == []
    source_.track(all_tables=True, rollbacks=False)
    source_.connection.execute("create table latest (id int primary key)")
    assert tag_triggers(source_) == ["later", "latest", "users"]


@TWO
def test_the_tag_function_writes_a_message_where_a_table_has_no_trigger(
    new_source: Callable[..., Source],
) -> None:
    source_ = new_source(USERS, "create table orders (id int primary key)", "create role writer login")
    source_.connection.execute("grant insert on users, orders to writer")
    source_.track("users", rollbacks=False)
    source_.listen()
    with source_.database.connect(user="writer") as writer:
        writer.execute("begin; select flux.tag('r1', 'anna'); insert into users values (1); commit")
        source_.track("orders", rollbacks=False, tag_trigger=False)
        writer.execute("begin; select flux.tag('r2', 'anna', '{}'); insert into orders values (1); commit")
        writer.execute("begin; select flux.tag(null); insert into orders values (2); commit")
    said = [
        event.json for event in source_.events() if isinstance(event, Message) and event.prefix == "flux.tag"
    ]
    assert said == [
        {"request_id": "r2", "actor": "anna", "attributes": "{}"},
        {"request_id": None, "actor": None, "attributes": None},
    ]
