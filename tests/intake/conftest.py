"""An intake over a ledger of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from intake.shelf import STRICT, Shelf, running


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """An intake on a free port of loopback, without a token."""
    with running(tmp_path / "ledger") as shelf:
        yield shelf


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """An intake with small bounds, for tests that store nothing to be looked at."""
    with running(tmp_path_factory.mktemp("strict") / "ledger", bounds=STRICT) as shelf:
        yield shelf
