"""The window: picked in the timeline, told by `t`, shared by the views, and the columns it is picked by."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cli import checkout
from flux.model.moment import Moment
from flux.tui.incidents import Incidents
from flux.tui.jump import Cursor, ToRow, Window
from flux.tui.requests import Requests
from flux.tui.row import Row
from flux.tui.timeline import Timeline, column, ends
from tui.conftest import Drive

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
US = timedelta(microseconds=1)


def test_a_bucket_becomes_the_window_of_all_views(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger, size=(80, 24)) as tui:
            timeline = tui.at(Incidents).query_one(Timeline)
            await tui.press("shift+tab", "enter")
            assert tui.app.window == Window()  # nothing is picked yet
            await tui.press("e")
            assert timeline.border_title is not None
            assert "1 request, 1 failed" in timeline.border_title
            await tui.press("l", "h", "enter")
            assert [one["count"] for one in tui.at(Incidents).incidents] == [2]
            assert timeline.bucket is None
            assert tui.view.words()[:3] == ["incident", "list", "--since"]
            first = tui.app.window
            await tui.press("e", "enter")
            assert tui.app.since is not None
            assert first.since is not None
            assert first.since <= tui.app.since
            await tui.press("2")
            assert [one["request_id"] for one in tui.at(Requests).requests] == [checkout.FAILED]
            assert {"--since", "--until"} < set(tui.view.words())
            await tui.press("backspace")
            assert tui.app.window == first
            await tui.press("backspace")
            assert tui.app.window == Window()
            assert len(tui.at(Requests).requests) == 8

    asyncio.run(walk())


def test_a_window_is_told_as_on_the_command_line(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger, start=None) as tui:
            await tui.press("2", "t")
            await tui.type("2026-03-10 14:21..2026-03-10 14:23")
            view = tui.at(Requests)
            assert [one["request_id"] for one in view.requests] == [checkout.FAILED, checkout.GOOD]
            assert "03-10 14:21:00 to 14:23:00" in tui.screen()
            await tui.press("t")
            await tui.type("2026-03-10 14:40..")
            assert {one["request_id"] for one in view.requests} == {
                checkout.NO_EMAIL,
                checkout.FOREIGN,
                checkout.STRANGE,
                checkout.JOB,
            }
            assert view.words()[-1] == "--no-follow"
            assert tui.app.cursor is None
            await tui.press("t")
            await tui.type("2026-03-10 14:50..2026-03-10 14:40")
            assert "ends before it starts" in tui.screen()
            tui.app.open(ToRow("users", "42"))
            await tui.settle()
            await tui.press("comma")  # to before the window: it has that end no more
            assert tui.at(Row).browser.since is None

    asyncio.run(walk())


def test_the_window_lets_go_of_a_beginning_after_its_end() -> None:
    window = Window(NOON, None)
    later, before = (Cursor(Moment(time=NOON + one * US), NOON + one * US) for one in (1, -1))
    assert window.moved(later) == Window(NOON, later)
    assert window.moved(before) == Window(None, before)
    assert window.moved(Cursor(Moment(lsn=1))).since == NOON


@given(st.integers(1, 10**12), st.integers(1, 300), st.data())
def test_a_column_has_the_moments_that_are_counted_in_it(whole: int, count: int, data: st.DataObject) -> None:
    room = data.draw(st.integers(1, count))
    at = data.draw(st.integers(0, whole))
    nth = column(at, whole, count, room)
    first, last = ends(NOON, NOON + whole * US, count, room, nth)
    assert first <= NOON + at * US <= last
    for beside, edge in ((nth - 1, first - US), (nth + 1, last + US)):
        if NOON <= edge <= NOON + whole * US:
            outside = column((edge - NOON) // US, whole, count, room)
            assert outside <= beside if beside < nth else outside >= beside
