"""How much is let in: bytes at once and spans over time. For one thread, the server's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Budget:
    """Bytes of exports that are being received, read, or wait to be stored."""

    def __init__(self, bytes_max: int, changed: Callable[[int], None]) -> None:
        self._bytes_max = bytes_max
        self._held = 0
        self._changed = changed

    def take(self, size: int) -> bool:
        """Hold `size` more bytes; False, and nothing is held, if that is too much."""
        if self._held + size > self._bytes_max:
            return False
        self._held += size
        self._changed(self._held)
        return True

    def give_back(self, size: int) -> None:
        """Hold `size` bytes less."""
        self._held -= size
        self._changed(self._held)


class Rate:
    """Spans over time. What an export holds is known when it is read, so it is paid for afterwards."""

    def __init__(self, spans_per_s: float, burst_spans: int) -> None:
        self._spans_per_s = spans_per_s
        self._burst = float(burst_spans)
        self._left = self._burst
        self._at = time.monotonic()

    def wait_s(self) -> int:
        """Return 0 if an export may come in now, else the whole seconds until one may."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._spans_per_s)
        self._at = now
        return 0 if self._left > 0 else math.ceil(-self._left / self._spans_per_s) or 1

    def pay(self, spans: int) -> None:
        """Take in account what came."""
        self._left -= spans
