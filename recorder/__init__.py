"""The recorder: runs inside the application and says what each request did, and which rows it wrote.

    from flux import recorder

    recorder.install(service="shop")
    app = recorder.ASGI(app)

Middleware records each request and response; hooks in the database drivers tag each transaction that
writes, and record statements; hooks in HTTP clients record what goes out. Spans go to `flux up` over
OTLP/HTTP. It is light, bounded in memory and on disk, and never fails or holds up the application: what goes
wrong in here is counted (`stats()`) and told once to the logger `flux.recorder`. docs/RECORDER.md
"""

from __future__ import annotations

from typing import Any

try:
    import opentelemetry.sdk.resources  # noqa: F401 (only whether it is there)
except ImportError as error:
    raise ImportError(
        "flux.recorder needs OpenTelemetry's SDK, which is not installed\npip install 'flux-ledger[recorder]'"
    ) from error

from flux.recorder.ambient import current
from flux.recorder.asgi import ASGI
from flux.recorder.installation import flush, install, stats, uninstall
from flux.recorder.threads import carry
from flux.recorder.work import fail, request
from flux.recorder.wsgi import WSGI

__all__ = [
    "ASGI",
    "WSGI",
    "carry",
    "current",
    "exception",
    "flush",
    "identify",
    "install",
    "request",
    "stats",
    "uninstall",
]


def identify(actor: str | None = None, **attributes: Any) -> None:
    """Say on whose behalf the request in force runs, and add attributes; for its writes from here on.

    Outside a request it does nothing.
    """
    running = current()
    if running is not None:
        running.identify(actor, attributes)


def exception(error: BaseException, *_: Any) -> None:
    """Record an exception that the application handles itself; what else a handler gets is ignored.

    Outside a request it does nothing.
    """
    running = current()
    if running is not None:
        fail(running, error)
