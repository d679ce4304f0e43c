"""SQL over a ledger: read-only in fact, typed views, and the same answers in plain DuckDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux.ledger import Ledger, Writer, engine, open_ledger, typed
from flux.model.errors import UsageError
from ledger.log import Log, insert, ledger_with, relation, update

TYPES = {
    "id": "bigint",
    "total": "numeric(10,2)",
    "born": "date",
    "data": "bytea",
    "ok": "boolean",
    "at": "text",
}
ORDERS = relation("public.orders", tuple(TYPES), types=TYPES)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = Log()
    log.shape(ORDERS)
    log.shape(relation("sales.orders", ("id",), oid=16500))
    one = {"id": "1", "total": "1.50", "born": "2026-03-10", "data": "\\xdead", "ok": "t", "at": "x"}
    log.transaction(insert(ORDERS, "1", one), request="r1")
    log.transaction(
        insert(ORDERS, "2", one | {"id": "2", "total": "NaN", "born": "0044-03-15 BC", "ok": None})
    )
    log.transaction(update(ORDERS, "1", one | {"total": "2.50"}))
    return ledger_with(tmp_path_factory.mktemp("sql") / "ledger", log)


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return open_ledger(path)


def test_tables_macros_and_typed_views_answer(ledger: Ledger) -> None:
    assert ledger.sql("select count(*) as n from changes").to_pylist() == [{"n": 3}]
    assert len(ledger.sql("from history('public.orders', 1)")) == 2
    assert len(ledger.sql("from history('orders', '1')")) == 2
    assert ledger.sql("select lsn_text(97500059720) as t").to_pylist() == [{"t": "16/B374D848"}]
    rows = ledger.sql(
        "select id, total::varchar as total, born::varchar as born, data, ok, _uncast from "
        "current.orders order by id"
    ).to_pylist()
    assert rows[0] == {
        "id": 1,
        "total": "2.50",
        "born": "2026-03-10",
        "data": b"\xde\xad",
        "ok": True,
        "_uncast": [],
    }
    assert rows[1]["total"] is None
    assert rows[1]["_uncast"] == [("total", "NaN"), ("born", "0044-03-15 BC")]
    assert ledger.sql(
        "select total::varchar as t from history.orders where _key = '1' order by _commit_lsn"
    ).to_pylist() == [{"t": "1.50"}, {"t": "2.50"}]
    assert ledger.sql('select * from current."sales.orders"').num_rows == 0
    assert ledger.sql("select 1 as a; select 2 as b").to_pylist() == [{"b": 2}]


@pytest.mark.parametrize(
    "query",
    [
        "describe changes",
        "show tables",
        "summarize select 1 as a",
        "explain select 1",
        "with x as (select 1) from x",
        "explain analyze select 1",
        "from changes limit 1",
        "values (1)",
        "show all tables",
    ],
)
def test_questions_are_taken(ledger: Ledger, query: str) -> None:
    ledger.sql(query)


@pytest.mark.parametrize(
    "query",
    [
        "insert into kept.gaps (source) values ('x')",
        "delete from kept.gaps",
        "update kept.gaps set source = 'x'",
        "create table t (a int)",
        "create view v as select 1",
        "drop view changes",
        "alter table kept.gaps add column x int",
        "copy (select 1) to '{data}/x.parquet'",
        "copy changes to '/tmp/flux-escape.csv'",
        "copy kept.gaps from '/etc/passwd'",
        "export database '{data}/out'",
        "import database '{data}/out'",
        "explain analyze copy (select 1) to '{data}/x.parquet'",
        "explain analyze insert into kept.gaps (source) values ('x')",
        "explain (analyze) delete from kept.gaps",
        "explain /* x */ analyze copy (select 1) to '{data}/x.parquet'",
        "attach '/tmp/flux-escape.db' as x",
        "detach memory",
        "use kept",
        "install httpfs",
        "load httpfs",
        "load '/tmp/x.duckdb_extension'",
        "set memory_limit = '1GB'",
        "reset memory_limit",
        "set enable_external_access = true",
        "pragma memory_limit = '1GB'",
        "pragma enable_profiling",
        "call pragma_version()",
        "checkpoint",
        "vacuum",
        "begin",
        "prepare p as select 1",
        "execute p",
        "select 1; drop view changes",
        "",
    ],
)
def test_anything_else_is_refused(ledger: Ledger, path: Path, query: str) -> None:
    before = sorted(path.rglob("*"))
    with pytest.raises(UsageError):
        ledger.sql(query.format(data=path / "data"))
    assert sorted(path.rglob("*")) == before
    assert not Path("/tmp/flux-escape.csv").exists()  # noqa: S108
    assert not Path("/tmp/flux-escape.db").exists()  # noqa: S108


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('/etc/passwd')",
        "from '/etc/passwd'",
        "from read_text('/etc/hostname')",
        "from read_blob('/etc/hostname')",
        "from glob('/etc/*')",
        "from read_text('{root}/sources.json')",
        "from read_csv('{root}/ledger.json')",
        "from read_text('{root}/data/../ledger.json')",
        "from read_blob('{root}/catalog.sqlite')",
        "from sqlite_scan('{root}/catalog.sqlite', 'ducklake_table')",
        "from read_parquet('/tmp/*.parquet')",
        "from sniff_csv('/etc/passwd')",
        "from read_json('{root}/ledger.json')",
        "from parquet_metadata('/tmp/x.parquet')",
        "select getenv('HOME')",
        "from read_csv('http://127.0.0.1:1/x')",
        "from query('copy (select 1) to ''/tmp/x''')",
        "from a_python_name",
        "from postgres_scan('host=127.0.0.1', 'public', 't')",
    ],
)
def test_no_file_of_the_machine_can_be_read(ledger: Ledger, path: Path, query: str) -> None:
    a_python_name = ledger.sql("select 1 as a")
    assert a_python_name.num_rows == 1
    with pytest.raises(UsageError):
        ledger.sql(query.format(root=path))


def test_plain_duckdb_has_tables_views_and_macros(path: Path) -> None:
    lake = engine.open_engine()
    engine.attach(lake, path / "catalog.sqlite", path / "data", read_only=True)
    assert lake.execute("select count(*) from changes").fetchall() == [(3,)]
    assert len(lake.execute("from history('public.orders', '1')").fetchall()) == 2
    assert len(lake.execute("from blame('public.orders', '1')").fetchall()) == len(TYPES)
    assert (
        len(lake.execute("from row_at('public.orders', '1', 18446744073709551615::ubigint)").fetchall()) == 1
    )
    assert lake.execute("select id from current.orders order by 1").fetchall() == [(1,), (2,)]
    assert lake.execute("select count(*) from history.orders").fetchall() == [(3,)]
    lake.close()


def test_internal_columns_and_tables_of_a_newer_flux_are_left_out(tmp_path: Path) -> None:
    log = Log()
    users = relation("public.users", ("id", "plan"))
    log.shape(users)
    log.transaction(insert(users, "1", {"id": "1", "plan": "free"}))
    path = ledger_with(tmp_path / "ledger", log)
    lake = engine.open_engine()
    engine.attach(lake, path / "catalog.sqlite", path / "data", read_only=False)
    for table in ("relations", "positions", "baselines", "changes"):
        lake.execute(f"alter table {table} add column newer varchar")
    lake.execute("create table newest (a integer)")
    lake.execute("insert into positions by name select 'later' as source, 'new' as newer")
    lake.close()
    with open_ledger(path) as ledger:
        assert len(ledger.history("users", "1")) == 1
        assert "later" in ledger.positions().column("source").to_pylist()
        assert ledger.sql("select plan from current.users").to_pylist() == [{"plan": "free"}]


def test_typed_views_follow_a_rename(tmp_path: Path) -> None:
    log = Log()
    users = relation("public.users", ("id", "plan"))
    log.shape(users)
    log.transaction(insert(users, "1", {"id": "1", "plan": "free"}))
    path = ledger_with(tmp_path / "ledger", log)
    with Writer.open(path, source="shop") as writer:
        log.shape(relation("crm.people", ("id", "tier")))
        log.store(writer)
    with open_ledger(path) as ledger:
        assert ledger.sql("select id, tier from current.people").to_pylist() == [{"id": "1", "tier": "free"}]
        assert ledger.sql("select id, tier from history.people").to_pylist() == [{"id": "1", "tier": "free"}]
        with pytest.raises(UsageError):
            ledger.sql("from current.users")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("from changes", 0),
        ("from history('orders', '1')", 0),
        ("from current.orders", 2),
        ('from "current" . "public.orders"', 2),
        ('from HISTORY.ORDERS, current."Odd ""one"""', 3),
        ("from current.odrers", 2),
        ("from current.nothing_like_it", 0),
        ("from duckdb_views()", 4),
        ("show all tables", 4),
    ],
)
def test_views_are_made_for_the_tables_that_a_query_names(query: str, expected: int) -> None:
    tables = [
        ORDERS,
        relation("sales.orders", oid=2),
        relation('public.Odd "one"', oid=3),
        relation("public.users", oid=4),
    ]
    assert len(typed.named_in(query, tables)) == expected


def test_a_view_that_is_named_wrongly_brings_the_right_name(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=r"Did you mean.*orders"):
        ledger.sql("from current.odrers")
    views = ledger.sql("select view_name from duckdb_views() where schema_name = 'current' order by 1")
    assert "orders" in views.column(0).to_pylist()


def test_what_stands_in_for_table_at_has_its_columns_and_goes(ledger: Ledger) -> None:
    lake = ledger._lake
    ledger.sql("from history('orders', '1')")
    at = "table_at('public.orders', 18446744073709551615::ubigint)"
    columns = lake.execute(f"describe from {at}").fetchall()
    with typed._bound_quickly(lake):
        assert lake.execute(f"describe from {at}").fetchall() == columns
        assert lake.execute(f"select key from {at}").fetchall() == [(None,)]
    assert lake.execute(f"select key from {at}").fetchall() == [("1",), ("2",)]
    with pytest.raises(KeyError), typed._bound_quickly(lake):
        raise KeyError
    assert lake.execute(f"select key from {at}").fetchall() == [("1",), ("2",)]
