"""How much room a change takes: the compacted ledger beside a JSONB audit table with its indexes.

    make bench-storage ARGS="[--transactions N] [--major N]"

One database has both: pgbench's tables are tracked, and their row triggers fill the audit table of
bench/burden.py. The ledger's bytes are its catalog and the files in it, less what the baseline took.
The audit table holds no rolled-back change and no request.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from burden import audit, tracked
from ingest import fill_tpcb, work_tpcb
from run import Report, flux, server_of, size_of

GOAL = 8
"""The audit table takes at least so many times the ledger's room."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a number of changes took."""

    what: str
    changes: int
    bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes a change.")
    parser.add_argument("--transactions", type=int, default=100_000, help="of pgbench's TPC-B")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL")
    options = parser.parse_args()
    report = Report("storage", ("what", "changes", "MB", "bytes a change"))
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as name,
        server_of(options.major, report, shared_buffers="256MB", max_wal_size="8GB") as server,
    ):
        folder = Path(name)
        database = server.create_database("stored")
        ledger = folder / database.name
        place = ["--dsn", database.dsn, "--ledger", str(ledger)]

        def captured() -> int:
            flux("up", "--once", "--port", "0", *place)
            flux("ledger", "compact", "--ledger", str(ledger))
            return size_of(ledger)

        fill_tpcb(database)
        tracked("--rollbacks")(database, folder)
        before = captured()
        audit(database, folder)
        work_tpcb(database, options.transactions)
        taken = captured() - before
        with database.connect() as connection:
            connection.execute("vacuum analyze record_version")
            row = connection.execute(
                "select count(*), pg_total_relation_size('record_version') from record_version"
            ).fetchone()
        assert row is not None
        runs = [Run("JSONB audit table", *row), Run("ledger, compacted", row[0], taken)]
    for one in runs:
        report.raw.append(one)
        report.add(one.what, f"{one.changes:,}", f"{one.bytes / 1e6:.1f}", f"{one.bytes / one.changes:.1f}")
    times = runs[0].bytes / runs[1].bytes
    verdict = "met" if times >= GOAL else "missed"
    report.notes.append(f"goal: the ledger takes 1/{GOAL} or less: 1/{times:.1f}, {verdict}")
    report.finish()


if __name__ == "__main__":
    main()
