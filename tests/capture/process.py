"""Runs capture in a process of its own, so that a test can kill it: `python -m capture.process SETTINGS`."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capture.rig import BOUNDS, Rig
from flux.capture.daemon import run
from flux.capture.settings import IntakeBounds, IntakeSettings, Settings
from flux.model.errors import FluxError
from servers import eventually
from servers.server import listens


def start(
    rig: Rig, *, once: bool = False, file_bytes_max: int | None = None, otlp_port: int | None = None
) -> subprocess.Popen[bytes]:
    """Start capturing in a new process, which may write no file larger than `file_bytes_max`.

    With `otlp_port` it takes in spans there, in whatever number.
    """
    settings = rig.settings
    content = json.dumps(
        {
            "ledger": str(settings.ledger),
            "source": settings.source,
            "slot": settings.slot,
            "plugin": settings.plugin,
            "dsn": settings.dsn,
            "once": once,
            "otlp": otlp_port,
        }
    )
    command = [sys.executable, "-m", "capture.process", content, str(file_bytes_max or 0)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=subprocess.DEVNULL)


@contextmanager
def capturing(rig: Rig, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run capture in a new process that takes in spans at `port`; kill it at the end."""
    with start(rig, otlp_port=port) as running:
        try:
            eventually(lambda: listens(port) or running.poll() is not None, within_s=60, what="the intake")
            yield running
        finally:
            running.kill()


def main() -> None:
    content = json.loads(sys.argv[1])
    port = content["otlp"]
    # Nobody's rate is measured here: as many spans as the machine can.
    unbounded = IntakeBounds(spans_per_s_max=1e9, retry_after_s=1)
    otlp = IntakeSettings(port=port, required=True, bounds=unbounded) if port is not None else None
    settings = Settings(**content | {"ledger": Path(content["ledger"]), "otlp": otlp}, bounds=BOUNDS)
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
