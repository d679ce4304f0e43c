"""How much memory capture takes for one huge transaction, and for a million attempts that stay open.

    make bench-memory ARGS="[--rows N] [--attempts N] [--major N]"

The peak is the largest resident set of `flux up --once`. The attempts are read while their transaction is
open, and again after it was rolled back: then all of them go into the ledger.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from run import FLUX, Report, flux, server_of, spend

from servers import Server

GOAL_BYTES = 512 << 20


def measure(server: Server, plugin: str, ledger: Path, rows: int, attempts: int, report: Report) -> None:
    """Capture the huge transaction and the open attempts of one database."""
    database = server.create_database(plugin)
    place = ["--dsn", database.dsn, "--ledger", str(ledger)]

    def captured(what: str) -> None:
        spent = spend([FLUX, "up", "--once", "--port", "0", *place])
        report.raw.append(spent)
        report.add(what, plugin, f"{spent.wall_s:.1f}", f"{spent.peak_bytes >> 20}")

    with database.connect() as connection:
        connection.execute("create table small (id int primary key, n int, note text)")
        connection.execute("create table large (id int primary key, n int, note text)")
        connection.execute(
            "insert into small select n, 0, 'note ' || n from generate_series(1, %s) n", [attempts]
        )
        flux("init", *place, "--plugin", plugin)
        flux("track", "small", "--rollbacks", "--dsn", database.dsn)
        flux("track", "large", "--dsn", database.dsn)
        captured(f"baseline of {attempts:,} rows")
        connection.execute(
            "insert into large select n, 0, 'note ' || n from generate_series(1, %s) n", [rows]
        )
        captured(f"one transaction of {rows:,} rows")
        with database.connect(autocommit=False) as writer:
            writer.execute("update small set n = n + 1")
            captured(f"{attempts:,} attempts of an open transaction")
            writer.rollback()
        captured("the same, rolled back")


def main() -> None:
    parser = argparse.ArgumentParser(description="The memory of capture.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the huge transaction")
    parser.add_argument("--attempts", type=int, default=1_000_000, help="of the open transaction")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL")
    options = parser.parse_args()
    report = Report("memory", ("what", "plugin", "seconds", "peak MiB"))
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as name,
        server_of(options.major, report, shared_buffers="256MB", max_wal_size="8GB") as server,
    ):
        for plugin in server.plugins:
            measure(server, plugin, Path(name) / plugin, options.rows, options.attempts, report)
    high = [f"{row[0]} ({row[1]})" for row in report.rows if int(row[-1]) << 20 > GOAL_BYTES]
    verdict = f"missed by {', '.join(high)}" if high else "met"
    report.notes.append(f"goal: below {GOAL_BYTES >> 20} MiB: {verdict}")
    report.finish()


if __name__ == "__main__":
    main()
