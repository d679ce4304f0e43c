"""A line at the foot of a terminal that says how `flux up` gets on; nothing at all elsewhere.

It shows what capture writes into its status file every few seconds, and is gone when capture ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INTERVAL_S = 0.5
"""Between looks at the status file."""


@contextmanager
def live_line(status_file: Path) -> Iterator[None]:
    """Show the line while the block runs, if stderr is a terminal that can."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    from rich.console import Console

    ended = threading.Event()
    with Console(stderr=True).status("starting", spinner="line") as line:

        def look() -> None:
            while not ended.wait(INTERVAL_S):
                line.update(progress_text(status_file))

        watcher = threading.Thread(target=look, name="flux-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(5.0)


def progress_text(status_file: Path) -> str:
    """Return what the line says; a file that is not there or torn says only that it starts."""
    try:
        status: dict[str, Any] = json.loads(status_file.read_text(encoding="utf-8"))
        parts = [str(status["state"])]
        if status["baselines_pending"]:
            parts.append(f"{status['baselines_pending']:,} tables to copy")
        parts.append(f"{status['rows']:,} rows, {status['rows_per_s']:,.0f}/s")
        if status["lag_bytes"]:
            parts.append(f"{status['lag_bytes'] / 1e6:,.1f} MB behind")
        if status["open_attempts"]:
            parts.append(f"{status['open_attempts']:,} attempts open")
    except (OSError, ValueError, KeyError, TypeError):
        return "starting"
    return ", ".join(parts)
