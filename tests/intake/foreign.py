"""The shop of tests/intake/node in a process of its own: a Node application that knows nothing of Flux."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.fixtures import missing

FOLDER = Path(__file__).parent / "node"
END_S = 30.0


@contextmanager
def node_shop(dsn: str, address: str, encoding: str) -> Iterator[str]:
    """Run it against `dsn`, exporting to `address`; yield its address. Its spans are sent when it ends."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        missing("OpenTelemetry's SDK for Node is not here; run `make foreign`")
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_NODE_RESOURCE_DETECTORS": "none",
    }
    process = subprocess.Popen(
        [node, "shop.js", dsn, encoding], cwd=FOLDER, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_S) == 0
        finally:
            process.kill()


def get(url: str) -> int:
    """Return the status of a page."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
