"""Every action of the table is done by each of its keys; one without a deed here fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.widgets import Input

from cli import checkout
from flux.tui.actions import ACTIONS, EVERYWHERE, GRIDS, LISTS, TIMELINE
from flux.tui.capture import Capture
from flux.tui.console import Console
from flux.tui.dialog import Help
from flux.tui.diff import Diff
from flux.tui.grid import Grid
from flux.tui.incidents import Incident, Incidents
from flux.tui.jump import ToRequest, ToRow, ToTable, Window
from flux.tui.listing import Listing
from flux.tui.request import Request
from flux.tui.requests import Requests
from flux.tui.row import Row
from flux.tui.table import Table, Tables
from flux.tui.timeline import Timeline
from flux.tui.view import View
from tui.conftest import Drive, Driver

Deed = Callable[[Driver, str], Awaitable[None]]
"""Presses a key, and asserts that its action was done."""
DEEDS: dict[tuple[str, str], Deed] = {}
QUIT = "quit"
"""Ends the app, so it has a test of its own."""


def deed(action: str, *places: str) -> Callable[[Deed], Deed]:
    def kept(one: Deed) -> Deed:
        DEEDS.update({(place, action): one for place in places or (EVERYWHERE,)})
        return one

    return kept


def test_every_action_has_a_deed() -> None:
    assert {(place, action.id) for action in ACTIONS for place in action.where} == {
        *DEEDS,
        (EVERYWHERE, QUIT),
    }


@pytest.mark.parametrize("place", dict.fromkeys(place for action in ACTIONS for place in action.where))
def test_each_key_does_its_action(requests_ledger: Path, drive: Drive, place: str) -> None:
    async def walk() -> None:
        async with drive(requests_ledger) as tui:
            for begin in (in_list, in_grid) if place == LISTS else (home,):
                await begin(tui)
                await do_all(tui, place, begin)

    async def do_all(tui: Driver, place: str, begin: Callable[[Driver], Awaitable[None]]) -> None:
        for action in ACTIONS:
            for key in action.keys if place in action.where and action.id != QUIT else ():
                await begin(tui)
                try:
                    await DEEDS[place, action.id](tui, key)
                except Exception as error:
                    raise AssertionError(f"{action.id} by {key}") from error

    asyncio.run(walk())


@pytest.mark.parametrize("key", next(action.keys for action in ACTIONS if action.id == QUIT))
def test_it_ends(requests_ledger: Path, drive: Drive, key: str) -> None:
    async def walk() -> int | None:
        async with drive(requests_ledger) as tui:
            assert tui.app.return_code is None
            await tui.pilot.press(key)
        return tui.app.return_code

    assert asyncio.run(walk()) == 0


# -- the deeds ----------------------------------------------------------------------------------------


async def home(tui: Driver) -> None:
    """Go to the incidents as they are at first."""
    while not isinstance(tui.app.screen, View):
        await tui.press("escape")
    tui.app.clear_notifications()
    tui.app.marked, tui.app.searched = None, ""
    if tui.app.window != Window():
        await tui.press("0")
    if not isinstance(tui.view, Incidents):
        await tui.press("1")
    tui.at(Incidents).query_one("#incidents").focus()
    await tui.press("g")


async def seek(tui: Driver, text: str) -> None:
    await tui.press("t")
    await tui.type(text)


@deed("help")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    assert isinstance(tui.app.screen, Help)
    shown = tui.screen()
    assert "One line an incident" in shown
    assert "In the list" in shown
    await tui.press("escape")
    await tui.press("shift+tab", key)
    assert "In the timeline" in tui.screen()
    assert "In the list" not in tui.screen()


@deed("command_palette")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    assert isinstance(tui.app.screen, CommandPalette)
    tui.app.screen.query_one(Input).value = "Capture"
    await tui.until(lambda: "How capture is doing" in tui.screen(), "the action by its name")
    await tui.press("enter")
    if isinstance(tui.app.screen, CommandPalette):  # the first Enter took the only one there is
        await tui.press("enter")
    tui.at(Capture)


@deed("back")
async def _(tui: Driver, key: str) -> None:
    await tui.press("enter")
    tui.at(Incident)
    await tui.press(key)
    tui.at(Incidents)


@deed("forward")
async def _(tui: Driver, key: str) -> None:
    await tui.press("enter", "escape", key)
    tui.at(Incident)


@deed("go('incidents')")
async def _(tui: Driver, key: str) -> None:
    await tui.press("enter", key)
    tui.at(Incidents)


def goes_to(place: str, view: type[View]) -> None:
    async def go(tui: Driver, key: str) -> None:
        await tui.press(key)
        tui.at(view)
        if view is Console:  # without an answer there is nothing else to leave the line for
            await tui.press("escape")
            tui.at(Incidents)

    deed(f"go('{place}')")(go)


goes_to("requests", Requests)
goes_to("tables", Tables)
goes_to("sql", Console)
goes_to("capture", Capture)


@deed("search")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    await tui.type("paymenttimeout")
    assert "PaymentTimeout" in current(tui)


@deed("next_match")
async def _(tui: Driver, key: str) -> None:
    await tui.press("slash")
    await tui.type("quiet")
    assert tui.pane("incidents").cursor == 1
    await tui.press(key)
    assert tui.pane("incidents").cursor == 2


@deed("previous_match")
async def _(tui: Driver, key: str) -> None:
    await tui.press("slash")
    await tui.type("quiet")
    await tui.press(key)
    assert tui.pane("incidents").cursor == 0


@deed("seek")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    await tui.type("2026-03-10 14:35")
    assert "as of 2026-03-10 14:35:00" in tui.screen()
    assert [one["count"] for one in tui.at(Incidents).incidents] == [2]


@deed("now")
async def _(tui: Driver, key: str) -> None:
    await seek(tui, "2026-03-10 14:21..2026-03-10 14:35")
    assert tui.app.window != Window()
    await tui.press(key)
    assert tui.app.window == Window()


@deed("last_window")
async def _(tui: Driver, key: str) -> None:
    await seek(tui, "2026-03-10 14:30..")
    await seek(tui, "2026-03-10 14:35..")
    await tui.press(key)
    assert tui.app.since is not None
    assert tui.app.since.minute == 30


@deed("mark")
async def _(tui: Driver, key: str) -> None:
    await tui.press("2", key)
    assert tui.app.marked == tui.at(Requests).subject()


@deed("compare")
async def _(tui: Driver, key: str) -> None:
    await tui.press("2", "W", "j", key)
    assert tui.at(Diff).words()[:2] == ["trace", "diff"]


@deed("copy")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key, "c")
    assert tui.app.clipboard.startswith("flux incident list --ledger ")


@deed("export")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    await tui.type(f"{key}.txt")
    assert "PaymentTimeout" in await asyncio.to_thread(Path(f"{key}.txt").read_text)


@deed("command")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    await tui.until(lambda: "flux incident list" in tui.screen(), "the command")


@deed("next_pane")
async def _(tui: Driver, key: str) -> None:
    await tui.press("enter", key)
    assert tui.view.focused is tui.pane("rows")


@deed("previous_pane")
async def _(tui: Driver, key: str) -> None:
    await tui.press("enter", key)
    assert tui.view.focused is tui.pane("facts")


@deed("zoom")
async def _(tui: Driver, key: str) -> None:
    await tui.press("enter", key)
    assert tui.view.maximized is tui.pane("requests")
    await tui.press(key)
    assert tui.view.maximized is None


@deed("wider")
async def _(tui: Driver, key: str) -> None:
    await wider_by(tui, key, 5)


@deed("narrower")
async def _(tui: Driver, key: str) -> None:
    await wider_by(tui, key, -5)


async def wider_by(tui: Driver, key: str, percent: int) -> None:
    tui.app.open(ToRequest(checkout.FAILED))
    await tui.settle()
    before = tui.pane("why").size.width
    await tui.press(key)
    assert tui.pane("why").size.width - before == tui.app.size.width * percent // 100


@deed("theme")
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    tui.app.screen.query_one(Input).value = "nord"
    await tui.until(lambda: "nord" in tui.screen().partition("nord")[2], "the theme by its name")
    await tui.press("enter")
    if isinstance(tui.app.screen, CommandPalette):
        await tui.press("enter")
    assert tui.app.theme == "nord"


@deed("reload")
async def _(tui: Driver, key: str) -> None:
    view = tui.at(Incidents)
    view.incidents = []
    await tui.press(key)
    assert len(view.incidents) == 3


def current(tui: Driver) -> str:
    """The line under the cursor."""
    line = tui.pane("incidents").current
    return "" if line is None else line.draw(160).plain


async def in_list(tui: Driver) -> None:
    """Go to a list of 8 lines."""
    if not isinstance(tui.view, Requests):
        await home(tui)
        await tui.press("2")


async def in_grid(tui: Driver) -> None:
    """Go to a table of 8 rows."""
    if not isinstance(tui.view, Console):
        await home(tui)
        await tui.press("4")
        await tui.type("select request_id, status from requests order by started_at")
        await tui.press("escape")


def moves(action: str, keys_before: str, *, to: Callable[[int], bool]) -> None:
    async def move(tui: Driver, key: str) -> None:
        await tui.press(*keys_before, key)
        focused = tui.view.focused
        place = focused.cursor if isinstance(focused, Listing) else tui.view.query_one(Grid).row
        assert to(place), place

    deed(action, LISTS)(move)


moves("down", "g", to=lambda place: place == 1)
moves("up", "gjj", to=lambda place: place == 1)
moves("page_down", "g", to=lambda place: place > 1)
moves("page_up", "G", to=lambda place: place < 6)
moves("first", "G", to=lambda place: place == 0)
moves("last", "g", to=lambda place: place == 7)


@deed("open", LISTS)
async def _(tui: Driver, key: str) -> None:
    await tui.press(key)
    if isinstance(tui.view, Request):
        tui.app.open(ToTable("users"))
        await tui.settle()
        await tui.press(key)
        tui.at(Row)
    else:  # an answer of the console leads nowhere
        tui.at(Console)


@deed("right", GRIDS)
async def _(tui: Driver, key: str) -> None:
    assert await column_after(tui, key) == 1


@deed("left", GRIDS)
async def _(tui: Driver, key: str) -> None:
    assert await column_after(tui, "right", key) == 0


async def column_after(tui: Driver, *keys: str) -> int:
    await in_grid(tui)
    table = tui.view.query_one("#answer", Grid).table
    assert table is not None
    # As rows the cursor has no column: what moves is what is seen.
    table.cursor_type = "cell"
    await tui.press(*keys)
    return table.cursor_column


async def in_timeline(tui: Driver, *keys: str) -> Timeline:
    timeline = tui.at(Incidents).query_one(Timeline)
    timeline.focus()
    timeline.bucket = None
    await tui.press(*keys)
    return timeline


@deed("earlier_bucket", TIMELINE)
async def _(tui: Driver, key: str) -> None:
    timeline = await in_timeline(tui, key, key)
    assert timeline.bucket == timeline.room - 2


@deed("later_bucket", TIMELINE)
async def _(tui: Driver, key: str) -> None:
    timeline = await in_timeline(tui, key, key)
    assert timeline.bucket == 1


@deed("narrow", TIMELINE)
async def _(tui: Driver, key: str) -> None:
    await in_timeline(tui, "E", key)
    assert [one["route"] for one in tui.at(Incidents).incidents] == ["nightly"]
    await tui.press("2")
    assert [one["request_id"] for one in tui.at(Requests).requests] == [checkout.JOB]


@deed("next_failed", "requests", TIMELINE)
async def _(tui: Driver, key: str) -> None:
    timeline = await in_timeline(tui, key)
    assert timeline.border_title is not None
    assert timeline.border_title.endswith("1 request, 1 failed")
    await tui.press("2", "j", key)
    assert tui.at(Requests).subject() == checkout.NO_EMAIL


@deed("previous_failed", "requests", TIMELINE)
async def _(tui: Driver, key: str) -> None:
    timeline = await in_timeline(tui, key)
    assert timeline.bucket == timeline.room - 1
    await tui.press("2", "G", key)
    assert tui.at(Requests).subject() == checkout.FAILED


@deed("follow", "incidents", "incident", "requests", "row")
async def _(tui: Driver, key: str) -> None:
    for place in ("1", "enter", "2", "row"):
        if place == "row":
            tui.app.open(ToRow("users", "42"))
            await tui.settle()
        else:
            await tui.press(place)
        assert top(tui).endswith("live")
        await tui.press(key)
        assert top(tui).endswith("as of now")
        await tui.press(key)
        assert top(tui).endswith("live")


def top(tui: Driver) -> str:
    return tui.screen().splitlines()[0]


@deed("bodies", "request")
async def _(tui: Driver, key: str) -> None:
    tui.app.open(ToRequest(checkout.FAILED))
    await tui.settle()
    await tui.press(key)
    assert tui.view.focused is tui.pane("bodies")
    await tui.press(key)
    assert not tui.pane("bodies").display


async def stepped(tui: Driver, jump: ToRow | ToTable, *keys: str) -> list[str]:
    """The times of the cursor, key by key."""
    tui.app.open(jump)
    await tui.settle()
    found = []
    for key in keys:
        await tui.press(key)
        found.append(f"{tui.app.until:%H:%M:%S}")
    return found


@deed("earlier", "row", "table")
async def _(tui: Driver, key: str) -> None:
    assert await stepped(tui, ToRow("users", "42"), key, key) == ["14:23:30", "14:22:01"]
    await tui.press("0")
    assert await stepped(tui, ToTable("users"), key, key) == ["15:10:00", "14:20:00"]


@deed("later", "row", "table")
async def _(tui: Driver, key: str) -> None:
    assert (await stepped(tui, ToRow("users", "42"), "comma", "comma", key))[-1] == "14:23:30"
    await tui.press("0")
    assert (await stepped(tui, ToTable("users"), "comma", "comma", key))[-1] == "15:10:00"


@deed("since", "table")
async def _(tui: Driver, key: str) -> None:
    tui.app.open(ToTable("users"))
    await tui.settle()
    await seek(tui, "2026-03-10 14:35")
    await tui.press(key)
    assert tui.at(Table).query_one("#since").display
    assert "43" in tui.text("since")
    await tui.press(key)
    assert not tui.at(Table).query_one("#since").display
