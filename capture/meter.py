"""What a running capture knows of itself: one mutable record, written by the loop, read by others.

Readers take `Meter.read()`, a frozen copy. The loop writes, and the intake beside it, which must not make
the loop look alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Reading:
    """A capture at one moment."""

    state: str = "starting"
    """starting, baseline, streaming, waiting (for the source), stopped."""
    commit_lsn: int = 0
    """Of the last commit that is in the ledger."""
    at_us: int = 0
    """Its time, microseconds since 1970."""
    confirmed_lsn: int = 0
    """What the server may forget."""
    server_lsn: int = 0
    """The newest position that the server spoke of."""
    caught_up: bool = False
    """Nothing received waits, nothing decoded is uncommitted."""
    rows: int = 0
    """Stored since the start."""
    messages: int = 0
    """Received since the start."""
    bytes: int = 0
    """Received since the start."""
    commits: int = 0
    """Of the ledger since the start."""
    heartbeats: int = 0
    """That came back since the start."""
    reconnects: int = 0
    open_attempts: int = 0
    """Attempts without an outcome yet."""
    ignored_messages: int = 0
    """Malformed or forged messages under our prefixes."""
    queue_bytes: int = 0
    """Received and not yet decoded."""
    baselines_pending: int = 0
    """Tables that wait for a baseline."""
    rows_per_s: float = 0.0
    """Over the last seconds."""
    last_error: str = ""
    intake_address: str = ""
    """Where OTLP is listened for; empty when it is not."""
    intake_error: str = ""
    """The last one."""
    intake_connections: int = 0
    intake_queue_bytes: int = 0
    """Of exports that are being received or wait to be stored."""
    spans: int = 0
    """Stored since the start."""
    requests: int = 0
    """Stored since the start."""
    spans_dropped: int = 0
    """By a bound of the recorder, as it says itself."""
    spans_refused: Mapping[str, int] = field(default_factory=dict)
    """Left out of exports that were taken, by reason."""
    exports_refused: Mapping[str, int] = field(default_factory=dict)
    """By HTTP status."""
    started_at_us: int = 0
    ticked_at_us: int = 0
    """When the loop last went round."""

    @property
    def lag_bytes(self) -> int:
        """Log that the server has and the ledger does not."""
        return 0 if self.caught_up else max(0, self.server_lsn - max(self.confirmed_lsn, self.commit_lsn))

    def lag_s(self, now_us: int) -> float:
        """Age of the newest stored commit while there is more to store, else 0."""
        if self.caught_up or self.at_us == 0:
            return 0.0
        return max(0.0, (now_us - self.at_us) / 1e6)


class Meter:
    """The one writer's side."""

    def __init__(self) -> None:
        now = now_us()
        self._lock = threading.Lock()
        self._reading = Reading(started_at_us=now, ticked_at_us=now)
        self._rate_from = (time.monotonic(), 0)

    def read(self) -> Reading:
        """Return the newest reading."""
        return self._reading

    def update(self, **changes: object) -> None:
        """Set fields; every call is a tick."""
        with self._lock:
            self._reading = replace(self._reading, ticked_at_us=now_us(), **changes)  # type: ignore[arg-type]

    def tick(self) -> None:
        """Say that the loop is alive."""
        self.update()

    def add(self, **amounts: int) -> None:
        """Add to counters."""
        with self._lock:
            sums = {name: getattr(self._reading, name) + amount for name, amount in amounts.items()}
            self._reading = replace(self._reading, ticked_at_us=now_us(), **sums)

    def note(self, **changes: object) -> None:
        """Set fields of the intake."""
        with self._lock:
            self._reading = replace(self._reading, **changes)  # type: ignore[arg-type]

    def count(self, **amounts: int) -> None:
        """Add to counters of the intake."""
        with self._lock:
            sums = {name: getattr(self._reading, name) + amount for name, amount in amounts.items()}
            self._reading = replace(self._reading, **sums)

    def tally(self, name: str, key: str, amount: int = 1) -> None:
        """Add to one key of a counter of the intake."""
        with self._lock:
            counts: Mapping[str, int] = getattr(self._reading, name)
            changed = {**counts, key: counts.get(key, 0) + amount}
            self._reading = replace(self._reading, **{name: changed})  # type: ignore[arg-type]

    def measure_rate(self) -> None:
        """Work out `rows_per_s` since the last call; call it every few seconds."""
        then, rows = self._rate_from
        now = time.monotonic()
        if now - then >= 1.0:
            self.update(rows_per_s=round((self._reading.rows - rows) / (now - then), 1))
            self._rate_from = (now, self._reading.rows)


def now_us() -> int:
    """Return this machine's clock in microseconds since 1970."""
    return time.time_ns() // 1000
