"""What goes wrong is a screen with a remedy, never a crash."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from cli import checkout
from flux.cli.main import run
from flux.model.errors import UsageError
from flux.tui import command, kept
from flux.tui.dialog import Trouble
from flux.tui.incidents import Incidents
from flux.tui.jump import ToRequest
from tui.conftest import Drive


def test_a_missing_ledger_can_be_made_and_tried_again(
    requests_ledger: Path, drive: Drive, tmp_path: Path
) -> None:
    path = tmp_path / "later"

    async def walk() -> None:
        async with drive(path) as tui:
            assert isinstance(tui.app.screen, Trouble)
            assert "There is no ledger" in tui.screen()
            assert "hint" in tui.screen()
            shutil.copytree(requests_ledger, path)
            await tui.press("r")
            tui.at(Incidents)
            assert "PaymentTimeout" in tui.text("incidents")

    asyncio.run(walk())


def test_a_damaged_ledger_is_said_to_be_so(requests_ledger: Path, drive: Drive, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(requests_ledger, path)
    for file in path.rglob("*.parquet"):
        file.write_bytes(b"no parquet")

    async def walk() -> None:
        async with drive(path) as tui:
            assert isinstance(tui.app.screen, Trouble)
            assert "damaged" in tui.screen().lower() or "read" in tui.screen().lower()
            await tui.press("q")

    asyncio.run(walk())


def test_an_unknown_request_is_a_line_in_the_view(requests_ledger: Path, drive: Drive) -> None:
    async def walk() -> None:
        async with drive(requests_ledger, start=ToRequest("ffffffff")) as tui:
            assert "no request" in tui.screen()

    asyncio.run(walk())


def test_without_textual_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        command.tui()
    assert "pip install 'flux-ledger[tui]'" in error.value.hint


def test_without_a_terminal_it_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["tui"]) == 2
    assert "needs a terminal" in capfd.readouterr().err


def test_what_is_kept_survives_and_rubbish_is_no_reason_to_fail(tmp_path: Path) -> None:
    file = tmp_path / "state" / "tui.json"
    state = kept.Kept(split=30, theme="nord")
    state.remember_query("select 1")
    kept.write(file, state)
    assert kept.read(file) == state
    file.write_text('{"split": "wide", "queries": 7}')
    assert kept.read(file) == kept.Kept()
    file.write_text("[]")
    assert kept.read(file) == kept.Kept()


def test_the_split_is_remembered_and_no_value_obeys(
    requests_ledger: Path, drive: Drive, tmp_path: Path
) -> None:
    async def walk() -> None:
        async with drive(requests_ledger, start=ToRequest(checkout.FAILED)) as tui:
            await tui.press("plus", "plus")
            assert tui.app.layout_kept.split == 60

    asyncio.run(walk())
    assert kept.read(tmp_path / "state.json").split == 60
