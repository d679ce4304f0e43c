"""From exports to the ledger: many are gathered into one commit, each span is stored once.

A thread of its own. An export is answered when its spans are durable, whether by it or by an earlier
commit; when the ledger cannot be written, it is told to come again and nothing is taken for stored.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux.capture.meter import Meter
from flux.capture.otlp.refusal import Refused
from flux.capture.otlp.seen import Seen
from flux.capture.otlp.spans import Mapped
from flux.capture.settings import IntakeBounds
from flux.model.errors import FluxError, LedgerError

OCCURRENCES_MAX = 50_000
"""Kinds of exchanges of recent requests that are counted for senders that do not count themselves."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Done = Callable[[Refused | None], None]
"""Called once, from the gathering thread: None when the export is durable."""


class Shelf(Protocol):
    """Where rows go: the part of `ledger.writer.Writer` that the intake uses."""

    def record(self, requests: pa.Table, spans: pa.Table, exchanges: pa.Table) -> None:
        """Store rows; durable when it returns. Raises `LedgerError`."""

    def spans_known(self, since: datetime, until: datetime, span_ids: Sequence[str]) -> set[tuple[str, str]]:
        """Return (trace id, span id) of stored spans that began between two times."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    mapped: Mapped
    dropped: int
    """Spans that the sender dropped before this export."""
    done: Done


class Gatherer:
    """See the module's contract."""

    def __init__(self, shelf: Shelf, bounds: IntakeBounds, meter: Meter) -> None:
        self._shelf = shelf
        self._bounds = bounds
        self._meter = meter
        self._seen = Seen(bounds.seen_spans_max, bounds.clock_skew_s)
        self._occurrences: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self._waiting: deque[_Waiting] = deque()
        self._span_count = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="flux-gathering", daemon=True)
        self._thread.start()

    def put(self, mapped: Mapped, dropped: int, done: Done) -> None:
        """Take in an export; `done` is called when it is durable, or cannot be stored now."""
        with self._changed:
            if not self._is_closing:
                self._waiting.append(_Waiting(mapped, dropped, done))
                self._span_count += len(mapped.identity)
                self._changed.notify()
                return
        done(self._busy("the intake is stopping"))

    def close(self, within_s: float) -> None:
        """Store what waits, for so long at most; what is left is told to come again."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(within_s)
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
        for each in left:
            each.done(self._busy("the intake is stopping"))

    def _run(self) -> None:
        while batch := self._gathered():
            self._store(batch)

    def _gathered(self) -> list[_Waiting]:
        """Wait for exports and return them; none when there are none and there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            until = time.monotonic() + self._bounds.gather_s
            most = self._bounds.gather_spans_max
            while not self._is_closing and self._span_count < most:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            batch: list[_Waiting] = []
            taken = 0
            while self._waiting and (not batch or taken + len(self._waiting[0].mapped.identity) <= most):
                batch.append(self._waiting.popleft())
                taken += len(batch[-1].mapped.identity)
            self._span_count -= taken
            return batch

    def _store(self, batch: list[_Waiting]) -> None:
        """Store exports in one commit and answer each."""
        refused: Refused | None = None
        try:
            self._record(batch)
        except LedgerError as error:
            self._meter.note(intake_error=_reason(error))
            refused = self._busy("the ledger cannot be written now")
        except Exception as error:  # noqa: BLE001 - one export must not stand in the way of the others
            if len(batch) > 1:
                for each in batch:
                    self._store([each])
                return
            self._meter.note(intake_error=f"an export could not be stored: {type(error).__name__}")
            refused = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "this export cannot be stored: a bug of Flux")
        for each in batch:
            each.done(refused)

    def _busy(self, why: str) -> Refused:
        return Refused(HTTPStatus.SERVICE_UNAVAILABLE, why, retry_after_s=self._bounds.retry_after_s)

    def _record(self, batch: list[_Waiting]) -> None:
        fresh, dropped = self._fresh(batch)
        spans = pa.concat_tables([each.spans for each in fresh]) if fresh else None
        requests = pa.concat_tables([each.requests for each in fresh]) if fresh else None
        counted: dict[tuple[str, ...], int] = {}
        if spans is not None and spans.num_rows:
            exchanges = self._counted(pa.concat_tables([each.exchanges for each in fresh]), counted)
            self._shelf.record(requests, spans, exchanges)
        for each in fresh:
            self._seen.add(each.identity)
        for kind, count in counted.items():
            self._occurrences[kind] = count
            self._occurrences.move_to_end(kind)
        while len(self._occurrences) > OCCURRENCES_MAX:
            self._occurrences.popitem(last=False)
        self._meter.count(
            spans=spans.num_rows if spans is not None else 0,
            requests=requests.num_rows if requests is not None else 0,
            spans_dropped=dropped,
        )

    def _fresh(self, batch: list[_Waiting]) -> tuple[list[Mapped], int]:
        """Return what is not stored yet, and how many spans the senders say they dropped."""
        taken: set[bytes] = set()
        fresh: list[Mapped] = []
        dropped = 0
        for each in batch:
            found = each.mapped
            which = np.ones(len(found.identity), np.bool_)
            for place, identity in enumerate(found.identity):
                if identity in taken or identity in self._seen:
                    which[place] = False
                taken.add(identity)
            # An export that came whole already was counted then.
            dropped += each.dropped if which.any() or not which.size else 0
            if which.any():
                fresh.append(found.kept(which))
        known = self._in_ledger(fresh)
        if known:
            fresh = [
                each.kept(np.array([one not in known for one in each.identity], np.bool_)) for each in fresh
            ]
        return fresh, dropped

    def _in_ledger(self, fresh: list[Mapped]) -> set[bytes]:
        """Return the identities among `fresh` that the ledger has from a time we do not remember."""
        doubtful = [self._seen.doubtful(each.ended_us) for each in fresh]
        span_ids: list[str] = []
        bounds_us: list[int] = []
        for each, which in zip(fresh, doubtful, strict=True):
            if which.any():
                asked = each.spans.filter(pa.array(which))
                span_ids += asked.column("span_id").to_pylist()
                began = asked.column("started_at").cast(pa.int64())
                bounds_us += [pc.min(began).as_py(), pc.max(began).as_py()]
        if not span_ids:
            return set()
        found = self._shelf.spans_known(_time(min(bounds_us)), _time(max(bounds_us)), span_ids)
        return {bytes.fromhex(trace_id) + bytes.fromhex(span_id) for trace_id, span_id in found}

    def _counted(self, exchanges: pa.Table, counted: dict[tuple[str, ...], int]) -> pa.Table:
        """Fill in `occurrence` where the sender did not count; the new counts go to `counted`."""
        column = exchanges.column("occurrence")
        if column.null_count == 0:
            return exchanges
        counts = column.to_pylist()
        missing: npt.NDArray[np.int64] = np.flatnonzero(pc.is_null(column).to_numpy())
        names = ("request_id", "kind", "target", "fingerprint")
        which = exchanges.select(names).take(pa.array(missing)).to_pydict()
        for place, *kind in zip(missing.tolist(), *(which[name] for name in names), strict=True):
            key = tuple(kind)
            counts[place] = counted.get(key, self._occurrences.get(key, 0))
            counted[key] = counts[place] + 1
        filled = pa.array(counts, pa.uint64())
        return exchanges.set_column(exchanges.schema.get_field_index("occurrence"), "occurrence", filled)


def _time(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)


def _reason(error: FluxError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what
