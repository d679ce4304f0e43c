"""`flux up`: run the capture daemon and say what it does."""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from flux.cli import console
from flux.cli.options import DsnOption, LedgerOption, OtlpHostOption, OtlpPortOption, SourceOption
from flux.cli.progress import live_line
from flux.cli.redaction import find_policy
from flux.cli.settings import source_dsn
from flux.cli.setup import chosen_source
from flux.model.errors import Interrupted
from flux.model.lsn import lsn_text

PORT = 9464
"""Of the health pages, on loopback, unless said otherwise; another one is taken if it is in use."""


def up(
    dsn: DsnOption = None,
    ledger: LedgerOption = None,
    source: SourceOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Capture up to the server's position of now, then end.")
    ] = False,
    resnapshot: Annotated[
        bool,
        typer.Option(
            "--resnapshot",
            help="The log was lost: record the gap, make a new slot, copy every table again.",
        ),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            metavar="PORT",
            help=f"Loopback port of /metrics, /healthz and /readyz; 0 for a free one. Default: {PORT}.",
            show_default=False,
        ),
    ] = None,
    otlp_port: OtlpPortOption = None,
    otlp_host: OtlpHostOption = None,
) -> None:
    """Capture: copy the tracked tables once, then follow every change, until stopped (Ctrl-C, SIGTERM).

    Stopping is safe at any moment: it goes on where it was. Without --once it waits for a database
    that is away, and takes in what applications say of their requests (docs/REQUESTS.md).
    """
    from flux.capture.daemon import run
    from flux.capture.health import status_file
    from flux.capture.settings import Settings
    from flux.cli.intake import intake_settings
    from flux.ledger.location import locate

    folder, _ = locate(ledger)
    known = chosen_source(folder, source)
    redaction = find_policy(folder)
    settings = Settings(
        ledger=folder,
        source=known.name,
        slot=known.slot,
        plugin=known.plugin,
        dsn=source_dsn(dsn).value,
        once=once,
        resnapshot=resnapshot,
        listen_port=_port(port, once=once),
        otlp=intake_settings(otlp_host, otlp_port, once=once),
        redaction=redaction,
    )
    console.note(f"capturing {known.name} into {folder}")
    with live_line(status_file(folder, known.name)):
        done = run(settings, say=_say)
    console.note(
        f"{done.rows:,} rows in {done.seconds:.1f} s, position {lsn_text(done.commit_lsn)}"
        + (f", {done.open_attempts:,} attempts still open" if done.open_attempts else "")
    )
    if once and not done.complete:
        raise Interrupted("stopped before everything was captured", hint="run it again, it goes on there")


def _say(text: str) -> None:
    """Narrate with a time where a log keeps the lines, without one on a terminal."""
    if sys.stderr.isatty():
        console.note(text)
    else:
        console.note(f"{datetime.now(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')} {text}")


def _port(wanted: int | None, *, once: bool) -> int | None:
    """Return the port of the health pages: the one that was asked for, else ours or a free one."""
    if wanted is not None:
        return wanted
    if once:
        return None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT
