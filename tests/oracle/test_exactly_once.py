"""Exactly once: `flux up` is killed again and again under load, and the ledger is as if it never had been.

FLUX_SOAK_MINUTES=60 (`make soak`) does it for so long, in rounds of ten minutes on each server, each round with a new
database and another seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from flux.ledger import open_ledger
from oracle import check, fold, truth
from oracle.attempts import SETUP, TABLES, Driver, hold_against
from oracle.fold import FoldedTable
from oracle.kept import Stored, check_at
from servers import Database, on

LONG = os.environ.get("FLUX_ORACLE") == "long"
PAIRS = (
    ((15, "wal2json"), (15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
    if LONG
    else ((15, "wal2json"), (18, "pgoutput"))
)
KILLS = 300 if LONG else 24
SOAK_MINUTES = float(os.environ.get("FLUX_SOAK_MINUTES", "0"))
ROUND_S = 600
ROUNDS = max(1, round(SOAK_MINUTES * 60 / ROUND_S / len(PAIRS)))
SOAK_S = SOAK_MINUTES * 60 / ROUNDS / len(PAIRS)
SESSIONS = 6
FLUX = Path(sys.executable).with_name("flux")


class Shop:
    """A database under load, and the command line beside it."""

    def __init__(self, database: Database, folder: Path, seed: int) -> None:
        self.database = database
        self.ledger = folder / "ledger"
        self.log = folder / "up.log"
        self.stop = threading.Event()
        self.driver = Driver(database, SESSIONS, seed=f"{database.major} {database.plugin} {seed}")

    def flux(self, *arguments: str) -> None:
        done = subprocess.run(
            [FLUX, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def up(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [FLUX, "up", "--port", "0"], env=self._environment(), stdout=log, stderr=log
            )

    def alter(self) -> None:
        """Change a table's shape now and then, as far as its locks allow."""
        added: list[str] = []
        chance = random.Random(3)
        while not self.stop.wait(0.8):
            if added and chance.random() < 0.4:
                statement = f"alter table t drop column {added.pop()}"
            else:
                added.append(f"extra_{chance.randrange(10**9)}")
                statement = f"alter table t add column {added[-1]} text default 'given'"
            try:
                with self.database.connect(connect_timeout=5) as connection:
                    connection.execute("set lock_timeout = '300ms'")
                    connection.execute(statement)
            except psycopg.OperationalError:
                if "add" in statement:
                    added.pop()

    def compact(self, for_s: float) -> None:
        """Compact the ledger by hand, and be killed at it."""
        process = subprocess.Popen(
            [FLUX, "ledger", "compact"], env=self._environment(), stderr=subprocess.DEVNULL
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(for_s)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def cut(self) -> None:
        """End the connection that streams, as an administrator does."""
        with self.database.connect() as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_replication")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "FLUX_DSN": self.database.dsn, "FLUX_LEDGER": str(self.ledger)}


@pytest.mark.crash
@pytest.mark.timeout(1200 if not LONG and not SOAK_S else 6 * 3600)
@pytest.mark.parametrize("seed", range(ROUNDS))
@on(*PAIRS)
def test_killed_again_and_again(database: Database, tmp_path: Path, seed: int) -> None:
    chance = random.Random(11 + seed)
    shop = Shop(database, tmp_path, seed)
    with database.connect() as connection:
        connection.execute(SETUP)
    shop.flux("init", "--yes", "--plugin", database.plugin, "--source", "oracle")
    shop.flux("track", *TABLES, "--rollbacks")
    shop.flux("up", "--once")
    threads = [*shop.driver.start(10**9, shop.stop), threading.Thread(target=shop.alter)]
    threads[-1].start()
    try:
        end, kill = time.monotonic() + SOAK_S, 0
        while time.monotonic() < end if SOAK_S else kill < KILLS:
            process = shop.up()
            for _ in range(2 if kill % 12 == 2 else 1):
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.4, 1.8))
                if kill % 12 == 2:
                    shop.cut()
            if kill % 12 == 5:
                database.server.kill9()
            elif kill % 12 == 11:
                database.server.stop()
            process.send_signal(signal.SIGKILL)
            process.wait()
            if kill % 12 == 8:
                shop.compact(chance.uniform(0.3, 2.0))
            database.server.start()
            kill += 1
    finally:
        shop.stop.set()
        shop.driver.join(threads)
    shop.driver.settle()
    shop.flux("up", "--once")
    shop.flux("up", "--once")
    check_ledger(shop)


def check_ledger(shop: Shop) -> None:
    with open_ledger(shop.ledger) as ledger, shop.database.connect() as connection:
        stored = Stored(ledger)
        connection.execute(truth.SESSION)
        lossy = shop.database.plugin == "wal2json"
        for table in truth.read(connection, "public").values():
            folded = FoldedTable(table.relation_id, fold.versions_of(stored.relations, table.relation_id))
            for change in fold.committed(stored.changes):
                if change["relation_id"] == table.relation_id:
                    folded.apply(change)
            folded.reshape(1 << 63)
            check.compare(folded.rows(), table, lossy=lossy, what=table.relation)
            check_at(ledger, table, None, lossy, table.relation)
        hold_against(shop.driver, stored.streamed)
        check.check_whole(stored.streamed, stored.contexts, stored.transactions)
        assert ledger.gaps().num_rows == 0
    outcomes = Counter(attempt.outcome for attempt in shop.driver.attempts if not attempt.maybe)
    assert min(outcomes[name] for name in ("committed", "rolled_back", "savepoint_rolled_back")) > 200, (
        outcomes
    )
