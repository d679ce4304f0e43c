"""By keys alone: from the incident to the request to the row to whoever set its value."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cli import checkout
from flux.tui.incidents import Incident, Incidents
from flux.tui.request import Request
from flux.tui.row import Row
from tui.conftest import Drive


def test_from_the_incident_to_the_blamed_row(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger) as tui:
            tui.at(Incidents)
            await tui.go_to("incidents", "PaymentTimeout")
            await tui.press("enter")
            tui.at(Incident)
            assert "rolled back" in tui.text("rows")
            await tui.go_to("requests", f"req:{checkout.FAILED[:8]}")
            await tui.press("enter")
            tui.at(Request)
            assert "payment service did not answer" in tui.text("why")
            await tui.go_to("why", "users id=42")
            await tui.press("enter")
            tui.at(Row)
            assert "ROLLED BACK" in tui.text("history")
            assert "pro → null" in tui.text("history")
            await tui.press("tab")
            await tui.go_to("blame", f"req:{checkout.UPGRADE[:8]}")
            await tui.press("enter")
            assert tui.at(Request).request_id == checkout.UPGRADE
            crumbs = [view.crumb for view in tui.app.views]
            assert [crumbs[0], crumbs[2], crumbs[4]] == ["Incidents", "req:550e8400", "req:4f9a3b2c"]
            await tui.press(*["escape"] * 4)
            tui.at(Incidents)

    asyncio.run(walk())
