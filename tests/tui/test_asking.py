"""A question that nobody waits for is interrupted, and the next one is answered."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from flux.ledger import Ledger
from flux.tui.asking import Desk

LONG = "select count(*) from range(10000000000) as a, range(1000) as b"
"""Of hours, unless it is interrupted."""


def test_a_dropped_question_is_interrupted(requests_ledger: Path) -> None:
    begun = threading.Event()

    def long(ledger: Ledger) -> int:
        begun.set()
        return int(ledger.sql(LONG).num_rows)

    async def ask() -> int:
        desk = Desk(requests_ledger)
        task = asyncio.create_task(desk.ask(long))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        count = await desk.ask(lambda ledger: int(ledger.requests().num_rows))
        desk.close()
        return count

    assert asyncio.run(asyncio.wait_for(ask(), 60)) == 8
