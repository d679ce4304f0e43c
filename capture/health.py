"""How a running capture is watched: a status file beside the ledger, and three loopback pages.

`/healthz`: the loop goes round. `/readyz`: it is streaming. `/metrics`: Prometheus' text format,
version 0.0.4. No page tells a value of a row; none listens beyond loopback unless told so.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flux.capture.confirmed import file_of, replace_file
from flux.capture.meter import Meter, Reading, now_us
from flux.model.errors import UsageError

STALL_S = 120.0
"""A loop that did not go round for so long is not healthy."""

_METRICS: tuple[tuple[str, str, str, Callable[[Reading], float]], ...] = (
    ("flux_lag_bytes", "gauge", "Log that the server has and the ledger does not.", lambda r: r.lag_bytes),
    (
        "flux_lag_seconds",
        "gauge",
        "Age of the newest stored commit while there is more.",
        lambda r: r.lag_s(now_us()),
    ),
    ("flux_streaming", "gauge", "1 while capture is streaming.", lambda r: r.state == "streaming"),
    ("flux_position_bytes", "gauge", "Log position of the last stored commit.", lambda r: r.commit_lsn),
    ("flux_confirmed_bytes", "gauge", "Log position the server may forget.", lambda r: r.confirmed_lsn),
    ("flux_rows_total", "counter", "Rows stored.", lambda r: r.rows),
    ("flux_messages_total", "counter", "Replication messages received.", lambda r: r.messages),
    ("flux_received_bytes_total", "counter", "Replication bytes received.", lambda r: r.bytes),
    ("flux_commits_total", "counter", "Commits of the ledger.", lambda r: r.commits),
    ("flux_heartbeats_total", "counter", "Heartbeats that came back.", lambda r: r.heartbeats),
    ("flux_reconnects_total", "counter", "Times the source was connected to again.", lambda r: r.reconnects),
    ("flux_open_attempts", "gauge", "Attempts without an outcome yet.", lambda r: r.open_attempts),
    ("flux_ignored_messages_total", "counter", "Malformed or forged messages.", lambda r: r.ignored_messages),
    ("flux_queue_bytes", "gauge", "Received and not yet decoded.", lambda r: r.queue_bytes),
    ("flux_baselines_pending", "gauge", "Tables that wait for a baseline.", lambda r: r.baselines_pending),
    ("flux_spans_total", "counter", "Spans stored.", lambda r: r.spans),
    ("flux_requests_total", "counter", "Requests stored.", lambda r: r.requests),
    (
        "flux_spans_dropped_total",
        "counter",
        "Spans the recorder dropped by a bound.",
        lambda r: r.spans_dropped,
    ),
    ("flux_intake_queue_bytes", "gauge", "Exports received and not stored.", lambda r: r.intake_queue_bytes),
    ("flux_intake_connections", "gauge", "Connections to the intake.", lambda r: r.intake_connections),
)

_TALLIES: tuple[tuple[str, str, str, Callable[[Reading], Mapping[str, int]]], ...] = (
    ("flux_spans_refused_total", "reason", "Invalid spans left out of exports.", lambda r: r.spans_refused),
    ("flux_exports_refused_total", "status", "Exports refused, by HTTP status.", lambda r: r.exports_refused),
)


def metrics_text(reading: Reading, source: str) -> str:
    """Return a reading in Prometheus' text format."""
    label = source.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for name, kind, meaning, value in _METRICS:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        lines.append(f'{name}{{source="{label}"}} {float(value(reading)):.16g}')
    for name, key, meaning, values in _TALLIES:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} counter"]
        for which, count in sorted(values(reading).items()):
            lines.append(f'{name}{{source="{label}",{key}="{which}"}} {count}')
    return "\n".join(lines) + "\n"


def status_file(ledger: Path, source: str) -> Path:
    """Return where the status of `source` lies."""
    confirmed = file_of(ledger, source)
    return confirmed.with_name(confirmed.name.replace("confirmed-", "status-", 1))


def write_status(ledger: Path, source: str, reading: Reading) -> None:
    """Write the status file (not durably: it is only true now)."""
    content = asdict(reading) | {"pid": os.getpid(), "lag_bytes": reading.lag_bytes}
    replace_file(status_file(ledger, source), json.dumps(content, indent=1) + "\n", durable=False)


class Pages:
    """The running pages; `port` is the one that is listened on."""

    def __init__(self, meter: Meter, source: str, *, host: str, port: int) -> None:
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(meter, source))
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}",
                why=error.strerror or "",
                hint="choose another port, or end what listens there",
            ) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="flux-health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


def answer(path: str, reading: Reading, source: str) -> tuple[HTTPStatus, str, str]:
    """Return status, content type and body of a page."""
    if path == "/metrics":
        return HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", metrics_text(reading, source)
    if path == "/healthz":
        stalled = now_us() - reading.ticked_at_us > STALL_S * 1e6
        return (
            (HTTPStatus.SERVICE_UNAVAILABLE if stalled else HTTPStatus.OK),
            "text/plain",
            ("stalled\n" if stalled else "ok\n"),
        )
    if path == "/readyz":
        ready = reading.state == "streaming"
        return (
            (HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE),
            "text/plain",
            reading.state + "\n",
        )
    return HTTPStatus.NOT_FOUND, "text/plain", "not found: /healthz /readyz /metrics\n"


def _handler(meter: Meter, source: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "flux"
        sys_version = ""
        timeout = 5

        def do_GET(self) -> None:
            status, kind, body = answer(self.path.partition("?")[0], meter.read(), source)
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
            """Say nothing: stderr belongs to the command line."""

    return Handler
