"""The daemon: it streams, survives its source, ends when told, and says how it is."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.rig import BOUNDS, Rig
from flux.capture import tracking
from flux.capture.daemon import backoff_s
from flux.capture.health import status_file
from flux.capture.status import read_status
from flux.ledger.sources import Source
from flux.model.errors import SourceError
from servers import Database, eventually, on


def reads(rig: Rig, wanted: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    """Wait until the status file says so."""
    path = status_file(rig.settings.ledger, rig.settings.source)

    def content() -> dict[str, object] | None:
        if rig.running is not None and rig.running.error is not None:
            raise rig.running.error
        try:
            found: dict[str, object] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return found if wanted(found) else None

    found = eventually(content, within_s=30, what="the status")
    assert found is not None
    return found


def streaming(found: dict[str, object]) -> bool:
    return found["state"] == "streaming"


def number(found: dict[str, object], name: str) -> int:
    value = found[name]
    assert isinstance(value, int)
    return value


def test_it_streams_until_it_is_told_to_end(rig: Rig) -> None:
    running = rig.start()
    reads(rig, streaming)
    rig.execute("update item set price = 7 where id = 7", "delete from item where id = 8")
    with rig.database.connect(autocommit=False) as connection:
        connection.execute("update item set price = 99 where id = 1")
        connection.rollback()
    reads(rig, lambda found: number(found, "rows") >= 3 and found["open_attempts"] == 0)
    assert not running.stop().complete
    rig.once()
    rig.check("public.item")
    assert rig.ask("select outcome, count(*) from changes where op = 'update' group by all order by all") == [
        ("committed", 1),
        ("rolled_back", 1),
    ]


@pytest.mark.crash
@on((15, "wal2json"), (15, "pgoutput"), (18, "pgoutput"))
def test_it_survives_its_server(rig: Rig) -> None:
    running = rig.start()
    reads(rig, streaming)
    for round_number, end in enumerate((rig.database.server.stop, rig.database.server.kill9)):
        rig.execute(f"insert into item values ({200 + round_number}, 'before', 1)")
        end()
        reads(rig, lambda found: found["state"] == "waiting")
        rig.database.server.start()
        reads(rig, streaming)
        rig.execute(f"insert into item values ({300 + round_number}, 'after', 1)")
    running.stop()
    rig.once()
    rig.check("public.item")


@on((15, "pgoutput"), (17, "pgoutput"))
def test_a_table_tracked_while_it_runs(rig: Rig) -> None:
    running = rig.start()
    reads(rig, streaming)
    rig.execute("create table note (id int primary key, body text)", "insert into note values (1, 'a')")
    with rig.database.connect() as connection:
        tracking.track(connection, ["note"])
    rig.execute("insert into note values (2, 'b')", "update note set body = 'c' where id = 1")
    eventually(lambda: any("baseline public.note" in line for line in rig.lines), within_s=30)
    rig.execute("delete from note where id = 2")
    running.stop()
    rig.once()
    rig.check("public.note")


@on((15, "wal2json"), (15, "pgoutput"))
def test_a_baseline_while_transactions_are_open(rig: Rig) -> None:
    running = rig.start()
    reads(rig, streaming)
    rig.execute("create table note (id int primary key, body text)", "insert into note values (1, 'a')")
    with rig.database.connect() as connection:
        tracking.track(connection, ["note"])
    with rig.database.connect(autocommit=False) as slow:
        slow.execute("update item set name = 'slow' where id = 1")
        slow.execute("update note set body = 'slow' where id = 1")
        # The new slot waits for it; the stream does not.
        rig.execute("update item set name = 'quick' where id = 2")
        found = reads(rig, lambda found: number(found, "rows") >= 1 and found["baselines_pending"] == 1)
        assert streaming(found)
        slow.commit()
    eventually(lambda: any("baseline public.note" in line for line in rig.lines), within_s=30)
    running.stop()
    rig.once()
    rig.check("public.note")
    rig.check("public.item")


@on((15, "wal2json"), (17, "pgoutput"))
def test_a_transaction_larger_than_a_batch(rig: Rig) -> None:
    small = replace(BOUNDS, receive_bytes_max=20_000, batch_rows_max=50, batch_bytes_max=20_000)
    running = rig.start(bounds=small)
    reads(rig, streaming)
    with rig.database.connect(autocommit=False) as connection:
        connection.execute(
            "insert into item select i, repeat('x', 200), 1 from generate_series(1000, 3000) i"
        )
        connection.execute("update item set price = 2 where id > 2000")
        connection.commit()
    rig.execute("delete from item where id = 1000")
    reads(rig, lambda found: number(found, "rows") >= 3000 and found["caught_up"] is True)
    running.stop()
    rig.once()
    rig.check("public.item")


@on((15, "pgoutput"))
def test_its_pages(rig: Rig) -> None:
    running = rig.start(listen_port=0)
    reads(rig, streaming)
    line = next(line for line in rig.lines if "http://" in line)
    address = line[line.index("http://") :]

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(address + path, timeout=5) as answer:  # noqa: S310 (our own)
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    assert address.startswith("http://127.0.0.1:")
    assert get("/healthz") == (200, "ok\n")
    assert get("/readyz") == (200, "streaming\n")
    status, metrics = get("/metrics")
    assert status == 200
    assert 'flux_streaming{source="shop"} 1\n' in metrics
    assert get("/other")[0] == 404
    running.stop()


@on((15, "pgoutput"))
def test_its_status(rig: Rig, database: Database) -> None:
    source = Source("shop", "pgoutput", rig.settings.slot)
    ledger = rig.settings.ledger

    first = read_status(ledger, source, database.dsn)
    assert (first.state, first.running, first.slot_health) == ("never", False, "missing")
    running = rig.start()
    reads(rig, lambda found: streaming(found) and found["caught_up"] is True)
    now = read_status(ledger, source, database.dsn)
    assert (now.state, now.running, now.slot_health, now.lag_s) == ("streaming", True, "reserved", 0.0)
    assert now.slot_active_pid is not None
    running.stop()
    rig.execute("update item set price = 1", "update item set price = 2")
    later = read_status(ledger, source, database.dsn)
    assert (later.state, later.running) == ("stopped", False)
    assert later.lag_bytes is not None
    assert later.lag_bytes > 0
    database.server.stop()
    away = read_status(ledger, source, database.dsn)
    assert (away.slot_health, away.lag_bytes) == ("unknown", None)
    assert away.unreachable


@on((15, "pgoutput"))
def test_a_source_without_flux_ends_it_with_a_remedy(rig: Rig) -> None:
    running = rig.start()
    reads(rig, streaming)
    rig.execute("drop function flux.heartbeat")
    running.wait()
    assert isinstance(running.error, SourceError)
    assert "flux init" in running.error.hint


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_wait_between_tries_is_bounded_and_grows(failures: int, chance: float) -> None:
    assert 0.25 <= backoff_s(failures, 0.5, 30.0, chance) <= 30.0
    waits = [backoff_s(each, 0.5, 30.0, chance) for each in range(1, 20)]
    assert all(one <= other for one, other in pairwise(waits))
