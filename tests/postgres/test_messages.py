"""Contexts, marks and attempts as the log carries them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from postgres.stream import Change, Message, Source, attempts, survived
from servers import eventually, on

EVERY = on((15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
TWO = on((15, "pgoutput"), (18, "pgoutput"))

USERS = "create table users (id int primary key, plan text)"


def run(source: Source, script: str) -> None:
    """Run a script in one transaction at a time, as psql would; a `rollback` may be in it."""
    for statement in script.split(";"):
        if statement.strip():
            source.connection.execute(statement.strip())


def contexts(events: list[Any], *, transactional: bool) -> list[Message]:
    found = [event for event in events if isinstance(event, Message) and event.prefix == "flux.context"]
    return [message for message in found if message.transactional is transactional]


@EVERY
def test_a_context_is_sent_once_a_transaction_and_once_a_tag(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users", rollbacks=False)
    source.listen()
    run(
        source,
        """
        begin; select flux.tag('r1', 'alice', '{"k": 1}'); insert into users values (1, 'a');
        insert into users values (2, 'b'); select flux.tag('r2'); update users set plan = 'c' where id = 1;
        update users set plan = 'd' where id = 2; commit;
        insert into users values (3, 'e')
        """,
    )
    events = source.events()
    shape = [
        event.json["request_id"]
        if isinstance(event, Message)
        else event.kind
        if isinstance(event, Change)
        else event
        for event in events
    ]
    assert shape == [
        *("begin", "r1", "I", "I", "r2", "U", "U", "commit"),
        *("begin", None, "I", "commit"),
    ]
    first = contexts(events, transactional=True)[0].json
    assert first["actor"] == "alice"
    assert json.loads(first["attributes"]) == {"k": 1}
    assert first["statement"] == "insert into users values (1, 'a')"
    assert first["db_user"] == "postgres"
    assert first["client_addr"] == "127.0.0.1"
    assert first["backend_pid"] == source.connection.info.backend_pid
    assert contexts(events, transactional=True)[-1].json["attributes"] is None


@TWO
def test_a_long_statement_keeps_both_ends(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    start, end = "insert into users values (1, '", "') /*the end*/"
    for length in (1999, 2000, 2001, 50_000):
        filling = "ü" * (length - len(start) - len(end))
        source.connection.execute(f"{start}{filling}{end}")
        source.connection.execute("delete from users")
    given = [
        message.json["statement"]
        for message in contexts(source.events(), transactional=True)
        if message.json["statement"].startswith("insert")
    ]
    assert [len(each) for each in given] == [1999, 2000, 2005, 2005]
    for statement in given:
        assert statement.startswith(start)
        assert statement.endswith(end)
    assert given[-1][1595:1610] == "üüüüü ... üüüüü"


@TWO
def test_each_untagged_transaction_of_a_session_has_its_context(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users")
    with source.database.connect() as writer:
        source.listen()
        for number in range(3):
            writer.execute("insert into users values (%s)", [number])
    events = source.events()
    assert len(contexts(events, transactional=True)) == 3
    assert len({attempt.context_lsn for attempt in attempts(events)} - {"-"}) == 3


@TWO
def test_a_tag_set_in_a_savepoint_that_is_rolled_back_is_gone_with_it(
    new_source: Callable[..., Source],
) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    run(
        source,
        """
        begin; select flux.tag('outer'); insert into users values (1, 'a'); savepoint s;
        select flux.tag('inner'); insert into users values (2, 'b'); rollback to s;
        insert into users values (3, 'c'); commit
        """,
    )
    events = source.events()
    decoded = [message.json["request_id"] for message in contexts(events, transactional=True)]
    assert decoded == ["outer"]
    sent = {message.lsn: message.json["request_id"] for message in contexts(events, transactional=False)}
    assert [(attempt.new, sent[attempt.context_lsn]) for attempt in attempts(events)] == [
        ("(1,a)", "outer"),
        ("(2,b)", "inner"),
        ("(3,c)", "outer"),
    ]
    assert survived(events) == {"i (1,a)": True, "i (2,b)": False, "i (3,c)": True}


@TWO
def test_a_context_first_sent_in_a_savepoint_that_is_rolled_back_is_sent_again(
    new_source: Callable[..., Source],
) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    run(
        source,
        """
        begin; select flux.tag('one'); savepoint s; insert into users values (1, 'a'); rollback to s;
        insert into users values (2, 'b'); commit
        """,
    )
    events = source.events()
    assert [message.json["request_id"] for message in contexts(events, transactional=True)] == ["one"]
    assert len(contexts(events, transactional=False)) == 2


@EVERY
def test_marks_share_the_fate_of_their_savepoint(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    run(
        source,
        """
        begin; insert into users values (1, 'top');
        savepoint a; insert into users values (2, 'a'); update users set plan = 'a2' where id = 2;
        savepoint b; insert into users values (3, 'b'); delete from users where id = 1; rollback to b;
        insert into users values (4, 'b again'); savepoint c; insert into users values (5, 'c'); release c;
        release a; delete from users where id = 2; truncate users; commit
        """,
    )
    events = source.events()
    assert survived(events) == {
        "i (1,top)": True,
        "i (2,a)": True,
        "u (2,a)(2,a2)": True,
        "i (3,b)": False,
        "d (1,top)": False,
        'i (4,"b again")': True,
        "i (5,c)": True,
        "d (2,a2)": True,
        "t ": True,
    }
    listed = attempts(events)
    assert listed[0].mark_lsn == "-"
    assert listed[1].mark_lsn == listed[2].mark_lsn  # the same subtransaction: one mark
    assert len({attempt.xid for attempt in listed}) == 1


@TWO
def test_exception_blocks_are_savepoints(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    source.connection.execute(
        """
        do $$ begin
            insert into users values (1, 'before');
            begin
                insert into users values (2, 'kept');
                begin
                    insert into users values (3, 'lost');
                    perform 1 / 0;
                exception when division_by_zero then null; end;
            exception when others then null; end;
            for i in 10 .. 12 loop
                begin
                    insert into users values (i, 'loop');
                    if i = 11 then raise exception 'no'; end if;
                exception when others then null; end;
            end loop;
        end $$
        """
    )
    assert survived(source.events()) == {
        "i (1,before)": True,
        "i (2,kept)": True,
        "i (3,lost)": False,
        "i (10,loop)": True,
        "i (11,loop)": False,
        "i (12,loop)": True,
    }


@TWO
def test_a_rolled_back_transaction_leaves_its_attempts_and_context(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "insert into users values (1, 'free')")
    source.track("users")
    source.listen()
    run(source, "begin; select flux.tag('lost'); update users set plan = 'pro'; rollback")
    events = source.events()
    (attempt,) = attempts(events)
    (context,) = contexts(events, transactional=False)
    assert (attempt.op, attempt.old, attempt.new) == ("u", "(1,free)", "(1,pro)")
    assert attempt.context_lsn == context.lsn
    assert int(context.json["xid"]) == attempt.xid
    assert not contexts(events, transactional=True)
    assert abs(attempt.clock_us / 1e6 - _now(source)) < 60


def _now(source: Source) -> float:
    row = source.connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])


@TWO
def test_a_delete_of_a_row_that_others_lock_keeps_its_fate(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "insert into users select g, 'x' from generate_series(1, 3) g")
    source.track("users")
    source.listen()
    # Two sessions that lock a row make its xmax a MultiXact, which stays when one of them has ended.
    with source.database.connect() as other:
        run(source, "begin; select from users where id = 1 for key share")
        run(source, "select from users where id = 2 for key share")
        with other.transaction():
            other.execute("select from users where id in (1, 2) for key share")
        run(source, "savepoint s; delete from users where id = 1; rollback to s; release s")
        run(source, "savepoint t; delete from users where id = 2; release t")
        run(source, "delete from users where id = 3; commit")
    events = source.events()
    assert survived(events) == {"d (1,x)": False, "d (2,x)": True, "d (3,x)": True}
    by_row = {attempt.old: attempt for attempt in attempts(events)}
    assert by_row["(1,x)"].subxid == 0
    assert by_row["(3,x)"].mark_lsn == "-"


@TWO
def test_copy_cascade_and_upsert_are_attempts_too(new_source: Callable[..., Source]) -> None:
    source = new_source(
        USERS,
        "create table orders (id int primary key, user_id int references users on delete cascade)",
    )
    source.track("users", "orders")
    source.listen()
    with source.connection.cursor().copy("copy users from stdin") as copy:
        copy.write("1\tcopied\n2\tcopied\n")
    run(
        source,
        """
        insert into orders values (7, 1); delete from users where id = 1;
        insert into users values (2, 'again'), (9, 'new') on conflict (id) do update set plan = excluded.plan
        """,
    )
    found = [(attempt.op, attempt.old, attempt.new) for attempt in attempts(source.events())]
    assert found == [
        ("i", "", "(1,copied)"),
        ("i", "", "(2,copied)"),
        ("i", "", "(7,1)"),
        ("d", "(1,copied)", ""),
        ("d", "(7,1)", ""),
        ("u", "(2,copied)", "(2,again)"),
        ("i", "", "(9,new)"),
    ]


PARTITIONED = (
    "create table events (region text, id int, primary key (region, id)) partition by list (region)",
    "create table events_eu partition of events for values in ('eu')",
    "create table events_us partition of events for values in ('us')",
)


@EVERY
def test_partitions_through_the_root_and_through_the_leaf(new_source: Callable[..., Source]) -> None:
    source = new_source(*PARTITIONED)
    source.track("events")
    source.connection.execute("create table events_asia partition of events for values in ('asia')")
    source.listen()
    run(
        source,
        """
        begin; select flux.tag('root'); insert into events values ('eu', 1); commit;
        begin; select flux.tag('leaf'); insert into events_us values ('us', 2); commit;
        begin; select flux.tag('new leaf'); insert into events_asia values ('asia', 3); commit;
        begin; select flux.tag('move'); update events set region = 'us' where id = 1; commit;
        begin; select flux.tag('truncate'); truncate events; commit
        """,
    )
    events = source.events()
    sent = {message.lsn: message.json["request_id"] for message in contexts(events, transactional=False)}
    eu, us, asia = (source.oid(f"events_{region}") for region in ("eu", "us", "asia"))
    found = [(sent[attempt.context_lsn], attempt.op, attempt.relation_id) for attempt in attempts(events)]
    assert found[:5] == [
        ("root", "i", eu),
        ("leaf", "i", us),
        ("new leaf", "i", asia),
        ("move", "d", eu),
        ("move", "i", us),
    ]
    assert sorted(found[5:]) == sorted(("truncate", "t", oid) for oid in (eu, us, asia))
    changes = [event for event in events if isinstance(event, Change)]
    assert [change.kind for change in changes] == ["I", "I", "I", "D", "I", "T"]
    assert sorted(changes[-1].relations) == sorted((eu, us, asia))


@TWO
def test_odd_names_dropped_and_generated_columns(new_source: Callable[..., Source]) -> None:
    source = new_source(
        'create schema "Odd Schema"',
        'create table "Odd Schema"."Odd "" Näme" ("Kéy ""1""" text primary key, gone int,'
        ' "new" int, "xmax 2" text,'
        ' twice int generated always as ("new" * 2) stored)',
        'alter table "Odd Schema"."Odd "" Näme" drop column gone',
    )
    name = '"Odd Schema"."Odd "" Näme"'
    source.track(name)
    source.listen()
    source.connection.execute(f"insert into {name} values ('ü, \"x\"', 2, null)")
    (attempt,) = attempts(source.events())
    assert attempt.new == '("ü, ""x""",2,,4)'


@TWO
def test_rows_are_printed_under_fixed_settings_which_the_session_keeps(
    new_source: Callable[..., Source],
) -> None:
    source = new_source(
        "create table clocks (id int primary key, at timestamptz, day date, span interval, data bytea,"
        " f float8)"
    )
    source.track("clocks")
    source.listen()
    settings = {
        "timezone": "America/New_York",
        "datestyle": "German, DMY",
        "intervalstyle": "iso_8601",
        "bytea_output": "escape",
        "extra_float_digits": "0",
    }
    for name, value in settings.items():
        source.connection.execute(f"set {name} = '{value}'")
    source.connection.execute("begin")
    source.connection.execute(
        "insert into clocks values"
        " (1, '2026-03-10 12:00:00+00', '2026-03-10', '1 day 02:00', '\\x00ff', 0.1::float8 + 0.2)"
    )
    for name, value in settings.items():
        row = source.connection.execute(f"show {name}").fetchone()
        assert row == (value,), name
    source.connection.execute("commit")
    for name, value in settings.items():
        assert source.connection.execute(f"show {name}").fetchone() == (value,)
    (attempt,) = attempts(source.events())
    assert attempt.new == (
        '(1,"2026-03-10 12:00:00+00",2026-03-10,"1 day 02:00:00","\\\\x00ff",0.30000000000000004)'
    )


@TWO
def test_an_attempt_precedes_what_the_tables_own_triggers_do(new_source: Callable[..., Source]) -> None:
    source = new_source(
        USERS,
        "create function again() returns trigger language plpgsql as $$ begin"
        " update users set plan = 'second' where id = new.id; return null; end $$",
        "create trigger a_first after insert on users for each row execute function again()",
    )
    source.track("users")
    source.listen()
    source.connection.execute("insert into users values (1, 'first')")
    assert [attempt.new for attempt in attempts(source.events())] == ["(1,first)", "(1,second)"]


@TWO
def test_set_role_is_who_did_it(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, "create role teller", "grant all on users to teller")
    source.track("users", rollbacks=False)
    source.listen()
    run(source, "set application_name = ''; set role teller; insert into users values (1, 'a'); reset role")
    (context,) = contexts(source.events(), transactional=True)
    assert context.json["db_user"] == "teller"
    assert context.json["application_name"] is None


@TWO
def test_a_heartbeat_names_who_is_running(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.listen()
    with source.database.connect() as other:
        other.execute("begin")
        running = other.execute("select pg_current_xact_id()::text").fetchone()
        assert running is not None
        source.connection.execute("select flux.heartbeat('nonce \"1\"')")
        (message,) = source.messages("flux.heartbeat")
    assert message.transactional
    assert message.json["nonce"] == 'nonce "1"'
    low, high, listed = message.json["snapshot"].split(":")
    assert int(running[0]) >= int(high) or running[0] in listed.split(",")
    assert int(low) <= int(high)


@TWO
def test_prepared_transactions(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    run(source, "begin; insert into users values (1, 'a'); prepare transaction 'flux_test'")
    assert [attempt.new for attempt in attempts(source.events())] == ["(1,a)"]
    source.connection.execute("commit prepared 'flux_test'")
    assert [event.kind for event in source.events() if isinstance(event, Change)] == ["I"]


@TWO
def test_another_encoding_reaches_the_log_as_utf8(new_source: Callable[..., Source]) -> None:
    first = new_source(USERS)
    first.connection.execute(
        "create database flux_latin1 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
    )
    try:
        database = type(first.database)(first.database.server, "flux_latin1", "pgoutput")
        with contextlib.closing(Source(database, USERS)) as source:
            source.track("users")
            source.listen()
            run(source, "begin; select flux.tag('réq'); insert into users values (1, 'Zoë')")
            run(source, "update users set plan = 'ü'; rollback")
            events = source.events()
        found = [(attempt.old, attempt.new) for attempt in attempts(events)]
        assert found == [("", "(1,Zoë)"), ("(1,Zoë)", "(1,ü)")]
        assert contexts(events, transactional=False)[0].json["request_id"] == "réq"
    finally:
        eventually(lambda: _slot_count(first, "flux_latin1") == 0)
        first.connection.execute("drop database flux_latin1 with (force)")


def _slot_count(source: Source, database: str) -> int:
    row = source.connection.execute(
        "select count(*) from pg_replication_slots where database = %s", [database]
    ).fetchone()
    assert row is not None
    return int(row[0])


@on((15, "pgoutput"))
def test_logical_replication_sessions_send_nothing(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    run(source, "set session_replication_role = replica; insert into users values (1, 'applied')")
    events = source.events()
    assert [event.kind for event in events if isinstance(event, Change)] == ["I"]
    assert not [event for event in events if isinstance(event, Message)]
