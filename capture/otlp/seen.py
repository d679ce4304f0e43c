"""Which spans were stored already, as far as this process remembers.

A bounded memory of two generations: when the young one is full, the old one is forgotten. What ended so
long ago that it may have been stored before this process began, or may have been forgotten, only the
ledger knows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


class Seen:
    """Not thread safe; the gathering thread alone asks it."""

    def __init__(self, spans_max: int, clock_skew_s: float) -> None:
        self._generation_max = max(1, spans_max // 2)
        self._skew_us = int(clock_skew_s * 1e6)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        self._young_since_us = time.time_ns() // 1000
        self._known_from_us = self._young_since_us + self._skew_us

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._young or identity in self._old

    def doubtful(self, ended_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which spans may be in the ledger though they are not in here, by the time they ended."""
        doubtful: npt.NDArray[np.bool_] = ended_us < self._known_from_us
        return doubtful

    def add(self, identities: Iterable[bytes]) -> None:
        """Remember what is durable now."""
        self._young.update(identities)
        if len(self._young) >= self._generation_max:
            if self._old:
                # The old ones were sent before the young generation began, and had ended by then.
                self._known_from_us = max(self._known_from_us, self._young_since_us + self._skew_us)
            self._old, self._young = self._young, set()
            self._young_since_us = time.time_ns() // 1000
