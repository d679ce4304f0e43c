"""How long a question takes from a cold process: history and blame on a ledger of `flux demo`.

    python bench/cold.py [--ledger PATH] [--runs N] [--json FILE]

Each run is a new process of the real command, timed from its start to its end, imports included; the
files are in the system's cache, as for anyone who asks twice. Without `--ledger` a demo is run for one.
Prints a table with the environment, and writes the same as JSON. Goal: history and blame below 0.5 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

GOAL_S = 0.5
RUNS_MIN = 7
FLUX = str(Path(sys.executable).with_name("flux"))
QUESTIONS = {
    "flux --version (the floor)": ["--version"],
    "flux state history users --id 42": ["state", "history", "users", "--id", "42"],
    "flux state blame users --id 42": ["state", "blame", "users", "--id", "42"],
}


@dataclass(frozen=True, slots=True)
class Result:
    """One question; times in seconds."""

    question: str
    median_s: float
    cpu_s: float
    """Median of the processor time: what is left of the machine's load."""
    least_s: float
    most_s: float
    runs: int


def measure(question: str, arguments: list[str], ledger: Path, runs: int) -> Result:
    environment = {**os.environ, "FLUX_LEDGER": str(ledger), "NO_COLOR": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    times, cpu = [], []
    for _ in range(runs + 1):
        start, spent = time.perf_counter(), processor_s()
        subprocess.run([FLUX, *arguments], check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - start)
        cpu.append(processor_s() - spent)
    times, cpu = times[1:], cpu[1:]  # the first one fills the system's cache
    middle = statistics.median
    return Result(question, middle(times), middle(cpu), min(times), max(times), runs)


def processor_s() -> float:
    """Return the processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def demo_ledger() -> Path:
    """Run the demo and return the ledger it leaves."""
    done = subprocess.run([FLUX, "demo"], check=True, capture_output=True, text=True)
    found = re.search(r"export FLUX_LEDGER=(\S+)", done.stderr)
    assert found is not None, done.stderr
    return Path(found[1])


def environment(ledger: Path) -> dict[str, str]:
    load = os.getloadavg()[0]
    return {
        "flux": version("flux-ledger"),
        "python": platform.python_version(),
        "duckdb": version("duckdb"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": f"{os.cpu_count()}",
        "load before": f"{load:.2f}",
        "ledger": f"{sum(file.stat().st_size for file in ledger.rglob('*') if file.is_file()):,} bytes",
    }


def report(results: list[Result], facts: dict[str, str]) -> None:
    width = max(len(result.question) for result in results)
    print(f"{'question, a new process each':<{width}}    median       cpu     least      most   runs")
    for one in results:
        times = (one.median_s, one.cpu_s, one.least_s, one.most_s)
        shown = "".join(f"  {time_s:>6.3f} s" for time_s in times)
        print(f"{one.question:<{width}}{shown}  {one.runs:>5}")
    slow = [one.question for one in results if one.median_s >= GOAL_S]
    print(f"\ngoal < {GOAL_S} s: {'missed by ' + ', '.join(slow) if slow else 'met'}")
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="History and blame from a cold process.")
    parser.add_argument("--ledger", type=Path, help="of a demo; without it a demo is run")
    parser.add_argument("--runs", type=int, default=15, help=f"of each question, {RUNS_MIN} at least")
    parser.add_argument("--json", type=Path, default=Path("build/bench/cold.json"), help="where to write it")
    options = parser.parse_args()
    ledger = options.ledger or demo_ledger()
    try:
        facts = environment(ledger)
        runs = max(RUNS_MIN, options.runs)
        results = [measure(name, words, ledger, runs) for name, words in QUESTIONS.items()]
    finally:
        if options.ledger is None:
            shutil.rmtree(ledger.parent)
    report(results, facts)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"environment": facts, "goal_s": GOAL_S, "results": [asdict(one) for one in results]}
    options.json.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written: {options.json}")


if __name__ == "__main__":
    main()
