"""What one expects of such a program: copy, export, palette, themes, NO_COLOR, mouse, sizes, a footer."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandPalette
from textual.drivers.headless_driver import HeadlessDriver
from textual.widgets import Input

from cli import checkout
from flux.cli.main import run as main
from flux.tui.console import Console
from flux.tui.grid import Grid
from flux.tui.incidents import Incident, Incidents
from flux.tui.jump import ToRequest, ToRow, ToTable
from flux.tui.request import Request
from flux.tui.requests import Requests
from flux.tui.row import Row
from flux.tui.timeline import Timeline
from tui.conftest import Drive, Driver

OSC_52 = "\x1b]52;c;"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to the terminal."""
    written: list[str] = []
    monkeypatch.setattr(HeadlessDriver, "write", lambda _, data: written.append(data))
    return written


def copied(terminal: list[str]) -> str:
    """What the terminal was last told to put into its clipboard."""
    code = [one for one in terminal if one.startswith(OSC_52)][-1]
    return base64.b64decode(code.removeprefix(OSC_52).rstrip("\a")).decode()


def test_it_is_copied_by_osc_52_in_each_form(
    requests_ledger: Path, drive: Drive, terminal: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """The copied command is run: it gives the answer that was copied as text."""

    async def walk() -> tuple[str, str, dict[str, Any], str]:
        async with drive(requests_ledger, start=ToRow("users", "42")) as tui:
            found = []
            for form in "tcjl":
                await tui.press("y", form)
                found.append(copied(terminal))
            await tui.press("y", "escape")
            assert len([one for one in terminal if one.startswith(OSC_52)]) == 4
            text, command, document, line = found
            return text, command, json.loads(document), line

    text, command, document, line = asyncio.run(walk())
    words = shlex.split(command)
    assert words[:3] == ["flux", "state", "history"]
    capfd.readouterr()
    assert main(words[1:]) == 0
    history = capfd.readouterr().out
    assert history.splitlines()[2:] == text.splitlines()[2 : len(history.splitlines())]
    assert document["history"]["mutations"][-1]["outcome"] == "rolled_back"
    assert "ROLLED BACK" in line
    assert line in text


def test_what_is_shown_is_exported_and_nothing_is_overwritten(
    requests_ledger: Path, drive: Drive, tmp_path: Path
) -> None:
    (tmp_path / "there.txt").write_text("mine")

    async def walk() -> None:
        async with drive(requests_ledger, start=ToRequest(checkout.FAILED)) as tui:
            for name, told in (
                ("shown.txt", "written to shown.txt"),
                ("shown.json", "written to shown.json"),
                ("shown.svg", "written to shown.svg"),
                ("there.txt", "there already"),
                ("no/such/folder.txt", "cannot write"),
            ):
                await tui.press("x")
                await tui.type(name)
                await tui.until(lambda told=told: told in tui.screen(), told)  # type: ignore[misc]

    asyncio.run(walk())
    assert "ROOT CAUSE" in (tmp_path / "shown.txt").read_text()
    assert json.loads((tmp_path / "shown.json").read_text())["why"]["request"]["service"] == "shop"
    assert (tmp_path / "shown.svg").read_text().startswith("<svg")
    assert (tmp_path / "there.txt").read_text() == "mine"


def test_the_palette_has_the_actions_of_the_view(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger) as tui:
            labels = {one.title for one in tui.app.get_system_commands(tui.app.screen)}
            assert {"Requests", "Copy", "Export", "Theme"} <= labels
            assert "Bodies" not in labels
            tui.app.open(ToRequest(checkout.FAILED))
            await tui.settle()
            await tui.press("ctrl+p")
            assert isinstance(tui.app.screen, CommandPalette)
            tui.app.screen.query_one(Input).value = "Bodies"
            await tui.until(lambda: "request and response bodies" in tui.screen(), "it is found")
            await tui.press("enter")
            if isinstance(tui.app.screen, CommandPalette):
                await tui.press("enter")
            assert tui.pane("bodies").display

    asyncio.run(walk())


def test_theme_split_and_queries_are_remembered(requests_ledger: Path, drive: Drive) -> None:
    async def first() -> None:
        async with drive(requests_ledger) as tui:
            tui.app.theme = "gruvbox"
            await tui.press("plus", "4")
            await tui.type("select 7 as seven")

    async def second() -> None:
        async with drive(requests_ledger) as tui:
            assert tui.app.theme == "gruvbox"
            assert tui.app.layout_kept.split == 55
            await tui.press("4", "up", "enter")
            assert tui.at(Console).query_one("#answer", Grid).plain() == "seven\n7\n"

    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.parametrize("is_set", [True, False])
def test_no_color(requests_ledger: Path, drive: Drive, monkeypatch: pytest.MonkeyPatch, is_set: bool) -> None:
    if is_set:
        monkeypatch.setenv("NO_COLOR", "1")

    async def walk() -> set[tuple[int, ...]]:
        async with drive(requests_ledger, start=ToRequest(checkout.FAILED)) as tui:
            assert "httpx.ReadTimeout" in tui.screen()
            found = set()
            for strip in tui.app.screen._compositor.render_strips():
                for segment in strip:
                    for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                        if colour is not None:
                            found.add(tuple(colour.get_truecolor()))
            return found

    colours = asyncio.run(walk())
    is_grey = all(red == green == blue for red, green, blue in colours)
    assert is_grey == is_set


def test_the_mouse_picks_and_opens(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger) as tui:
            pane = tui.pane("incidents")
            await tui.pilot.click(pane, offset=(10, 4))  # below border and heading: the third line
            await tui.settle()
            assert pane.cursor == 2
            tui.at(Incidents)
            await tui.pilot.click(pane, offset=(10, 4), times=2)
            await tui.settle()
            assert tui.at(Incident).incident["error_type"] == "shop.errors.PaymentTimeout"
            await tui.press("escape")
            timeline = tui.at(Incidents).query_one(Timeline)
            await tui.pilot.click(timeline, offset=(10, 1))
            await tui.settle()
            assert timeline.bucket == 0
            await tui.pilot.click(timeline, offset=(10, 1), times=2)
            await tui.settle()
            assert len(tui.at(Incidents).incidents) == 0
            assert tui.app.since is not None
            await tui.press("0")
            tui.app.open(ToTable("users"))
            await tui.settle()
            await tui.pilot.click(tui.view.query_one("#rows", Grid), offset=(5, 3))
            await tui.settle()
            assert tui.view.query_one("#rows", Grid).row == 1

    asyncio.run(walk())


def test_it_becomes_smaller_and_larger_while_it_runs(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger, size=(160, 48), start=ToRequest(checkout.FAILED)) as tui:
            assert tui.pane("why").region.y == tui.pane("waterfall").region.y
            await tui.press("G")
            chosen = tui.pane("why").current
            await tui.pilot.resize_terminal(80, 24)
            await tui.settle()
            assert tui.pane("why").region.y < tui.pane("waterfall").region.y
            assert all(len(line) <= 80 for line in tui.screen().splitlines())
            now = tui.pane("why").current
            assert chosen is not None
            assert now is not None
            assert now.mark == chosen.mark
            in_sight = now.draw(78).plain.strip()
            assert in_sight in tui.screen()
            await tui.pilot.resize_terminal(30, 8)
            await tui.settle()
            await tui.press("g", "tab", "1", "2", "3", "5", "1")
            await tui.pilot.resize_terminal(160, 48)
            await tui.settle()
            assert "PaymentTimeout" in tui.screen()

    asyncio.run(walk())


def test_the_footer_fits_80_columns(requests_ledger: Path, drive: Drive) -> None:
    async def walk(tui: Driver) -> None:
        assert tui.footer.endswith("@ CLI")
        await tui.press("shift+tab")
        assert tui.footer.endswith("@ CLI")
        await tui.press("2")
        tui.at(Requests)
        assert tui.footer.endswith("@ CLI")
        for jump, view in ((ToRow("users", "42"), Row), (ToRequest(checkout.FAILED), Request)):
            tui.app.open(jump)
            await tui.settle()
            assert isinstance(tui.view, view)
            assert tui.footer.endswith("@ CLI")
        tui.app.open(ToTable("users"))
        await tui.settle()
        assert tui.footer.endswith("@ CLI")
        await tui.press("4")
        assert "F1 Help" in tui.footer
        assert "CLI" not in tui.footer  # it would be typed

    async def whole() -> None:
        async with drive(requests_ledger, size=(80, 24)) as tui:
            await walk(tui)

    asyncio.run(whole())
