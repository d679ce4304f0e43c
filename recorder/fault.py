"""What goes wrong inside the recorder, and how much of what happened: it is counted, never raised.

The application must not notice the recorder. A fault of ours is swallowed, counted under
`faults`, and told once per place as a WARNING of the logger `flux.recorder`, without any value.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from types import TracebackType

logger = logging.getLogger("flux.recorder")

_lock = threading.Lock()
_counts: Counter[str] = Counter()
_told: set[str] = set()


def count(name: str, by: int = 1) -> None:
    """Add to one of the numbers that `stats()` returns."""
    with _lock:
        _counts[name] += by


def counts() -> dict[str, int]:
    """Return every number so far."""
    with _lock:
        return dict(_counts)


def fault(place: str, error: BaseException) -> None:
    """Count a fault of our own, and tell the first one of its place."""
    with _lock:
        _counts["faults"] += 1
        first = place not in _told
        _told.add(place)
    if first:
        told = type(error).__name__
        logger.warning("recording failed in %s (%s); the application goes on without it", place, told)


def warn_once(place: str, message: str) -> None:
    """Tell something once in the life of the process."""
    with _lock:
        first = place not in _told
        _told.add(place)
    if first:
        logger.warning("%s", message)


class failing_open:  # noqa: N801 (reads as the statement it is)
    """`with failing_open(place):` our own work; an exception in it ends the block and nothing else."""

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            fault(self._place, error)
            return True
        return False


def forget() -> None:
    """Begin again at zero; for tests, and for a forked child."""
    with _lock:
        _counts.clear()
        _told.clear()


def after_fork() -> None:
    """A child begins at zero, with a lock that no thread of the parent holds."""
    global _lock  # noqa: PLW0603 (the lock of the parent may be held by a thread that is not here)
    _lock = threading.Lock()
    _counts.clear()
