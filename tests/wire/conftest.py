"""Streams of a fresh slot, closed when the test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Protocol

import pytest

from flux.decoder.slot import create_slot
from flux.decoder.wire import Stream, open_stream
from servers import Database

SLOT = "flux_test"


class Open(Protocol):
    """Opens a stream of `SLOT`, which it makes first if `fresh`."""

    def __call__(
        self,
        *,
        fresh: bool = True,
        queue_bytes_max: int = 32 << 20,
        feedback_interval_s: float = 10.0,
        receive_timeout_s: float = 60.0,
    ) -> Stream: ...


@pytest.fixture
def wide(database: Database) -> Database:
    """The test's database with a table in it, published."""
    with database.connect() as connection:
        connection.execute("create table item (id int primary key, name text)")
        connection.execute("create publication flux for table item")
        connection.execute("create publication flux_inserts with (publish = 'insert')")
    return database


@pytest.fixture
def open_test_stream(wide: Database) -> Iterator[Open]:
    with ExitStack() as streams:

        def opener(
            *,
            fresh: bool = True,
            queue_bytes_max: int = 32 << 20,
            feedback_interval_s: float = 10.0,
            receive_timeout_s: float = 60.0,
        ) -> Stream:
            if fresh:
                create_slot(wide.dsn, SLOT, wide.plugin).connection.close()
            stream = open_stream(
                wide.dsn,
                slot=SLOT,
                plugin=wide.plugin,
                queue_bytes_max=queue_bytes_max,
                feedback_interval_s=feedback_interval_s,
                receive_timeout_s=receive_timeout_s,
            )
            return streams.enter_context(closing(stream))

        yield opener
