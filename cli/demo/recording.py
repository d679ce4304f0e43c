"""`flux up` inside the demo: the capture daemon in a thread, and waiting for what it stores.

Promises: an error of capture is raised where the demo waits for it; `close` ends the thread. The
waits have a deadline and look at what is stored, not at a clock.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import psycopg

from flux import sql
from flux.capture.daemon import run
from flux.capture.health import status_file
from flux.capture.settings import Bounds, Settings
from flux.ledger import open_ledger
from flux.model.errors import Interrupted, TimedOut

TIMEOUT_S = 30.0
"""Bound on each wait; they take a fraction of a second."""
CLOSE_TIMEOUT_S = 15.0
"""Bound on the end of the capture."""
LOOK_INTERVAL_S = 0.05
BOUNDS = Bounds(flush_interval_s=0.1, heartbeat_urgent_s=0.1, status_interval_s=0.2)
"""A person waits: rows and outcomes come sooner than they do by default."""


class Recording:
    """A running capture. A context manager: it ends with its block."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="flux-demo-capture", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the capture; what it has is stored."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def await_slot(self) -> None:
        """Return when the slot is there: from then on no change is missed."""
        query = sql.text("demo/slot.sql")
        with psycopg.connect(self._settings.dsn or "", autocommit=True) as connection:

            def ready() -> bool:
                found = connection.execute(query, {"slot": self._settings.slot}).fetchone()
                return found is not None and bool(found[0])

            self._await(ready, "a replication slot")

    def await_intake(self) -> str:
        """Return where the intake listens, once it does: `http://127.0.0.1:49152`."""
        file = status_file(self._settings.ledger, self._settings.source)

        def address() -> str:
            return str(json.loads(file.read_text())["intake_address"]) if file.exists() else ""

        self._await(lambda: bool(address()), "an intake for spans")
        return address()

    def await_requests(self, request_ids: Collection[str]) -> None:
        """Return when the ledger has these requests, and what became of the changes of each."""
        wanted = set(request_ids)
        with open_ledger(self._settings.ledger) as ledger:

            def stored() -> bool:
                known = set(ledger.requests().column("request_id").to_pylist())
                if not wanted <= known:
                    return False
                changes = ledger.changes_of(list(wanted)).to_pylist()
                return wanted <= {one["request_id"] for one in changes}

            self._await(stored, "what the shop did")

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if self._ended.wait(LOOK_INTERVAL_S):
                raise self._error or Interrupted("the demo's capture ended before its time")
            if time.monotonic() > deadline:
                raise TimedOut(f"the demo's capture did not get {what} within {TIMEOUT_S:.0f} s")

    def _run(self) -> None:
        try:
            run(self._settings, say=_say_nothing, stop=self._stop)
        except Exception as error:  # noqa: BLE001 - a thread's error is raised where the demo waits
            self._error = error
        finally:
            self._ended.set()


def _say_nothing(text: str) -> None:
    """The demo tells its own story."""
    del text
