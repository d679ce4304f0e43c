"""Where the time of capture goes: one log of a set, read by `flux up --once`, step by step.

    make bench-profile ARGS="[--sets NAMES] [--transactions N] [--runs N] [--major N]"

The logs are those of `make bench-ingest`. The steps are timed inside the process; *busy* is the time of the
processor in the step's own thread, so steps that run beside each other do not count twice. The server's
is that of its processes while they read for us.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from ingest import WORKLOADS, Bench
from run import Report, server_of

STEPS = {
    "the log, decoded by the server": "",
    "start: imports, ledger, connection": "",
    "the socket: messages out of libpq": "wire",
    "decode: messages into one buffer": "gather",
    "decode: split into values": "split",
    "decode: changes as columns": "columns",
    "decode: attempts and outcomes": "outcomes",
    "decode: the rest": "decode",
    "write: Parquet files": "files",
    "write: flush and commit": "commit",
    "compaction, in its thread": "merge",
}
"""What is shown → what is timed."""
WITHIN = {"gather": "decode", "split": "decode", "columns": "decode", "outcomes": "decode"}
CHILD = "FLUX_BENCH_PROFILE"


@dataclass(frozen=True, slots=True)
class Run:
    """One reading of a log."""

    workload: str
    plugin: str
    wall_s: float
    busy_s: dict[str, float]


def read(folder: Path, *words: str) -> None:
    """Be `flux up`, with clocks in it; write what they say into `folder`."""
    began = time.perf_counter()
    from flux.capture import stream
    from flux.cli import main
    from flux.decoder import decoder, pgoutput, wal2json, wire
    from flux.ledger import compaction, datafile, writer

    busy: dict[str, float] = {}
    held = threading.Lock()

    def clocked(owner: Any, name: str, step: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def outer(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return inner(*arguments, **options)
            finally:
                with held:
                    busy[step] = busy.get(step, 0.0) + time.thread_time() - start

        setattr(owner, name, outer)

    clocked(wire.Stream, "_run", "wire")
    clocked(decoder, "gather", "gather")
    for plugin in (pgoutput, wal2json):
        clocked(plugin, "decode", "split")
    clocked(decoder, "committed_changes", "columns")
    clocked(decoder.Decoder, "_resolve", "outcomes")
    clocked(decoder.Decoder, "decode", "decode")
    clocked(datafile.Draft, "add", "files")
    clocked(writer.Writer, "commit", "commit")
    clocked(compaction.Compactor, "_merge", "merge")
    loop = stream.Session.loop

    def timed_loop(session: stream.Session) -> bool:
        busy["start"] = time.perf_counter() - began
        return loop(session)

    stream.Session.loop = timed_loop  # type: ignore[assignment, method-assign]
    code = main.run(words)
    for step, whole in WITHIN.items():
        busy[whole] = busy.get(whole, 0.0) - busy.get(step, 0.0)
    (folder / "busy.json").write_text(json.dumps(busy))
    sys.exit(code)


def measure(bench: Bench, plugin: str, folder: Path) -> Run:
    """Read the log once."""
    ledger = bench.renewed(plugin)
    server = psutil.Process(bench.database.server.pid)

    def spent_by_server() -> float:
        times = server.cpu_times()
        return times.children_user + times.children_system

    before, start = spent_by_server(), time.perf_counter()
    words = ("up", "--once", "--port", "0", "--dsn", bench.database.dsn, "--ledger", str(ledger))
    command = [sys.executable, __file__, *words]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, CHILD: str(folder)})
    wall_s = time.perf_counter() - start
    busy = json.loads((folder / "busy.json").read_text())
    # A process of the server is counted once it has ended.
    while any("walsender" in " ".join(child.cmdline()) for child in server.children()):
        time.sleep(0.05)
    named = {shown: busy.get(step, 0.0) for shown, step in STEPS.items() if step}
    named["the log, decoded by the server"] = spent_by_server() - before
    named["start: imports, ledger, connection"] = busy["start"]
    return Run(bench.name, plugin, wall_s, named)


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of capture goes.")
    parser.add_argument("--sets", default=",".join(WORKLOADS), help="of: " + ", ".join(WORKLOADS))
    parser.add_argument("--transactions", type=int, default=200_000, help="as of bench-ingest")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    parser.add_argument("--major", type=int, default=15, help="of PostgreSQL; only 15 has wal2json here")
    options = parser.parse_args()
    report = Report("profile", ("seconds of the processor",))
    columns: list[list[Run]] = []
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as name,
        server_of(options.major, report, shared_buffers="256MB", max_wal_size="8GB") as server,
    ):
        folder = Path(name)
        for workload in options.sets.split(","):
            bench = Bench(server, workload, options.transactions, folder)
            for plugin in bench.plugins:
                columns.append([measure(bench, plugin, folder) for _ in range(options.runs)])
                report.raw += columns[-1]
                print(workload, plugin, f"{median([run.wall_s for run in columns[-1]]):.2f} s", flush=True)
            bench.close()
    report.heading = (*report.heading, *(f"{runs[0].workload} {runs[0].plugin}" for runs in columns))
    for step in STEPS:
        report.add(step, *(f"{median([run.busy_s[step] for run in runs]):.2f}" for runs in columns))
    report.add("by the clock", *(f"{median([run.wall_s for run in runs]):.2f}" for runs in columns))
    report.finish()


if __name__ == "__main__":
    if CHILD in os.environ:
        read(Path(os.environ[CHILD]), *sys.argv[1:])
    main()
