"""Each view shows what the ledger knows, and each of its keys does what the table of actions says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from textual.widgets import Input

from cli import checkout, shop
from flux.tui.capture import Capture
from flux.tui.console import Console
from flux.tui.diff import Diff
from flux.tui.exchange import Exchange
from flux.tui.grid import Grid
from flux.tui.incidents import Incident, Incidents
from flux.tui.jump import ToRequest, ToRow, ToTable
from flux.tui.request import Request
from flux.tui.requests import Requests
from flux.tui.row import Row
from flux.tui.table import Table, Tables
from tui.conftest import Drive, Driver

Walk = Callable[[Driver], Awaitable[None]]


def run(walk: Walk, drive: Drive, path: Path, **words: object) -> None:
    async def whole() -> None:
        async with drive(path, **words) as tui:
            await walk(tui)

    asyncio.run(whole())


def test_incidents_with_their_rows_and_the_timeline(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        shown = tui.text("incidents")
        assert "POST /checkout/{user}" in shown
        assert "PaymentTimeout" in shown
        first = next(line for line in shown.splitlines() if "PaymentTimeout" in line)
        assert first.split()[:3] == ["quiet", "2", "3"]
        assert "requests" in tui.screen()
        assert "█" in tui.screen()
        await tui.go_to("incidents", "PaymentTimeout")
        await tui.press("enter")
        assert "POST /checkout/42 → 500" in tui.text("requests")
        assert "payment service did not answer" in tui.text("facts")
        await tui.press("tab")
        await tui.go_to("rows", "users 42")
        await tui.press("enter")
        assert tui.at(Row).jump.key == "42"

    run(walk, drive, requests_ledger)


def test_requests_filter_and_failed_ones(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("2")
        view = tui.at(Requests)
        assert len(view.requests) == 8
        await tui.press("e")
        assert tui.at(Requests).subject() == checkout.NO_EMAIL
        await tui.press("e", "E")
        assert view.subject() == checkout.NO_EMAIL
        await tui.press("slash")
        await tui.type("status>=500 and table=users")
        assert [one["request_id"] for one in view.requests] == [checkout.FAILED_AGAIN, checkout.FAILED]
        assert "orders insert" in tui.text("requests")
        await tui.press("slash")
        await tui.type("status>>")
        assert "hint" in tui.screen()
        await tui.press("f")
        assert not view.is_live
        assert "live" not in tui.screen().splitlines()[0]

    run(walk, drive, requests_ledger)


def test_a_request_with_its_waterfall_and_exchange(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        assert tui.at(Request).request_id == checkout.FAILED
        assert "shop/payments.py:31, charge" in tui.text("why")
        waterfall = tui.text("waterfall")
        assert "█" in waterfall
        assert "insert into orders" in waterfall
        assert "* users id=42  plan: pro → null (rolled back)" in waterfall
        assert "skipped, which req:c0ffee00 did" in waterfall
        await tui.press("tab")
        await tui.go_to("waterfall", "POST http://127.0.0.1:9100/charges")
        await tui.press("enter")
        assert "httpx.ReadTimeout" in tui.text("exchange")
        tui.at(Exchange)
        await tui.press("escape", "b")
        assert tui.pane("bodies").display
        await tui.press("b")
        assert not tui.pane("bodies").display

    run(walk, drive, requests_ledger, start=ToRequest(checkout.FAILED[:8]))


def test_a_row_through_time(ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        view = tui.at(Row)
        history = tui.text("history")
        assert "ROLLED BACK" in history
        assert "free → pro" in history
        assert "gap" in history
        assert "it was not there" in tui.text("state")  # it has another key by now
        await tui.press("comma", "comma")
        assert "plan" in tui.text("state")
        assert "pro" in tui.text("state")
        seen = []
        for _ in range(6):
            await tui.press("comma")
            seen.append(tui.text("state"))
        assert "free" in seen[-1]
        assert "Alice" not in seen[-1]
        await tui.press("full_stop")
        assert "Alice Smith" in tui.text("state")
        assert "as of 2026-03-10 14:21:59" in tui.screen()
        await tui.press("0")
        assert tui.app.cursor is None
        assert view.words() == ["state", "history", "users", "--id", "42"]

    run(walk, drive, ledger, start=ToRow("users", "42"), size=(160, 48))


def test_a_table_at_a_time_and_what_changed_since(ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("3")
        tui.at(Tables)
        await tui.go_to("tables", "users")
        await tui.press("enter")
        view = tui.at(Table)
        grid = view.query_one("#rows", Grid)
        assert "43" in grid.plain()
        assert shop.EVIL not in tui.screen()
        assert "\x1b" not in grid.plain()
        await tui.press("t")
        await tui.type("2026-03-10 14:25")
        assert "43" not in grid.plain()
        assert "42" in grid.plain()
        await tui.press("s")
        assert "+" in tui.text("since")
        await tui.press("comma")
        assert "as of 2026-03-10 14:21:59" in tui.screen()
        await tui.press("full_stop", "slash")
        await tui.type("42")
        assert "users key 42" in view.crumb
        await tui.press("enter")
        assert tui.at(Row).jump.key == "42"

    run(walk, drive, ledger)


def test_two_requests_are_compared(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("2", "d")
        assert isinstance(tui.view, Requests)
        await tui.go_to("requests", "POST /checkout/42")
        await tui.press("W")
        await tui.go_to("requests", "req:c0ffee00")
        await tui.press("d")
        assert "FIRST DIVERGENCE" in tui.text("diff")
        assert tui.at(Diff).words()[:2] == ["trace", "diff"]

    run(walk, drive, requests_ledger)


def test_two_moments_of_a_row_are_compared(ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("g", "W")
        await tui.go_to("history", "free → pro")
        await tui.press("d")
        assert "free → pro" in tui.text("diff")
        assert "--from" in tui.at(Diff).words()

    run(walk, drive, ledger, start=ToRow("users", "42"), size=(160, 48))


def test_the_console_asks_completes_and_remembers(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("4")
        view = tui.at(Console)
        line = view.query_one("#query", Input)
        line.value = "select count(*) as n from requ"
        line.cursor_position = len(line.value)
        await tui.press("e", "right")
        assert line.value == "select count(*) as n from requests"
        await tui.press("enter")
        grid = view.query_one("#answer", Grid)
        assert grid.plain() == "n\n8\n"
        line.value = "delete from requests"
        await tui.press("enter")
        assert "read-only" in tui.screen()
        await tui.press("up", "up")
        assert line.value == "select count(*) as n from requests"
        await tui.press("escape")
        tui.at(Console)
        assert view.query_one("#answer").has_focus_within
        assert view.words() == ["sql", "delete from requests"]

    run(walk, drive, requests_ledger)


def test_capture_says_what_it_knows_without_a_server(ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("5")
        tui.at(Capture)
        assert "shop: never" in tui.text("status")
        assert "did not answer" in tui.text("status")
        assert "the slot was lost" in tui.text("gaps")
        assert "changes rows" in tui.text("info")

    run(walk, drive, ledger, dsn="host=127.0.0.1 port=1 connect_timeout=1")


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (40, 12)])
def test_every_view_fits_every_size(
    requests_ledger: Path, drive: Drive, size: tuple[int, int], tmp_path: Path
) -> None:
    async def walk(tui: Driver) -> None:
        for key in ("1", "2", "3", "4", "escape", "1"):
            await tui.press(key)
            assert tui.view.crumb in tui.screen() or size[0] < 80
        await tui.press("enter", "enter", "question_mark")
        assert "What can be done" in tui.screen() or "Everywhere" in tui.screen() or "Request" in tui.screen()
        await tui.press("escape", "x")
        tui.app.screen.query_one(Input).value = "shown.json"
        await tui.press("enter")
        assert orjson.loads((tmp_path / "shown.json").read_bytes())["why"]["request"]["service"] == "shop"

    run(walk, drive, requests_ledger, size=size)


def test_back_and_forward(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        await tui.press("enter", "enter")
        tui.at(Request)
        await tui.press("escape")
        tui.at(Incident)
        await tui.press("right_square_bracket")
        tui.at(Request)
        await tui.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        tui.at(Incidents)

    run(walk, drive, requests_ledger)


def test_a_table_named_on_the_command_line(ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        assert tui.at(Table).jump.relation == "users"
        assert tui.app.cursor is not None

    run(walk, drive, ledger, start=ToTable("users"), as_of="2026-03-10 14:25")
