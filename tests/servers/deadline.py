"""Waiting for a condition with a deadline: the one place in the tests where time passes on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.02


def eventually(condition: Callable[[], T], *, within_s: float = 10.0, what: str = "") -> T:
    """Call `condition` until what it returns is true, and return that; TimeoutError after `within_s`."""
    never = threading.Event()
    deadline = time.monotonic() + within_s
    while not (result := condition()):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what or 'the condition'} did not come true within {within_s:g} s")
        never.wait(INTERVAL_S)
    return result
