"""`flux tui`: the browser, started from the command line.

Named in the table of commands (`cli/main.py`), a floor below: it is imported when the command runs.
"""

from __future__ import annotations

import gc
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux.cli.completion import complete_request
from flux.cli.options import AsOfOption, DsnOption, LedgerOption
from flux.cli.settings import source_dsn
from flux.model.errors import UsageError

if TYPE_CHECKING:
    from flux.tui.jump import Jump

REQUEST = "req:"


def tui(
    start: Annotated[
        str | None,
        typer.Argument(
            metavar="REQ | TABLE[/KEY]",
            help="Where to begin: req:550e8400, users, or users/42. Default: the incidents.",
            autocompletion=complete_request,
            show_default=False,
        ),
    ] = None,
    ledger: LedgerOption = None,
    as_of: AsOfOption = None,
    dsn: DsnOption = None,
    mouse: Annotated[
        bool, typer.Option("--mouse/--no-mouse", help="Take the mouse, or leave it to the terminal.")
    ] = True,
) -> None:
    """Browse incidents, requests and rows in the terminal; ? shows the keys.

    Example: flux tui users/42 --as-of 14:00
    """
    if find_spec("textual") is None or find_spec("textual_fastdatatable") is None:
        raise UsageError(
            "flux tui needs Textual", why="it is not installed", hint="pip install 'flux-ledger[tui]'"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("flux tui needs a terminal", hint="for scripts: flux incident list --json")
    # What is imported stays: looking for garbage in it takes a fifth of the imports' time.
    gc.disable()
    from flux.tui.app import Browser

    gc.freeze()
    gc.enable()
    browser = Browser(
        None if ledger is None else Path(ledger),
        start=jump_to(start) if start is not None else None,
        as_of=as_of,
        dsn=source_dsn(dsn).value,
    )
    browser.run(mouse=mouse)
    if browser.failure is not None:
        raise browser.failure


def jump_to(word: str) -> Jump:
    """Return what a word on the command line leads to."""
    from flux.tui.jump import ToRequest, ToRow, ToTable

    if word[:4].lower() == REQUEST:
        return ToRequest(word[4:])
    table, slash, key = word.partition("/")
    if slash:
        return ToRow(table, key)
    return ToTable(table)
