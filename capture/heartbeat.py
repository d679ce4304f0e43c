"""Heartbeats: a thread that calls `flux.heartbeat` on an ordinary connection.

A heartbeat brings the snapshot that decides attempts whose transaction was rolled back, moves the
slot on an idle server, and is how `--once` knows that it has seen everything. It runs on its own so
that a slow ledger never delays it, and so that it notices at once when the server shuts down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from flux import sql
from flux.capture import source
from flux.decoder.slot import translate
from flux.model.errors import FluxError, SourceError, Unreachable

_MISSING = ("42883", "3F000", "42501")
"""No such function, no such schema, no permission."""
_CANCEL_TIMEOUT_S = 2.0
"""Bound on cancelling a heartbeat under way, and on the answer to that."""


class Heartbeat:
    """A running heartbeat. Thread safe; `close` ends it."""

    def __init__(self, dsn: str | None, *, interval_s: float, urgent_s: float, timeout_s: float) -> None:
        self._interval_s = interval_s
        self._urgent_s = urgent_s
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._state = (False, 0)
        self._patience_s = interval_s
        self._asked: list[tuple[str, list[str]]] = []
        self._closing = False
        self._error: FluxError | None = None
        self._sent = 0
        # The server ends what takes longer than `timeout_s`; one that does not is not there.
        self._connection = source.connect(
            dsn, application_name="flux heartbeat", answer_timeout_s=2 * timeout_s
        )
        self._thread = threading.Thread(target=self._run, name="flux-heartbeat", daemon=True)
        self._thread.start()

    def ask(self, nonce: str, doubtful: Sequence[int] = ()) -> None:
        """Send one now, with `nonce`; it will say of the `doubtful` transactions whether they committed."""
        with self._changed:
            self._asked.append((nonce, [str(xid) for xid in doubtful]))
            self._changed.notify()

    def hasten(self, unresolved: bool, open_attempts: int) -> None:
        """Send them often while attempts wait for their outcome, else seldom.

        While the same attempts go on waiting (a long transaction), they become seldom again.
        """
        state = (unresolved, open_attempts)
        if state != self._state:
            with self._changed:
                self._state = state
                self._patience_s = self._urgent_s if unresolved else self._interval_s
                self._changed.notify()

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread and its connection."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(1.0)
        if self._thread.is_alive():
            # Without an answer to that the thread ends by its own bound, and nobody waits for it.
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
                self._thread.join(_CANCEL_TIMEOUT_S)

    def _run(self) -> None:
        beat = sql.text("capture/heartbeat.sql")
        session = sql.text("capture/heartbeat_session.sql")
        try:
            self._connection.execute(session, {"timeout_ms": str(int(self._timeout_s * 1000))})
            while (due := self._next()) is not None:
                self._connection.execute(beat, {"nonce": due[0], "doubtful": due[1]})
        except psycopg.Error as error:
            self._error = _explain(error)
        finally:
            self._connection.close()

    def _next(self) -> tuple[str, list[str]] | None:
        """Wait until the next one is due; return its nonce and whom it names, None at the end."""
        began = time.monotonic()
        with self._changed:
            while not self._closing:
                if self._asked:
                    return self._asked.pop(0)
                left_s = began + self._patience_s - time.monotonic()
                if left_s <= 0:
                    self._patience_s = min(self._patience_s * 1.5, self._interval_s)
                    return "", []
                self._changed.wait(left_s)
        return None


def _explain(error: psycopg.Error) -> FluxError:
    if error.sqlstate in _MISSING:
        return SourceError(
            "cannot send a heartbeat",
            why=f"flux.heartbeat is missing in the source or not allowed for this role ({error.sqlstate})",
            hint="run `flux init` as the owner of the database",
        )
    if error.sqlstate == "57014":
        return Unreachable(
            "a heartbeat did not commit in time",
            why="the server is busy, or waits for a synchronous standby that is down",
            hint="look at synchronous_standby_names and pg_stat_replication",
        )
    if error.sqlstate == "25006":
        return SourceError(
            "cannot send a heartbeat",
            why="the server is read-only: a standby",
            hint="capture from the primary",
        )
    return translate(error, doing="send a heartbeat")
