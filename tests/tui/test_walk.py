"""By keys alone, on the ledger of the shop's demo: from the incident to the request to the blamed row."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flux.cli.demo import shop
from flux.tui.exchange import Exchange
from flux.tui.incidents import Incident, Incidents
from flux.tui.request import Request
from flux.tui.row import Row
from tui.conftest import Drive


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_from_the_incident_to_the_blamed_row(demo_ledger: Path, drive: Drive, size: tuple[int, int]) -> None:
    """What broke, which requests, which rows, since when, whose value it was; nothing is typed but keys."""

    async def walk() -> None:
        async with drive(demo_ledger, size=size) as tui:
            tui.at(Incidents)
            assert "PaymentTimeout" in tui.screen()
            await tui.press("enter")
            tui.at(Incident)
            assert "the payment service did not answer within 1 s" in tui.text("facts")
            assert "shop/payments.py" in tui.text("facts")
            assert "WINDOW" in tui.text("facts")
            rows = {line.split("  ")[0] for line in tui.text("rows").splitlines()}
            assert rows == {"orders 1001", "products 7", "users 42"}
            await tui.press("enter")
            assert tui.at(Request).request_id == shop.CHECKOUT
            assert "httpx.ReadTimeout" in tui.text("why")
            assert "* users id=42  plan: pro → null, credit: 250 → 70 (rolled back)" in tui.text("waterfall")
            await tui.press("tab")
            await tui.go_to("waterfall", "/charges")
            await tui.press("enter")
            tui.at(Exchange)
            assert "httpx.ReadTimeout" in tui.text("exchange")
            await tui.press("escape")
            await tui.go_to("waterfall", "* users id=42")
            await tui.press("enter")
            assert tui.at(Row).jump.key == "42"
            history = tui.text("history")
            assert "plan: pro → null, credit: 250 → 70" in history
            assert "ROLLED BACK TO SAVEPOINT" in history
            assert "psql carol@local" in history
            await tui.press("tab")
            assert "✗ req:550e8400 tried null, rolled back" in tui.text("blame")
            await tui.go_to("blame", "plan")
            await tui.press("enter")
            assert tui.at(Request).request_id == shop.UPGRADE
            assert "POST /users/42/upgrade → 200" in tui.text("why")
            assert [view.crumb for view in tui.app.views] == [
                "Incidents",
                "POST /users/{user}/checkout PaymentTimeout",
                "req:550e8400",
                "users id=42",
                "req:4f9a3b2c",
            ]
            await tui.press(*["escape"] * 4)
            tui.at(Incidents)

    asyncio.run(walk())
