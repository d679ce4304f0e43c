"""Exactly once: capture and server killed under load, and nothing is lost or doubled."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass, field

import psycopg
import pytest

from capture.process import start
from capture.rig import Rig
from flux.capture.health import status_file
from flux.decoder.slot import read_slot
from servers import Database, eventually, on

KILLS = 50
FATES = ("committed", "rolled_back", "savepoint_rolled_back")


@dataclass
class Load:
    """A session that changes rows and notes what became of each; the price says which change it was."""

    database: Database
    number: int
    chance: random.Random
    fate: dict[str, str] = field(default_factory=dict)
    """Value that was written → its outcome; what a crash left in doubt is not in it."""
    unflushed: dict[str, str] = field(default_factory=dict)
    """The same, not yet followed by a commit: a crash of the server may take it out of the log."""
    doubtful: set[str] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        serial = 0
        while not self.ended.is_set():
            try:
                with self.database.connect(autocommit=False, connect_timeout=5) as connection:
                    while not self.ended.is_set():
                        serial += 1
                        self._transaction(connection, f"{self.number}.{serial}")
                        self.ended.wait(0.01)
            except psycopg.OperationalError:
                self.doubtful.update(self.unflushed)
                self.unflushed.clear()
                self.ended.wait(0.1)
        self.doubtful.update(self.unflushed)

    def _transaction(self, connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
        row = self.chance.randrange(1, 101)
        kind = self.chance.choice(FATES)
        values = [f"{name}.top", f"{name}.save"]
        self.doubtful.update(values)
        connection.execute("update item set name = %s where id = %s", [values[0], row])
        if kind == "savepoint_rolled_back":
            connection.execute("savepoint s")
            connection.execute("update item set name = %s where id = %s", [values[1], row])
            connection.execute("rollback to savepoint s")
        if kind == "rolled_back":
            connection.rollback()
        else:
            connection.commit()
        self.doubtful.difference_update(values)
        self.unflushed[values[0]] = "rolled_back" if kind == "rolled_back" else "committed"
        if kind == "savepoint_rolled_back":
            self.unflushed[values[1]] = kind
        if kind != "rolled_back":
            self.fate.update(self.unflushed)
            self.unflushed.clear()


@pytest.mark.crash
@pytest.mark.timeout(1200)
@on((15, "wal2json"), (18, "pgoutput"))
def test_killed_again_and_again(rig: Rig) -> None:
    chance = random.Random(7)
    rig.once()
    loads = [Load(rig.database, number, random.Random(number)) for number in range(3)]
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    try:
        for kill in range(KILLS):
            process = start(rig)
            try:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.3, 2.2))
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if kill in (9, 24, 39):
                rig.database.server.kill9()
                rig.database.server.start()
    finally:
        for load in loads:
            load.ended.set()
        for thread in threads:
            thread.join()
    rig.once()
    summary = rig.once()
    assert summary.open_attempts == 0
    rig.check("public.item")
    rows = rig.ask("select map_extract(after, 'name')[1], outcome from changes where op = 'update'")
    counts = Counter(name for name, _ in rows)
    assert [name for name, count in counts.items() if count > 1] == []
    told = dict(rows)
    expected = {name: fate for load in loads for name, fate in load.fate.items()}
    doubtful = set().union(*(load.doubtful for load in loads))
    wrong = {name: (fate, told.get(name)) for name, fate in expected.items() if told.get(name) != fate}
    assert wrong == {}
    assert told.keys() - expected.keys() <= doubtful
    assert len(expected) > 100


def test_sigterm_ends_it_cleanly(rig: Rig) -> None:
    rig.once()
    process = start(rig)
    path = status_file(rig.settings.ledger, rig.settings.source)

    def streams() -> bool:
        found = json.loads(path.read_text())
        return bool(found["pid"] == process.pid and found["state"] == "streaming")

    eventually(streams, within_s=30)
    rig.execute("update item set name = 'last' where id = 1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    rig.once()
    rig.check("public.item")


@on((15, "wal2json"), (17, "pgoutput"))
def test_a_full_disk_ends_it_and_nothing_is_lost(rig: Rig) -> None:
    rig.once()
    with rig.database.connect() as connection:
        before = read_slot(connection, rig.settings.slot)
        connection.execute(
            "insert into item "
            "select i, md5(i::text) || md5((-i)::text), i from generate_series(1000, 40000) i"
        )
        # No file may become larger than this: to a writer it is as good as a full disk.
        process = start(rig, once=True, file_bytes_max=500_000)
        assert process.wait(120) == 5
        after = read_slot(connection, rig.settings.slot)
    assert before is not None
    assert after is not None
    assert after.confirmed_lsn == before.confirmed_lsn
    assert rig.ask("select count(*) from changes") == [(100,)]
    rig.once()
    rig.check("public.item")
