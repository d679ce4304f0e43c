"""What `flux status` answers: how far capture is, and how its slot is doing.

Asks three places: the status file that a running capture keeps, the ledger's lock (is one running?),
and the server, if it can be reached. Opens no ledger, so it answers at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from flux.capture import confirmed as durable
from flux.capture import source as database
from flux.capture.health import status_file
from flux.capture.meter import Reading, now_us
from flux.decoder.slot import SlotState, read_slot
from flux.ledger.layout import Layout
from flux.ledger.lock import holder
from flux.ledger.sources import Source
from flux.model.errors import FluxError, LedgerError

USED_WARN, USED_FAULT = 0.5, 0.9
"""Of max_slot_wal_keep_size: from here on a slot wants attention, or is all but lost."""

ANSWER_TIMEOUT_S = 10.0
"""A server that takes longer to answer is said to be away."""


@dataclass(frozen=True, slots=True)
class Status:
    """One source at one moment. Times are microseconds since 1970, positions bytes of the log."""

    source: str
    slot: str
    plugin: str
    running: bool
    """A process holds the ledger's lock and keeps this source's status."""
    pid: int | None
    state: str
    """`never` before the first run, `stopped`, or what the running capture says of itself."""
    commit_lsn: int
    at_us: int
    confirmed_lsn: int
    server_lsn: int | None
    """Now; None when the server cannot be reached or has no such slot."""
    lag_bytes: int | None
    lag_s: float | None
    """Age of the newest stored commit while the server has more, else 0."""
    rows_per_s: float
    rows: int
    """Since the capture was started."""
    open_attempts: int
    baselines_pending: int
    reconnects: int
    last_error: str
    intake_address: str
    """Where OTLP is listened for; empty when it is not."""
    intake_error: str
    requests: int
    """Stored since the capture was started, as are `spans`."""
    spans: int
    spans_dropped: int
    spans_refused: int
    exports_refused: int
    slot_health: str
    """reserved, extended, unreserved, lost, missing, or unknown (the server cannot be reached)."""
    slot_active_pid: int | None
    slot_retained_bytes: int | None
    """Log that the server keeps for this slot."""
    slot_safe_bytes: int | None
    """Log that may still be written before the slot is in danger; None without a limit."""
    unreachable: str
    """Why the server did not answer; empty when it did."""

    @property
    def slot_in_danger(self) -> bool:
        """The server will soon remove log that was not read yet, unless capture catches up."""
        used = used_of_bound(self.slot_retained_bytes or 0, self.slot_safe_bytes)
        return self.slot_health in {"extended", "unreserved"} or used > USED_WARN


def used_of_bound(retained_bytes: int, safe_bytes: int | None) -> float:
    """Return how much of max_slot_wal_keep_size a slot has used, 0 to 1; 0 without such a bound.

    The server's own wal_status does not say: while the bound is below max_wal_size, a slot is
    `reserved` to the last.
    """
    return 0.0 if safe_bytes is None else retained_bytes / max(1, retained_bytes + safe_bytes)


def read_status(ledger: Path, source: Source, dsn: str | None) -> Status:
    """Return the status of `source`; a server that does not answer is part of the answer."""
    pid = holder(Layout(ledger).lock)
    reading, written_by = _last_reading(ledger, source.name)
    known = durable.read(ledger, source.name)
    slot, unreachable = _slot(source, dsn)
    running = pid is not None and pid == written_by
    confirmed_lsn = max(reading.confirmed_lsn, known.confirmed_lsn if known else 0)
    reached = max(confirmed_lsn, reading.commit_lsn)
    server_lsn = slot.server_lsn if slot is not None else None
    lag_bytes = None if server_lsn is None else max(0, server_lsn - reached)
    caught_up = running and reading.caught_up
    if written_by is None:
        state = "never"
    else:
        state = reading.state if running else "stopped"
    return Status(
        source=source.name,
        slot=source.slot,
        plugin=source.plugin,
        running=running,
        pid=pid if running else None,
        state=state,
        commit_lsn=reading.commit_lsn,
        at_us=reading.at_us,
        confirmed_lsn=confirmed_lsn,
        server_lsn=server_lsn,
        lag_bytes=lag_bytes,
        lag_s=_lag_s(lag_bytes, reading.at_us, caught_up=caught_up),
        rows_per_s=reading.rows_per_s if running else 0.0,
        rows=reading.rows,
        open_attempts=reading.open_attempts,
        baselines_pending=max(reading.baselines_pending, len(known.pending) if known else 0),
        reconnects=reading.reconnects,
        last_error=reading.last_error,
        intake_address=reading.intake_address if running else "",
        intake_error=reading.intake_error,
        requests=reading.requests,
        spans=reading.spans,
        spans_dropped=reading.spans_dropped,
        spans_refused=sum(reading.spans_refused.values()),
        exports_refused=sum(reading.exports_refused.values()),
        slot_health=_health(slot, unreachable),
        slot_active_pid=slot.active_pid if slot else None,
        slot_retained_bytes=slot.retained_bytes if slot else None,
        slot_safe_bytes=slot.safe_wal_bytes if slot else None,
        unreachable=unreachable,
    )


def _health(slot: SlotState | None, unreachable: str) -> str:
    if unreachable:
        return "unknown"
    if slot is None:
        return "missing"
    return "lost" if slot.lost else slot.wal_status or "reserved"


def _lag_s(lag_bytes: int | None, at_us: int, *, caught_up: bool) -> float | None:
    if caught_up or lag_bytes == 0:
        return 0.0
    if at_us == 0:
        return None
    return max(0.0, (now_us() - at_us) / 1e6)


def _slot(source: Source, dsn: str | None) -> tuple[SlotState | None, str]:
    """Return the slot, None if there is none; and why nobody answered, if so."""
    try:
        connection = database.connect(dsn, application_name="flux status", answer_timeout_s=ANSWER_TIMEOUT_S)
    except FluxError as error:
        return None, error.why or error.what
    with connection:
        try:
            return read_slot(connection, source.slot), ""
        except FluxError as error:
            return None, error.why or error.what


def _last_reading(ledger: Path, source: str) -> tuple[Reading, int | None]:
    """Return what the last capture said of itself, and its process; an empty one before the first."""
    path = status_file(ledger, source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {field.name for field in fields(Reading)}
        return Reading(**{name: content[name] for name in names & content.keys()}), int(content["pid"])
    except FileNotFoundError:
        return Reading(), None
    except OSError as error:
        raise LedgerError(f"cannot read {path}", why=error.strerror or "") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # It is written anew every few seconds; a torn one says nothing.
        return Reading(), None
