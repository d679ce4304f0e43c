"""Whatever the application set, lacks or revoked: its statement goes through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postgres.stream import Change, Message, Source, attempts
from servers import on

TWO = on((15, "pgoutput"), (18, "pgoutput"))

USERS = "create table users (id int primary key, plan text)"

WRITES = (
    "insert into public.users values (1, 'a'), (2, 'b')",
    "update public.users set plan = 'c' where id operator(pg_catalog.=) 1",
    "savepoint s",
    "delete from public.users where id operator(pg_catalog.=) 2",
    "update public.users set plan = 'd' where id operator(pg_catalog.=) 1",
    "rollback to s",
    "truncate public.users",
)
OPS = ["i", "i", "u", "d", "u", "t"]


def write(source: Source, *settings: str) -> None:
    """Run every kind of write in one transaction after `settings`."""
    connection = source.connection
    connection.execute("begin")
    for statement in (*settings, *WRITES):
        connection.execute(statement)
    connection.execute("commit")


@pytest.mark.parametrize(
    "settings",
    [
        ["select flux.tag(null, null, null)"],
        ["select flux.tag('r', 'a', '{malformed \"')"],
        ["select flux.tag(repeat('ü', 300000), repeat('x', 3000000), repeat('\"', 30000000))"],
        ["select flux.tag(E'\\x01\\n\\t \\\\', '''', E'\\x7f')"],
        ["set local flux.seen_tag = 'forged'", "set local flux.context_lsn = 'forged words'"],
        ["set local flux.mark = 'x'", "set local flux.rewritten = 'x'", "set local flux.busy = 'x'"],
        ["set local standard_conforming_strings = off", "set local escape_string_warning = on"],
        ["set local search_path = ''"],
        ["set local quote_all_identifiers = on", "set local transform_null_equals = on"],
        ["set local plan_cache_mode = force_generic_plan", "set local check_function_bodies = off"],
        ["set local default_transaction_read_only = on", "set local row_security = off"],
        ["set local timezone = 'Europe/Berlin'", "set local extra_float_digits = -15"],
        ["set local time zone interval '-08:00' hour to minute"],
        ["set local lock_timeout = 1", "set transaction isolation level serializable"],
        ["set local client_min_messages = debug1", "set local application_name = ''"],
    ],
    ids=lambda settings: settings[0][:40],
)
@TWO
def test_settings(new_source: Callable[..., Source], settings: list[str]) -> None:
    source = new_source(USERS)
    source.track("users")
    source.listen()
    write(source, *settings)
    events = source.events()
    assert [event.kind for event in events if isinstance(event, Change)] == ["I", "I", "U", "T"]
    assert [attempt.op for attempt in attempts(events)] == OPS


TRAPS = """
create schema trap;
create function trap.fail(text, text) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
create operator trap.= (leftarg = text, rightarg = text, function = trap.fail);
create operator trap.<> (leftarg = text, rightarg = text, function = trap.fail);
create function trap.cat(text, text) returns text language plpgsql as $$ begin raise 'trapped'; end $$;
create operator trap.|| (leftarg = text, rightarg = text, function = trap.cat);
create function trap.fail(int, int) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
create operator trap.= (leftarg = int, rightarg = int, function = trap.fail);
create operator trap.<> (leftarg = int, rightarg = int, function = trap.fail);
create function trap.current_setting(text, boolean) returns text language plpgsql
 as $$ begin raise 'trapped'; end $$;
create function trap.concat(variadic text[]) returns text language plpgsql
 as $$ begin raise 'trapped'; end $$;
create function trap.mul(float8, int) returns float8 language plpgsql as $$ begin raise 'trapped'; end $$;
create operator trap.* (leftarg = float8, rightarg = int, function = trap.mul);
create domain trap.text as int;
create domain trap.bool as text;
create domain trap.int8 as text;
"""


@TWO
def test_a_search_path_before_the_catalog(new_source: Callable[..., Source]) -> None:
    source = new_source(USERS, *(statement for statement in TRAPS.split(";\n") if statement.strip()))
    source.track("users")
    source.listen()
    write(source, "set local search_path = trap, pg_catalog, public", "select flux.tag('r')")
    assert [attempt.op for attempt in attempts(source.events())] == OPS


@TWO
def test_a_cast_from_the_row_type_is_not_called(new_source: Callable[..., Source]) -> None:
    source = new_source(
        USERS,
        "create function shout(users) returns text language plpgsql as $$ begin raise 'called'; end $$",
        "create cast (users as text) with function shout(users) as implicit",
    )
    source.track("users")
    source.listen()
    write(source)
    assert attempts(source.events())[0].new == "(1,a)"


@TWO
def test_a_role_without_rights(new_source: Callable[..., Source]) -> None:
    source = new_source(
        USERS,
        "create role teller",
        "grant insert, update, delete, truncate, select on users to teller",
        "revoke all on schema flux from public",
        "do $$ declare f regprocedure; begin for f in select oid from pg_proc where proname in"
        " ('pg_logical_emit_message', 'set_config', 'record_out', 'convert_to')"
        " loop execute format('revoke execute on function %s from public', f); end loop; end $$",
    )
    source.track("users")
    source.listen()
    write(source, "set local role teller")
    assert [attempt.op for attempt in attempts(source.events())] == OPS


@TWO
def test_an_owner_who_lost_the_right_to_send_sends_nothing(new_source: Callable[..., Source]) -> None:
    source = new_source(
        USERS,
        "create role owner",
        "alter function flux.attempt() owner to owner",
        "alter function flux.tag_statement() owner to owner",
    )
    source.track("users")
    source.listen()
    source.connection.execute(
        "do $$ declare f regprocedure; begin for f in select oid from pg_proc where proname ="
        " 'pg_logical_emit_message' loop execute format('revoke execute on function %s from public', f);"
        " end loop; end $$"
    )
    write(source)
    assert not [event for event in source.events() if isinstance(event, Message)]


@TWO
def test_rows_whose_text_does_not_fit_into_memory(new_source: Callable[..., Source]) -> None:
    source = new_source("create table wide (id int primary key, numbers numeric[])")
    source.track("wide")
    source.listen()
    # 1e131000 takes 8 bytes and prints 131,001 digits: 10,000 of them are 1.3 GB of text.
    source.connection.execute("begin")
    source.connection.execute("insert into wide select 1, array_fill(1e131000::numeric, array[10000])")
    source.connection.execute("savepoint s")
    source.connection.execute("insert into wide select 2, array_fill(1e131000::numeric, array[2000])")
    source.connection.execute("rollback")
    (first, second) = attempts(source.events())
    assert (first.op, first.new) == (second.op, second.new) == ("i", "")
    assert first.mark_lsn == "-"
    assert first.subxid != second.subxid


@TWO
def test_every_kind_of_column(new_source: Callable[..., Source]) -> None:
    source = new_source(
        "create domain positive as int check (value > 0)",
        "create type mood as enum ('sad', 'so,so', 'ha\"ppy')",
        "create type pair as (a int, b text)",
        "create table kinds (id positive primary key, m mood, p pair, pp pair[], r int4range, t tsvector,"
        ' j jsonb, b bit varying, i inet, c "char", o regclass, z xid)',
    )
    source.track("kinds")
    source.listen()
    source.connection.execute(
        "insert into kinds values (1, 'so,so', (1, 'a\"b'), array[(1, null)::pair], 'empty', 'a b',"
        " '{\"k\": [1]}', '101', '::1', 'x', 'kinds', '7')"
    )
    source.connection.execute("insert into kinds (id) values (2)")
    first, second = attempts(source.events())
    row = source.connection.execute("select kinds::text from kinds order by id").fetchall()
    assert [first.new, second.new] == [entry[0] for entry in row]


@TWO
def test_a_table_without_columns(new_source: Callable[..., Source]) -> None:
    source = new_source("create table nothing ()")
    source.track("nothing")
    source.listen()
    source.connection.execute("insert into nothing default values")
    source.connection.execute("delete from nothing")
    assert [(attempt.op, attempt.old, attempt.new) for attempt in attempts(source.events())] == [
        ("i", "", "()"),
        ("d", "()", ""),
    ]
