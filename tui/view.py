"""What all views have in common: breadcrumb, window, panes, questions, following, what can be taken away.

A view asks in `load`, which is called when it appears, when the time cursor moves, and on Reload. A view
that is left has its questions cancelled; when it is seen again with answers missing, or of another moment, it
asks anew. A live view asks again when the ledger has a new commit.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import WorkType

from flux.cli.console import escape
from flux.cli.story import Look
from flux.model.errors import FluxError, LedgerError
from flux.model.moment import moment_text
from flux.tui.actions import LIVE
from flux.tui.footer import Footer
from flux.tui.jump import ToRow, Window
from flux.tui.listing import Line, Listing

if TYPE_CHECKING:
    from flux.ledger import Ledger
    from flux.tui.app import Browser

Answer = TypeVar("Answer")
FOLLOW_INTERVAL_S = 0.5
"""Between looks at the catalog's version, a read of a millisecond."""
REST = 3
"""A live view looks again after so many times as long as the last answers took: most of the time it rests."""
FINE = timedelta(seconds=10)
"""A shorter window is told to the millisecond."""
WIDE = 110
"""Columns from which on panes stand beside each other."""


class View(Screen[None]):
    """One screen of the browser: each gives its `panes`, `load`, `words` and `document`.

    Those raise NotImplementedError here, and each view has its own: Textual's metaclass is not that of `ABC`.
    """

    AUTO_FOCUS = ""
    """Nothing: the main pane is focused, which may come with the answer."""

    place: ClassVar[str]
    """Its name in the table of actions."""
    about: ClassVar[str]
    """What it is for, as the help says."""

    def __init__(self, *subject: Any) -> None:
        super().__init__()
        self._made_of = subject
        self._seen: Window | None = None
        self._pending: set[str] = set()
        self._version: int | None = None
        self._asked_s = self._look_s = 0.0
        self.is_live = self.place in LIVE

    # -- what a view is ---------------------------------------------------------------------------

    @property
    def crumb(self) -> str:
        """Its part of the breadcrumb."""
        return self.place.capitalize()

    def panes(self) -> Iterable[Widget]:
        """Return its panes, the main one first."""
        raise NotImplementedError

    def main_pane(self) -> Widget:
        """Return the pane that is focused when it appears."""
        return self.query_one("#panes").children[0]

    def load(self) -> None:
        """Ask for what it shows."""
        raise NotImplementedError

    def words(self) -> Sequence[str]:
        """Return the command that gives the same answer, without `flux` and `--ledger`."""
        raise NotImplementedError

    def document(self) -> Any:
        """Return what is shown, as JSON would have it."""
        raise NotImplementedError

    def text(self) -> str:
        """Return what is shown as text."""
        return "\n".join(pane.plain() for pane in self.query(Listing) if pane.display)

    def subject(self) -> ToRow | str | None:
        """Return what a mark is set on: a request id, a moment of a row, or nothing."""
        return None

    def search_for(self, words: str) -> None:
        """Search: in the focused pane, unless the view has another way."""
        self.browser.searched = words
        self.find(1)

    def again(self) -> View:
        """Return a view of the same: a screen that was left cannot be shown again."""
        return type(self)(*self._made_of)

    search_title: ClassVar[str] = "Search"
    search_hint: ClassVar[str] = "text in the focused pane; n and N go on"

    @property
    def search_value(self) -> str:
        """What the search begins with."""
        return self.browser.searched

    # -- the frame --------------------------------------------------------------------------------

    @property
    def browser(self) -> Browser:
        """The app."""
        return self.app  # type: ignore[return-value]

    @property
    def look(self) -> Look:
        """How values and times are drawn."""
        return Look(zone=self.browser.zone, colour=True, sentence_width=0)

    def compose(self) -> ComposeResult:
        """Make the frame."""
        yield Static(id="top", markup=False)
        with Container(id="panes"):
            yield from self.panes()
        yield Static(id="trouble", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Focus the main pane; a live view begins to look for what comes."""
        self.lay_out()
        if self.main_pane().can_focus:
            self.main_pane().focus()
        if self.place in LIVE:
            self.set_interval(FOLLOW_INTERVAL_S, self._look_for_more)

    def on_screen_resume(self) -> None:
        """Ask, if what is shown is missing or of another moment."""
        self.draw_top()
        self.lay_out()
        if self._seen != self.browser.window or self._pending:
            self.reload()

    def on_screen_suspend(self) -> None:
        """Let go of questions whose answers nobody sees."""
        self.workers.cancel_node(self)

    def reload(self) -> None:
        """Ask again."""
        self._seen = self.browser.window
        self._pending.clear()
        self._version = None
        self.show_trouble(None)
        self.draw_top()
        if self.place in LIVE:
            # Before the rest: what is committed meanwhile is seen at the next look.
            self.ask(lambda ledger: ledger.refresh(), self._note_version, name="version")
        self.load()

    def draw_top(self) -> None:
        """Draw the breadcrumb and the time cursor."""
        crumbs = [view.crumb for view in self.browser.views]
        right = f" {self._moment_text()} "
        left = " › ".join(escape(crumb) for crumb in crumbs)
        room = max(8, self.app.size.width - len(right) - 2)
        if len(left) > room:
            left = "…" + left[-(room - 1) :]
        text = Text(f" {left}".ljust(room + 2), "bold", no_wrap=True, end="")
        text.append(right, "" if self.browser.window == Window() else "bold reverse")
        self.query_one("#top", Static).update(text)

    def _moment_text(self) -> str:
        since, cursor = self.browser.since, self.browser.cursor
        if cursor is None:
            moment = "live" if self.is_live else "now"
        else:
            at = cursor.at
            moment = moment_text(cursor.moment, self.browser.zone) if at is None else self.look.clock(at)
        if since is not None:
            at = cursor.at if cursor is not None else None
            return f"{self.look.clock(since)} to {moment}" if at is None else self._window_text(since, at)
        return moment if cursor is None and self.is_live else f"as of {moment}"

    def _window_text(self, since: datetime, until: datetime) -> str:
        """Return a window as short as it can be told: the breadcrumb wants room too."""
        first, last = (at.astimezone(self.browser.zone) for at in (since, until))
        form = "%H:%M:%S" if last - first >= FINE else "%H:%M:%S.%f"
        begin, end = (at.strftime(form)[:12] for at in (first, last))
        if first.date() == last.date():
            return f"{first:%m-%d} {begin} to {end}"
        return f"{first:%m-%d} {begin} to {last:%m-%d} {end}"

    def show_trouble(self, error: FluxError | None) -> None:
        """Show what failed, why, and what to do next; None takes it away."""
        place = self.query_one("#trouble", Static)
        place.display = error is not None
        if error is not None:
            place.update(told(error))

    def lay_out(self) -> None:
        """Lay the panes out: beside each other where there is room, else one above the other."""
        is_wide = self.app.size.width >= WIDE
        self.set_class(not is_wide, "-narrow")
        for pane in self.query(".left"):
            pane.styles.width = f"{self.browser.layout_kept.split}%" if is_wide else "100%"

    def on_resize(self) -> None:
        """Lay the panes out anew."""
        self.lay_out()
        self.draw_top()

    # -- questions --------------------------------------------------------------------------------

    def ask(
        self,
        question: Callable[[Ledger], Answer],
        answered: Callable[[Answer], None],
        *,
        name: str = "main",
    ) -> None:
        """Ask in the desk's thread; the newest question of a name takes the place of the one before."""
        if not self._pending:
            self._asked_s = monotonic()
        self._pending.add(name)
        self.begin(partial(self._asked, name, question, answered), name)

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Begin some work of this view; it takes the place of the one before of that name."""

        async def run() -> None:
            await work()

        made: WorkType[None] = run
        self.run_worker(made, name=name, group=name, exclusive=True)

    async def _asked(
        self, name: str, question: Callable[[Ledger], Answer], answered: Callable[[Answer], None]
    ) -> None:
        try:
            answer = await self.browser.desk.ask(question)
        except FluxError as error:
            self._settled(name)
            if error.exit_code == LedgerError.exit_code and self.browser.view is self:
                self.browser.show_ledger_trouble(error)
            else:
                self.show_trouble(error)
            return
        self._settled(name)
        answered(answer)

    def _settled(self, name: str) -> None:
        self._pending.discard(name)
        if not self._pending:
            now = monotonic()
            self._look_s = now + REST * (now - self._asked_s)

    # -- following --------------------------------------------------------------------------------

    @property
    def follows(self) -> bool:
        """Whether what comes is to be shown: it is live, it is seen, and the window has no end."""
        return self.is_live and self.browser.cursor is None and self.app.screen is self

    def _look_for_more(self) -> None:
        if self.follows and not self._pending and monotonic() >= self._look_s:
            self.look_for_more()

    def look_for_more(self) -> None:
        """Look whether there is a new commit; with one, what is shown is asked for again."""
        self.ask(lambda ledger: ledger.refresh(), self._note_version, name="version")

    def _note_version(self, version: int) -> None:
        is_new = self._version is not None and version != self._version
        self._version = version
        if is_new:
            self.load()

    def action_follow(self) -> None:
        """Follow, or stand still."""
        self.is_live = not self.is_live
        self.draw_top()
        if self.is_live:
            self.reload()

    # -- moving -----------------------------------------------------------------------------------

    @property
    def listing(self) -> Listing | None:
        """The focused list, else the first one."""
        focused = self.focused
        if isinstance(focused, Listing):
            return focused
        found = list(self.query(Listing))
        return found[0] if found else None

    def find(self, step: int) -> None:
        """Go to the next match of what was searched for."""
        words, listing = self.browser.searched, self.listing
        if words and listing is not None and not (listing.lines and listing.find(words, step)):
            self.notify(f"not here: {escape(words)}", markup=False)

    def on_listing_opened(self, message: Listing.Opened) -> None:
        """Follow a line."""
        self.opened(message.line)

    def opened(self, line: Line) -> None:
        """Follow a line to where it leads."""
        if line.jump is not None:
            self.browser.open(line.jump)


def told(error: FluxError) -> Text:
    """Return an error: what, why, what to do next."""
    text = Text(escape(error.what), "bold red")
    if error.why:
        text.append(f"\n  why: {escape(error.why)}", "")
    if error.hint:
        text.append(f"\n  hint: {escape(error.hint)}", "")
    return text
