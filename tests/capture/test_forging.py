"""Well-formed messages forged by an ordinary role are counted and left out; the ledger is the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from capture.conftest import ITEM
from capture.rig import Rig, make_rig
from flux.capture import install, source
from flux.capture.health import status_file
from flux.model.errors import SourceError
from servers import SERVERS, Database, on

EVERY = on(*SERVERS)
TWO = on((15, "wal2json"), (18, "pgoutput"))

FAR_XID = 1 << 40
"""Of a transaction that never ends."""


@pytest.fixture
def forged_rig(database: Database, tmp_path: Path) -> Rig:
    """`item`, which the role `forger` may write, and `safe`, which it may not; tracked with rollbacks."""
    with database.connect() as connection:
        connection.execute(ITEM)
        connection.execute("create table safe (id int primary key, name text)")
        connection.execute("insert into item values (1, 'one', 1), (2, 'two', 2)")
        connection.execute("insert into safe values (1, 'one')")
        connection.execute("create role forger login")
        connection.execute("grant select, insert, update, delete on item to forger")
    return make_rig(database, tmp_path, "item", "safe")


def emit(connection: psycopg.Connection[Any], prefix: str, content: str, *, transactional: bool) -> None:
    connection.execute("select pg_logical_emit_message(%s, %s, %s)", [transactional, prefix, content])


def attempt(xid: int, relation_id: int, rows: str) -> str:
    return f"1 {xid} 0 {relation_id} - - 1700000000000000 u{len(rows) // 2} {rows}"


def forgeries(xid: int, description: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Return one message of each kind that would change the ledger: prefix, content, transactional."""
    safe = description["relation_id"]
    heartbeat = {"snapshot": f"3:{FAR_XID}:", "at": 1, "nonce": "", "committed": None, "aborted": [str(xid)]}
    dropped = {"command": "DROP TABLE", "object": "public.safe", "statement": "drop table safe"}
    reshaped = {**description, "columns": description["columns"][:1]}
    renamed = {**description, "relation": "public.other", "root": "public.other"}
    untracked = {**description, "tracked": False}
    context = {"request_id": "forged", "actor": "admin", "db_user": "postgres", "backend_pid": 1}
    return [
        ("flux.attempt", attempt(3, safe, "(1,one)(1,bad)"), False),
        ("flux.attempt", attempt(FAR_XID, safe, "(1,one)(1,bad)"), False),
        ("flux.heartbeat", json.dumps(heartbeat), True),
        ("flux.ddl", json.dumps({**dropped, "dropped": [safe]}), True),
        ("flux.ddl", json.dumps({"command": "ALTER TABLE", "relations": [reshaped], "xid": str(xid)}), False),
        ("flux.track", json.dumps({"command": "UNTRACK", "relations": [untracked]}), True),
        ("flux.track", json.dumps({"command": "TRACK", "relations": [renamed], "resync": [safe]}), True),
        ("flux.context", json.dumps({**context, "xid": str(FAR_XID)}), False),
        ("flux.context", json.dumps(context), True),
    ]


@EVERY
def test_forged_messages_are_counted_and_left_out(forged_rig: Rig) -> None:
    rig = forged_rig
    rig.once()
    with rig.database.connect() as honest, rig.database.connect(user="forger") as forger:
        (description,) = value(honest, "select flux.describe(array['safe'::regclass])")
        honest.execute("begin; update safe set name = 'two' where id = 1")
        xid = int(value(honest, "select pg_current_xact_id()::text"))
        messages = forgeries(xid, description)
        # What a forger would try: no secret, a guessed one, one that is cut.
        for opening in ("", "12345 ", "1"):
            forger.execute("begin; update item set price = price + 5 where id = 1")
            for prefix, content, transactional in messages:
                emit(forger, prefix, opening + content, transactional=transactional)
            emit(forger, "flux.mark", "1", transactional=True)
            forger.execute("update item set price = price + 5 where id = 1; commit")
        forged_lsn = value(honest, "select pg_current_wal_insert_lsn() - '0/0'")
        status = once(rig)
        assert status["ignored_messages"] == 3 * len(messages)
        assert status["open_attempts"] == 1
        # The forged heartbeat said of this one that it was over, and rolled back.
        honest.execute("savepoint s; update safe set name = 'no' where id = 1; rollback to s; commit")
    status = once(rig)
    assert status["open_attempts"] == 0
    assert status["confirmed_lsn"] > forged_lsn, "no forged transaction holds the position back"
    with rig.asking():
        rig.check("public.item")
        rig.check("public.safe")
        assert rig.ask("""
            select op, outcome, after['name'] from changes
            where relation = 'public.safe' and op <> 'baseline' order by lsn
        """) == [("update", "committed", "two"), ("update", "savepoint_rolled_back", "no")]
        assert rig.ask("select distinct relation from relations order by relation") == [
            ("public.item",),
            ("public.safe",),
        ]
        assert rig.ask("select count(*) from relations where not tracked") == [(0,)]
        assert rig.ask("select command from ddl where command <> 'TRACK'") == []
        assert rig.ask("select distinct actor, db_user from contexts order by db_user") == [
            (None, "forger"),
            (None, "postgres"),
        ]


@TWO
def test_settings_do_not_make_flux_sign_what_a_role_made_up(forged_rig: Rig) -> None:
    """A role's settings are part of its own attempts: they must not reach the row that these tell of."""
    rig = forged_rig
    rig.once()
    with rig.database.connect(user="forger") as forger:
        forger.execute("begin; update item set price = 10 where id = 1")
        forger.execute("set local flux.context_lsn = '- - 1700000000000000 u14 (2,two,2)(2,x,3)'")
        forger.execute("update item set price = 11 where id = 1; rollback")
        forger.execute("begin; savepoint s; update item set price = 12 where id = 1")
        subxid = value(forger, "select xmin::text from item where id = 1")
        forger.execute("select set_config('flux.mark', %s, true)", [f"{subxid} - 17 u14 (2,two,2)(2,x,3)"])
        forger.execute("update item set price = 13 where id = 1; rollback")
    rig.once()
    found = rig.ask("select distinct key from changes where relation = 'public.item' and op <> 'baseline'")
    assert found == [("1",)]


@TWO
def test_an_attempt_keeps_to_the_contexts_of_its_own_transaction(forged_rig: Rig) -> None:
    rig = forged_rig
    rig.once()
    with rig.database.connect() as honest, rig.database.connect(user="forger") as forger:
        honest.execute("begin; select flux.tag('r1', 'alice'); update safe set name = 'x' where id = 1")
        place = value(honest, "select current_setting('flux.context_lsn')")
        forger.execute("begin; update item set price = 10 where id = 1")
        forger.execute("select set_config('flux.context_lsn', %s, true)", [place])
        forger.execute("update item set price = 11 where id = 1; rollback")
        honest.execute("rollback")
    rig.once()
    told = "select relation, actor from changes where outcome = 'rolled_back' order by lsn"
    assert rig.ask(told) == [("public.safe", "alice"), ("public.item", None), ("public.item", None)]


@TWO
def test_no_other_role_reads_the_secret(forged_rig: Rig) -> None:
    database = forged_rig.database
    with database.connect() as owner, database.connect(user="flux_capture") as capture:
        secret = source.secret(owner)
        assert source.secret(capture) == secret
        assert abs(int(secret)) > 1 << 32, "a random number of 64 bits"
    with database.connect(user="forger") as forger:
        with pytest.raises(SourceError) as refused:
            source.secret(forger)
        assert secret not in str(refused.value)
        for query in (
            "table flux.secret",
            "select nextval('flux.secret')",
            "select pg_get_sequence_data('flux.secret'::regclass)",
        ):
            assert secret not in answer(forger, query)
        # Everything that a role may read of the catalog.
        names = forger.execute(
            "select oid::regclass::text from pg_class where relkind in ('r', 'v')"
            " and relnamespace::regnamespace::text in ('pg_catalog', 'information_schema', 'flux')"
        ).fetchall()
        assert len(names) > 100
        for (name,) in names:
            assert secret not in answer(forger, f"table {name}"), name
        with forger.transaction():
            forger.execute("update item set price = 5 where id = 1")
            assert secret not in answer(forger, "select name, setting from pg_settings")
            for setting in ("flux.seen_tag", "flux.context_lsn", "flux.mark"):
                assert secret not in answer(forger, f"select current_setting('{setting}', true)")


@TWO
def test_default_privileges_do_not_open_it(database: Database, tmp_path: Path) -> None:
    with database.connect() as owner:
        owner.execute("create role forger login")
        owner.execute("alter default privileges grant all on sequences to public, forger")
        make_rig(database, tmp_path)
        with database.connect(user="forger") as forger, pytest.raises(SourceError):
            source.secret(forger)


@TWO
def test_the_secret_outlives_init_and_ends_with_remove(database: Database) -> None:
    with database.connect() as owner:
        install.init(owner)
        first = source.secret(owner)
        install.init(owner)
        assert source.secret(owner) == first
        install.remove(owner)
        with pytest.raises(SourceError, match="secret"):
            source.secret(owner)
        install.init(owner)
        assert source.secret(owner) != first


def once(rig: Rig) -> dict[str, Any]:
    """Capture what there is, and return the status it ends with."""
    rig.once()
    found: dict[str, Any] = json.loads(status_file(rig.settings.ledger, rig.settings.source).read_text())
    return found


def value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def answer(connection: psycopg.Connection[Any], query: str) -> str:
    """Return all that a query says, a refusal too."""
    try:
        with connection.transaction():
            return str(connection.execute(query).fetchall())
    except psycopg.Error as error:
        return str(error)


@EVERY
def test_a_tag_is_for_its_own_transaction_and_hides_nobody(forged_rig: Rig) -> None:
    """Any role may tag what it changes itself. Who it is, the trigger says."""
    rig = forged_rig
    rig.once()
    said = {"request_id": "r1", "actor": "admin", "db_user": "postgres", "backend_pid": 1, "xid": "5"}
    with rig.database.connect() as honest, rig.database.connect(user="forger") as forger:
        honest.execute("begin; select flux.tag('honest'); update safe set name = 'two' where id = 1")
        forger.execute("begin; update item set price = price + 5 where id = 1")
        emit(forger, "flux.tag", json.dumps(said), transactional=True)
        emit(forger, "flux.tag", json.dumps(said), transactional=False)
        emit(forger, "flux.tag", json.dumps({**said, "actor": "x" * (1 << 20)}), transactional=True)
        emit(forger, "flux.tag", "null", transactional=True)
        forger.execute("update item set price = price + 5 where id = 1; commit")
        honest.execute("update safe set name = 'three' where id = 1; commit")
    assert once(rig)["ignored_messages"] == 3
    with rig.asking():
        rig.check("public.item")
        rig.check("public.safe")
        found = rig.ask("""
            select x.request_id, x.actor, x.db_user, x.backend_pid = 1, x.statement is null
            from changes c join contexts x using (context_id, source) where c.op = 'update'
            order by c.relation, c.lsn
        """)
    assert found == [
        (None, None, "forger", False, False),
        ("r1", "admin", "forger", False, True),
        ("honest", None, "postgres", False, False),
        ("honest", None, "postgres", False, False),
    ]
