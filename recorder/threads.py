"""The request in force, in threads: a thread and an executor's call work for whom they were made by.

asyncio's tasks inherit context variables by themselves; threads before Python 3.14 do not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flux.recorder.ambient import current, in_force
from flux.recorder.patches import Patches

P = ParamSpec("P")
R = TypeVar("R")


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` so that it runs for the request in force now, wherever it is called."""
    request = current()

    @wraps(function)
    def carried(*arguments: P.args, **named: P.kwargs) -> R:
        with in_force(request):
            return function(*arguments, **named)

    return carried


def patch(patches: Patches) -> None:
    """Have threads and thread pools carry the request."""
    start = threading.Thread.start

    def start_carrying(self: threading.Thread) -> None:
        if current() is not None and self.name != "flux-recorder":
            self.run = carry(self.run)  # type: ignore[method-assign]
        start(self)

    submit: Any = ThreadPoolExecutor.submit

    def submit_carrying(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        # Also outside a request: the pool's thread may have been started by one.
        result: Future[Any] = submit(self, carry(fn), *args, **kwargs)
        return result

    patches.replace(threading.Thread, "start", start_carrying)
    patches.replace(ThreadPoolExecutor, "submit", submit_carrying)
