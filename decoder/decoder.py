"""The decoder: messages in, batches out; what is not over yet is carried from one run to the next.

    decoder = Decoder("pgoutput", relations=…, lookup=…, position=…, start_lsn=…)
    batch = decoder.decode(messages)

Transactions up to `position` are in the ledger already: they come again after a restart and are left out,
but their commits and heartbeats still say what became of attempts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from flux.decoder import pgoutput, wal2json
from flux.decoder.attempt import parse_attempts
from flux.decoder.catalog import Catalog, Lookup
from flux.decoder.committed import Tagged, committed_changes
from flux.decoder.context import TAG_BYTES_MAX, contexts_table, parse_contexts, parse_tags, with_sessions
from flux.decoder.events import ATTEMPT, BEGIN, COMMIT, CONTEXT, DDL, HEARTBEAT, MARK, TAG, TRACK, Events
from flux.decoder.frames import HEADER_BYTES, Bools, Ints, Lsns, gather
from flux.decoder.outcome import Commits, Heartbeat, parse_heartbeat
from flux.decoder.pending import Pending, Resolved
from flux.decoder.rolled_back import rolled_back_changes
from flux.decoder.schema import SchemaChange, parse_ddl
from flux.decoder.tables import (
    ddl_table,
    open_request_ids,
    relations_table,
    rolled_back_transactions,
    transactions_table,
)
from flux.decoder.transaction import Open, Spans, spans
from flux.decoder.truncate import whole_truncates
from flux.model.batch import CHANGES, CONTEXTS, TRANSACTIONS, Batch, Position
from flux.model.errors import DecodeError
from flux.model.lsn import LSN_MAX
from flux.model.relation import Relation

Plugin = Literal["pgoutput", "wal2json"]

BEGINNING_BYTES_MAX = 1 << 20
"""Of a transaction that wait for its commit; of a longer one what is there is decoded."""

_PENDING_CONTEXTS = parse_contexts([])[0].schema
for _name, _kind in (
    ("lsn", pa.uint64()),
    ("top_xid", pa.int64()),
    ("hold", pa.uint64()),
):
    _PENDING_CONTEXTS = _PENDING_CONTEXTS.append(pa.field(_name, _kind))


@dataclass(slots=True)
class _Tally:
    """What one run counted."""

    ignored: int = 0
    """Messages under our prefixes that were malformed or forged."""


def no_lookup(_relation: int | str) -> Relation | None:
    """Know of no relation: for streams whose relations are all given."""
    return None


class Decoder:
    """Turns the messages of one replication stream, in order, into batches. Not thread-safe."""

    def __init__(
        self,
        plugin: Plugin,
        *,
        relations: Iterable[Relation] = (),
        lookup: Lookup = no_lookup,
        position: Position | None = None,
        start_lsn: int = 0,
        xid_near: int = 0,
        secret: str = "",
        spill: Path | None = None,
        conceal: bool = False,
    ) -> None:
        """Begin at what the slot has confirmed, `start_lsn`.

        `xid_near` is any recent 64-bit transaction id, from which the upper half of the stream's 32-bit
        ids is taken (0: the first epoch). `secret` is what Flux's own messages begin with (none: nothing).
        Open attempts that memory cannot hold go into the folder `spill` (none: the temporary one), encrypted
        with a key that is nowhere else if they are to `conceal` what they hold.
        """
        self._plugin = pgoutput if plugin == "pgoutput" else wal2json
        self.catalog = Catalog(relations, lookup)
        self.position = position or Position(0, 0)
        self._stored_lsn = self.position.commit_lsn
        self._confirmable_lsn = start_lsn
        self._confirm_lsn = start_lsn
        self._xid_near = xid_near
        self._secret = secret
        self._open: Open | None = None
        self._early: list[bytes] = []
        """Messages that wait for the one they belong with."""
        self._pending = Pending(_PENDING_CONTEXTS.empty_table(), spill, conceal=conceal)

    def decode(self, messages: list[bytes]) -> Batch:
        """Return the batch of `messages`; raise `DecodeError` when they are not what they must be."""
        messages = [*self._early, *messages]
        count = self._ended(messages, self._plugin.complete(messages))
        messages, self._early = messages[:count], messages[count:]
        if not messages:
            return self._batch_of_nothing()
        try:
            return self._batch(messages)
        except (UnicodeDecodeError, pa.ArrowInvalid) as error:
            raise DecodeError("text that is not UTF-8", offset=0) from error

    @property
    def waiting(self) -> bool:
        """Messages were taken that no batch tells of yet."""
        return bool(self._early)

    def _ended(self, messages: list[bytes], count: int) -> int:
        """Return how many of the first `count` messages to decode: the beginning of a transaction waits.

        So a batch of short transactions ends with one, and can be committed. Of a longer one what is
        there is decoded.
        """
        waiting = sum(map(len, messages[count:]))
        for index in range(count - 1, 0, -1):
            waiting += len(messages[index])
            if waiting > BEGINNING_BYTES_MAX or messages[index].startswith(
                self._plugin.COMMIT_OPENING, HEADER_BYTES
            ):
                break
            if messages[index].startswith(self._plugin.BEGIN_OPENING, HEADER_BYTES):
                return index
        return count

    def _batch(self, messages: list[bytes]) -> Batch:
        events = self._plugin.decode(gather(messages), self.catalog, self._secret)
        before = self._open
        span = spans(events, before)
        fresh_txn = span.commit_lsn > self._stored_lsn
        tally = _Tally(events.forged)
        beats = self._heartbeats(events, span, tally)
        contexts, context_row = self._contexts(events, span, fresh_txn, tally)
        truncates = whole_truncates(events, self.catalog)
        tagged = self._tag(events, span, fresh_txn & ~truncates.dropped, contexts, context_row)
        changes = committed_changes(events, tagged, self.catalog.versions, CHANGES)
        marks = events.lsn[(events.message == MARK) & events.transactional]
        if before is not None:
            marks = np.concatenate([before.marks, marks])
        open_beat = span.ends_open and bool(beats) and beats[-1].commit_lsn == int(span.commit_lsn[-1])
        resolved = self._resolve(events, span, beats[:-1] if open_beat else beats, marks, tally)
        lost_contexts = _pending_context_rows(resolved.contexts)
        is_long = len(resolved.pieces) > 1
        if is_long:
            for some in resolved.attempts():  # what it learns of unknown relations goes with this batch
                self.catalog.by_id(some.column("relation_id").to_numpy(), some.column("lsn").to_numpy())
        lost = rolled_back_changes(resolved.attempts(), lost_contexts, self.catalog)
        first_lost = next(lost, CHANGES.empty_table())
        schema, resync = self._schema(events, span, fresh_txn, truncates.resync, tally)
        commit = events.kind == COMMIT
        transactions = transactions_table(events, span, tagged, changes, self._wide(span.xid[commit]), before)
        first_new = 0 if before is None or before.context is None else 1
        used = np.unique(tagged.context_row[tagged.context_row >= first_new])
        if before is not None and before.context is not None and not before.context_used:
            used = np.unique(tagged.context_row[tagged.context_row >= 0])
        if open_beat:
            beats, unfinished = beats[:-1], tuple(beats[-1:])
        else:
            unfinished = ()
        self._move_on(events, span, contexts, context_row, tagged, changes, marks, unfinished)
        relations, self.catalog.fresh = self.catalog.fresh, []
        return Batch(
            changes=_join([changes, first_lost]),
            late=lost if is_long else (),
            contexts=_join([contexts.take(pa.array(used)), _used_contexts(lost_contexts, resolved)]),
            transactions=_join([transactions, rolled_back_transactions(resolved)]),
            relations=relations_table(relations),
            ddl=ddl_table(schema),
            position=self.position,
            confirm_lsn=self._confirm_lsn,
            open_transaction=self._open is not None,
            resync=tuple(sorted(resync)),
            gone=tuple(
                (relation_id, lsn)
                for change, lsn, *_ in schema
                for relation_id in (*change.dropped, *change.untracked)
            ),
            heartbeats=tuple(beat.nonce for beat in beats),
            open_attempts=self._pending.attempt_count,
            doubtful=self._pending.doubtful,
            unresolved=self._pending.hold != LSN_MAX,
            ignored_messages=tally.ignored,
        )

    def _batch_of_nothing(self) -> Batch:
        return Batch(
            changes=CHANGES.empty_table(),
            contexts=CONTEXTS.empty_table(),
            transactions=TRANSACTIONS.empty_table(),
            relations=relations_table([]),
            ddl=ddl_table([]),
            position=self.position,
            confirm_lsn=self._confirm_lsn,
            open_transaction=self._open is not None,
            open_attempts=self._pending.attempt_count,
            doubtful=self._pending.doubtful,
            unresolved=self._pending.hold != LSN_MAX,
        )

    def _heartbeats(self, events: Events, span: Spans, tally: _Tally) -> list[Heartbeat]:
        found = list(self._open.beats) if self._open is not None else []
        for event in np.flatnonzero((events.message == HEARTBEAT) & events.transactional).tolist():
            beat = parse_heartbeat(_content(events, event), int(span.commit_lsn[event]))
            if beat is None:
                tally.ignored += 1
            else:
                found.append(beat)
                self._xid_near = max(self._xid_near, beat.xmax)
        return found

    def _contexts(
        self, events: Events, span: Spans, fresh_txn: Bools, tally: _Tally
    ) -> tuple[pa.Table, Ints]:
        """Return the contexts that apply here (the open transaction's first) and each event's, or -1."""
        tag = events.message == TAG
        lost = tag & (~events.transactional | (events.content_length > TAG_BYTES_MAX))
        tally.ignored += int(lost.sum())
        wanted = (events.message == CONTEXT) & events.transactional | tag & ~lost
        which = np.flatnonzero(wanted & (span.number >= 0) & fresh_txn)
        signed, tags = which[~tag[which]], which[tag[which]]
        fields, good = parse_contexts(_contents(events, signed))
        if tags.size:
            which = np.concatenate([signed, tags])
            order = np.argsort(which)
            theirs, fit = parse_tags(_contents(events, tags))
            fields = pa.concat_tables([fields, theirs]).take(pa.array(order))
            which, good = which[order], np.concatenate([good, fit])[order]
        tally.ignored += int((~good).sum())
        rows = np.flatnonzero(good)
        which = which[good]
        table = contexts_table(
            fields.take(pa.array(rows)), pa.array(events.lsn[which]), pa.array(self._wide(span.xid[which]))
        )
        carried = self._open.context if self._open is not None else None
        if carried is not None:
            table = pa.concat_tables([carried, table])
        first = 0 if carried is None else 1
        row = np.full(events.kind.size, -1, np.int64)
        row[which] = first + np.arange(which.size)
        if carried is not None:
            row[span.number == 0] = np.maximum(row[span.number == 0], 0)
        # The newest one so far, as long as it belongs to the same transaction.
        newest = np.maximum.accumulate(row)
        owner = np.full(table.num_rows, 0, np.int64)
        owner[first:] = span.number[which]
        is_tag = np.concatenate([np.zeros(first, np.bool_), tag[which]])
        row = (
            np.where((newest >= 0) & (owner[np.maximum(newest, 0)] == span.number), newest, -1)
            if table.num_rows
            else newest
        )
        return with_sessions(table, is_tag, owner).combine_chunks(), row

    def _tag(
        self, events: Events, span: Spans, wanted: Bools, contexts: pa.Table, context_row: Ints
    ) -> Tagged:
        """Choose the events that become changes and say what transaction, place and tag they have."""
        chosen = (events.version >= 0) & wanted
        which = np.flatnonzero(chosen)
        number = span.number[which]
        before: Ints = np.cumsum(chosen) - chosen
        # By transaction number: how many changes were chosen before it began.
        at_begin = np.concatenate([[0], before[np.flatnonzero(events.kind == BEGIN)]])
        seq = before[which] - at_begin[number]
        if self._open is not None:
            seq = seq + np.where(number == 0, self._open.change_count, 0)
        return Tagged(
            event=which,
            commit_lsn=span.commit_lsn[which],
            xid=self._wide(span.xid[which]),
            at_us=span.at_us[which],
            seq=seq.astype(np.uint64),
            context_row=context_row[which],
            contexts=contexts,
        )

    def _wide(self, xid: Ints) -> Lsns:
        """Give 32-bit transaction ids the upper half of the nearest known 64-bit one."""
        low = xid.astype(np.int64)
        if not self._xid_near:
            return low.astype(np.uint64)
        distance = (low - (self._xid_near & 0xFFFFFFFF)).astype(np.int32).astype(np.int64)
        near = self._xid_near + distance
        return np.where(near > 0, near, low).astype(np.uint64)

    def _resolve(
        self, events: Events, span: Spans, beats: list[Heartbeat], marks: Lsns, tally: _Tally
    ) -> Resolved:
        """Take in the attempts of this run and settle what it settles, unless it is stored already."""
        hold = self._holds(events)
        direct = ~events.transactional
        which = np.flatnonzero((events.message == ATTEMPT) & direct)
        attempts = parse_attempts(
            events.buffer,
            events.content_start[which],
            events.content_length[which],
            events.lsn[which],
            hold[which],
        )
        tally.ignored += attempts.ignored
        # A shape that a transaction gave its tables waits as a context does: until the transaction is over,
        # attempts that have it may come, and may come again.
        which = np.flatnonzero(((events.message == CONTEXT) | (events.message == DDL)) & direct)
        fields, good = parse_contexts(_contents(events, which))
        digits = pa.compute.match_substring_regex(fields.column("xid"), r"^\d{1,18}$").fill_null(False)
        good = good & digits.to_numpy()
        tally.ignored += int((~good & (events.message[which] == CONTEXT)).sum())
        which, fields = which[good], fields.filter(pa.array(good))
        for name, values in (
            ("lsn", pa.array(events.lsn[which])),
            ("top_xid", fields.column("xid").cast(pa.int64())),
            ("hold", pa.array(hold[which])),
        ):
            fields = fields.append_column(name, values)
        self._pending.add(attempts.table, fields)
        for event in np.flatnonzero((events.message == DDL) & direct).tolist():
            self._learn_uncommitted(_content(events, event), int(events.lsn[event]), tally)
        commit = np.flatnonzero(events.kind == COMMIT)
        commits = Commits(span.xid[commit].astype(np.uint32), span.commit_lsn[commit], marks)
        return self._pending.resolve(commits, beats, after_lsn=self._stored_lsn)

    def _learn_uncommitted(self, content: bytes, lsn: int, tally: _Tally) -> None:
        try:
            change = parse_ddl(content, lsn)
        except DecodeError:
            tally.ignored += 1
            return
        for relation in change.relations:
            self.catalog.learn_uncommitted(change.xid, relation)

    def _holds(self, events: Events) -> Lsns:
        """Return for each event what may be confirmed while it is open: the commit decoded before it.

        A message's own position is its END, and confirming that would skip it after a restart.
        """
        end = np.where(events.kind == COMMIT, events.end_lsn, np.uint64(0))
        hold: Lsns = np.maximum.accumulate(np.maximum(end, np.uint64(self._confirmable_lsn)))
        return hold

    def _schema(
        self, events: Events, span: Spans, fresh_txn: Bools, truncated: Iterable[int], tally: _Tally
    ) -> tuple[list[tuple[SchemaChange, int, int, int]], set[int]]:
        """Return the schema changes with position, transaction and time, and what needs a new baseline.

        `truncated`: roots that need one because some of their partitions were emptied.
        """
        found: list[tuple[SchemaChange, int, int, int]] = []
        resync = set(truncated)
        for event in np.flatnonzero(
            ((events.message == DDL) | (events.message == TRACK)) & events.transactional
        ).tolist():
            change = events.schema[int(events.lsn[event])]
            if change is None:
                tally.ignored += 1
            elif fresh_txn[event]:
                xid = int(self._wide(span.xid[event : event + 1])[0])
                found.append((change, int(events.lsn[event]), xid, int(span.at_us[event])))
                resync |= set(change.resync)
                if events.message[event] == TRACK:
                    resync |= {relation.root_id for relation in change.relations}
                resync -= {*change.dropped, *change.untracked}
        return found, resync

    def _move_on(
        self,
        events: Events,
        span: Spans,
        contexts: pa.Table,
        context_row: Ints,
        tagged: Tagged,
        changes: pa.Table,
        marks: Lsns,
        beats: tuple[Heartbeat, ...],
    ) -> None:
        """Remember what the next run needs: the position, and the transaction that is still open."""
        commit = np.flatnonzero(events.kind == COMMIT)
        if commit.size:
            last = int(commit[-1])
            self._confirmable_lsn = max(self._confirmable_lsn, int(events.end_lsn[last]))
            if int(span.commit_lsn[last]) > self.position.commit_lsn:
                self.position = Position(
                    int(span.commit_lsn[last]), int(events.end_lsn[last]), int(span.at_us[last])
                )
        self._confirm_lsn = max(self._confirm_lsn, min(self._confirmable_lsn, self._pending.hold))
        if self.catalog.own_ddl:
            self.catalog.forget_uncommitted(self._pending.open_xids())
        before, self._open = self._open, None
        if not span.ends_open:
            return
        inside = np.flatnonzero(span.number >= 0)
        if not inside.size:  # nothing of it came: others' messages
            self._open = before
            return
        last = int(inside[-1])
        number = int(span.number[last])
        same = before is not None and number == 0
        mine = span.number[tagged.event] == number
        in_force = int(context_row[last])
        own_marks = (events.message == MARK) & events.transactional & (span.number == number)
        used = bool((tagged.context_row[mine] == in_force).any()) if in_force >= 0 else False
        if same and before is not None and in_force == 0 and before.context is not None:
            used = used or before.context_used
        self._open = Open(
            xid=int(span.xid[last]),
            commit_lsn=int(span.commit_lsn[last]),
            at_us=int(span.at_us[last]),
            change_count=int(mine.sum()) + (before.change_count if same and before is not None else 0),
            context=contexts.slice(in_force, 1) if in_force >= 0 else None,
            context_used=used,
            marks=marks if same else events.lsn[own_marks],
            beats=beats,
            request_ids=open_request_ids(span, tagged, changes, before),
            origin=span.origins[number],
        )


def _contents(events: Events, which: Ints) -> list[memoryview]:
    """Return what the messages of these events hold."""
    start = events.content_start[which]
    stop = start + events.content_length[which]
    whole = memoryview(events.buffer.data)
    return [whole[first:last] for first, last in zip(start.tolist(), stop.tolist(), strict=True)]


def _content(events: Events, event: int) -> bytes:
    start = int(events.content_start[event])
    return bytes(events.buffer[start : start + int(events.content_length[event])].tobytes())


def _pending_context_rows(pending: pa.Table) -> pa.Table:
    """Return rows of `CONTEXTS` for contexts that came outside of their transaction."""
    return contexts_table(
        pending,
        pending.column("lsn").combine_chunks(),
        pending.column("top_xid").cast(pa.uint64()).combine_chunks(),
    )


def _used_contexts(contexts: pa.Table, resolved: Resolved) -> pa.Table:
    """Return the contexts that a rolled-back attempt refers to."""
    rows = resolved.context_row.unique().drop_null()
    return contexts.take(rows.sort())


def _join(tables: list[pa.Table]) -> pa.Table:
    """Put tables of one shape together; text may be `string` in one and a view in the other."""
    filled = [table for table in tables if table.num_rows]
    if not filled:
        return tables[0]
    return filled[0] if len(filled) == 1 else pa.concat_tables(filled)
