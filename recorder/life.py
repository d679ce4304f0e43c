"""The one recorder of a process: what it was told, its tracer, its exporter.

It has a tracer provider of its own: every request is recorded, whatever the application samples,
and the application's provider, propagators and context stay as they are.
"""

from __future__ import annotations

import atexit
import os
import threading
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from flux.recorder import fault
from flux.recorder.exporter import Exporter
from flux.recorder.settings import ATTRIBUTES_MAX, Settings, own_version
from flux.recorder.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Recorder:
    """What records in this process."""

    settings: Settings
    """What it was told."""
    tracer: Tracer
    """Makes every span."""
    waiting: Waiting
    """Spans on their way out."""
    exporter: Exporter
    """Sends them."""


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
        resource = Resource.create(
            {
                "service.name": settings.service,
                "telemetry.distro.name": "flux-recorder",
                "telemetry.distro.version": own_version(),
            }
        )
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=resource,
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_attributes=ATTRIBUTES_MAX, max_span_attributes=ATTRIBUTES_MAX),
        )
        provider.add_span_processor(waiting)
        tracer = provider.get_tracer("flux.recorder", own_version())
        _active = Recorder(settings, tracer, waiting, Exporter(settings, waiting))
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
