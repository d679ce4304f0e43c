"""The intake of a capture run: listens, stores, and ends with it. What `capture.daemon` sees of it."""

from __future__ import annotations

import ipaddress
import socket

from flux.capture.baseline import Say
from flux.capture.meter import Meter
from flux.capture.otlp.gathering import Gatherer, Shelf
from flux.capture.otlp.server import BACKLOG, Server
from flux.capture.settings import IntakeSettings
from flux.model.errors import UsageError


class NotListening(UsageError):
    """The place is taken, or is none of this machine's (exit 2)."""


class Intake:
    """Listens from the moment it is made until `close`; `address` says where."""

    def __init__(self, settings: IntakeSettings, shelf: Shelf, meter: Meter) -> None:
        """Raise `NotListening` where it cannot listen, `UsageError` where it may not without a token."""
        listening = _listen(settings)
        host, port = listening.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._meter = meter
        self._stop_s = settings.bounds.stop_s
        self._gatherer = Gatherer(shelf, settings.bounds, meter)
        self._server = Server(listening, settings, self._gatherer, meter)
        meter.note(intake_address=self.address)

    def close(self) -> None:
        """Accept no more, store what was received, answer it; bounded by `stop_s` twice."""
        self._server.close()
        self._gatherer.close(self._stop_s)
        self._meter.note(intake_address="")


def start(settings: IntakeSettings | None, shelf: Shelf, meter: Meter, say: Say) -> Intake | None:
    """Start the intake, if one is wanted. One that was not asked for may be missing: `say` tells why."""
    if settings is None:
        return None
    try:
        intake = Intake(settings, shelf, meter)
    except NotListening as error:
        if settings.required:
            raise
        meter.note(intake_error=error.what)
        say(f"{error.what}: {error.why}; going on without OpenTelemetry's spans")
        return None
    say(f"OpenTelemetry's spans on {intake.address}/v1/traces")
    return intake


def _listen(settings: IntakeSettings) -> socket.socket:
    host, port = settings.host, settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if settings.token is None and not ipaddress.ip_address(address[0]).is_loopback:
            raise UsageError(
                f"cannot listen for spans on {host}:{port} without a token",
                why="whoever reaches it could write into the ledger",
                hint="set FLUX_OTLP_TOKEN, or `token_file` under [otlp] in flux.toml; or listen on 127.0.0.1",
            )
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise NotListening(
            f"cannot listen for spans on {host}:{port}",
            why=error.strerror or type(error).__name__,
            hint="choose another port with --otlp-port, or end what listens there",
        ) from None
