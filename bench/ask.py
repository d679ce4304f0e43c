"""How long a question takes as the ledger grows: history, blame and state of a row, a table at a time.

    make bench-ask ARGS="[--changes N,N,…] [--keys N] [--cold N]"

Ledgers of generated changes (ten a row, ten a transaction, one of ten columns 200 bytes), written through the
ledger's own writer in commits of 20,000: first as capture leaves them, with upkeep as shipped, then compacted
by hand. Each question is asked of keys drawn at random, in one process with the ledger open; the first answer
of a kind is left out. Cold: whole commands, imports and opening included. The files are in the cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import ledger_load
import numpy as np
from run import FLUX, Report, files_of, size_of, spend

from flux.ledger import Ledger, Writer, open_ledger

GOAL_MS = {10_000_000: 50.0, 100_000_000: 100.0}
"""Of the 95th percentile of history and blame, by changes."""
COLD_GOAL_S = 0.5
GROWTH_GOAL = 1.5
"""Ten times the changes cost at most so many times the time."""
ROW_CHANGES = 10


@dataclass(frozen=True, slots=True)
class Run:
    """One kind of question on one ledger."""

    changes: int
    state: str
    question: str
    milliseconds: list[float]


QUESTIONS: dict[str, Callable[[Ledger, str], object]] = {
    "history": lambda ledger, key: ledger.history("orders", key),
    "blame": lambda ledger, key: ledger.blame("orders", key),
    "at": lambda ledger, key: ledger.at("orders", key),
}


def ask(path: Path, changes: int, state: str, keys: int) -> list[Run]:
    """Ask each question of random keys."""
    draw = np.random.default_rng(7)
    results = []
    with open_ledger(path) as ledger:
        for name, question in QUESTIONS.items():
            times = []
            for key in draw.integers(0, changes // ROW_CHANGES, keys + 1).tolist():
                start = time.perf_counter()
                question(ledger, str(key))
                times.append(1e3 * (time.perf_counter() - start))
            results.append(Run(changes, state, name, times[1:]))
        start = time.perf_counter()
        ledger.at("orders", limit=100)
        results.append(
            Run(changes, state, "at, 100 rows of the table", [1e3 * (time.perf_counter() - start)])
        )
    return results


def cold(path: Path, changes: int, state: str, runs: int) -> list[Run]:
    """Ask in new processes."""
    results = []
    for name in ("history", "blame"):
        command = [FLUX, "state", name, "orders", "--id", str(changes // 100), "--ledger", str(path)]
        times = [1e3 * spend(command).wall_s for _ in range(runs + 1)]
        results.append(Run(changes, state, f"{name}, cold", times[1:]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Questions on growing ledgers.")
    parser.add_argument("--changes", default="1000000,10000000", help="sizes of the ledgers")
    parser.add_argument("--keys", type=int, default=200, help="of each question")
    parser.add_argument("--cold", type=int, default=7, help="runs of each command")
    options = parser.parse_args()
    report = Report("ask", ("changes", "ledger", "question", "p50 ms", "p95 ms"))
    for changes in map(int, options.changes.split(",")):
        with tempfile.TemporaryDirectory(prefix="flux-bench-") as folder:
            path = Path(folder) / "ledger"
            spent = ledger_load.fill(path, changes, changes // ROW_CHANGES)
            speed = changes / (spent["write"] + spent["maintain"])
            report.notes.append(f"{changes:,} changes: {speed:,.0f} written and compacted a second")
            for state in ("as captured", "compacted"):
                if state == "compacted":
                    with Writer.open(path, source="shop") as writer:
                        writer.maintain(force=True)
                files, each = len(files_of(path)), size_of(path) / changes
                report.notes.append(f"{changes:,} {state}: {files} files, {each:.1f} bytes a change")
                for one in ask(path, changes, state, options.keys) + cold(path, changes, state, options.cold):
                    report.raw.append(one)
                    high = float(np.percentile(one.milliseconds, 95))
                    times = f"{median(one.milliseconds):.1f}", f"{high:.1f}"
                    report.add(f"{changes:,}", state, one.question, *times)
    judge(report)
    report.finish()


def judge(report: Report) -> None:
    """Hold the goals against the runs."""
    runs: list[Run] = report.raw
    for one in runs:
        is_cold = one.question.endswith("cold")
        goal = 1e3 * COLD_GOAL_S if is_cold else GOAL_MS.get(one.changes)
        value = median(one.milliseconds) if is_cold else float(np.percentile(one.milliseconds, 95))
        if goal is None or one.question.split(",")[0] not in {"history", "blame"}:
            continue
        verdict = "met" if value < goal else "missed"
        report.notes.append(f"goal, {one.changes:,} {one.state}, {one.question}: < {goal:.0f} ms: {verdict}")
    for one in runs:
        for other in runs:
            alike = one.question == other.question and one.state == other.state
            if alike and other.changes == 10 * one.changes and one.question in QUESTIONS:
                ratio = median(other.milliseconds) / median(one.milliseconds)
                verdict = "met" if ratio <= GROWTH_GOAL else "missed"
                report.notes.append(
                    f"goal, ten times {one.changes:,}, {one.state}, {one.question}:"
                    f" at most {GROWTH_GOAL} times the time: {ratio:.2f}, {verdict}"
                )


if __name__ == "__main__":
    main()
