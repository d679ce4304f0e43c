"""Capture: how far it is, its rates, its slot, and the gaps; looked at anew while it is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.widget import Widget

from flux.cli.answer import gap_document
from flux.cli.cell import json_text
from flux.cli.console import escape
from flux.cli.health import status_lines
from flux.cli.story import gap_line
from flux.model.errors import FluxError
from flux.tui.actions import bindings
from flux.tui.listing import Line, Listing, ansi
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.capture.status import Status
    from flux.ledger import Ledger

Document = dict[str, Any]

LOOK_INTERVAL_S = 2.0
"""Between looks; the server is asked each time."""


class Capture(View):
    """Capture of every source of the ledger."""

    place = "capture"
    about = "Position, lag, rates, the replication slot and the last error of each source; gaps of the log."
    BINDINGS = bindings(place)

    def __init__(self) -> None:
        super().__init__()
        self.status: list[Status] = []
        self.gaps: list[Document] = []
        self.info: Document = {}

    def panes(self) -> Iterable[Widget]:
        """Return the sources, the gaps and the ledger."""
        yield Listing(
            "Sources", "How far each is. A server that does not answer is waited for, 10 s.", id="status"
        )
        yield Listing("Gaps", "Stretches of the log that are lost to the ledger, oldest first.", id="gaps")
        yield Listing("Ledger", "What is stored.", id="info")

    def on_mount(self) -> None:
        """Begin to look."""
        self.set_interval(LOOK_INTERVAL_S, self._look_again)

    def load(self) -> None:
        """Ask the ledger, then the server."""

        def asked(ledger: Ledger) -> tuple[Path, list[Document], Document]:
            return ledger.path, list(ledger.gaps().to_pylist()), ledger.info()

        self.ask(asked, self._show)

    def _look_again(self) -> None:
        if self.browser.view is self and not self._pending and self.is_current:
            self.load()

    def _show(self, answer: tuple[Path, list[Document], Document]) -> None:
        path, self.gaps, self.info = answer
        lines = [ansi(gap_line(gap_document(one), self.look), mark=one["from_lsn"]) for one in self.gaps]
        self.query_one("#gaps", Listing).show(lines or [Line(Text("none: the log is in the ledger whole"))])
        told = [(name, value) for name, value in self.info.items() if name != "rows"]
        told += [(f"{name} rows", f"{count:,}") for name, count in self.info["rows"].items()]
        facts = [
            Line(Text(f"{name:<20} ", "cyan").append(escape(_told(value)), "default")) for name, value in told
        ]
        self.query_one("#info", Listing).show(facts)
        self._pending.add("status")
        self.begin(partial(self._ask_server, path), "status")

    async def _ask_server(self, path: Path) -> None:
        """Ask in a thread of its own: the server may take its time."""
        try:
            self.status = await asyncio.to_thread(_read, path, self.browser.dsn)
        except FluxError as error:
            self.show_trouble(error)
            return
        finally:
            self._pending.discard("status")
        lines: list[Line] = []
        for one in self.status:
            lines += [ansi(text) for text in status_lines(one, self.look)]
            if one.last_error and one.state == "streaming":  # else it is among them
                lines.append(Line(Text(f"  last error  {escape(one.last_error)}", "red")))
        empty = [Line(Text("nothing is captured into this ledger yet; run flux init"))]
        self.query_one("#status", Listing).show(lines or empty)

    def words(self) -> Sequence[str]:
        """Return `status`."""
        return ["status"]

    def document(self) -> Any:
        """Return status, gaps and ledger."""
        return {"sources": [asdict(one) for one in self.status], "gaps": self.gaps, "ledger": self.info}


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _read(path: Path, dsn: str | None) -> list[Status]:
    from flux.capture.status import read_status
    from flux.ledger import sources

    return [read_status(path, one, dsn) for one in sources.read(path)]
