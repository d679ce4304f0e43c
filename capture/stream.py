"""One connection's life: from the ledger's position along the stream, until told to end or cut off.

The order that makes it exactly once: receive → decode → append → commit of the ledger (rows and
position in one) → confirm. Receiving, decoding and appending run beside each other. A position that brought
no rows is written to a small durable file instead of a commit. Nothing is confirmed that is not durable;
nothing durable is stored twice.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from flux.capture import confirmed as durable
from flux.capture import lossy
from flux.capture.appending import Appending
from flux.capture.backlog import Backlog, copy_tables
from flux.capture.health import write_status
from flux.capture.heartbeat import Heartbeat
from flux.capture.opening import Opened, relations_batch
from flux.capture.run import Run
from flux.model.batch import Batch

_WAIT_S_MAX = 1.0
"""The loop goes round at least this often."""
_GATHER_S = 0.05
"""A run of `once` holds a message at most this long; while a baseline waits, one looks so often for it."""
_SLACK = 16
"""What is held is decoded when less than this part of `receive_bytes_max` is free."""
_ONCE_SLOWER = 10
"""A run of `once` commits so many times as seldom: nobody waits for a commit, and each costs some 20 ms."""
_SETTLE_S = 0.01
"""A message is held at least this long: what the server sends at one time is taken together."""


class Session:
    """See the module's contract; `loop` runs it, `close` ends it however it went."""

    def __init__(self, run: Run, opened: Opened) -> None:
        self._run = run
        self._bounds = run.settings.bounds
        self._opened = opened
        self._stream = opened.stream
        self._confirmed = opened.confirmed
        self._appending = Appending(run.writer)
        self._backlog = Backlog(run, opened.roots)
        self._heartbeat: Heartbeat | None = None
        self._goal = ""  # the nonce that ends a run of `once`
        self._asked_about: tuple[int, ...] = ()  # the transactions that a heartbeat on its way names
        self._nudged = False  # a heartbeat was asked for, so that the stream passes a snapshot
        self._last: Batch | None = None
        self._open = False
        self._held: list[bytes] = []  # received, to be decoded together
        self._held_bytes = 0
        self._held_since = 0.0
        self._learned = 0  # versions of relations that the redactor was told of
        self._appended_rows = 0
        self._appended_bytes = 0
        self._commits_unkept = 0  # commits since the last upkeep
        self._committed_at = time.monotonic()
        self._idle_confirmed_at = 0.0
        self._status_at = 0.0
        self._maintain_at = time.monotonic() + self._bounds.maintain_interval_s
        at = run.writer.position()
        run.meter.update(
            commit_lsn=at.commit_lsn if at else 0,
            at_us=at.at_us if at else 0,
            confirmed_lsn=opened.confirmed.confirmed_lsn,
            baselines_pending=len(opened.roots),
        )

    def loop(self) -> bool:
        """Run until told to stop (return False) or, with `once`, until everything is in (True)."""
        self._first_baselines()
        self._heartbeat = Heartbeat(
            self._run.settings.dsn,
            interval_s=self._bounds.heartbeat_interval_s,
            urgent_s=self._bounds.heartbeat_urgent_s,
            timeout_s=self._bounds.heartbeat_timeout_s,
        )
        if self._run.settings.once:
            self._goal = self._ask()
        self._run.meter.update(state="streaming", last_error="")
        while not self._run.stop():
            self._heartbeat.check()
            self._receive()
            if not self._open and not self._held:
                if self._appended_rows and self._due():
                    self._flush()
                self._confirm_idle()
                self._baselines()
            if self._run.settings.once and self._is_done():
                self._flush()
                # A run every minute must not leave a file for each; but no run should have to wait for long.
                self._run.writer.maintain(wait=True, brief=True)
                return True
            self._report()
        self._decode()
        if not self._open:
            self._flush()
        return False

    def close(self) -> None:
        """Forget what is not committed, end threads and connections."""
        self._appending.close()
        self._run.writer.rollback()
        self._backlog.close()
        if self._heartbeat is not None:
            self._heartbeat.close()
        self._opened.close()

    def _first_baselines(self) -> None:
        """Copy the tables of a new slot as of its own snapshot; the stream waits meanwhile."""
        snapshot = self._opened.snapshot
        if snapshot is None:
            return
        self._run.meter.update(state="baseline", baselines_pending=len(self._backlog.waiting))
        self._status()

        def done(root: int) -> None:
            self._backlog.drop((root,))
            self._run.meter.update(baselines_pending=len(self._backlog.waiting))
            self._status()

        copy_tables(
            self._run, snapshot, self._backlog.waiting, exact_numbers=self._stream.exact_numbers, done=done
        )
        snapshot.close()

    def _receive(self) -> None:
        """Take what arrived and hold it for a moment; then decode and append all of it at once.

        A file of the ledger for each message of a busy source would be its end.
        """
        bound = self._bounds.receive_bytes_max
        full = bound - bound // _SLACK  # messages come in chunks, which may not fit
        least = full - self._held_bytes if self._held else 1
        room = bound - self._held_bytes
        messages = self._stream.receive(bytes_min=least, bytes_max=room, wait_s=self._wait_s())
        now = time.monotonic()
        if messages:
            self._held_since = self._held_since if self._held else now
            self._held += messages
            self._held_bytes += sum(map(len, messages))
        if self._held and (self._held_bytes >= full or now >= self._decode_at()):
            self._decode()

    def _decode(self) -> None:
        """Decode what is held and append it to the ledger's open transaction."""
        if not self._held:
            return
        messages, size = self._held, self._held_bytes
        self._held, self._held_bytes = [], 0
        self._run.meter.add(messages=len(messages), bytes=size)
        batch = self._opened.decoder.decode(messages)
        if self._run.redactor is not None:
            # Of shapes that no commit brought: a column may have had another name in what was rolled back.
            versions = self._opened.decoder.catalog.versions
            self._run.redactor.learn(versions[self._learned :])
            self._learned = len(versions)
        if not self._stream.exact_numbers:
            batch = lossy.mark_batch(batch)
        self._take(batch, size)

    def _take(self, batch: Batch, size: int) -> None:
        self._last, self._open = batch, batch.open_transaction
        if batch.row_count or batch.gone:
            self._appending.append(batch)
            if batch.late:
                # The decoder makes the rest of it meanwhile, and does one thing at a time.
                self._appending.settle()
            # A batch may bring nothing but the end of a table's tracking: that counts as a row.
            self._appended_rows += batch.row_count or 1
        if self._appended_rows:
            self._appended_bytes += size
        seen = batch.position.commit_lsn
        self._backlog.drop(relation_id for relation_id, _ in batch.gone)
        self._backlog.add(batch.resync, seen)
        for nonce in batch.heartbeats:
            self._goal = "" if nonce and nonce == self._goal else self._goal
        if self._heartbeat is not None:
            self._heartbeat.hasten(batch.unresolved, batch.open_attempts)
            if batch.doubtful and batch.doubtful != self._asked_about:
                self._heartbeat.ask("", batch.doubtful)
            self._asked_about = batch.doubtful
        for line in batch.warnings:
            self._run.say(line)
        self._run.meter.add(heartbeats=len(batch.heartbeats), ignored_messages=batch.ignored_messages)
        self._run.meter.update(
            open_attempts=batch.open_attempts, baselines_pending=len(self._backlog.waiting)
        )

    def _wait_s(self) -> float:
        """How long to wait for messages before something else is due."""
        if self._backlog.waiting:
            return _GATHER_S
        if self._held:
            return max(0.0, self._decode_at() - time.monotonic())
        if self._appended_rows and not self._open:
            return max(0.0, self._commit_at() - time.monotonic())
        return _WAIT_S_MAX

    def _decode_at(self) -> float:
        """When what is held is decoded: not long before it may be committed."""
        if self._run.settings.once:  # nobody waits for a commit
            return self._held_since + min(_GATHER_S, self._bounds.flush_interval_s)
        return max(self._held_since + _SETTLE_S, self._commit_at())

    def _commit_at(self) -> float:
        """When the next commit is due: at once after a quiet time, else an interval after the last one."""
        slower = _ONCE_SLOWER if self._run.settings.once else 1
        return self._committed_at + self._bounds.flush_interval_s * slower

    def _due(self) -> bool:
        """Tell whether a bound of the batch is reached."""
        return (
            self._appended_rows >= self._bounds.batch_rows_max
            or self._appended_bytes >= self._bounds.batch_bytes_max
            or time.monotonic() >= self._commit_at()
        )

    def _flush(self, idle_lsn: int = 0) -> None:
        """Commit what was appended, with the position; then confirm it, or `idle_lsn` if that is later."""
        self._appending.settle()
        last = self._last
        if last is None:
            self._confirm(idle_lsn)
            return
        if self._backlog.waiting != self._confirmed.pending:
            # Before the commit: what asked for a baseline is not read a second time.
            self._save(self._confirmed.with_pending(self._backlog.waiting))
        if self._appended_rows or time.monotonic() - self._committed_at > self._bounds.idle_commit_interval_s:
            if not self._appended_rows:
                self._run.writer.append(relations_batch([], last.position))
            row_count = self._run.writer.row_count
            self._run.writer.commit(
                slot=self._run.settings.slot,
                system_identifier=self._opened.system.system_identifier,
                timeline=self._opened.system.timeline,
            )
            self._committed_at = time.monotonic()
            self._commits_unkept += 1
            self._run.meter.add(rows=row_count, commits=1)
            self._run.meter.update(commit_lsn=last.position.commit_lsn, at_us=last.position.at_us)
            self._appended_rows = self._appended_bytes = 0
        self._confirm(max(last.confirm_lsn, idle_lsn))

    def _confirm(self, lsn: int) -> None:
        """Confirm a position before which everything is durable."""
        if lsn <= self._stream.confirmed_lsn:
            return
        stored = self._run.writer.position()
        # Reading begins before what was confirmed: the file must not go back to that.
        if lsn > max(self._confirmed.confirmed_lsn, stored.end_lsn if stored else 0):
            commit_lsn = stored.commit_lsn if stored else 0
            last = self._confirmed.last
            if self._last is not None and self._last.position.end_lsn > (last.end_lsn if last else 0):
                last = self._last.position
            self._save(replace(self._confirmed, confirmed_lsn=lsn, commit_lsn=commit_lsn, last=last))
        self._stream.confirm(lsn)
        self._run.meter.update(confirmed_lsn=lsn)

    def _confirm_idle(self) -> None:
        """Confirm what brought no rows: heartbeats, and positions of which a keepalive told."""
        if self._appended_rows:
            return
        now = time.monotonic()
        if now - self._idle_confirmed_at < self._bounds.idle_confirm_interval_s:
            return
        last = self._last
        lsn = 0 if last is None else last.confirm_lsn
        if last is None or not last.unresolved:
            # All that the server had before this was received, decoded, and brought no rows.
            lsn = max(lsn, self._caught_up_lsn)
        if lsn > self._stream.confirmed_lsn:
            self._idle_confirmed_at = now
            self._flush(lsn)

    def _baselines(self) -> None:
        """Copy the waiting tables once the stream has passed their snapshot."""
        snapshot = self._backlog.snapshot()
        if snapshot is None:
            return
        if not self._passed(snapshot.lsn):
            if not self._nudged:
                self._nudged = True
                self._ask()
            return
        self._nudged = False
        self._flush()
        self._run.meter.update(state="baseline")
        self._backlog.copy(exact_numbers=self._stream.exact_numbers, done=self._baseline_done)
        self._run.meter.update(state="streaming")

    def _passed(self, lsn: int) -> bool:
        """Everything that ended before `lsn` was received and decoded."""
        if self._last is not None and self._last.position.commit_lsn >= lsn:
            return True
        return self._caught_up_lsn >= lsn

    @property
    def _caught_up_lsn(self) -> int:
        """Everything that ends before this position was received and decoded; 0 while that is not known."""
        return 0 if self._opened.decoder.waiting else self._stream.caught_up_lsn

    def _baseline_done(self) -> None:
        self._save(self._confirmed.with_pending(self._backlog.waiting))
        self._run.meter.update(baselines_pending=len(self._backlog.waiting))
        self._status()

    def _is_done(self) -> bool:
        return not (self._goal or self._open or self._backlog.waiting or self._asked_about)

    def _ask(self) -> str:
        """Send a heartbeat that will be recognised."""
        nonce = secrets.token_hex(8)
        if self._heartbeat is not None:
            self._heartbeat.ask(nonce)
        return nonce

    def _save(self, content: durable.Confirmed) -> None:
        durable.write(self._run.settings.ledger, self._run.settings.source, content)
        self._confirmed = content

    def _report(self) -> None:
        """Keep the meter, the status file and the ledger's upkeep going."""
        now = time.monotonic()
        if now >= self._status_at:
            self._status_at = now + self._bounds.status_interval_s
            # What is held for a moment does not count: that may be a heartbeat, each time one looks.
            is_behind = self._open or self._appended_rows or self._opened.decoder.waiting
            self._run.meter.update(
                server_lsn=self._stream.server_lsn,
                queue_bytes=self._stream.queue_bytes,
                caught_up=self._stream.idle and not is_behind,
                confirmed_lsn=self._stream.confirmed_lsn,
            )
            self._run.meter.measure_rate()
            self._status()
        is_due = now >= self._maintain_at or self._commits_unkept >= self._bounds.maintain_commits_max
        if is_due and not self._appended_rows and not self._open:
            self._run.writer.maintain()
            self._commits_unkept = 0
            self._maintain_at = time.monotonic() + self._bounds.maintain_interval_s

    def _status(self) -> None:
        write_status(self._run.settings.ledger, self._run.settings.source, self._run.meter.read())
