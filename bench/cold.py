"""How long a question takes from a cold process: history and blame on a ledger of `flux demo`.

    make bench-cold ARGS="[--ledger PATH] [--runs N]"

Each run is a new process of the real command, timed from its start to its end, imports included; the
files are in the system's cache, as for anyone who asks twice. Without `--ledger` a demo is run for one.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from run import FLUX, Report, Spent, spend

GOAL_S = 0.5
RUNS_MIN = 7
QUESTIONS = {
    "flux --version": ["--version"],
    "flux state history users --id 42": ["state", "history", "users", "--id", "42"],
    "flux state blame users --id 42": ["state", "blame", "users", "--id", "42"],
}


@dataclass(frozen=True, slots=True)
class Run:
    """One question, once."""

    question: str
    spent: Spent


def demo_ledger() -> Path:
    """Run the demo and return the ledger it leaves."""
    done = subprocess.run([FLUX, "demo"], check=True, capture_output=True, text=True)
    found = re.search(r"export FLUX_LEDGER=(\S+)", done.stderr)
    assert found is not None, done.stderr
    return Path(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="History and blame from a cold process.")
    parser.add_argument("--ledger", type=Path, help="of a demo; without it a demo is run")
    parser.add_argument("--runs", type=int, default=15, help=f"of each question, {RUNS_MIN} at least")
    options = parser.parse_args()
    report = Report("cold", ("a new process each", "median s", "cpu s", "least s", "most s"))
    ledger = options.ledger or demo_ledger()
    missed = []
    try:
        for question, words in QUESTIONS.items():
            count = max(RUNS_MIN, options.runs) + 1
            runs = [spend([FLUX, *words], FLUX_LEDGER=str(ledger)) for _ in range(count)]
            runs = runs[1:]  # the first one fills the system's cache
            report.raw += [Run(question, one) for one in runs]
            wall, cpu = [one.wall_s for one in runs], [one.cpu_s for one in runs]
            times = median(wall), median(cpu), min(wall), max(wall)
            report.add(question, *(f"{time_s:.3f}" for time_s in times))
            missed += [question] if median(wall) >= GOAL_S else []
    finally:
        if options.ledger is None:
            shutil.rmtree(ledger.parent)
    report.notes.append(f"goal < {GOAL_S} s: {'missed by ' + ', '.join(missed) if missed else 'met'}")
    report.finish()


if __name__ == "__main__":
    main()
