"""The daemon behind a network that fails in every way, while the application goes on writing.

What it must do each time: notice in bounded time, say `waiting` and why in its status, come back by
itself, and lose and double nothing.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from capture.conftest import ITEM
from capture.rig import BOUNDS, Rig, make_rig
from endurance.proxy import Proxy
from flux.capture import source
from flux.capture.health import status_file
from flux.capture.status import Status, read_status
from flux.decoder.slot import connect_replication, create_slot, execute
from flux.ledger.sources import Source
from flux.model.errors import Interrupted, Unreachable
from servers import Database, NewServer, database_on, eventually

database = database_on((17, "pgoutput"))

NETWORK = replace(
    BOUNDS,
    flush_interval_s=0.2,
    receive_timeout_s=1.0,
    answer_timeout_s=1.0,
    heartbeat_timeout_s=3.0,
    slot_busy_reconnect_s=5.0,
)

SENDER_TIMEOUT_S = 2
"""The server's bound on a silent reader, and so ours on a silent server; it keeps the slot meanwhile."""

NOTICED_S_MAX = 15.0
"""Whatever happens is to be noticed: two seconds for the stream's bound, the rest for a loaded machine."""


@dataclass
class Link:
    """A rig whose daemon reaches its server through a proxy; the writer and the test go there directly."""

    rig: Rig
    proxy: Proxy
    direct: str

    def status(self) -> Status:
        """Return what `flux status` reads."""
        settings = self.rig.settings
        return read_status(
            settings.ledger, Source(settings.source, settings.plugin, settings.slot), self.direct
        )

    def said(self) -> dict[str, Any]:
        """Return what the daemon last wrote of itself: the same without asking the server."""
        if self.rig.running is not None and self.rig.running.error is not None:
            raise self.rig.running.error
        path = status_file(self.rig.settings.ledger, self.rig.settings.source)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"state": "never"}
        return found

    def waits(self) -> Status:
        """Wait until it has noticed; then `flux status` says so, and why."""
        eventually(lambda: self.said()["state"] == "waiting", within_s=NOTICED_S_MAX, what="waiting")
        found = self.status()
        assert found.running
        assert found.last_error
        return found

    def recovers(self) -> Status:
        """Wait until it streams again and has what is written now."""
        with self.rig.database.connect() as connection:
            row = connection.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None

        def there() -> bool:
            found = self.said()
            return bool(found["state"] == "streaming" and found["confirmed_lsn"] >= row[0])

        eventually(there, within_s=30.0, what="its coming back")
        return self.status()

    def check(self) -> None:
        """End the daemon, take the rest directly: the ledger is the table, nothing twice."""
        assert self.rig.running is not None
        self.rig.running.stop()
        self.rig.settings = replace(self.rig.settings, dsn=self.direct, bounds=BOUNDS)
        self.rig.once()
        self.rig.check("public.item")


@contextmanager
def behind(rig: Rig, direct: str, **options: str) -> Iterator[Link]:
    """Start the daemon of `rig` behind a proxy, and wait until it streams."""
    server = rig.database.server
    with Proxy(server.port) as proxy:
        dsn = make_conninfo(direct, port=proxy.port, connect_timeout=2, **options)
        rig.settings = replace(rig.settings, dsn=dsn, bounds=NETWORK)
        link = Link(rig, proxy, direct)
        rig.start()
        try:
            eventually(lambda: link.said()["state"] == "streaming", within_s=30.0)
            yield link
        finally:
            proxy.speak()
            proxy.cut()
            if rig.running is not None:
                rig.running.stop()


@pytest.fixture
def link(database: Database, tmp_path: Path) -> Iterator[Link]:
    """`item` with 100 rows, captured by a daemon behind a proxy."""
    with database.connect() as connection:
        connection.execute(ITEM)
        connection.execute("insert into item select i, 'item ' || i, i from generate_series(1, 100) i")
        connection.execute(f"alter database {database.name} set wal_sender_timeout = '{SENDER_TIMEOUT_S}s'")
    with behind(make_rig(database, tmp_path, "item"), database.dsn) as link:
        yield link


@contextmanager
def writing(database: Database) -> Iterator[Callable[[], int]]:
    """Write to `item` all the while; yields how many transactions were committed. Survives its server."""
    ended = threading.Event()
    committed = [0]

    def write() -> None:
        number = 1000
        while not ended.is_set():
            try:
                with database.connect() as connection:
                    while not ended.wait(0.02):
                        number += 1
                        with connection.transaction():
                            connection.execute(
                                "insert into item values (%s, 'new', 1) on conflict do nothing", [number]
                            )
                            connection.execute("update item set price = %s where id = 1", [number])
                        with connection.transaction(force_rollback=True):
                            connection.execute("update item set name = 'never' where id = 2")
                        committed[0] += 1
            except psycopg.Error:
                ended.wait(0.05)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield lambda: committed[0]
    finally:
        ended.set()
        thread.join(10.0)


def more(count: Callable[[], int]) -> None:
    """Wait until the writer has written some more."""
    before = count()
    eventually(lambda: count() > before + 5, what="more writes")


def test_connections_that_are_cut(link: Link) -> None:
    with writing(link.rig.database) as count, link.rig.database.connect() as connection:
        more(count)
        link.proxy.cut()
        eventually(lambda: link.said()["reconnects"] == 1, within_s=NOTICED_S_MAX)
        assert link.recovers().last_error == ""

        connection.execute("select pg_terminate_backend(%s)", [link.status().slot_active_pid])
        eventually(lambda: link.said()["reconnects"] == 2, within_s=NOTICED_S_MAX)
        link.recovers()

        link.proxy.refuse()
        link.proxy.cut()
        link.waits()
        more(count)
        link.proxy.accept()
        assert link.recovers().reconnects > 2
    link.check()


WORDS = (
    b"IDENTIFY_SYSTEM",
    b"backend_xid",  # what the new slot will wait for
    b"CREATE_REPLICATION_SLOT",
    b"flux.describe",
    b"START_REPLICATION",
    b"lock table",
    b"copy (",
    b"flux.heartbeat",
)
"""What a capture says that begins, each a little further on than the one before."""


def test_a_cut_while_it_begins_is_worth_a_retry(database: Database, tmp_path: Path) -> None:
    """No driver's error comes through, and nothing half made stays in the way."""
    with database.connect() as connection:
        connection.execute(ITEM)
        connection.execute("insert into item select i, 'item ' || i, i from generate_series(1, 100) i")
    rig = make_rig(database, tmp_path, "item")
    with Proxy(database.server.port) as proxy:
        rig.settings = replace(rig.settings, dsn=make_conninfo(database.dsn, port=proxy.port))
        for words in WORDS:
            proxy.cut_at(words)
            with pytest.raises(Unreachable):
                rig.once()
            proxy.accept()
        rig.once()
    rig.check("public.item")


@pytest.mark.parametrize("to_server", [True, False], ids=["both ways", "towards us"])
def test_a_silent_peer(link: Link, to_server: bool) -> None:
    with writing(link.rig.database) as count:
        more(count)
        link.proxy.fall_silent(to_server=to_server)
        link.waits()
        # What it had caught up with before says nothing of now.
        more(count)
        later = link.status()
        assert later.lag_bytes
        assert later.lag_s
        link.proxy.speak()
        assert link.recovers().reconnects >= 1
    link.check()


def test_connections_that_a_balancer_forgot(link: Link) -> None:
    """The old ones stay open and mute for ever; a new one is let through."""
    with writing(link.rig.database) as count:
        more(count)
        link.proxy.fall_silent(new=False)
        eventually(lambda: link.said()["reconnects"] >= 1, within_s=NOTICED_S_MAX)
        link.recovers()
    link.check()


def test_a_slow_link(link: Link) -> None:
    link.proxy.throttle(200_000)
    began = time.monotonic()
    link.rig.execute(
        "insert into item select i, repeat(md5(i::text), 10), i from generate_series(10000, 10050) i",
        # A single message that takes longer than the bound on silence.
        "insert into item select 20000, repeat('x', 500000), 1",
    )
    recovered = link.recovers()
    assert time.monotonic() - began > 2 * SENDER_TIMEOUT_S
    assert recovered.reconnects == 0
    link.check()


def test_a_server_that_restarts(link: Link) -> None:
    with writing(link.rig.database) as count:
        more(count)
        link.rig.database.server.stop()
        assert link.waits().unreachable
        link.rig.database.server.start()
        link.recovers()
        more(count)
    link.check()


def test_a_password_changed_while_it_runs(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server(17)
    database = server.create_database("shop")
    passfile = tmp_path / "pgpass"

    def write_password(word: str) -> None:
        passfile.touch(mode=0o600)
        passfile.write_text(f"127.0.0.1:*:*:flux_capture:{word}\n")

    with database.connect() as connection:
        connection.execute(ITEM)
        rig = make_rig(database, tmp_path, "item")
        connection.execute("alter role flux_capture password 'first-secret'")
        hba = server.data / "pg_hba.conf"
        hba.write_text("host all flux_capture 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        connection.execute("select pg_reload_conf()")
        write_password("first-secret")
        direct = make_conninfo(server.dsn("shop", user="flux_capture"), passfile=str(passfile))
        with behind(rig, direct) as link, writing(database) as count:
            more(count)
            sender = link.status().slot_active_pid
            connection.execute("alter role flux_capture password 'second-secret'")
            connection.execute("select pg_terminate_backend(%s)", [sender])
            tries = link.waits().reconnects
            eventually(lambda: link.said()["reconnects"] >= tries + 3, within_s=NOTICED_S_MAX)
            refused = link.status()
            assert (refused.state, refused.running) == ("waiting", True)
            assert "password authentication failed" in refused.last_error
            more(count)
            write_password("second-secret")
            assert link.recovers().last_error == ""
    waits_s = [float(found[1]) for line in rig.lines if (found := re.search(r"again in ([\d.]+) s", line))]
    assert len(waits_s) >= 4
    assert max(waits_s) <= NETWORK.backoff_max_s
    assert "secret" not in " ".join(rig.lines)
    link.check()


def test_a_question_without_an_answer(database: Database) -> None:
    """What is asked of a server that fell silent between two words is given up in time."""
    with Proxy(database.server.port) as proxy:
        dsn = make_conninfo(database.dsn, port=proxy.port)
        asking = source.connect(dsn, answer_timeout_s=0.2)
        replicating = connect_replication(dsn)
        proxy.fall_silent()
        with pytest.raises(psycopg.OperationalError, match="did not answer"):
            asking.execute("select")
        assert asking.closed
        with pytest.raises(Unreachable, match="did not answer"):
            execute(replicating, "IDENTIFY_SYSTEM", doing="identify the server", timeout_s=0.2)
        replicating.close()


def test_waiting_for_a_slot_on_a_silent_link_can_be_stopped(database: Database) -> None:
    """A new slot may wait for hours; what ends the wait must not need the server."""
    with Proxy(database.server.port) as proxy, database.connect(autocommit=False) as busy:
        busy.execute("create table t (id int)")

        def stop() -> bool:
            # Once the server works on it: until then it is the connection that is being made.
            waiting = "select 1 from pg_stat_activity where query like 'CREATE_REPLICATION_SLOT%'"
            with database.connect() as connection:
                if connection.execute(waiting).fetchone() is None:
                    return False
            proxy.fall_silent()
            return True

        began = time.monotonic()
        with pytest.raises(Interrupted):
            create_slot(make_conninfo(database.dsn, port=proxy.port), "flux_wait", "pgoutput", stop=stop)
        assert time.monotonic() - began < NOTICED_S_MAX
