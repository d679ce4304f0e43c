"""How fast the browser is over a large ledger: first paint, key to paint, memory.

    make bench-tui ARGS="[--changes N] [--requests N] [--keys N] [--ledger PATH]"

A ledger of generated changes, ten a request; of the requests one in a thousand failed. With --ledger it is
kept there, and used as it is if it is there already. `flux tui` itself runs in a pseudo-terminal of 120
columns and 40 lines: from the start of the process to the first frame, and to the incidents; keys in the
list of requests; keys that open a view, to its frame and its answer; its largest resident set (Linux).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ledger_load
import numpy as np
import pyarrow as pa
from run import FLUX, Report
from tui_terminal import Terminal

from flux.ledger import open_ledger
from flux.ledger.writer import Writer
from flux.model.request import EXCHANGES, REQUESTS, SPANS

PAINT_GOAL_S, KEY_GOAL_MS, MEMORY_GOAL_MIB = 0.8, 100.0, 300
BATCH_REQUESTS = 50_000
FAILED_EVERY = 1_000
START = datetime.fromtimestamp(ledger_load.START_US / 1e6, UTC)


KEYS = ("j", "j", "j", "k", "\x04", "j", "\x04", "k", "\x15", "j")
"""Down, up, Ctrl-D and Ctrl-U (a page down, and up), again and again.

Older requests are asked for on the way."""
VIEWS = (
    ("requests", "2", "Requests", "/checkout"),
    ("a request", "\r", "Waterfall", "5.0 ms"),
    ("tables", "3", "Tables", "orders"),
    ("a table", "\r", "╭─ Rows", "EUR"),
    ("a row", "\r", "Blame", "currency"),
    ("incidents", "1", "Requests and errors", "PaymentTimeout"),
    ("an incident", "\r", "╮╭─ Rows", "FAILED"),
)
"""A view, the key that opens it from the one before, words of its frame, and words of its answer."""


@dataclass(frozen=True, slots=True)
class Run:
    """One start of the browser."""

    first_paint_s: float
    rows_s: float
    """Until the incidents were on the screen."""
    key_ms: list[float]
    """Of keys that move in the requests, to the end of their frame."""
    view_ms: dict[str, float]
    """Of keys that open a view, to its frame."""
    answer_ms: dict[str, float]
    """The same, to what it shows."""
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


def measured(ledger: Path, keys: int) -> Run:
    """Run the browser once."""
    terminal = Terminal([FLUX, "tui", "--ledger", str(ledger)])
    first_paint_s = terminal.until("Incidents")
    rows_s = terminal.until("PaymentTimeout")
    terminal.settle()
    view_ms, answer_ms, key_ms = {}, {}, []
    for name, key, frame, answer in VIEWS:
        view_ms[name], answer_ms[name] = terminal.press(key, frame, answer)
        terminal.settle()
        if name == "requests":
            key_ms = [terminal.press(KEYS[nth % len(KEYS)], "")[0] for nth in range(keys)]
            terminal.settle()
    run = Run(first_paint_s, rows_s, key_ms, view_ms, answer_ms, terminal.peak_mib())
    terminal.close()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10_000_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ledger", type=Path)
    asked = parser.parse_args()
    report = Report("tui", ("run", "first paint s", "rows s", "key p50 ms", "key p95 ms", "peak MiB"))
    with tempfile.TemporaryDirectory(prefix="flux-bench-") as folder:
        ledger = asked.ledger or Path(folder) / "ledger"
        if not ledger.exists():
            ledger_load.fill(ledger, asked.changes, asked.changes // 10)
            record(ledger, asked.requests)
        for nth in range(1, asked.runs + 1):
            one = measured(ledger, asked.keys)
            report.raw.append(one)
            half, most = np.percentile(one.key_ms, [50, 95])
            figures = f"{one.first_paint_s:.2f}", f"{one.rows_s:.2f}", f"{half:.0f}", f"{most:.0f}"
            report.add(str(nth), *figures, f"{one.peak_mib:.0f}")
        with open_ledger(ledger) as reader:
            rows = reader.info()["rows"]
    for name, *_ in VIEWS:
        frame, answer = (
            np.median([getattr(one, field)[name] for one in report.raw]) for field in ("view_ms", "answer_ms")
        )
        report.notes.append(f"{name}: frame {frame:.0f} ms, answer {answer:.0f} ms (medians)")
    report.notes.append(
        f"{rows['changes']:,} changes, {rows['requests']:,} requests, {asked.keys:,} keys a run"
    )
    goals = f"first paint < {PAINT_GOAL_S} s, key p95 < {KEY_GOAL_MS:.0f} ms, memory < {MEMORY_GOAL_MIB} MiB"
    report.notes.append(f"goals: {goals}")
    report.finish()


if __name__ == "__main__":
    main()
