"""What goes wrong is a screen with a remedy, never a crash."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len

from cli import checkout
from flux.cli.main import run
from flux.ledger import Writer, catalog, create_ledger
from flux.ledger.layout import Layout
from flux.model.errors import UsageError
from flux.tui import command, kept
from flux.tui.dialog import Trouble
from flux.tui.incidents import Incidents
from flux.tui.jump import ToRequest
from ledger.log import Log, Row, insert, relation, update
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


def test_a_locked_ledger_is_said_to_be_so(
    requests_ledger: Path, drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "locked"
    shutil.copytree(requests_ledger, path)
    monkeypatch.setattr(catalog, "BUSY_TIMEOUT_S", 0.01)

    async def walk(holder: sqlite3.Connection) -> None:
        async with drive(path) as tui:
            assert isinstance(tui.app.screen, Trouble)
            assert "The ledger is locked" in tui.screen()
            assert "try again in a moment" in tui.screen()
            holder.rollback()
            holder.close()
            await tui.press("r")
            assert "PaymentTimeout" in tui.text("incidents")

    holder = sqlite3.connect(Layout(path).catalog, isolation_level=None)
    holder.execute("pragma locking_mode = exclusive")
    holder.execute("begin exclusive")
    asyncio.run(walk(holder))


@pytest.mark.parametrize("has_changes", [False, True], ids=["empty", "without requests"])
def test_a_ledger_with_little_in_it_is_no_reason_to_fail(
    drive: Drive, tmp_path: Path, has_changes: bool
) -> None:
    path = create_ledger(tmp_path / "ledger")
    if has_changes:
        log = Log()
        log.shape(relation())
        log.transaction(insert(relation(), "1", {"id": "1", "email": None, "plan": None}))
        with Writer.open(path, source="shop") as writer:
            log.store(writer)

    async def walk() -> None:
        async with drive(path, size=(80, 24)) as tui:
            assert "no request failed" in tui.screen()
            assert "no request is recorded here" in tui.screen()
            await tui.press("shift+tab", "l", "enter", "2", "e", "enter", "d", "n", "3")
            assert ("users" if has_changes else "no table is captured yet") in tui.screen()
            await tui.press("enter", "enter", "comma", "y", "j", "5", "4")
            await tui.type("select count(*) as n from changes")
            assert not isinstance(tui.app.screen, Trouble)
            assert f"n\n{int(has_changes)}\n" == tui.view.text()

    asyncio.run(walk())


HOSTILE = {
    "markup": "[red]x[/red] [@click=app.bell]y[/] [/nothing]",
    "controls": "a\x1b[2J\x1b]52;c;aGk=\x07b\x00\x9b31mc\r\x08d",
    "wide": "漢字" * 200 + "👩‍👩‍👧‍👦" * 20 + "e\u0301" * 50,
    "rtl": "\u202eevil\u202c שלום \u2066x\u2069",
    "lines": "one\ntwo\r\nthree\tfour\u2028five",
    "large": "x" * 1_000_000,
    "empty": "",
}


def test_hostile_values_are_shown_and_obeyed_by_nothing(drive: Drive, tmp_path: Path) -> None:
    """In values, keys, names of columns and tables, routes, errors; on every screen, as text, as JSON."""
    # PostgreSQL knows no zero byte in a name.
    named = [name for name in HOSTILE if name not in {"large", "empty"}]
    names = tuple(f"{name} {HOSTILE[name][:20]}".replace("\0", "") for name in named)
    odd = relation(f"public.{HOSTILE['markup']}", ("id", *HOSTILE, *names))
    row: Row = {"id": HOSTILE["markup"], **HOSTILE, **dict.fromkeys(names, "x")}
    log, recorder = Log(), checkout.Recorder()
    log.shape(odd)
    log.transaction(insert(odd, HOSTILE["markup"], dict(row)), request="[red]first")
    changed = row | {name: value + "!" for name, value in HOSTILE.items()}
    log.transaction(update(odd, HOSTILE["markup"], dict(changed)), request="[red]second")
    for nth, value in enumerate(HOSTILE.values()):
        began = checkout.clock(f"14:00:{nth:02}")
        span = recorder.request(
            "[red]second" if not nth else f"r{nth}\x1b[2J",
            began,
            3.0,
            route=value,
            path=value,
            status=500,
            error_type=value or "E",
            error_message=value,
            error_location=value,
            error_stack=value,
            request={"headers": [("x", value[:2000])], "body": value},
        )
        recorder.sql(span, 1, 1, value or "select", value[:2000])
    path = create_ledger(tmp_path / "ledger")
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        writer.record(*recorder.tables())

    async def walk() -> None:
        async with drive(path, size=(80, 24)) as tui:
            seen = []

            async def look(*keys: str) -> None:
                for key in keys:
                    await tui.press(key)
                    seen.append(tui.screen())
                await tui.press("y", "t", "y", "j")

            await look("G", "enter", "enter", "b")
            await look("3", "enter", "enter", "comma")
            await look("2", "W", "j", "d")
            await look("4")
            await tui.type("from changes")
            await look("escape", "j")
            for screen in seen:
                for line in screen.splitlines():
                    assert cell_len(line) <= 80
                    assert not [one for one in line if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}]
            assert not isinstance(tui.app.screen, Trouble)
            assert any("[red]x[/red]" in screen for screen in seen)

    asyncio.run(walk())


def test_a_line_of_a_million_letters_is_cut_and_copied_whole(drive: Drive, tmp_path: Path) -> None:
    recorder = checkout.Recorder()
    body = "letters " * 125_000
    answer = {"headers": [], "body": body}
    recorder.request(
        "long", checkout.clock("14:00:00"), 3.0, route="/", path="/", status=200, response=answer
    )
    path = create_ledger(tmp_path / "ledger")
    with Writer.open(path, source="shop") as writer:
        writer.record(*recorder.tables())

    async def walk() -> None:
        async with drive(path, size=(80, 24), start=ToRequest("long")) as tui:
            await tui.press("b", "G")
            await tui.press("k")
            assert "more letters; y copies all" in tui.screen()
            assert len(tui.pane("bodies").lines) < 200
            await tui.press("y", "l")
            assert tui.app.clipboard == body.strip()

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
