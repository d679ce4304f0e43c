"""Pictures of screens, cell for cell; `FLUX_UPDATE_GOLDEN=1` makes them anew."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from cli import checkout
from flux.tui.jump import Jump, ToRequest, ToRow
from tui.conftest import Drive

GOLDEN = Path(__file__).parent / "golden"
PLACES: dict[str, Jump | None] = {
    "incidents": None,
    "request": ToRequest(checkout.FAILED),
    "row": ToRow("users", "42"),
}


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", PLACES)
def test_a_screen_looks_as_it_did(
    requests_ledger: Path, drive: Drive, name: str, size: tuple[int, int]
) -> None:
    async def drawn() -> str:
        async with drive(requests_ledger, size=size, start=PLACES[name]) as tui:
            return tui.app.export_screenshot(title=name)

    picture = asyncio.run(drawn())
    file = GOLDEN / f"{name}_{size[0]}x{size[1]}.svg"
    if os.environ.get("FLUX_UPDATE_GOLDEN"):
        file.write_text(picture, encoding="utf-8")
    assert _cells(picture) == _cells(file.read_text(encoding="utf-8")), f"{file.name} looks otherwise"


def _cells(picture: str) -> str:
    """A picture without the id in its class names, a checksum of how its cells are cut into strips."""
    return re.sub(r"terminal-\d+", "terminal", picture)
