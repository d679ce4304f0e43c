"""What the recorder costs an application: the shop's requests per second and p99, without it and with it.

    make bench-recorder ARGS="[--seconds N] [--runs N] [--connections N]"

The processor time of its process is told as well, which other work on the machine disturbs less.

examples/shop runs in one process; the load, the server, and `flux up` where it runs share the machine's
processors with it. In turn, each in a new process: off (FLUX_RECORDER=off); on, with bodies, to a `flux up`;
on and nobody listens; on and who listens never answers. The medians are compared with off. Three of ten
requests write a row of a tracked table; its triggers run in all ways, for they are not the recorder's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import median, quantiles

import psutil
from run import FLUX, Report, flux, server_of

from servers import Database
from servers.server import free_port

GOAL = 0.05
"""Share of the requests per second that may be lost with the recorder on."""
WAYS = ("off", "on", "on, daemon down", "on, daemon silent")
LOAD = Path(__file__).with_name("recorder_load.py")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the load."""

    way: str
    requests_per_s: float
    p99_ms: float
    cpu_ms: float
    """Processor time of the shop's process for each request."""
    other: int
    """Answers that were not 200."""


@contextmanager
def listening(way: str, port: int, database: Database, ledger: Path) -> Iterator[None]:
    """Be what the recorder sends to."""
    with ExitStack() as ends:
        if way == "on":
            words = [FLUX, "up", "--port", "0", "--otlp-port", str(port), "--dsn", database.dsn]
            up = subprocess.Popen([*words, "--ledger", str(ledger)], stderr=subprocess.PIPE, text=True)
            ends.callback(up.wait)
            ends.callback(up.send_signal, signal.SIGTERM)
            assert up.stderr is not None
            for line in up.stderr:
                if "OpenTelemetry" in line:
                    break
            ends.callback(up.stderr.close)
        elif way == "on, daemon silent":
            ends.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


@contextmanager
def shop(way: str, port: int, database: Database, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run the shop; yields its port and its process."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    surroundings |= {
        "SHOP_DSN": database.dsn,
        "PAYMENTS_URL": "http://127.0.0.1:1",
        "FLUX_RECORDER": "off" if way == "off" else "on",
        "FLUX_OTLP_ENDPOINT": f"http://127.0.0.1:{port}/v1/traces",
        "FLUX_SPOOL": str(folder / "spool"),
        "PYTHONPATH": str(Path(__file__).parents[1] / "examples"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "shop", "0"], stdout=subprocess.PIPE, env=surroundings, cwd=folder, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[-1]), psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stdout.close()


def load(
    port: int, process: psutil.Process, seconds: float, connections: int
) -> tuple[float, float, float, int]:
    """Return requests per second, 99th percentile and processor time in ms, answers other than 200."""
    before = process.cpu_times()
    command = [sys.executable, str(LOAD), str(port), str(seconds), str(connections)]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    p99_ms = 1e3 * quantiles(done["seconds"], n=100)[98]
    return done["count"] / seconds, p99_ms, 1e3 * used / done["count"], done["other"]


def measure(database: Database, folder: Path, options: argparse.Namespace) -> list[Run]:
    """Run every way in turn."""
    ledger = folder / "ledger"
    place = ["--dsn", database.dsn]
    flux("init", *place, "--ledger", str(ledger))
    flux("track", "users", *place)
    runs = []
    for number in range(options.runs + 1):
        for way in WAYS:
            port = free_port()
            with listening(way, port, database, ledger), shop(way, port, database, folder) as at:
                load(*at, 1.0, options.connections)
                one = Run(way, *load(*at, options.seconds, options.connections))
            if number:  # the first round fills caches
                runs.append(one)
                print(
                    f"{way:<20} {one.requests_per_s:>8,.0f}/s {one.p99_ms:>7.1f} ms {one.cpu_ms:>6.2f} ms",
                    flush=True,
                )
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description="What the recorder costs an application.")
    parser.add_argument("--seconds", type=float, default=8, help="of each run of the load")
    parser.add_argument("--runs", type=int, default=5, help="of each way; the median counts")
    parser.add_argument("--connections", type=int, default=16, help="at once")
    options = parser.parse_args()
    report = Report("recorder", ("way", "requests/s", "lost", "p99 ms", "processor ms/request"))
    report.facts["load"] = f"{options.connections} connections, {options.seconds:g} s each"
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as folder,
        server_of(15, report, synchronous_commit="off") as server,
    ):
        database = server.create_database("shop")
        with database.connect() as connection:
            connection.execute(resources.files("flux.cli.demo.example").joinpath("schema.sql").read_bytes())
            connection.execute(
                "insert into users (id, email, plan) select n, n || '@example.com', 'free'"
                " from generate_series(100, 1099) as n"
            )
        report.raw += measure(database, Path(folder), options)
    base = median([one.requests_per_s for one in report.raw if one.way == "off"])
    for way in WAYS:
        mine = [one for one in report.raw if one.way == way]
        speed = median([one.requests_per_s for one in mine])
        lost = 1 - speed / base
        p99_ms, cpu_ms = (median([getattr(one, name) for one in mine]) for name in ("p99_ms", "cpu_ms"))
        report.add(way, f"{speed:,.0f}", f"{100 * lost:.1f} %", f"{p99_ms:.1f}", f"{cpu_ms:.2f}")
        if way != "off":
            verdict = "met" if lost <= GOAL else "missed"
            report.notes.append(f"goal, {way}: at most {100 * GOAL:.0f} % of the requests lost: {verdict}")
        if failed := sum(one.other for one in mine):
            report.notes.append(f"{way}: {failed} answers were not 200")
    report.finish()


if __name__ == "__main__":
    main()
