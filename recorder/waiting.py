"""The spans that wait for the exporter: bounded in number and in size, and never a reason to wait.

`put` is called in the application's threads and in its event loop. It takes a lock for the time of an append;
what does not fit is counted and gone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from flux.recorder.fault import count, failing_open
from flux.recorder.settings import BATCH_SPANS_MAX, QUEUE_BYTES_MAX

SPAN_BYTES = 1024
"""What a span is counted for beside its texts."""


class Waiting(SpanProcessor):
    """Takes every span that ends."""

    def __init__(self, spans_max: int) -> None:
        self._spans_max = spans_max
        self._spans: deque[tuple[ReadableSpan, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._dropped = 0
        self._woken = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: a span counts when it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, or count it as dropped."""
        with failing_open("the queue"):
            size = _size(span)
            with self._changed:
                if len(self._spans) >= self._spans_max or self._bytes + size > QUEUE_BYTES_MAX:
                    self._dropped += 1
                    count("spans_dropped")
                    return
                self._spans.append((span, size))
                self._bytes += size
                if len(self._spans) in {1, BATCH_SPANS_MAX}:
                    self._changed.notify()
            count("spans_recorded")

    def take(self, spans_max: int) -> list[ReadableSpan]:
        """Return the next spans, at most so many."""
        with self._changed:
            taken = [self._spans.popleft() for _ in range(min(spans_max, len(self._spans)))]
            self._bytes -= sum(size for _, size in taken)
        return [span for span, _ in taken]

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
        self._changed = threading.Condition()
        self._spans = deque()
        self._bytes = self._dropped = 0


def _size(span: ReadableSpan) -> int:
    """Return about how many bytes of memory a span holds."""
    size = SPAN_BYTES + _texts((span.attributes or {}).values())
    for event in span.events:
        size += _texts((event.attributes or {}).values())
    return size


def _texts(values: Iterable[Any]) -> int:
    return sum(len(value) if isinstance(value, str) else 64 for value in values)
