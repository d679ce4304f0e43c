"""Connecting, and what a source says of itself and its tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flux.capture import source
from flux.model.errors import Unreachable, UsageError
from flux.model.relation import Column
from postgres.stream import Source
from servers import Database, on

TWO = on((15, "pgoutput"), (18, "pgoutput"))


@pytest.mark.parametrize(
    ("dsn", "error"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/db", Unreachable),
        ("postgresql://u:s3cret/x@host/db", UsageError),
        ("postgresql://u:s3c@ret@host/db", UsageError),
        ("postgresql://u:s3cret?x@host/db", UsageError),
        ("postgresql://u:s3cret#x@host/db", UsageError),
        ("postgresql://host:s3cret/db", UsageError),
        ("host=127.0.0.1 password='s3cret", UsageError),
        ("host=127.0.0.1 port=1 password=s3cret", Unreachable),
        ("s3cret", UsageError),
        ("postgresql://u:%zzs3cret@host/db", UsageError),
    ],
)
def test_no_password_in_an_error(dsn: str, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        source.connect(dsn)
    assert "s3c" not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


@on((15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
def test_facts(database: Database) -> None:
    with source.connect(database.dsn, application_name="flux test") as connection:
        facts = source.facts(connection)
        assert connection.autocommit
        assert connection.execute("show application_name").fetchone() == ("flux test",)
    assert facts.version_num // 10000 == database.major
    assert facts.timeline == 1
    assert int(facts.system_identifier) > 0
    assert (facts.wal_level, facts.encoding, facts.database) == ("logical", "UTF8", database.name)
    assert facts.is_superuser
    assert not facts.is_installed


@TWO
def test_describe(new_source: Callable[..., Source]) -> None:
    source_ = new_source(
        "create table t (b text, a int, gone int, n numeric(10,2),"
        " twice int generated always as (a * 2) stored, f float8[], primary key (a, b))",
        "insert into t (a, b) values (1, 'x')",
        "alter table t drop column gone",
        "alter table t add column since date not null default '2026-01-01'",
        "create table p (id int not null, k int not null) partition by list (id)",
        "create table p1 (k int not null, x int, id int not null)",
        "alter table p1 drop column x",
        "alter table p attach partition p1 for values in (1)",
        "create unique index p1_k on p1 (k)",
        "alter table p1 replica identity using index p1_k",
    )
    source_.track("t", "p")
    p, p1, t = sorted(source.describe(source_.connection, lossy=True), key=lambda entry: entry.relation)
    assert (t.relation, t.root, t.root_id, t.key) == ("public.t", "public.t", t.relation_id, ("a", "b"))
    assert t.row_columns == ("b", "a", "n", None, "f", "since")
    assert t.columns[-1] == Column("since", "date", 7, False, True, missing="2026-01-01")
    assert [column.type for column in t.columns] == [
        "text",
        "integer",
        "numeric(10,2)",
        "double precision[]",
        "date",
    ]
    assert t.lossy == ("n",)
    assert (p1.root, p1.root_id, p1.key, p1.replica_identity) == ("public.p", p.relation_id, ("k",), "i")
    assert p1.row_columns == ("k", "id")
    assert p.key == ()
    assert source.lookup(source_.connection, "public.p1") == source.lookup(source_.connection, p1.relation_id)
    assert source.lookup(source_.connection, "public.nothing") is None
    assert len(source.describe(source_.connection, only_tracked=False)) == 3


@TWO
def test_plugins(database: Database) -> None:
    with database.connect() as connection:
        assert source.plugin(connection, "pgoutput").available
        missing = source.plugin(connection, "no_such_plugin")
        assert not missing.available
        assert "no_such_plugin" in missing.why
        with database.connect() as other:
            other.execute("begin; select pg_current_xact_id()")
            assert source.plugin(connection, "pgoutput", timeout_s=0.2).available
        assert connection.execute("select count(*) from pg_replication_slots").fetchone() == (0,)
