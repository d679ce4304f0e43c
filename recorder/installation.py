"""Switching on and off: the recorder, and its hooks in the libraries that the application uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType

from flux.recorder import fault, life, threads
from flux.recorder.patches import Hooks, Patches
from flux.recorder.settings import BODY_BYTES_MAX, settled, switched_off

_HOOKS = {
    "psycopg": "database.psycopg",
    "psycopg2": "database.psycopg2",
    "asyncpg": "database.asyncpg",
    "httpx": "outbound.httpx",
    "urllib3.connectionpool": "outbound.urllib3",
    "aiohttp": "outbound.aiohttp",
}
"""Library → our module whose `patch(patches, library)` hooks it. Imported when the library is."""

_lock = threading.Lock()
_installed: tuple[Patches, Hooks] | None = None


def install(
    service: str | None = None,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    spool: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    body_bytes_max: int = BODY_BYTES_MAX,
    parameters: bool = True,
    mask: Sequence[str] = (),
    tag_message: bool | None = None,
) -> bool:
    """Begin to record in this process; once, early, before database connections are made.

    `endpoint` is the intake of `flux up` (else FLUX_OTLP_ENDPOINT), `token` its secret (FLUX_OTLP_TOKEN),
    `service` this application's name (FLUX_SERVICE), `spool` the folder for batches while the daemon is away
    (FLUX_SPOOL; "" for none), `root` where the user's code lies (the working folder), `body_bytes_max`
    how much of each body is kept (0 for none), `parameters` whether values of SQL parameters are,
    `mask` more names of headers and fields whose values must not leave the process, and `tag_message` whether
    tags are written as messages too, for tables tracked with --no-trigger (FLUX_TAG_MESSAGE=on).

    True when it records; False with FLUX_RECORDER=off, or when it could not begin: it never raises. A second
    call changes nothing.
    """
    global _installed  # noqa: PLW0603 (one for each process)
    if switched_off():
        return False
    with fault.failing_open("install"), _lock:
        if _installed is not None:
            return True
        settings = settled(
            service=service,
            endpoint=endpoint,
            token=token,
            spool=spool,
            root=root,
            mask=mask,
            tag_message=tag_message,
        )
        life.start(replace(settings, body_bytes_max=max(0, body_bytes_max), parameters=parameters))
        patches = Patches()
        hooks = Hooks({library: _hook(patches, ours) for library, ours in _HOOKS.items()})
        threads.patch(patches)
        hooks.install()
        _installed = (patches, hooks)
        return True
    return False


def uninstall() -> None:
    """End recording and put every library back; what waits is sent or spooled, for at most two seconds.

    Connections that were made meanwhile keep their hooks, which do nothing any more.
    """
    global _installed  # noqa: PLW0603
    with _lock:
        if _installed is not None:
            patches, hooks = _installed
            hooks.uninstall()
            patches.restore()
            _installed = None
        life.stop()


def flush(timeout_s: float = 2.0) -> bool:
    """Wait until what was recorded is sent or spooled; False when the time was over before."""
    recorder = life.active()
    return recorder is None or recorder.exporter.flush(timeout_s)


def stats() -> dict[str, int]:
    """Return what was counted since the start of the process.

    `requests`; `spans_recorded`, `spans_exported`, `spans_spooled`, `spans_dropped` (by a bound),
    `spans_rejected`
    (by the intake), `spans_waiting`; `exports_failed`; `exchanges_left_out` (beyond the bound of one
    request);
    `tags`; `untagged` (writes that could not be tagged); `faults` of the recorder.
    """
    recorder = life.active()
    waiting = len(recorder.waiting) if recorder else 0
    counts = fault.counts()
    return {**counts, "spans_recorded": counts.get("spans_recorded", 0) + waiting, "spans_waiting": waiting}


class _hook:  # noqa: N801 (called as a function)
    """Hooks one library, with our module for it."""

    def __init__(self, patches: Patches, ours: str) -> None:
        self._patches, self._ours = patches, ours

    def __call__(self, library: ModuleType) -> None:
        import_module(f"flux.recorder.{self._ours}").patch(self._patches, library)
