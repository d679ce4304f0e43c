"""What the application tells of its requests comes into the ledger beside what the log brings."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from pyarrow import parquet

from flux.ledger import Writer, create_ledger, open_ledger
from flux.ledger import writer as writer_module
from flux.ledger.commit import Catalog
from flux.ledger.layout import Layout
from flux.model.errors import LedgerError
from ledger.calls import START, call, calls
from ledger.log import Log, insert, relation

USERS = relation()
EMPTY = call(0)[0].slice(0, 0), call(0)[1].slice(0, 0), call(0)[2].slice(0, 0)


def counts(path: Path) -> tuple[int, int, int]:
    with open_ledger(path) as ledger:
        (row,) = ledger.sql(
            "select (select count(*) from requests) as a, (select count(*) from spans) as b, "
            "(select count(*) from exchanges) as c"
        ).to_pylist()
    return row["a"], row["b"], row["c"]


def test_requests_read_back_as_they_came(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    with Writer.open(path, source="shop") as writer:
        writer.record(*EMPTY)
        assert counts(path) == (0, 0, 0)
        for number in range(3):  # the first by DuckLake, then past it
            writer.record(*call(number))
        for force in (False, True):
            writer.maintain(force=force)
            with open_ledger(path) as ledger:
                for table, expected in zip(("requests", "spans", "exchanges"), calls(range(3)), strict=True):
                    found = ledger.sql(f"select * from {table} order by request_id")
                    assert found.to_pylist() == expected.to_pylist()


def test_requests_are_sought_by_bloom_filters(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    with Writer.open(path, source="shop") as writer:
        for first in range(0, 40, 10):
            writer.record(*calls(range(first, first + 10)))
        writer.maintain(force=True)
    files = Catalog(Layout(path).catalog).files()
    for table in ("requests", "spans", "exchanges"):
        (file,) = files[table]
        group = parquet.read_metadata(Layout(path).data / "main" / table / file.path).row_group(0)
        sought = [
            group.column(number).path_in_schema
            for number in range(group.num_columns)
            if group.column(number).bloom_filter_offset is not None
        ]
        assert "request_id" in sought


def test_both_sides_write_at_once(tmp_path: Path) -> None:
    """New tables (DuckLake), rows, upkeep on one side; requests on the other. Nothing is lost or torn."""
    path = create_ledger(tmp_path / "ledger")
    done = threading.Event()
    recorded = 0
    met: list[BaseException] = []

    def record(writer: Writer) -> None:
        nonlocal recorded
        try:
            while not done.is_set() or recorded < 20:
                writer.record(*call(recorded))
                recorded += 1
        except BaseException as error:  # noqa: BLE001 -- the test looks at it
            met.append(error)

    log = Log()
    with Writer.open(path, source="shop") as writer:
        beside = threading.Thread(target=record, args=(writer,))
        beside.start()
        try:
            for number in range(8):
                table = relation(f"public.t{number}", oid=20_000 + number)
                log.shape(table)
                log.transaction(insert(table, "1", {"id": "1", "email": None, "plan": None}))
                log.store(writer)
                log.transaction(insert(table, "2", {"id": "2", "email": None, "plan": None}))
                log.store(writer)
                writer.maintain(force=number == 4)
        finally:
            done.set()
            beside.join(60)
        assert not met
    assert recorded >= 20
    assert counts(path) == (recorded, 2 * recorded, recorded)
    with open_ledger(path) as ledger:
        assert ledger.sql("select count(*) as n from changes").to_pylist() == [{"n": 16}]


def test_the_stream_does_not_let_requests_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While DuckLake has a transaction open, what is recorded waits; a bounded time, and leaves nothing."""
    monkeypatch.setattr(writer_module, "TURN_WAIT_S", 0.05)
    path = create_ledger(tmp_path / "ledger")
    log = Log()
    with Writer.open(path, source="shop") as writer:
        writer.record(*call(0))
        log.shape(USERS)
        log.transaction(insert(USERS, "1", {"id": "1", "email": "x", "plan": None}))
        writer.append(log.batch())
        with pytest.raises(LedgerError, match="cannot write the ledger"):
            writer.record(*call(1))
        files = len(list((path / "data").rglob("*.parquet")))
        writer.rollback()
        assert len(list((path / "data").rglob("*.parquet"))) < files  # the stream's own
        writer.record(*call(1))
    assert counts(path) == (2, 4, 2)


def test_spans_that_came_already_are_known(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    with Writer.open(path, source="shop") as writer:
        every = [f"{number:016x}" for number in range(20)]
        assert writer.spans_known(START, START + timedelta(hours=1), every) == set()
        writer.record(*calls(range(5)))
        known = writer.spans_known(START, START + timedelta(hours=1), every)
        assert known == {(f"{number // 2:032x}", f"{number:016x}") for number in range(10)}
        later = writer.spans_known(START + timedelta(seconds=4), START + timedelta(hours=1), every)
        assert later == {(f"{4:032x}", f"{number:016x}") for number in (8, 9)}
