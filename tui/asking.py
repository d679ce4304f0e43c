"""The desk: one thread that owns the ledger and answers questions one after another.

A DuckDB connection is for one thread. A question whose asker has gone (its task was cancelled) is
interrupted, or never begun; the ledger is then opened anew, for a question that was cut off may have left its
views half made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from flux.model.errors import FluxError

if TYPE_CHECKING:
    from flux.ledger import Ledger

Answer = TypeVar("Answer")
INTERRUPT_INTERVAL_S = 0.05
"""Between interruptions of a question that nobody waits for."""


@dataclass(eq=False, slots=True)
class _Turn:
    """One question's turn at the ledger."""

    is_dropped: bool = False

    def drop(self) -> None:
        """Note that nobody waits for it any more."""
        self.is_dropped = True

    def was_dropped(self) -> bool:
        """Whether somebody, in another thread perhaps, has dropped it."""
        return self.is_dropped


class Dropped(FluxError):
    """Nobody waits for the answer any more."""


class Desk:
    """Answers questions about the ledger at `path`; None finds it as the command line does."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._lock = Lock()
        self._running: _Turn | None = None
        self._ledger: Ledger | None = None

    async def ask(self, question: Callable[[Ledger], Answer]) -> Answer:
        """Return the answer of `question`, which is called in the desk's thread.

        Raises what it raises, and `LedgerMissing`, `LedgerDamaged`. Cancelling the task interrupts it.
        """
        turn = _Turn()
        future = self._pool.submit(self._answer, turn, question)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._drop(turn)
            raise

    def close(self) -> None:
        """Interrupt what is asked, and let go of the ledger."""
        with self._lock:
            if self._running is not None:
                self._running.drop()
                self._interrupt()
        self._pool.submit(self._forget)
        self._pool.shutdown(wait=True)

    def _answer(self, turn: _Turn, question: Callable[[Ledger], Answer]) -> Answer:
        with self._lock:
            if turn.was_dropped():
                raise Dropped("nobody waits for the answer")
            self._running = turn
        try:
            if self._ledger is None:
                from flux.ledger import open_ledger

                self._ledger = open_ledger(self._path)
            return question(self._ledger)
        finally:
            with self._lock:
                self._running = None
            if turn.was_dropped():
                self._forget()

    def _drop(self, turn: _Turn) -> None:
        with self._lock:
            turn.drop()
            if self._running is turn:
                self._interrupt()
                # Between two statements there is nothing to interrupt: again, until the turn is over.
                asyncio.get_running_loop().call_later(INTERRUPT_INTERVAL_S, self._drop, turn)

    def _interrupt(self) -> None:
        if self._ledger is not None:
            self._ledger.interrupt()

    def _forget(self) -> None:
        with self._lock:
            ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()
