"""Fixtures: a source with Flux installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from postgres.stream import Source
from servers import Database


@pytest.fixture
def new_source(database: Database) -> Iterator[Callable[..., Source]]:
    """A function that installs Flux, runs the setup statements, and returns the source."""
    made: list[Source] = []

    def make(*setup: str) -> Source:
        made.append(Source(database, *setup))
        return made[-1]

    yield make
    for source in made:
        source.close()
