"""Tables that wait for a baseline while the stream runs, and how they get it.

A snapshot at an exact position is taken aside (a temporary slot, which waits for running
transactions, so in a thread). Once the stream's position has passed it, the tables are copied and
reconciled: the ledger's own state as of that position is compared with the rows, and only what
differs is written. So changes that the stream brings are never dropped and never doubled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flux.capture.baseline import LockedRelation, Preparation, Snapshot, copy_rows
from flux.capture.run import Run
from flux.model.errors import SourceError

_RETRY_S = 30.0
"""Wait after a snapshot was refused (no slot is free, say)."""


def copy_tables(
    run: Run, snapshot: Snapshot, roots: Iterable[int], *, exact_numbers: bool, done: Callable[[int], None]
) -> None:
    """Copy these tables as of `snapshot` into the ledger, one commit each, telling `done` of each."""
    for root in roots:
        with LockedRelation(snapshot, root, lossy=not exact_numbers) as relation:
            if relation is not None:
                rows = copy_rows(
                    snapshot,
                    relation,
                    bytes_max=run.settings.bounds.copy_bytes_max,
                    say=run.say,
                    stop=run.stop,
                    tick=run.meter.tick,
                )
                began = time.monotonic()
                counts = run.writer.reconcile(relation, rows, lsn=snapshot.lsn, at_us=snapshot.at_us)
                run.meter.add(commits=1)
                run.say(
                    f"baseline {relation.relation}: {counts.row_count:,} rows in "
                    f"{time.monotonic() - began:.1f} s"
                )
        done(root)


class Backlog:
    """The waiting tables of one connection's life; `close` gives up what is under way."""

    def __init__(self, run: Run, waiting: Iterable[int]) -> None:
        self._run = run
        self._waiting = dict.fromkeys(waiting)
        self._covered: tuple[int, ...] = ()
        self._preparation: Preparation | None = None
        self._snapshot: Snapshot | None = None
        self._retry_at = 0.0

    @property
    def waiting(self) -> tuple[int, ...]:
        """OIDs of the tables that wait, in the order they came."""
        return tuple(self._waiting)

    def add(self, roots: Iterable[int], seen_lsn: int) -> None:
        """Let these wait, because of something that committed no later than `seen_lsn`."""
        for root in roots:
            if self._snapshot is not None and root in self._covered and seen_lsn < self._snapshot.lsn:
                continue  # the snapshot under way shows it already
            if root in self._covered:
                self._covered = tuple(each for each in self._covered if each != root)
            self._waiting[root] = None

    def drop(self, roots: Iterable[int]) -> None:
        """Forget these: they are captured no longer."""
        for root in roots:
            self._waiting.pop(root, None)
            self._covered = tuple(each for each in self._covered if each != root)

    def snapshot(self) -> Snapshot | None:
        """Return the snapshot that the stream has to pass, once it is there; take one if it is time.

        A refusal of the source is told and tried again later: the stream goes on. `--once` cannot
        wait for that, so there it is raised.
        """
        if not self._waiting or self._snapshot is not None:
            return self._snapshot
        if self._preparation is None:
            if time.monotonic() < self._retry_at:
                return None
            self._covered = tuple(self._waiting)
            self._preparation = Preparation(
                self._run.settings.dsn,
                timeout_s=self._run.settings.bounds.copy_timeout_s,
                stop=self._run.stop,
            )
        try:
            self._snapshot = self._preparation.ready()
        except SourceError as error:
            self.close()
            if self._run.settings.once:
                raise
            self._retry_at = time.monotonic() + _RETRY_S
            self._run.meter.update(last_error=error.what)
            self._run.say(f"{error} (trying again in {_RETRY_S:.0f} s)")
        return self._snapshot

    def copy(self, *, exact_numbers: bool, done: Callable[[], None]) -> None:
        """Copy the covered tables; the ledger must hold everything up to the snapshot."""
        if self._snapshot is None:
            return

        def finished(root: int) -> None:
            self._waiting.pop(root, None)
            done()

        copy_tables(self._run, self._snapshot, self._covered, exact_numbers=exact_numbers, done=finished)
        self.close()

    def close(self) -> None:
        """Give up the snapshot or its preparation."""
        if self._preparation is not None:
            self._preparation.close()
        self._preparation = None
        self._snapshot = None
        self._covered = ()
