"""What tags and attempts cost the application: time and log for each transaction and each row.

    python bench/overhead.py [--runs N] [--json FILE]

On a server of its own (the demo's wheel, without fsync: the worst case for a share). One table of four
columns; the least of N runs, since the noise of a machine only adds. No capture runs: it costs
the application nothing but a WAL sender. Prints a table with the environment, and writes the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from flux.capture import install, source, tracking
from flux.cli.demo import server

ROWS = 50_000
TRANSACTIONS = 2_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One way of tracking."""

    tracked: str
    row_us: float
    """Microseconds a row of an UPDATE of many rows."""
    row_log_bytes: float
    transaction_us: float
    """Microseconds a transaction that updates one row by its key."""
    transaction_log_bytes: float


def log_bytes(connection: Connection) -> int:
    found = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert found is not None
    return int(found[0])


def measure(connection: Connection, tracked: str, runs: int) -> Result:
    rows, transactions, row_log, transaction_log = [], [], 0, 0
    for _ in range(runs):
        connection.execute("vacuum shopping")
        connection.execute("checkpoint")
        # After a checkpoint the log holds each page once, whole: not what is measured here.
        connection.execute("update shopping set amount = amount + 1")
        before, start = log_bytes(connection), time.perf_counter()
        connection.execute("update shopping set amount = amount + 1")
        rows.append(time.perf_counter() - start)
        row_log = log_bytes(connection) - before
        before, start = log_bytes(connection), time.perf_counter()
        for number in range(TRANSACTIONS):
            connection.execute("update shopping set amount = amount + 1 where id = %s", [number])
        transactions.append(time.perf_counter() - start)
        transaction_log = log_bytes(connection) - before
    return Result(
        tracked,
        min(rows) / ROWS * 1e6,
        row_log / ROWS,
        min(transactions) / TRANSACTIONS * 1e6,
        transaction_log / TRANSACTIONS,
    )


def compare(dsn: str, runs: int) -> tuple[list[Result], str]:
    with source.connect(dsn) as connection:
        connection.execute(
            "create table shopping (id int primary key, name text, amount int, at timestamptz default now())"
        )
        connection.execute(
            "insert into shopping select n, 'name ' || n, n from generate_series(1, %s) n", [ROWS]
        )
        results = [measure(connection, "not tracked", runs)]
        install.init(connection)
        for words, rollbacks in (("tracked", False), ("tracked --rollbacks", True)):
            tracking.track(connection, ["shopping"], rollbacks=rollbacks)
            results.append(measure(connection, words, runs))
        return results, source.facts(connection).version


def report(results: list[Result], facts: dict[str, str]) -> None:
    print(f"{'table':<20} {'a row':>9} {'log':>7}   {'a transaction':>13} {'log':>7}")
    for one in results:
        print(
            f"{one.tracked:<20} {one.row_us:>6.2f} us {one.row_log_bytes:>5.0f} B"
            f"   {one.transaction_us:>10.1f} us {one.transaction_log_bytes:>5.0f} B"
        )
    print()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="What tags and attempts cost the application.")
    parser.add_argument("--runs", type=int, default=7, help="of each way; the least counts")
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench/overhead.json"), help="where to write it"
    )
    options = parser.parse_args()
    load = os.getloadavg()[0]
    folder = server.new_folder()
    try:
        own = server.prepare(folder / "server")
        try:
            own.start()
            results, version = compare(f"{own.dsn} dbname=postgres", options.runs)
        finally:
            own.close()
    finally:
        shutil.rmtree(folder)
    facts = {
        "postgresql": f"{version}, fsync off",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": f"{os.cpu_count()}",
        "load before": f"{load:.2f}",
        "rows and transactions": f"{ROWS:,} and {TRANSACTIONS:,}, least of {options.runs}",
    }
    report(results, facts)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"environment": facts, "results": [asdict(one) for one in results]}
    options.json.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written: {options.json}")


if __name__ == "__main__":
    main()
