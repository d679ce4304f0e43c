"""What a capture run is told: the source, the ledger, and its bounds, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flux.model.redaction import Policy


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much capture holds, and how long it waits."""

    receive_bytes_max: int = 8 << 20
    """Of the log decoded at once; a decoded piece takes a few times as much memory."""
    queue_bytes_max: int = 32 << 20
    """Received and not yet decoded; beyond it the server is slowed down."""
    batch_rows_max: int = 250_000
    """Rows in one commit of the ledger (a larger transaction is still one commit)."""
    batch_bytes_max: int = 64 << 20
    """Bytes of the log in one commit of the ledger."""
    flush_interval_s: float = 0.2
    """Between two commits of the ledger; a row after a quiet time does not wait."""
    feedback_interval_s: float = 10.0
    """The server hears of us at least this often (or three times in its wal_sender_timeout)."""
    receive_timeout_s: float = 60.0
    """A server that is asked and says nothing for so long is gone (not below its wal_sender_timeout)."""
    answer_timeout_s: float = 60.0
    """Bound on the answer to a question about a relation, a slot."""
    copy_timeout_s: float = 600.0
    """A baseline's connection may be silent this long: for a lock, or over dead rows."""
    heartbeat_interval_s: float = 10.0
    """Between heartbeats while nothing is unresolved."""
    heartbeat_urgent_s: float = 0.3
    """Between heartbeats while attempts wait for their outcome."""
    heartbeat_timeout_s: float = 15.0
    """Bound on one heartbeat (it waits for synchronous standbys)."""
    idle_confirm_interval_s: float = 2.0
    """Between confirmations of positions that brought no rows; each writes a small file."""
    idle_commit_interval_s: float = 300.0
    """Between commits of the position alone, so that a quiet ledger still says how far it reads."""
    status_interval_s: float = 2.0
    """Between writings of the status file."""
    maintain_interval_s: float = 60.0
    """Between looks at whether the ledger wants flushing or compacting; at most."""
    maintain_commits_max: int = 64
    """The same in commits: each brings a file for up to three tables, and questions open all of them."""
    backoff_min_s: float = 0.5
    """First wait after the source went away."""
    backoff_max_s: float = 30.0
    """Longest wait between two tries to reach the source."""
    slot_busy_wait_s: float = 5.0
    """How long the slot may be held by another process when capture starts."""
    slot_busy_reconnect_s: float = 150.0
    """The same after a lost connection: the server keeps a dead reader up to wal_sender_timeout."""
    copy_bytes_max: int = 4 << 20
    """Of copied rows turned into one piece of a baseline."""


@dataclass(frozen=True, slots=True)
class IntakeBounds:
    """How much the OTLP intake takes, holds, and waits for."""

    body_bytes_max: int = 16 << 20
    """Of one export as it is sent."""
    content_bytes_max: int = 32 << 20
    """Of one export unpacked: a kilobyte of gzip may stand for a megabyte."""
    queue_bytes_max: int = 64 << 20
    """Of all exports that are being received or wait to be stored; beyond it 503."""
    spans_per_s_max: float = 5_000.0
    """Over time; beyond it 429. Reading spans and capturing share one interpreter."""
    burst_spans_max: int = 50_000
    """Above the rate at once, after a quiet time."""
    connections_max: int = 512
    """At once, and at most a quarter of the files this process may open; one more takes the place of the one
    that has kept us waiting longest."""
    headers_s: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_s: float = 30.0
    """From there to the end of its body."""
    idle_s: float = 75.0
    """Between two requests of a connection."""
    gather_s: float = 0.2
    """Exports are gathered this long for one commit of the ledger."""
    gather_spans_max: int = 20_000
    """One commit is not kept waiting beyond so many."""
    retry_after_s: int = 5
    """What a refused exporter is told to wait, where nothing better is known."""
    stop_s: float = 10.0
    """At the end what was received is finished, but no longer than this."""
    seen_spans_max: int = 250_000
    """Identities that are remembered, 100 bytes each: a span sent again is not stored again."""
    clock_skew_s: float = 600.0
    """An application's clock may be ahead of ours by so much."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Where OTLP is listened for, and who may send it."""

    host: str = "127.0.0.1"
    port: int = 4318
    """0 takes a free one."""
    token: str | None = field(default=None, repr=False)
    """What an exporter must send as `Authorization: Bearer …`; None asks for none, on loopback only."""
    required: bool = False
    """The port was asked for: not to have it ends the run."""
    bounds: IntakeBounds = field(default_factory=IntakeBounds)


@dataclass(frozen=True, slots=True)
class Settings:
    """One capture run."""

    ledger: Path
    """The ledger's folder."""
    source: str
    """Short name of the captured database in the ledger."""
    slot: str
    plugin: str
    """`pgoutput` or `wal2json`."""
    dsn: str | None = None
    """Connection string; None leaves everything to libpq's environment."""
    once: bool = False
    """Capture up to the server's position at the start, then end."""
    resnapshot: bool = False
    """Where the log is lost: record the gap, make a new slot and a new baseline."""
    listen_port: int | None = None
    """Port of the health endpoints; 0 takes a free one, None means none."""
    listen_host: str = "127.0.0.1"
    otlp: IntakeSettings | None = None
    """The intake of OpenTelemetry's spans; None means none."""
    bounds: Bounds = field(default_factory=Bounds)
    redaction: Policy | None = None
    """Rules for what is stored; None without any."""
