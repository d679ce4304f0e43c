"""The spans that wait for the exporter: bounded in number and in size, and never a reason to wait.

`put` is called in the application's threads and in its event loop. It takes a lock for the time of an append;
what does not fit is counted and gone.
"""

from __future__ import annotations

import threading
from collections import deque

from flux.recorder.fault import count
from flux.recorder.record import Record
from flux.recorder.settings import BATCH_SPANS_MAX, QUEUE_BYTES_MAX


class Waiting:
    """Takes every span that ends."""

    def __init__(self, spans_max: int) -> None:
        self._spans_max = spans_max
        self._spans: deque[Record] = deque()
        self._bytes = 0
        self._changed = threading.Condition(threading.Lock())
        self._dropped = 0
        self._woken = False

    def put(self, record: Record) -> None:
        """Take a span that has ended, or count it as dropped."""
        with self._changed:
            spans = len(self._spans)
            if spans >= self._spans_max or self._bytes + record.size > QUEUE_BYTES_MAX:
                self._dropped += 1
                dropped = True
            else:
                self._spans.append(record)
                self._bytes += record.size
                dropped = False
                if spans in {0, BATCH_SPANS_MAX - 1}:
                    self._changed.notify()
        if dropped:
            count("spans_dropped")

    def take(self, spans_max: int) -> list[Record]:
        """Return the next spans, at most so many."""
        with self._changed:
            taken = [self._spans.popleft() for _ in range(min(spans_max, len(self._spans)))]
            self._bytes -= sum([record.size for record in taken])
            # In here: who asks for the numbers finds each span either waiting or recorded.
            count("spans_recorded", len(taken))
        return taken

    def wait(self, seconds: float, *, for_spans: int) -> None:
        """Wait until so many spans are there, or `wake` is called, or the time is over."""
        with self._changed:
            if len(self._spans) < for_spans and not self._woken:
                self._changed.wait(seconds)
            self._woken = False

    def wake(self) -> None:
        """End a `wait`: the one that goes on, or the next."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def drop(self, spans: int) -> None:
        """Count spans that a bound further on dropped."""
        if spans:
            with self._changed:
                self._dropped += spans
            count("spans_dropped", spans)

    @property
    def dropped(self) -> int:
        """Spans dropped since the last `told`."""
        return self._dropped

    def told(self, spans: int) -> None:
        """Take note that the intake knows of so many dropped spans."""
        with self._changed:
            self._dropped -= spans

    def __len__(self) -> int:
        return len(self._spans)

    def after_fork(self) -> None:
        """A child has no spans of its parent, and a lock that nobody holds."""
        self._changed = threading.Condition(threading.Lock())
        self._spans = deque()
        self._bytes = self._dropped = 0
