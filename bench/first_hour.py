"""What a ledger looks like after an hour of small commits, with upkeep as shipped.

    make bench-first_hour ARGS="[--minutes N] [--changes N]"

Five commits a second, as `flux up` makes them by default when there is always something to write; upkeep
begins after as many of them as there. The clock is simulated: the commits come one after the other, and what
upkeep does in the background ends before the next one (it has 13 seconds for it). *Upkeep* is how long the
stream waits for it. No replaced file is deleted: the 15 minutes of grace are real ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import ledger_load
import numpy as np
from run import Report, files_of

from flux.capture.settings import Bounds
from flux.ledger import Writer, create_ledger, open_ledger

COMMITS_A_MINUTE = 300
KEYS = 50
COMMITS_A_TURN = Bounds().maintain_commits_max


@dataclass(frozen=True, slots=True)
class Run:
    """The ledger after some minutes."""

    minutes: int
    files: int
    on_disk: int
    """With the replaced ones, which wait for their time of grace."""
    catalog_bytes: int
    commit_ms: float
    upkeep_ms: float
    history_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description="An hour of small commits.")
    parser.add_argument("--minutes", type=int, default=60, help="simulated")
    parser.add_argument("--changes", type=int, default=20, help="of each commit")
    options = parser.parse_args()
    heading = "minutes", "files", "on disk", "catalog kB", "commit ms", "upkeep ms", "history ms"
    report = Report("first_hour", heading)
    draw = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="flux-bench-") as name:
        path = create_ledger(Path(name) / "ledger")
        row_count = options.changes * 100
        with Writer.open(path, source="shop") as writer:
            commits: list[float] = []
            upkeep: list[float] = []
            for number in range(options.minutes * COMMITS_A_MINUTE):
                one = ledger_load.batch(number, options.changes, row_count, draw)
                start = time.perf_counter()
                writer.append(one)
                writer.commit(slot="s", system_identifier="1", timeline=1)
                commits.append(1e3 * (time.perf_counter() - start))
                if (number + 1) % COMMITS_A_TURN == 0:
                    start = time.perf_counter()
                    writer.maintain()
                    upkeep.append(1e3 * (time.perf_counter() - start))
                    writer.maintain(wait=True)
                minutes, rest = divmod(number + 1, COMMITS_A_MINUTE)
                if rest:
                    continue
                if minutes % 10 == 0 or minutes == options.minutes:
                    look(path, minutes, row_count, commits, upkeep, report)
                    commits, upkeep = [], []
    report.finish()


def look(
    path: Path, minutes: int, row_count: int, commits: list[float], upkeep: list[float], report: Report
) -> None:
    """Ask the history of some rows of the ledger as it is."""
    times = []
    with open_ledger(path) as ledger:
        for key in np.random.default_rng(7).integers(0, row_count, KEYS + 1).tolist():
            start = time.perf_counter()
            ledger.history("orders", str(key))
            times.append(1e3 * (time.perf_counter() - start))
    one = Run(
        minutes,
        len(files_of(path)),
        len(list(path.rglob("*.parquet"))),
        (path / "catalog.sqlite").stat().st_size,
        median(commits),
        max(upkeep),
        median(times[1:]),
    )
    report.raw.append(one)
    report.add(
        f"{minutes}",
        f"{one.files}",
        f"{one.on_disk}",
        f"{one.catalog_bytes >> 10:,}",
        f"{one.commit_ms:.0f}",
        f"{one.upkeep_ms:.0f}",
        f"{one.history_ms:.0f}",
    )


if __name__ == "__main__":
    main()
