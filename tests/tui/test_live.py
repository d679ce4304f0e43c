"""What is committed while the browser is open is seen, and one's place stays; a running capture too."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.checkout import ORDERS, USERS, Recorder
from flux.cli.main import run as main
from flux.ledger import create_ledger
from flux.ledger.writer import Writer
from flux.tui.capture import Capture
from flux.tui.incidents import Incident, Incidents
from flux.tui.jump import ToRow
from flux.tui.requests import Requests
from flux.tui.row import Row
from ledger.log import Log, insert, update
from servers.fixtures import on
from servers.server import Database
from tui.conftest import Drive, Driver

Walk = Callable[[Driver, "Shop"], Awaitable[None]]
ERRORS = tuple(f"Error{number:02}" for number in range(30))
"""Kinds of failures; each is an incident of its own."""


@dataclass
class Shop:
    """An application that goes on while somebody looks at its ledger."""

    writer: Writer
    log: Log = field(default_factory=Log)
    begin: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=2))
    count: int = 0

    def fail(self, *errors: str) -> None:
        """Let a request fail with each of some errors, a second after the one before."""
        recorder = Recorder()
        for error in errors:
            self.count += 1
            at = self.begin + timedelta(seconds=self.count)
            recorder.request(
                f"{self.count:08x}-failed",
                at,
                5.0,
                route="/checkout",
                path="/checkout",
                status=500,
                error_type=error,
                error_message="it failed",
            )
        self.writer.record(*recorder.tables())

    def change(self, plan: str, request: str | None = None) -> None:
        """Change the plan of the one user."""
        row = {"id": "42", "email": "a@b.com", "plan": plan}
        make = update if self.count else insert
        self.count += 1
        self.log.transaction(make(USERS, "42", row), request=request)
        self.log.store(self.writer)


@contextmanager
def shop(path: Path) -> Iterator[Shop]:
    create_ledger(path)
    with Writer.open(path, source="shop") as writer:
        one = Shop(writer)
        one.log.shape(USERS)
        one.log.shape(ORDERS)
        one.change("free")
        yield one


def run(walk: Walk, drive: Drive, path: Path, **words: object) -> None:
    async def whole(one: Shop) -> None:
        async with drive(path, **words) as tui:
            await walk(tui, one)

    with shop(path) as one:
        one.fail(*ERRORS)
        asyncio.run(whole(one))


def test_incidents_come_and_the_place_in_the_list_stays(drive: Drive, tmp_path: Path) -> None:
    async def walk(tui: Driver, one: Shop) -> None:
        view = tui.at(Incidents)
        pane = tui.pane("incidents")
        one.fail("AtTheTop")
        await tui.until(lambda: "AtTheTop" in tui.screen(), "a new incident where the top is seen")
        await tui.press("G", *"k" * 4)
        chosen, screen_line = pane.current, pane.cursor - pane.scroll_offset.y
        assert pane.scroll_offset.y > 0
        one.fail("Unseen", ERRORS[-1])
        await tui.until(lambda: len(view.incidents) == len(ERRORS) + 2, "the new incident")
        await tui.settle()
        assert chosen is not None
        assert pane.current is not None
        assert pane.current.mark == chosen.mark
        assert pane.cursor - pane.scroll_offset.y == screen_line
        assert "33" in tui.screen().splitlines()[2]  # requests of the timeline
        await tui.press("g")
        assert "Unseen" in tui.text("incidents")

    run(walk, drive, tmp_path / "ledger", size=(80, 24))


def test_an_incident_grows_while_it_is_seen(drive: Drive, tmp_path: Path) -> None:
    async def walk(tui: Driver, one: Shop) -> None:
        await tui.press("enter")
        incident = tui.at(Incident)
        assert len(tui.pane("requests").lines) == 1
        one.fail(ERRORS[-1])
        await tui.until(lambda: len(tui.pane("requests").lines) == 2, "its second request")
        assert "2 requests" in tui.text("facts")
        assert incident.document()["count"] == 2

    run(walk, drive, tmp_path / "ledger")


def test_requests_come_with_what_they_changed_later(drive: Drive, tmp_path: Path) -> None:
    async def walk(tui: Driver, one: Shop) -> None:
        await tui.press("2")
        view = tui.at(Requests)
        one.fail("JustNow")
        await tui.until(lambda: view.requests[0]["error_type"] == "JustNow", "the request")
        assert view.requests[0]["changes"] == []
        one.change("pro", view.requests[0]["request_id"])
        await tui.until(lambda: "users update" in tui.screen(), "its change, of a later commit")
        await tui.press("f")
        one.fail("WhileItStands")
        await tui.press("j", "k")
        assert "WhileItStands" not in tui.text("requests")
        await tui.press("f")
        assert "WhileItStands" in tui.text("requests")
        await tui.press("slash")
        await tui.type("table=users")
        count = len(view.requests)
        one.fail("Filtered")
        one.change("team", f"{one.count:08x}-failed")
        await tui.until(lambda: len(view.requests) == count + 1, "a request that fits by what it changed")

    run(walk, drive, tmp_path / "ledger", size=(160, 48))


def test_a_row_is_followed_unless_the_time_cursor_is_set(drive: Drive, tmp_path: Path) -> None:
    async def walk(tui: Driver, one: Shop) -> None:
        tui.at(Row)
        await tui.press("g")
        before = tui.pane("history").current
        one.change("pro")
        await tui.until(lambda: "free → pro" in tui.text("history"), "the change")
        assert "pro" in tui.text("state")
        now = tui.pane("history").current
        assert before is not None
        assert now is not None
        assert now.mark == before.mark
        await tui.press("comma")
        one.change("team")
        one.change("gone")
        await tui.press("tab", "tab", "tab")
        assert "team" not in tui.text("history")
        await tui.press("0")
        assert "team → gone" in tui.text("history")

    run(walk, drive, tmp_path / "ledger", start=ToRow("users", "42"))


def test_a_ledger_that_goes_away_is_said_so(drive: Drive, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with shop(path) as one:
        one.fail(ERRORS[0])

    async def walk() -> None:
        async with drive(path) as tui:
            assert ERRORS[0] in tui.text("incidents")
            shutil.move(path, tmp_path / "elsewhere")
            await tui.until(lambda: "There is no ledger" in tui.screen(), "what is wrong")
            shutil.move(tmp_path / "elsewhere", path)
            await tui.press("r")
            assert ERRORS[0] in tui.text("incidents")

    asyncio.run(walk())


@pytest.mark.postgres
@on((17, "pgoutput"))
def test_a_running_capture_is_looked_at(
    database: Database, drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    with database.connect(autocommit=True) as connection:
        connection.execute("create table item (id int primary key, name text)")

        async def walk() -> None:
            async with drive(path, dsn=database.dsn, size=(80, 24)) as tui:
                await tui.press("5")
                tui.at(Capture)
                await tui.until(lambda: "streaming" in tui.text("status"), "its state")
                for part in ("position", "lag", "rate", "slot", "reserved"):
                    assert part in tui.text("status")
                connection.execute("insert into item select i, 'item' from generate_series(1, 10) i")
                await tui.until(
                    lambda: re.search(r" 1\d since it was", tui.text("status")) is not None, "rows"
                )
                assert "none: the log is in the ledger whole" in tui.text("gaps")
                await tui.press("at")
                await tui.until(lambda: "flux status --ledger" in tui.screen(), "the command")

        with monkeypatch.context() as own:
            own.setenv("FLUX_DSN", database.dsn)
            own.setenv("FLUX_LEDGER", str(path))
            assert main(["init", "--plugin", database.plugin]) == 0
            assert main(["track", "item"]) == 0
            up = subprocess.Popen(
                [Path(sys.executable).with_name("flux"), "up", "--port", "0", "--otlp-port", "0"],
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        try:
            asyncio.run(walk())
        finally:
            up.terminate()
            up.wait(30)
