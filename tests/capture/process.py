"""Runs capture in a process of its own, so that a test can kill it: `python -m capture.process SETTINGS`."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

from capture.rig import BOUNDS, Rig
from flux.capture.daemon import run
from flux.capture.settings import Settings
from flux.model.errors import FluxError


def start(rig: Rig, *, once: bool = False, file_bytes_max: int | None = None) -> subprocess.Popen[bytes]:
    """Start capturing in a new process, which may write no file larger than `file_bytes_max`."""
    settings = rig.settings
    content = json.dumps(
        {
            "ledger": str(settings.ledger),
            "source": settings.source,
            "slot": settings.slot,
            "plugin": settings.plugin,
            "dsn": settings.dsn,
            "once": once,
        }
    )
    command = [sys.executable, "-m", "capture.process", content, str(file_bytes_max or 0)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=subprocess.DEVNULL)


def main() -> None:
    content = json.loads(sys.argv[1])
    settings = Settings(**content | {"ledger": Path(content["ledger"])}, bounds=BOUNDS)
    if file_bytes_max := int(sys.argv[2]):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    try:
        run(settings, say=lambda line: print(line, file=sys.stderr))  # noqa: T201 (a program)
    except FluxError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
