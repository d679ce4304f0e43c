"""How long after its commit a change is visible to another process.

    make bench-freshness ARGS="[--rates N,N,…] [--seconds N] [--major N]"

pgbench commits one insert a transaction at a steady rate, `flux up` captures with its defaults, and this
process looks at the ledger again and again, as `flux state history --follow` does. A change counts as visible
once a query has returned it; its commit time is the server's, of the same clock. All share the machine.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from run import FLUX, Report, flux, server_of

from flux.ledger import open_ledger
from servers import Database, eventually

GOAL_P50_S, GOAL_P99_S = 0.3, 1.0
CLIENTS = 4
LOOK_S = 0.01
"""Between two looks at the ledger."""
SCRIPT = "insert into event (note) values ('seen');\n"


@dataclass(frozen=True, slots=True)
class Run:
    """One rate."""

    rate: int
    seen: int
    p50_s: float
    p99_s: float
    most_s: float


def measure(database: Database, ledger: Path, rate: int, seconds: int, script: Path) -> Run:
    """Commit at `rate` and watch the ledger meanwhile."""
    program = database.server.installation.program("pgbench")
    words = ["-n", "-c", str(CLIENTS), "-R", str(rate), "-T", str(seconds), "-f", str(script), database.dsn]
    late: list[float] = []
    with open_ledger(ledger) as reader:

        def look(last: int) -> int:
            found = reader.sql(
                f'select commit_lsn, epoch_us("at") as at_us from changes where commit_lsn > {last}'  # noqa: S608
            )
            now_us = time.time() * 1e6
            late.extend(((now_us - found.column("at_us").to_numpy()) / 1e6).tolist())
            return int(max([last, *found.column("commit_lsn").to_pylist()]))

        last = look(0)
        late.clear()
        load = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done_at = None
        while done_at is None or time.monotonic() < done_at + 3:
            last = look(last)
            if done_at is None and load.poll() is not None:
                done_at = time.monotonic()
            time.sleep(LOOK_S)
    p50, p99, most = np.percentile(late, [50, 99, 100]).tolist()
    return Run(rate, len(late), p50, p99, most)


def is_streaming(database: Database) -> bool:
    with database.connect() as connection:
        row = connection.execute(
            "select count(*) from pg_stat_replication where state = 'streaming'"
        ).fetchone()
    return row is not None and row[0] > 0


def main() -> None:
    parser = argparse.ArgumentParser(description="From a commit to its visibility.")
    parser.add_argument("--rates", default="10,200,2000", help="transactions a second")
    parser.add_argument("--seconds", type=int, default=30, help="of each rate")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL")
    options = parser.parse_args()
    report = Report("freshness", ("transactions/s", "seen", "p50 s", "p99 s", "most s"))
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as name,
        server_of(options.major, report, shared_buffers="256MB") as server,
    ):
        script, ledger = Path(name) / "insert.sql", Path(name) / "ledger"
        script.write_text(SCRIPT)
        database = server.create_database()
        with database.connect() as connection:
            connection.execute("create table event (id bigserial primary key, note text)")
            place = ["--dsn", database.dsn, "--ledger", str(ledger)]
            flux("init", *place)
            flux("track", "event", "--dsn", database.dsn)
            capture = subprocess.Popen([FLUX, "up", "--port", "0", *place], stderr=subprocess.DEVNULL)
            try:
                eventually(lambda: is_streaming(database), what="the start of flux up")
                connection.execute(SCRIPT)
                time.sleep(2)
                for rate in map(int, options.rates.split(",")):
                    one = measure(database, ledger, rate, options.seconds, script)
                    report.raw.append(one)
                    cells = (f"{value:.3f}" for value in (one.p50_s, one.p99_s, one.most_s))
                    report.add(f"{rate:,}", f"{one.seen:,}", *cells)
            finally:
                capture.send_signal(signal.SIGTERM)
                capture.wait()
    slow = [f"{one.rate:,}" for one in report.raw if one.p50_s > GOAL_P50_S or one.p99_s > GOAL_P99_S]
    verdict = f"missed at {', '.join(slow)} a second" if slow else "met"
    report.notes.append(f"goal: p50 < {GOAL_P50_S} s, p99 < {GOAL_P99_S} s: {verdict}")
    report.finish()


if __name__ == "__main__":
    main()
