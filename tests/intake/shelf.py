"""A ledger without a source, its intake, and what the ledger holds of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from flux.capture.meter import Meter
from flux.capture.otlp.intake import Intake
from flux.capture.settings import IntakeBounds, IntakeSettings
from flux.ledger.layout import create_ledger
from flux.ledger.reader import open_ledger
from flux.ledger.writer import Writer

BOUNDS = IntakeBounds(gather_s=0.02, retry_after_s=1)
STRICT = replace(BOUNDS, body_bytes_max=1 << 20, content_bytes_max=4 << 20)


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask a ledger; somebody may be writing."""
    with open_ledger(folder) as ledger:
        return [tuple(row.values()) for row in ledger.sql(query).to_pylist()]


@cache
def _empty_ledger() -> Path:
    """Return a ledger to copy: making one takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="flux-shelf-"))
    atexit.register(shutil.rmtree, folder)
    return create_ledger(folder / "ledger")


@dataclass
class Shelf:
    """A running intake."""

    folder: Path
    intake: Intake
    meter: Meter
    writer: Writer

    @property
    def address(self) -> str:
        return self.intake.address

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self.folder, query)


@contextmanager
def running(
    folder: Path, *, token: str | None = None, bounds: IntakeBounds = BOUNDS, port: int = 0
) -> Iterator[Shelf]:
    """Run an intake on a free port over the ledger in `folder`, which is made if there is none."""
    if not (folder / "ledger.json").exists():
        shutil.copytree(_empty_ledger(), folder)
    with Writer.open(folder, source="shop") as writer:
        meter = Meter()
        settings = IntakeSettings(port=port, token=token, bounds=bounds)
        intake = Intake(settings, writer, meter)
        try:
            yield Shelf(folder, intake, meter, writer)
        finally:
            intake.close()
