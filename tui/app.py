"""The app: the trail of views, the time cursor that all share, and what can be done everywhere."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.widget import Widget

from flux.cli.cell import json_text
from flux.cli.console import escape, local_zone
from flux.model.errors import FluxError
from flux.model.moment import Moment, parse_moment, parse_range
from flux.tui import kept
from flux.tui.actions import ACTIONS, EVERYWHERE, bindings
from flux.tui.asking import Desk
from flux.tui.dialog import Answered, Choice, Help, Prompt, Trouble
from flux.tui.incidents import Incident, Incidents
from flux.tui.jump import Cursor, Jump, ToExchange, ToIncident, ToRequest, ToRow, ToTable, Window
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

TRAIL_MAX = 50
"""Views that Back goes through."""
SPLIT_STEP = 5
"""Percent by which a pane becomes wider."""


class Browser(App[None]):
    """`flux tui`."""

    TITLE = "flux"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(EVERYWHERE)]
    CSS_PATH = "browser.tcss"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        path: Path | None = None,
        *,
        start: Jump | None = None,
        as_of: str | None = None,
        dsn: str | None = None,
        zone: tzinfo | None = None,
        state: Path | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.dsn = dsn
        self.zone = zone or local_zone()
        self.desk = Desk(path)
        self.window = Window()
        self._windows: list[Window] = []
        self.searched = ""
        self.marked: ToRow | str | None = None
        self._start = start
        self._as_of = as_of
        self._ahead: list[View] = []
        self._state = state or kept.state_file()
        self.layout_kept = kept.read(self._state)

    # -- life -------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Open the first view."""
        if self.layout_kept.theme in self.available_themes:
            self.theme = self.layout_kept.theme
        self.push_screen(Incidents())
        if self._start is not None:
            self.call_after_refresh(self.open, self._start)
        if self._as_of is not None:
            self.call_after_refresh(self._seek, self._as_of)

    def on_unmount(self) -> None:
        """Keep the layout; let go of the ledger."""
        self.layout_kept.theme = self.theme
        kept.write(self._state, self.layout_kept)
        self.desk.close()

    def _fatal_error(self) -> None:
        """End: Textual would print the frames' variables, and they hold values of rows. See `failure`."""
        self._close_messages_no_wait()

    @property
    def failure(self) -> Exception | None:
        """What ended the app before its time: a bug of ours."""
        return self._exception

    @property
    def views(self) -> list[View]:
        """The trail: the views from the first one to the one that is seen."""
        return [screen for screen in self.screen_stack if isinstance(screen, View)]

    @property
    def view(self) -> View:
        """The view that is seen, also below a dialog."""
        return self.views[-1]

    # -- where to ---------------------------------------------------------------------------------

    def open(self, jump: Jump) -> None:
        """Go where a line leads."""
        self._ahead.clear()
        self.enter(self._made(jump))

    def enter(self, view: View) -> None:
        """Show a view on top of the trail."""
        if len(self.views) < TRAIL_MAX:
            self.push_screen(view)
        else:
            self.switch_screen(view)

    def _made(self, jump: Jump) -> View:
        from flux.tui.exchange import Exchange
        from flux.tui.request import Request
        from flux.tui.row import Row
        from flux.tui.table import Table

        match jump:
            case ToIncident():
                return Incident(jump.incident)
            case ToRequest():
                return Request(jump.request_id)
            case ToExchange():
                return Exchange(jump)
            case ToRow():
                return Row(jump)
            case ToTable():
                return Table(jump)

    async def action_back(self) -> None:
        """Leave the view for the one before; a pane that has the whole screen gives it back first."""
        if self.view.maximized is not None:
            self.view.minimize()
        elif len(self.views) > 1:
            self._ahead.append(self.view)
            self.pop_screen()

    def action_forward(self) -> None:
        """Enter again the view that was left last."""
        if self._ahead:
            self.enter(self._ahead.pop().again())

    def action_go(self, place: str) -> None:
        """Show one of the views that stand for themselves."""
        self._ahead.clear()
        while len(self.views) > 1:
            self.pop_screen()
        if place != Incidents.place:
            self.enter(_standing()[place]())

    # -- the window and the time cursor -----------------------------------------------------------

    @property
    def cursor(self) -> Cursor | None:
        """The time cursor: the end of the window, None for now."""
        return self.window.cursor

    @property
    def since(self) -> datetime | None:
        """The beginning of the window, for what goes by time."""
        return self.window.since

    @property
    def as_of(self) -> Moment | None:
        """The moment of the time cursor."""
        return self.cursor.moment if self.cursor else None

    @property
    def until(self) -> datetime | None:
        """The time of the time cursor, for what goes by time."""
        return self.cursor.at if self.cursor else None

    def set_cursor(self, cursor: Cursor | None) -> None:
        """Move the time cursor; the view that is seen asks anew."""
        self.set_window(self.window.moved(cursor))

    def set_window(self, window: Window) -> None:
        """Look at another window; the view that is seen asks anew."""
        if window == self.window:
            return
        if window.since != self.since:
            self._windows = [*self._windows, self.window][-TRAIL_MAX:]
        self.window = window
        self.view.reload()

    def action_last_window(self) -> None:
        """Take the window back that was narrowed last."""
        if self._windows:
            self.window = self._windows.pop()
            self.view.reload()
        else:
            self.notify("there was no other window")

    def window_words(self) -> list[str]:
        """Return the window as options of the command line."""
        ends = {"--since": self.since, "--until": self.until}
        return [word for name, at in ends.items() if at is not None for word in (name, at.isoformat())]

    def action_seek(self) -> None:
        """Ask for a time."""
        hint = "14:00, 2h, yesterday 14:00, lsn:16/B374D848, req:550e8400; a window: 14:00..14:05; empty: now"
        self.push_screen(Prompt("Time", hint), self._sought)

    def _sought(self, text: str | None) -> None:
        if text is not None and not text.strip():
            self.action_now()
        elif text is not None:
            self._seek(text)

    def _seek(self, text: str) -> None:
        window, now = self.window, datetime.now(UTC)

        def resolved(ledger: Ledger) -> Window:
            if ".." not in text:
                moment = parse_moment(text, now=now, zone=self.zone, request=ledger.request_span)
                return window.moved(Cursor(moment, _time(ledger, moment)))
            found = parse_range(text, now=now, zone=self.zone, request=ledger.request_span)
            since = None if found.since is None else _time(ledger, found.since)
            until = None if found.until is None else Cursor(found.until, _time(ledger, found.until))
            return Window(since, until)

        self.view.ask(resolved, self.set_window, name="seek")

    def action_now(self) -> None:
        """Take the window and its time cursor away."""
        self.set_window(Window())

    # -- search -----------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Ask what to search for."""
        view = self.view
        self.push_screen(
            Prompt(view.search_title, view.search_hint, view.search_value),
            lambda words: None if words is None else view.search_for(words),
        )

    def action_next_match(self) -> None:
        """Go to the next match."""
        self.view.find(1)

    def action_previous_match(self) -> None:
        """Go to the match before."""
        self.view.find(-1)

    # -- compare ----------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark what the cursor is on."""
        subject = self.view.subject()
        if subject is None:
            self.notify("there is no request and no moment of a row here", severity="warning")
            return
        self.marked = subject
        self.notify(f"marked {_named(subject)}; go to another and press d", markup=False)

    def action_compare(self) -> None:
        """Compare what is marked with what the cursor is on."""
        from flux.tui.diff import Diff

        subject = self.view.subject()
        try:
            if self.marked is None:
                raise FluxError("nothing is marked", hint="mark a request, or a moment of a row, with W")
            self.enter(Diff.of(self.marked, subject))
        except FluxError as error:
            self.notify(f"{error.what}: {error.hint}", severity="warning", markup=False)

    # -- taking away ------------------------------------------------------------------------------

    def _command_line(self) -> str:
        ledger = ["--ledger", str(self.path)] if self.path else []
        return shlex.join(["flux", *self.view.words(), *ledger])

    def action_command(self) -> None:
        """Show it."""
        self.notify(escape(self._command_line()), title="The same answer", markup=False, timeout=15)

    def action_copy(self) -> None:
        """Ask in which form, then copy."""
        options = {"t": "text", "j": "JSON", "c": "the flux command", "l": "the line under the cursor"}
        self.push_screen(Choice("Copy as", options), self._copied)

    def _copied(self, form: str | None) -> None:
        if form is None:
            return
        if form == "l":
            listing = self.view.listing
            text = listing.plain_line() if listing else ""
        else:
            forms = {"t": self.view.text, "j": self._json, "c": self._command_line}
            text = forms[form]()
        self.copy_to_clipboard(text)
        self.notify(f"copied {len(text):,} letters")

    def _json(self) -> str:
        return json_text(self.view.document(), indent=True)

    def action_export(self) -> None:
        """Ask for a file, then write what is shown into it."""
        hint = "what is shown, as .txt or .json; .svg is a picture of the screen"
        self.push_screen(Prompt("Export to", hint, f"flux-{self.view.place}.txt"), self._exported)

    def _exported(self, name: str | None) -> None:
        if not name:
            return
        file = Path(name).expanduser()
        forms: dict[str, Callable[[], str]] = {".json": self._json, ".svg": self.export_screenshot}
        try:
            if file.exists():
                raise FileExistsError(17, "it is there already", str(file))
            file.write_text(forms.get(file.suffix, self.view.text)(), encoding="utf-8")
        except OSError as error:
            self.notify(f"cannot write {file}: {error.strerror}", severity="error", markup=False)
            return
        self.notify(f"written to {file}", markup=False)

    # -- layout -----------------------------------------------------------------------------------

    def action_next_pane(self) -> None:
        """Focus the next pane."""
        self.view.focus_next()

    def action_previous_pane(self) -> None:
        """Focus the pane before."""
        self.view.focus_previous()

    def action_zoom(self) -> None:
        """Give the focused pane the whole screen, or take it back."""
        if self.view.maximized is not None:
            self.view.minimize()
        elif isinstance(self.view.focused, Widget):
            self.view.maximize(self.view.focused)

    def action_wider(self) -> None:
        """Make the left pane wider."""
        self._split(SPLIT_STEP)

    def action_narrower(self) -> None:
        """Make the left pane narrower."""
        self._split(-SPLIT_STEP)

    def _split(self, by: int) -> None:
        found = self.layout_kept.split + by
        self.layout_kept.split = max(kept.SPLIT_MIN, min(found, kept.SPLIT_MAX))
        self.view.lay_out()

    def action_theme(self) -> None:
        """Choose the colours."""
        self.search_themes()

    # -- help -------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Show what can be done here."""
        self.push_screen(Help(self.view))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Return what the palette lists: the actions of this view, and those of everywhere."""
        for action in ACTIONS:
            if action.id != "command_palette" and {EVERYWHERE, self.view.place} & set(action.where):
                yield SystemCommand(action.label, action.meaning, self._runner(action.id))
        del screen

    def _runner(self, action: str) -> Callable[[], None]:
        def run() -> None:
            name = action.partition("(")[0]
            self.call_later(self.run_action, action, self if hasattr(self, f"action_{name}") else self.view)

        return run

    # -- trouble ----------------------------------------------------------------------------------

    def action_reload(self) -> None:
        """Ask again."""
        self.view.reload()

    def show_ledger_trouble(self, error: FluxError) -> None:
        """Show that the ledger cannot be read, and what to do; once, however many questions failed."""
        if not isinstance(self.screen, Trouble):
            self.push_screen(Trouble(error), self._after_trouble)

    def _after_trouble(self, answer: Answered | None) -> None:
        if answer is Answered.QUIT:
            self.exit()
        else:
            self.view.reload()


def _time(ledger: Ledger, moment: Moment) -> datetime | None:
    return ledger.time_of(moment.lsn) if moment.lsn is not None else moment.time


def _standing() -> dict[str, type[View]]:
    from flux.tui.capture import Capture
    from flux.tui.console import Console
    from flux.tui.requests import Requests
    from flux.tui.table import Tables

    return {"requests": Requests, "tables": Tables, "sql": Console, "capture": Capture}


def _named(subject: ToRow | str) -> str:
    if isinstance(subject, str):
        return f"request {subject[:8]}"
    return f"a moment of {escape(subject.relation)} {escape(subject.key)}"
