"""The demo from its start to its end: set up, let the incident happen, answer, clear up.

Promises: whatever ends it (its end, an error, Ctrl-C, SIGTERM, a closed terminal), the capture and the
server are stopped; the ledger stays. With `keep` the server stays too, unless something failed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

from flux.cli.demo import narration, server, shop
from flux.cli.demo.recording import BOUNDS, Recording
from flux.cli.setup import slot_name

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def run(*, keep: bool = False) -> None:
    """Show what Flux shows, on a small shop. Raises `UsageError` if the server's wheel is missing."""
    with _quiet_environment(), _stoppable():
        folder = server.new_folder()
        ledger = folder / "ledger"
        done = False
        try:
            shop.require()
            own = server.prepare(folder / "server")
            try:
                _tour(own, folder, ledger)
                done = True
            finally:
                if not (keep and done):
                    with _uninterrupted():
                        own.close()
        finally:
            if not done:
                shutil.rmtree(folder, ignore_errors=True)
        narration.farewell(folder, ledger, own if keep else None)


def _tour(own: server.Server, folder: Path, ledger: Path) -> None:
    from flux.capture.settings import IntakeSettings, Settings
    from flux.ledger import create_ledger

    narration.opening()
    # The server's first start and the new ledger take a second each, and neither needs the other.
    with ThreadPoolExecutor(max_workers=1) as beside:
        with _deferred():
            made = beside.submit(create_ledger, ledger)
        own.start()
        shop.open_shop(own.dsn)
        made.result()
    plugin, version = _install(own.dsn, ledger)
    settings = Settings(
        ledger=ledger,
        source=server.DATABASE,
        slot=slot_name(server.DATABASE),
        plugin=plugin,
        dsn=own.dsn,
        otlp=IntakeSettings(port=0, required=True),
        bounds=BOUNDS,
    )
    with contextlib.ExitStack() as running:
        with _deferred():
            recording = running.enter_context(Recording(settings))
        recording.await_slot()
        narration.begun(version)
        with _deferred():
            at_work = running.enter_context(shop.Shop(folder, own.dsn, recording.await_intake()))
        for visit in shop.visits(at_work, own.dsn):
            narration.visit(visit)
        recording.await_requests(shop.REQUESTS)
    narration.question(*shop.row(own.dsn))
    # The shop's source lies there: `why` shows the line that failed.
    with contextlib.chdir(folder):
        for words, lead in narration.ANSWERS:
            narration.answer(words, lead)
            _answer(words, ledger)
    narration.explanation()


def _install(dsn: str, ledger: Path) -> tuple[str, str]:
    """Do what `flux init` and `flux track --rollbacks` do; return the plugin and the server's version."""
    from flux.capture import install, source, tracking
    from flux.ledger import sources

    with source.connect(dsn) as connection:
        done = install.init(connection, plugin="auto", source=server.DATABASE)
        tracking.track(connection, shop.TABLES, rollbacks=True)
        facts = source.facts(connection)
    known = sources.Source(
        name=done.source,
        plugin=done.plugin,
        slot=slot_name(done.source),
        database=facts.database,
        host="the demo's server",
    )
    sources.write(ledger, known)
    return done.plugin, facts.version


def _answer(words: tuple[str, ...], ledger: Path) -> None:
    """Run a command as the command line does, its answer on stdout."""
    from flux.cli.main import tree

    tree(words)(args=[*words, "--ledger", str(ledger)], prog_name="flux", standalone_mode=False)


@contextlib.contextmanager
def _quiet_environment() -> Iterator[None]:
    """Take libpq's settings out of the environment: PGHOSTADDR or PGOPTIONS are for another server."""
    before = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    for name in before:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextlib.contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Let `handler` have whatever asks the demo to end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What is ignored (nohup) stays so.
    ours = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in ours}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _stoppable() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does, so that it clears up."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return _handled(stop)


@contextlib.contextmanager
def _deferred() -> Iterator[None]:
    """Let a stop come at the end of the block: nobody waits for a thread whose start was cut short."""
    came = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    with _handled(note):
        yield
    if came:
        raise KeyboardInterrupt


def _uninterrupted() -> contextlib.AbstractContextManager[None]:
    """Let the clearing up, which takes a second, not be interrupted itself."""
    return _handled(signal.SIG_IGN)
