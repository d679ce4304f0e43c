"""The thread that sends what was recorded, and keeps on disk what cannot be sent yet.

Order: what is in the spool goes first. A batch is out of memory when it was accepted, rejected or is a
file; it is
out of the spool when it was accepted or rejected. What a bound dropped is counted and told to the intake
with the next batch.
"""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from flux.recorder import otlp
from flux.recorder.delivery import GZIP, Delivery, Outcome
from flux.recorder.fault import count, failing_open, fault, warn_once
from flux.recorder.record import Record
from flux.recorder.revision import revision_of
from flux.recorder.settings import (
    BACKOFF_S_MAX,
    BACKOFF_S_MIN,
    BATCH_SPANS_MAX,
    EXIT_S_MAX,
    FLUSH_INTERVAL_S,
    SEND_TIMEOUT_S,
    Settings,
    own_version,
)
from flux.recorder.spool import Spool, spans_in
from flux.recorder.waiting import Waiting

COMPRESSION = 1
"""Level of gzip: JSON shrinks to a fifth already, at a third of the default's time."""


_CHANCE = random.Random()  # noqa: S311 -- for waits only
"""Our own: the application may have seeded the shared one, and counts on its sequence."""


class Exporter:
    """Empties the queue of one process."""

    def __init__(self, settings: Settings, waiting: Waiting) -> None:
        self._settings = settings
        self._waiting = waiting
        self._delivery = Delivery(settings)
        self._spool: Spool | None = None
        if settings.spool is not None:
            self._spool = Spool(
                settings.spool, bytes_max=settings.spool_bytes_max, files_max=settings.spool_files_max
            )
        self._resource: dict[str, str] = {}
        self._failures = 0
        self._retry_s = 0.0
        self._kept: tuple[bytes, int] | None = None
        self._in_hand: tuple[bytes, int] | None = None
        self._saved = False
        self._begin()

    def _begin(self) -> None:
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._flushing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flux-recorder", daemon=True)
        self._thread.start()

    def after_fork(self) -> None:
        """Begin again in a child process, which shares nothing but the folder with its parent."""
        self._delivery.forget()
        self._kept, self._in_hand, self._failures, self._retry_s = None, None, 0, 0.0
        self._begin()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded is sent or spooled; False when the time was over before."""
        deadline = time.monotonic() + timeout_s
        self._idle.clear()
        self._flushing.set()
        self._waiting.wake()
        return self._idle.wait(max(0.0, deadline - time.monotonic()))

    def stop(self, timeout_s: float = EXIT_S_MAX) -> None:
        """Send or spool what there is, for at most so long, and end."""
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self._waiting.wake()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            # It hangs in a send. What it sends is saved as well: the intake knows a span that comes twice.
            self._save_rest(deadline + timeout_s)
        self._delivery.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with failing_open("the exporter"):
                self._round()
        with failing_open("the last export"):
            self._last_round()

    def _round(self) -> None:
        flushing = self._flushing.is_set()
        if not flushing:
            self._waiting.wait(self._pause(), for_spans=1)
            if len(self._waiting) and not self._stopping.is_set() and not self._flushing.is_set():
                self._waiting.wait(FLUSH_INTERVAL_S, for_spans=BATCH_SPANS_MAX)
        reachable = time.monotonic() >= self._retry_s
        if reachable:
            self._send_spooled()
        while spans := self._take():
            self._pass_on(*spans)
            if self._stopping.is_set():
                return
            if len(self._waiting) < BATCH_SPANS_MAX and not flushing:
                break  # the rest waits for company: a batch costs more than its spans
        if flushing and not len(self._waiting) and self._kept is None:
            self._flushing.clear()
            self._idle.set()

    def _pause(self) -> float:
        """Return how long to wait for spans: until the next attempt, when batches wait for one."""
        if self._kept is None and not (self._spool and self._spool.batches()):
            return BACKOFF_S_MAX
        return min(max(self._retry_s - time.monotonic(), 0.01), BACKOFF_S_MAX)

    def _take(self) -> tuple[bytes, int] | None:
        """Return the next batch to pass on: one that is kept in memory, or one of waiting spans."""
        if self._kept is not None:
            if time.monotonic() < self._retry_s and not self._stopping.is_set():
                return None
            kept, self._kept = self._kept, None
            return kept
        spans = self._waiting.take(BATCH_SPANS_MAX)
        if not spans:
            return None
        try:
            return self._encode(spans), len(spans)
        except Exception:
            self._waiting.drop(len(spans))
            raise

    def _pass_on(self, payload: bytes, spans: int) -> None:
        """Send a batch, or keep it for later."""
        waits_behind = self._spool is not None and bool(self._spool.batches())
        if time.monotonic() >= self._retry_s and not waits_behind:
            self._in_hand = (payload, spans)
            done = self._send(payload, spans)
            self._in_hand = None
            if done or self._saved:
                return
        self._keep(payload, spans)
        if waits_behind and time.monotonic() >= self._retry_s:
            self._send_spooled()

    def _keep(self, payload: bytes, spans: int) -> None:
        if self._spool is None:
            # Without a spool one batch waits in memory, and the queue behind it up to its bounds.
            self._kept = (payload, spans)
            return
        try:
            self._waiting.drop(self._spool.put(_on_disk(payload), spans))
        except OSError as error:
            fault("the spool", error)
            self._waiting.drop(spans)

    def _send(self, payload: bytes, spans: int, timeout_s: float = SEND_TIMEOUT_S) -> bool:
        """Try to deliver a batch; True when it is done with, False when it is for later."""
        dropped = self._waiting.dropped
        answer = self._delivery.send(payload, dropped=dropped, timeout_s=timeout_s)
        if answer.outcome is Outcome.LATER:
            self._failures += 1
            wait = min(BACKOFF_S_MIN * 2 ** min(self._failures - 1, 10), BACKOFF_S_MAX)
            # Spread, so that the workers of one service do not come back all at once.
            wait = max(answer.wait_s, wait * _CHANCE.uniform(0.5, 1.0))
            self._retry_s = time.monotonic() + wait
            count("exports_failed")
            if answer.status in {401, 403, 404}:
                warn_once(f"status {answer.status}", _refused(answer.status))
            return False
        self._failures, self._retry_s = 0, 0.0
        if answer.outcome is Outcome.ACCEPTED:
            self._waiting.told(dropped)
            count("spans_exported", spans)
        else:
            count("spans_rejected", spans)
            warn_once(f"status {answer.status}", _refused(answer.status))
        return True

    def _send_spooled(self, until_s: float = float("inf")) -> None:
        """Send the files of the spool, oldest first, until one fails or the time is over."""
        if self._spool is None or not self._spool.batches():
            return
        with self._spool.sending() as ours:
            if not ours:
                # Another process of the service is at it; new batches go behind its.
                self._retry_s = time.monotonic() + BACKOFF_S_MIN
                return
            for path in self._spool.batches():
                if time.monotonic() > until_s or (self._stopping.is_set() and until_s == float("inf")):
                    return
                if not self._send_file(path):
                    return

    def _send_file(self, path: Path) -> bool:
        try:
            payload = path.read_bytes()
        except FileNotFoundError:
            return True
        if not self._send(payload, spans_in(path)):
            return False
        path.unlink(missing_ok=True)
        return True

    def _last_round(self) -> None:
        """At the end: send for a while, then spool."""
        deadline = time.monotonic() + EXIT_S_MAX * 0.75
        while batch := self._take():
            left = deadline - time.monotonic()
            behind = self._spool is not None and bool(self._spool.batches())
            away = time.monotonic() < self._retry_s or behind
            if left > 0 and not away and self._send(*batch, timeout_s=max(left, 0.05)):
                continue
            self._save(*batch)
        self._waiting.told(self._waiting.dropped)

    def _save_rest(self, until_s: float) -> None:
        with failing_open("saving the rest"):
            self._saved = True
            if self._in_hand is not None:
                self._save(*self._in_hand)
            while time.monotonic() < until_s:
                spans = self._waiting.take(BATCH_SPANS_MAX)
                if not spans:
                    return
                self._save(self._encode(spans), len(spans))

    def _save(self, payload: bytes, spans: int) -> None:
        """Keep a batch at the end of the process: on disk, or not at all."""
        if self._spool is None:
            self._waiting.drop(spans)
        else:
            self._keep(payload, spans)

    def _encode(self, spans: Sequence[Record]) -> bytes:
        if not self._resource:
            self._resource = _resource_of(self._settings)
        return self._packed(otlp.request(map(otlp.span, spans), self._resource, own_version()))

    def _packed(self, request: bytes) -> bytes:
        # On one machine packing costs both sides more than the bytes it saves.
        return request if self._delivery.near else gzip.compress(request, COMPRESSION, mtime=0)


def _resource_of(settings: Settings) -> dict[str, str]:
    """Return what is said of this process; OTEL_RESOURCE_ATTRIBUTES may say more."""
    own = {
        "service.name": settings.service,
        "telemetry.distro.name": "flux-recorder",
        "telemetry.distro.version": own_version(),
    }
    revision = revision_of(settings.root)
    if revision is not None:
        own["vcs.ref.head.revision"] = revision
    # Not `Resource.create`: it starts a thread, which an ending process cannot.
    resource = OTELResourceDetector().detect().merge(Resource(own))
    return {name: str(value) for name, value in resource.attributes.items()}


def _on_disk(payload: bytes) -> bytes:
    """Return a batch as the spool keeps it: packed, for there its size counts."""
    return payload if payload.startswith(GZIP) else gzip.compress(payload, COMPRESSION, mtime=0)


def _refused(status: int) -> str:
    told = {
        401: "the capture daemon refuses the recorder's token; check FLUX_OTLP_TOKEN",
        403: "the capture daemon refuses the recorder's token; check FLUX_OTLP_TOKEN",
        404: "there is no intake at the recorder's endpoint; check FLUX_OTLP_ENDPOINT",
    }
    return told.get(status, f"the capture daemon rejected a batch of spans with status {status}")
