"""The one recorder of a process: what it was told, its queue, its exporter.

Every request is recorded, whatever the application samples; the application's own provider of
OpenTelemetry, its propagators and its context stay as they are.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass

from flux.recorder import fault
from flux.recorder.exporter import Exporter
from flux.recorder.settings import Settings
from flux.recorder.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Recorder:
    """What records in this process."""

    settings: Settings
    """What it was told."""
    waiting: Waiting
    """Spans on their way out."""
    exporter: Exporter
    """Sends them."""
    silent: bool = False
    """Whether OTEL_SDK_DISABLED says that no spans are to be made; tags are set all the same."""


_active: Recorder | None = None
_lock = threading.Lock()
_registered = False


def active() -> Recorder | None:
    """Return the recorder of this process, None when there is none."""
    return _active


def start(settings: Settings) -> Recorder:
    """Begin to record; a recorder that runs already goes on as it is."""
    global _active, _registered  # noqa: PLW0603 (one for each process)
    with _lock:
        if _active is not None:
            return _active
        waiting = Waiting(settings.queue_spans_max)
        silent = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        _active = Recorder(settings, waiting, Exporter(settings, waiting), silent)
        if not _registered:
            _registered = True
            atexit.register(stop)
            os.register_at_fork(after_in_child=_after_fork)
        return _active


def stop() -> None:
    """End recording: send what there is, within a bound, and spool the rest."""
    global _active
    with _lock:
        stopped, _active = _active, None
    if stopped is not None:
        stopped.exporter.stop()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 (a thread of the parent may have held it)
    _lock = threading.Lock()
    fault.after_fork()
    if _active is not None:
        _active.waiting.after_fork()
        with fault.failing_open("a forked child"):
            _active.exporter.after_fork()
