"""How fast the browser is over a large ledger: first paint, key to paint, memory.

    make bench-tui ARGS="[--changes N] [--requests N] [--keys N]"

A ledger of generated changes, ten a request; of the requests one in a thousand failed. The browser runs as a
process of its own without a terminal (`run_test`, 120×40): from the start of Python to the first screen;
then keys in lists, from the key to the screen drawn; its largest resident set (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ledger_load
import numpy as np
import pyarrow as pa
from run import Report

from flux.ledger.writer import Writer
from flux.model.request import EXCHANGES, REQUESTS, SPANS

PAINT_GOAL_S, KEY_GOAL_MS, MEMORY_GOAL_MIB = 0.8, 100.0, 300
BATCH_REQUESTS = 50_000
FAILED_EVERY = 1_000
START = datetime.fromtimestamp(ledger_load.START_US / 1e6, UTC)


@dataclass(frozen=True, slots=True)
class Run:
    """One start of the browser."""

    changes: int
    requests: int
    first_paint_s: float
    answered_s: float
    key_ms: list[float]
    peak_mib: float


def record(path: Path, count: int) -> None:
    """Add requests, one for each ten changes of `ledger_load`, as the intake does."""
    with Writer.open(path, source="shop") as writer:
        for first in range(0, count, BATCH_REQUESTS):
            rows = [_request(nth) for nth in range(first, min(count, first + BATCH_REQUESTS))]
            table = pa.Table.from_pylist(rows, schema=REQUESTS)
            writer.record(table, SPANS.empty_table(), EXCHANGES.empty_table())
            writer.maintain(wait=True)


def _request(nth: int) -> dict[str, object]:
    failed = nth % FAILED_EVERY == FAILED_EVERY - 1
    return {
        "request_id": f"req-{nth}",
        "trace_id": f"{nth:032x}",
        "service": "shop",
        "method": "POST",
        "route": "/checkout",
        "path": "/checkout",
        "status": 500 if failed else 200,
        "started_at": START + timedelta(milliseconds=10 * nth),
        "duration_ms": 5.0,
        "error_type": "shop.PaymentTimeout" if failed else None,
        "is_replay": False,
    }


def measured(ledger: Path, changes: int, requests: int, keys: int) -> Run:
    """Run the browser in a process of its own."""
    program = Path(__file__).with_name("tui_browsing.py")
    command = [sys.executable, str(program), str(ledger), str(keys), str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    return Run(changes, requests, **json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10_000_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    report = Report("tui", ("run", "first paint s", "answered s", "key p50 ms", "key p95 ms", "peak MiB"))
    with tempfile.TemporaryDirectory(prefix="flux-bench-") as folder:
        ledger = Path(folder) / "ledger"
        ledger_load.fill(ledger, asked.changes, asked.changes // 10)
        record(ledger, asked.requests)
        for nth in range(1, asked.runs + 1):
            one = measured(ledger, asked.changes, asked.requests, asked.keys)
            report.raw.append(one)
            half, most = np.percentile(one.key_ms, [50, 95])
            figures = f"{one.first_paint_s:.2f}", f"{one.answered_s:.2f}", f"{half:.0f}", f"{most:.0f}"
            report.add(str(nth), *figures, f"{one.peak_mib:.0f}")
    report.notes.append(f"{asked.changes:,} changes, {asked.requests:,} requests, {asked.keys:,} keys a run")
    goals = f"first paint < {PAINT_GOAL_S} s, key p95 < {KEY_GOAL_MS:.0f} ms, memory < {MEMORY_GOAL_MIB} MiB"
    report.notes.append(f"goals: {goals}")
    report.finish()


if __name__ == "__main__":
    main()
