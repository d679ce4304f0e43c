"""The capture daemon: one run of `flux up`.

`run` holds the ledger's lock, connects again with a growing wait whenever the source goes away, and
ends cleanly on SIGTERM and SIGINT. Everything that a retry will not mend (a lost slot, a full disk,
a stream that cannot be decoded) ends it with the error that says what to do; nothing is confirmed
then that is not stored.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from flux.capture.baseline import Say
from flux.capture.health import Pages, write_status
from flux.capture.meter import Meter
from flux.capture.opening import open_source
from flux.capture.otlp.intake import Intake
from flux.capture.otlp.intake import start as start_intake
from flux.capture.run import Run
from flux.capture.settings import Settings
from flux.capture.stream import Session
from flux.ledger.layout import Layout
from flux.ledger.writer import Writer
from flux.model.errors import FluxError, Interrupted, SlotBusy, Unreachable, UsageError
from flux.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did."""

    rows: int
    """Stored from the stream (baselines not counted)."""
    commits: int
    commit_lsn: int
    """The ledger's position at the end; 0 when nothing was ever stored."""
    seconds: float
    complete: bool
    """With `once`: everything up to the start of the call is stored. Else False: it was stopped."""
    reconnects: int
    open_attempts: int
    """Attempts whose transaction is still running."""


def run(settings: Settings, *, say: Say, stop: threading.Event | None = None) -> Summary:
    """Capture until told to stop, or with `settings.once` until the server's present position.

    `stop` set, SIGTERM or SIGINT (in the main thread) end it after the batch at hand. Raises
    `LedgerLocked`, `LedgerError`, `SlotError`, `SourceError`, `DecodeError`; and `Unreachable` with `once`.
    """
    began = time.monotonic()
    stopping = stop if stop is not None else threading.Event()
    meter = Meter()
    _hold_to_redaction(settings)
    redactor = None if settings.redaction is None else Redactor(settings.redaction)
    with (
        _signals(stopping),
        Writer.open(settings.ledger, source=settings.source, redaction=redactor) as writer,
    ):
        if redactor is not None:
            redactor.learn(writer.relations(0))
            say(f"redaction: {len(redactor.policy.rules)} rules from {redactor.policy.origin}")
        shared = Run(settings, writer, meter, stopping.is_set, say, stopping.wait, redactor)
        pages = _listen(settings, meter, say)
        intake: Intake | None = None
        try:
            intake = start_intake(settings.otlp, writer, meter, say)
            complete = _sessions(shared)
        except FluxError as error:
            meter.update(last_error=_reason(error))
            raise
        finally:
            if intake is not None:
                intake.close()
            if pages is not None:
                pages.close()
            meter.update(state="stopped")
            _last_status(settings, meter)
        at = writer.position()
    reading = meter.read()
    return Summary(
        rows=reading.rows,
        commits=reading.commits,
        commit_lsn=at.commit_lsn if at else 0,
        seconds=time.monotonic() - began,
        complete=complete,
        reconnects=reading.reconnects,
        open_attempts=reading.open_attempts,
    )


def _hold_to_redaction(settings: Settings) -> None:
    """Raise `UsageError` where rules are missing for a ledger that was written with some."""
    mark = Layout(settings.ledger).redacted
    if settings.redaction is not None and settings.ledger.exists():
        mark.touch()
    elif mark.exists():
        raise UsageError(
            "no redaction rules are found, and this ledger was written with some",
            why="values would be stored as they are",
            hint="start it where its flux.toml is found (docs/REDACTION.md);"
            f" or delete {mark} to store them as they are from now on",
        )


def _sessions(shared: Run) -> bool:
    """Live one connection after another; return whether a run of `once` is complete."""
    bounds = shared.settings.bounds
    failures = 0
    first = True
    while not shared.stop():
        try:
            return _session(shared, first=first)
        except Interrupted:
            return False
        except (Unreachable, SlotBusy) as error:
            # A busy slot at the start is someone else's; later it is our own dead reader's.
            if shared.settings.once or (first and isinstance(error, SlotBusy)):
                raise
            failures = 1 if shared.meter.read().state == "streaming" else failures + 1
            wait_s = backoff_s(failures, bounds.backoff_min_s, bounds.backoff_max_s, random.random())  # noqa: S311
            # Whatever was caught up with: what the server does meanwhile is not known.
            shared.meter.update(state="waiting", caught_up=False, last_error=_reason(error))
            shared.say(f"{_reason(error)}; trying again in {wait_s:.1f} s")
            _last_status(shared.settings, shared.meter)
            shared.wait(wait_s)
            shared.meter.add(reconnects=1)
            first = False
    return False


def _session(shared: Run, *, first: bool) -> bool:
    bounds = shared.settings.bounds
    opened = open_source(
        shared,
        busy_wait_s=bounds.slot_busy_wait_s if first else bounds.slot_busy_reconnect_s,
        resnapshot=shared.settings.resnapshot and first,
    )
    session = Session(shared, opened)
    try:
        return session.loop()
    finally:
        session.close()


def backoff_s(failures: int, least_s: float, most_s: float, chance: float) -> float:
    """Return the next wait: doubling, bounded, spread over its upper half by `chance` (0 to 1)."""
    whole = min(most_s, least_s * 2.0 ** min(failures - 1, 30))
    return whole * (0.5 + 0.5 * chance)


def _reason(error: FluxError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what


def _listen(settings: Settings, meter: Meter, say: Say) -> Pages | None:
    if settings.listen_port is None:
        return None
    pages = Pages(meter, settings.source, host=settings.listen_host, port=settings.listen_port)
    say(f"health and metrics on http://{settings.listen_host}:{pages.port}")
    return pages


def _last_status(settings: Settings, meter: Meter) -> None:
    try:
        write_status(settings.ledger, settings.source, meter.read())
    except FluxError:
        # It is only a courtesy to `flux status`; the error that ends the run matters more.
        return


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stopping`; a second one ends the process as it always would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
