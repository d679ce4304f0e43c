"""What recording costs the application: pgbench's TPC-B, with and without, beside audits by trigger.

    make bench-burden ARGS="[--seconds N] [--runs N] [--major N]"

Each way has a database of its own on one server (fsync on); pgbench runs on all of them in turn, briefly,
many times over. A machine's speed changes from minute to minute, so each run is compared with the one of its
own turn on the database that has nothing, and the median of these shares counts. CPU-bound:
`synchronous_commit = off`, so that the processors and not the disk are the limit; synchronous: as PostgreSQL
is shipped. pgbench shares the machine's processors with the server. No capture runs but where it says so:
there `flux up` works on this machine, too, where in production it would have one of its own.

A tagged transaction says its request, actor and attributes in one statement, sent together with `begin` as
the recorder does: as settings for the triggers, or as settings and a message (sql/recorder).

The audits are written here after their projects' documentation: an event table for each table, filled by a
row trigger (django-pghistory), and one JSONB table for all, with its four indexes (supabase's supa_audit).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ingest import SCALE, TPCB, fill_tpcb
from run import FLUX, Report, flux, server_of

from flux import sql
from servers import Database, Server

GOALS = {
    "tags by trigger": (0.08, 0.05),
    "tags by the recorder's message": (0.08, 0.05),
    "tags and attempts": (0.20, 0.12),
}
"""Shares of the transactions per second that may be lost: CPU-bound, synchronous."""
MODES = {"CPU-bound": "off", "synchronous": "on"}
CLIENTS = 4

SCRIPT = r"""
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
{begin}
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
update pgbench_tellers set tbalance = tbalance + :delta where tid = :tid;
update pgbench_branches set bbalance = bbalance + :delta where bid = :bid;
insert into pgbench_history (tid, bid, aid, delta, mtime)
    values (:tid, :bid, :aid, :delta, current_timestamp);
end;
"""
"""pgbench's TPC-B, word for word but for how it begins."""
TAGGED = "\\startpipeline\nbegin;\n{tag};\n\\endpipeline"

EVENTS = """
create table {table}_event (pgh_id bigserial primary key, pgh_created_at timestamptz not null,
    pgh_label text not null, pgh_obj_id int, pgh_context_id uuid, like {table});
create index on {table}_event (pgh_obj_id);
create index on {table}_event (pgh_context_id);
create function {table}_event() returns trigger language plpgsql as $$
begin
    insert into {table}_event (pgh_created_at, pgh_label, pgh_obj_id, pgh_context_id, {columns})
    values (now(), lower(tg_op), {key}, null, {values});
    return null;
end $$;
create trigger event_insert after insert on {table} for each row execute function {table}_event();
create trigger event_update after update on {table} for each row
    when (old.* is distinct from new.*) execute function {table}_event();
"""

AUDIT = """
create table record_version (id bigserial primary key, record_id uuid, old_record_id uuid, op text not null,
    ts timestamptz not null default now(), table_oid oid not null, table_schema name not null,
    table_name name not null, record jsonb, old_record jsonb);
create index on record_version (record_id) where record_id is not null;
create index on record_version (old_record_id) where old_record_id is not null;
create index on record_version using brin (ts);
create index on record_version (table_oid);
create function record_id(relation oid, key text[], record jsonb) returns uuid language sql stable as $$
    select md5(relation::text || (select jsonb_agg(record -> name)::text from unnest(key) as name))::uuid
    where cardinality(key) > 0
$$;
create function primary_key(relation oid) returns text[] language sql stable security definer as $$
    select coalesce(array_agg(a.attname::text order by a.attnum), '{}')
    from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
    where i.indrelid = relation and i.indisprimary
$$;
create function audit() returns trigger language plpgsql security definer as $$
declare
    key text[] := primary_key(tg_relid);
    record jsonb := to_jsonb(new);
    old_record jsonb := to_jsonb(old);
begin
    insert into record_version (record_id, old_record_id, op, table_oid, table_schema, table_name,
        record, old_record)
    values (record_id(tg_relid, key, record), record_id(tg_relid, key, old_record), tg_op, tg_relid,
        tg_table_schema, tg_table_name, record, old_record);
    return coalesce(new, old);
end $$;
"""


@dataclass(frozen=True, slots=True)
class Run:
    """pgbench, once."""

    way: str
    mode: str
    turn: int
    """Runs of one turn follow each other."""
    tps: float
    log_bytes: float
    """Of the server's log, a transaction."""


def nothing(_database: Database, _folder: Path) -> None:
    """Leave the database as pgbench made it."""


def tracked(*words: str) -> Callable[[Database, Path], None]:
    """Return what tracks pgbench's tables with these options."""

    def prepare(database: Database, folder: Path) -> None:
        place = ["--dsn", database.dsn]
        flux("init", *place, "--ledger", str(folder / database.name))
        flux("track", *TPCB, *words, *place)

    return prepare


def events(database: Database, _folder: Path) -> None:
    """Give each table an event table that a trigger fills."""
    with database.connect() as connection:
        for table in TPCB:
            rows = connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0", [table]
            ).fetchall()
            names = [name for (name,) in rows]
            key = "null" if table == "pgbench_history" else f"new.{names[0]}"
            values = ", ".join(f"new.{name}" for name in names)
            text = EVENTS.format(table=table, columns=", ".join(names), key=key, values=values)
            connection.execute(text)


def audit(database: Database, _folder: Path) -> None:
    """Give all tables one JSONB audit table that a trigger fills."""
    with database.connect() as connection:
        connection.execute(AUDIT)
        for table in TPCB:
            connection.execute(
                f"create trigger audit after insert or update or delete on {table}"
                " for each row execute function audit()"
            )


@dataclass(frozen=True, slots=True)
class Way:
    """One way to record."""

    prepare: Callable[[Database, Path], None]
    tag: str | None = None
    """The file of sql/recorder that tags its transactions."""

    def script(self) -> str:
        """Return what pgbench runs."""
        if self.tag is None:
            return SCRIPT.format(begin="begin;")
        lines = sql.text(f"recorder/{self.tag}.sql").splitlines()
        text = " ".join(line for line in lines if not line.startswith("--"))
        for place, value in {"$1": "'r' || :aid", "$2": "'anna'", "$3": "''"}.items():
            text = text.replace(place, value)
        return SCRIPT.format(begin=TAGGED.format(tag=text))


AUDITS = ("event tables (pghistory)", "JSONB audit (supa_audit)")
WAYS: dict[str, Way] = {
    "nothing": Way(nothing),
    "tags by trigger": Way(tracked(), "tag"),
    "tags by the recorder's message": Way(tracked("--no-trigger"), "tag_message"),
    "tags and attempts": Way(tracked("--rollbacks"), "tag"),
    AUDITS[0]: Way(events),
    AUDITS[1]: Way(audit),
    "tags and attempts, captured here": Way(tracked("--rollbacks"), "tag"),
}


def log_bytes(database: Database) -> int:
    with database.connect() as connection:
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row is not None
    return int(row[0])


def pgbench(database: Database, script: Path, way: str, mode: str, turn: int, seconds: int) -> Run:
    """Run TPC-B for so long."""
    program = database.server.installation.program("pgbench")
    options = f"-c synchronous_commit={MODES[mode]}"
    before = log_bytes(database)
    done = subprocess.run(
        [
            *(program, "-n", "-M", "prepared", "-c", str(CLIENTS), "-T", str(seconds)),
            *("-D", f"scale={SCALE}", "-f", script, database.dsn),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PGOPTIONS": options},
    )
    tps = re.search(r"tps = ([0-9.]+)", done.stdout)
    count = re.search(r"transactions actually processed: ([0-9]+)", done.stdout)
    assert tps is not None, done.stdout
    assert count is not None, done.stdout
    return Run(way, mode, turn, float(tps[1]), (log_bytes(database) - before) / int(count[1]))


def measure(server: Server, seconds: int, runs: int, folder: Path) -> list[Run]:
    """Run pgbench on every way in turn."""
    databases: dict[str, Database] = {}
    scripts: dict[str, Path] = {}
    for number, (way, how) in enumerate(WAYS.items()):
        databases[way] = server.create_database(f"way_{number}")
        fill_tpcb(databases[way])
        how.prepare(databases[way], folder)
        scripts[way] = folder / f"way_{number}.sql"
        scripts[way].write_text(how.script())
    results = []
    for number in range(runs + 1):
        for mode in MODES:
            for way, database in databases.items():
                with database.connect() as connection:
                    connection.execute("vacuum")
                capture = None
                if way.endswith("captured here"):
                    place = ["--dsn", database.dsn, "--ledger", str(folder / database.name)]
                    words = ["up", "--port", "0", *place]
                    flux(*words, "--once")
                    capture = subprocess.Popen([FLUX, *words], stderr=subprocess.DEVNULL)
                one = pgbench(database, scripts[way], way, mode, number, seconds)
                if capture is not None:
                    capture.send_signal(signal.SIGTERM)
                    capture.wait()
                if number:  # the first round fills caches
                    results.append(one)
                    print(f"{mode:<12} {way:<34} {one.tps:>8,.0f} {one.log_bytes:>8,.0f}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="What recording costs the application.")
    parser.add_argument("--seconds", type=int, default=2, help="of each run of pgbench")
    parser.add_argument("--runs", type=int, default=15, help="of each way and mode; the median counts")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL")
    options = parser.parse_args()
    heading = "way", *(f"{mode} {what}" for mode in MODES for what in ("tps", "lost")), "log bytes"
    report = Report("burden", heading, {"pgbench": f"{CLIENTS} clients, scale 10"})
    # No checkpoint while it runs: after one the log holds whole pages, whoever wrote to them.
    settings = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "512MB"}
    settings |= {"max_wal_size": "16GB", "checkpoint_timeout": "1h"}
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as folder,
        server_of(options.major, report, **settings) as server,
    ):
        report.raw += measure(server, options.seconds, options.runs, Path(folder))
    lost: dict[str, list[float]] = {}
    for way in WAYS:
        cells = []
        for mode in MODES:
            mine, base = (
                {each.turn: each.tps for each in report.raw if each.way == name and each.mode == mode}
                for name in (way, "nothing")
            )
            share = median(1 - mine[turn] / base[turn] for turn in mine)
            lost.setdefault(way, []).append(share)
            cells += [f"{median(mine.values()):,.0f}", f"{100 * share:.1f} %"]
        written = median([each.log_bytes for each in report.raw if each.way == way])
        report.add(way, *cells, f"{written:,.0f}")
    for way, goals in GOALS.items():
        for mode, share, goal in zip(MODES, lost[way], goals, strict=True):
            verdict = "met" if share <= goal else "missed"
            report.notes.append(f"goal, {way}, {mode}: at most {100 * goal:.0f} % lost: {verdict}")
        for audit_way in AUDITS:
            less = [mine < theirs for mine, theirs in zip(lost[way], lost[audit_way], strict=True)]
            verdict = "met" if all(less) else "missed"
            report.notes.append(f"goal, {way}: less than {audit_way} in both modes: {verdict}")
    report.finish()


if __name__ == "__main__":
    main()
