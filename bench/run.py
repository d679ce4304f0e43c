"""What the benchmarks share: programs run and measured, the machine's facts, tables, JSON results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flux.ledger import catalog, layout
from servers import Server, find_installation

FLUX = str(Path(sys.executable).with_name("flux"))
RESULTS = Path("build/bench")


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run of a program took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    """The largest resident set of the process."""


def spend(command: Sequence[str], **environment: str) -> Spent:
    """Run `command` to its end and measure it; its output is shown when it fails."""
    # An installed package has its bytecode.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**surroundings, "NO_COLOR": "1", **environment},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{output.decode()[-4000:]}")
    return Spent(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def flux(*words: str) -> str:
    """Run a command of Flux and return its answer; what it said is shown when it fails."""
    done = subprocess.run([FLUX, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"flux {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def files_of(ledger: Path) -> list[Path]:
    """Return the catalog and the files that it names: replaced ones on the disk wait for their end."""
    place = layout.Layout(ledger)
    snapshot = catalog.read(place.catalog, place.data)
    return [place.catalog, *(file.path for of_table in snapshot.files.values() for file in of_table)]


def size_of(ledger: Path) -> int:
    """Return the bytes of `files_of`."""
    return sum(file.stat().st_size for file in files_of(ledger))


@dataclass(slots=True)
class Report:
    """A benchmark's table and what stands below it."""

    name: str
    heading: Sequence[str]
    """Titles of the columns; the first is of text, the others of numbers."""
    facts: dict[str, str] = field(default_factory=dict)
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    raw: list[Any] = field(default_factory=list)
    """Every run, for the JSON result: dataclasses."""

    def __post_init__(self) -> None:
        self.facts = machine() | self.facts

    def add(self, *cells: str) -> None:
        """Add a row and show it at once: a benchmark takes minutes."""
        self.rows.append(cells)
        print("  ".join(cells), flush=True)

    def finish(self) -> None:
        """Print the table with notes and facts; write all of it as JSON."""
        lines = [self.heading, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heading))]
        print()
        for line in lines:
            numbers = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
            cells = [line[0].ljust(widths[0]), *numbers]
            print("  ".join(cells).rstrip())
        print()
        print("\n".join([*self.notes, *(f"{name}: {value}" for name, value in self.facts.items())]))
        file = RESULTS / f"{self.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "environment": self.facts,
            "table": [dict(zip(self.heading, row, strict=True)) for row in self.rows],
            "notes": self.notes,
            "runs": [asdict(one) for one in self.raw],
        }
        file.write_text(json.dumps(content, indent=2) + "\n")
        print(f"written: {file}")


@contextmanager
def server_of(major: int, report: Report, **settings: str) -> Iterator[Server]:
    """Run a server of our own with `settings`, which the report names; it is gone at the end."""
    installation = find_installation(major)
    if installation is None:
        raise SystemExit(f"no PostgreSQL {major} on this machine; `make servers` installs 15")
    report.facts["postgresql"] = f"{installation.version}, fsync {settings.get('fsync', 'off')}"
    server = Server.create(installation, settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    return {
        "flux": version("flux-ledger"),
        "python": platform.python_version(),
        "duckdb": version("duckdb"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": f"{os.cpu_count()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }
