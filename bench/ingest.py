"""How fast the log becomes a ledger: `flux up --once` beside `pg_recvlogical -f /dev/null`.

    make bench-ingest ARGS="[--sets NAMES] [--transactions N] [--runs N] [--major N]"

The same prepared log is read again and again: each run starts from a copy of a slot that stands before the
workload, and from a copy of the ledger as the baseline left it. Both programs are timed from start to end,
imports and connecting included, in turn, with the same plugin and options. `flux up` writes a durable
ledger (every file and the catalog are fsynced before the server hears of it); `pg_recvlogical` writes
nothing. Both read over a loopback connection from a server on this machine, which needs processors too.

Sets: `tpcb` is pgbench's TPC-B; `tpcb-rollbacks` the same with attempts recorded; `wide` updates rows of 60
columns; `toast` updates a small column of rows with 20 kB out of line, every fourth time the large one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
from run import FLUX, Report, Spent, flux, server_of, spend

from flux.decoder.wire import default_options
from servers import Database, Server

GOAL = 0.7
HEADING = "set", "plugin", "changes", "pg_recvlogical s", "flux s", "cpu s", "peak MiB", "changes/s", "ratio"
PLUGINS = ("pgoutput", "wal2json")
SCALE = 10
CLIENTS = 4
WIDE_COLUMNS = 60


@dataclass(frozen=True, slots=True)
class Run:
    """One program, once."""

    workload: str
    plugin: str
    program: str
    spent: Spent


@dataclass(frozen=True, slots=True)
class Workload:
    """Tables and what is done to them."""

    tables: tuple[str, ...]
    rollbacks: bool
    fill: Callable[[Database], None]
    work: Callable[[Database, int], None]


def pgbench(database: Database, *words: str) -> None:
    program = database.server.installation.program("pgbench")
    subprocess.run([program, "-n", *words, database.dsn], check=True, capture_output=True)


def script(database: Database, text: str, transactions: int) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(text)
        file.flush()
        each = str(max(1, transactions // CLIENTS))
        pgbench(database, "-c", str(CLIENTS), "-t", each, "-M", "prepared", "-f", file.name)


def fill_tpcb(database: Database) -> None:
    pgbench(database, "-i", "-q", "-s", str(SCALE))


def work_tpcb(database: Database, transactions: int) -> None:
    pgbench(database, "-c", str(CLIENTS), "-t", str(transactions // CLIENTS), "-M", "prepared")


def fill_wide(database: Database) -> None:
    columns = ", ".join(f"c{number} text" for number in range(WIDE_COLUMNS))
    values = ", ".join(f"md5((n * {number + 1})::text)" for number in range(WIDE_COLUMNS))
    with database.connect() as connection:
        connection.execute(f"create table wide (id int primary key, n int not null default 0, {columns})")
        connection.execute(f"insert into wide select n, 0, {values} from generate_series(1, 10000) n")  # noqa: S608


def work_wide(database: Database, transactions: int) -> None:
    text = "\\set id random(1, 10000)\nupdate wide set n = n + 1, c7 = md5(n::text) where id = :id;\n"
    script(database, text, transactions)


def fill_toast(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("create table toasted (id int primary key, n int not null default 0, doc text)")
        connection.execute("alter table toasted alter doc set storage external")
        connection.execute(
            "insert into toasted select n, 0, repeat(md5(n::text), 625) from generate_series(1, 2000) n"
        )


def work_toast(database: Database, transactions: int) -> None:
    small = "\\set id random(1, 2000)\nupdate toasted set n = n + 1 where id = :id;\n"
    large = "update toasted set doc = repeat(md5(n::text), 625) where id = :id;\n"
    script(database, small * 3 + "\\set id random(1, 2000)\n" + large, transactions // 4)


TPCB = ("pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history")
WORKLOADS = {
    "tpcb": Workload(TPCB, False, fill_tpcb, work_tpcb),
    "tpcb-rollbacks": Workload(TPCB, True, fill_tpcb, work_tpcb),
    "wide": Workload(("wide",), False, fill_wide, work_wide),
    "toast": Workload(("toasted",), False, fill_toast, work_toast),
}


class Bench:
    """One workload's log, ready to be read from its start any number of times."""

    def __init__(self, server: Server, name: str, transactions: int, folder: Path) -> None:
        self.name = name
        self.folder = folder
        workload = WORKLOADS[name]
        self.database = server.create_database(name.replace("-", "_"))
        workload.fill(self.database)
        self.slots: dict[str, str] = {}
        self.plugins = [plugin for plugin in PLUGINS if plugin in server.plugins]
        for plugin in self.plugins:
            kept = self.ledger(plugin, "kept")
            place = ("--dsn", self.database.dsn, "--ledger", str(kept))
            flux("init", *place, "--plugin", plugin, "--source", f"{self.database.name}_{plugin}")
        words = ["--rollbacks"] if workload.rollbacks else []
        flux("track", *workload.tables, *words, "--dsn", self.database.dsn)
        with self.database.connect() as connection:
            for plugin in self.plugins:
                kept = self.ledger(plugin, "kept")
                flux("up", "--once", "--port", "0", "--dsn", self.database.dsn, "--ledger", str(kept))
                row = connection.execute(
                    "select slot_name from pg_replication_slots where database = %s and plugin = %s",
                    [self.database.name, plugin],
                ).fetchone()
                assert row is not None
                self.slots[plugin] = row[0]
                self.copy_slot(row[0], f"{row[0]}_kept")
            before = changes(connection)
            workload.work(self.database, transactions)
            self.rows = changes(connection) - before
            row = connection.execute("select pg_current_wal_flush_lsn()::text").fetchone()
            assert row is not None
            self.end = row[0]
            # pg_recvlogical ends with the first message behind the end, or waits for a keepalive.
            connection.execute("select pg_logical_emit_message(true, 'bench', 'end')")

    def ledger(self, plugin: str, which: str) -> Path:
        """Return the place of a plugin's ledger: as the baseline left it, or of the last run."""
        return self.folder / f"{self.name}-{plugin}-{which}"

    def copy_slot(self, slot: str, to: str) -> None:
        """Make `to` stand where `slot` stands."""
        with self.database.connect() as connection:
            connection.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s",
                [to],
            )
            connection.execute("select pg_copy_logical_replication_slot(%s, %s)", [slot, to])

    def recvlogical(self, plugin: str) -> Run:
        """Read the log with PostgreSQL's own client, into nothing."""
        slot = self.slots[plugin]
        self.copy_slot(f"{slot}_kept", f"{slot}_read")
        command = [self.database.server.installation.program("pg_recvlogical"), "-d", self.database.dsn]
        command += ["-S", f"{slot}_read", "--start", "-f", "/dev/null", "--no-loop", f"--endpos={self.end}"]
        for option, value in default_options(plugin).items():
            command += ["-o", f"{option}={value}"]
        spent = spend(command)
        with self.database.connect() as connection:
            connection.execute("select pg_drop_replication_slot(%s)", [f"{slot}_read"])
        return Run(self.name, plugin, "pg_recvlogical", spent)

    def flux(self, plugin: str) -> Run:
        """Read the log into a ledger."""
        place = ["--dsn", self.database.dsn, "--ledger", str(self.renewed(plugin))]
        return Run(self.name, plugin, "flux", spend([FLUX, "up", "--once", "--port", "0", *place]))

    def idle(self, plugin: str) -> float:
        """Return the seconds of a run that has nothing to read, after `flux`."""
        ledger = self.ledger(plugin, "run")
        words = ("--port", "0", "--dsn", self.database.dsn, "--ledger", str(ledger))
        return spend([FLUX, "up", "--once", *words]).wall_s

    def renewed(self, plugin: str) -> Path:
        """Set slot and ledger back to where the log begins; return the ledger."""
        slot = self.slots[plugin]
        self.copy_slot(f"{slot}_kept", slot)
        ledger = self.ledger(plugin, "run")
        shutil.rmtree(ledger, ignore_errors=True)
        shutil.copytree(self.ledger(plugin, "kept"), ledger)
        os.sync()
        return ledger

    def stored(self, plugin: str) -> int:
        """Return how many changes of the workload the ledger of the last run holds."""
        query = "select count(*) from changes where op <> 'baseline' and outcome = 'committed'"
        return int(flux("sql", "--ledger", str(self.ledger(plugin, "run")), "-f", "csv", query).split()[-1])

    def close(self) -> None:
        """Give the slots and the ledgers back."""
        for slot in self.slots.values():
            with self.database.connect() as connection:
                for each in (slot, f"{slot}_kept"):
                    connection.execute("select pg_drop_replication_slot(%s)", [each])
        for plugin in self.plugins:
            for which in ("kept", "run"):
                shutil.rmtree(self.ledger(plugin, which), ignore_errors=True)


def changes(connection: psycopg.Connection[tuple[int]]) -> int:
    """Return how many rows were inserted, updated and deleted in this database's tables so far."""
    connection.execute("select pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
    row = connection.execute(
        "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables"
        " where schemaname = 'public'"
    ).fetchone()
    assert row is not None
    return row[0]


def compare(bench: Bench, runs: int, report: Report) -> list[float]:
    """Add the rows of a set; return the seconds of runs that had nothing to read."""
    idle: list[float] = []
    for plugin in bench.plugins:
        done: dict[str, list[Spent]] = {"pg_recvlogical": [], "flux": []}
        for _ in range(runs):
            for one in (bench.recvlogical(plugin), bench.flux(plugin)):
                done[one.program].append(one.spent)
                report.raw.append(one)
        stored = bench.stored(plugin)
        if stored < bench.rows:
            raise SystemExit(f"{bench.name} {plugin}: {bench.rows} changes, of which the ledger has {stored}")
        peer, ours = (median([each.wall_s for each in done[name]]) for name in done)
        cpu = median([each.cpu_s for each in done["flux"]])
        peak = max(each.peak_bytes for each in done["flux"])
        idle.append(bench.idle(plugin))
        report.add(
            bench.name,
            plugin,
            f"{bench.rows:,}",
            f"{peer:.2f}",
            f"{ours:.2f}",
            f"{cpu:.2f}",
            f"{peak >> 20}",
            f"{bench.rows / ours:,.0f}",
            f"{peer / ours:.2f}",
        )
    return idle


def main() -> None:
    parser = argparse.ArgumentParser(description="The log's speed against pg_recvlogical's.")
    parser.add_argument("--sets", default=",".join(WORKLOADS), help="of: " + ", ".join(WORKLOADS))
    parser.add_argument(
        "--transactions", type=int, default=200_000, help="of pgbench; toast a quarter, each of four"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each program; the median counts")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL; only 15 has wal2json here")
    options = parser.parse_args()
    names: Sequence[str] = options.sets.split(",")
    report = Report("ingest", HEADING)
    idle: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as folder,
        server_of(options.major, report, shared_buffers="256MB", max_wal_size="8GB") as server,
    ):
        for name in names:
            bench = Bench(server, name, options.transactions, Path(folder))
            idle += compare(bench, options.runs, report)
            bench.close()
    low = [f"{row[0]} with {row[1]}" for row in report.rows if float(row[-1]) < GOAL]
    verdict = f"missed by {', '.join(low)}" if low else "met"
    report.notes.append(f"goal: a ratio of {GOAL} or more: {verdict}")
    report.notes.append(f"a run of flux with nothing to read takes {median(idle):.2f} s")
    report.finish()


if __name__ == "__main__":
    main()
