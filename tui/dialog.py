"""Small screens above a view: a question, a choice, the help, and a ledger that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from flux.model.errors import FluxError, LedgerDamaged, LedgerLocked, LedgerMissing
from flux.tui.actions import EVERYWHERE, GRIDS, LISTS, TIMELINE, of
from flux.tui.listing import Listing
from flux.tui.timeline import Timeline

if TYPE_CHECKING:
    from flux.tui.view import View


class Prompt(ModalScreen[str | None]):
    """Asks for one line; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, title: str, hint: str, value: str = "") -> None:
        super().__init__()
        self._title, self._hint, self._value = title, hint, value

    def compose(self) -> ComposeResult:
        """Make the question."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            yield Input(self._value, id="answer")
            yield Static(self._hint, classes="hint", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer."""
        self.dismiss(event.value)

    def action_leave(self) -> None:
        """Leave without an answer."""
        self.dismiss(None)


class Choice(ModalScreen[str | None]):
    """Asks for one of some keys; None when it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, title: str, options: Mapping[str, str]) -> None:
        super().__init__()
        self._title, self._options = title, options

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            text = Text()
            for key, meaning in self._options.items():
                text.append(f"  {key}  ", "bold").append(f"{meaning}\n")
            yield Static(text)

    def on_key(self, event: events.Key) -> None:
        """Take a key of the list."""
        if event.key in self._options:
            event.stop()
            self.dismiss(event.key)

    def action_leave(self) -> None:
        """Leave without an answer."""
        self.dismiss(None)


class Help(ModalScreen[None]):
    """What can be done where the focus is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q", "leave", "Leave"),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(self, view: View) -> None:
        super().__init__()
        self._lines = Text("").join(help_text(view))

    def compose(self) -> ComposeResult:
        """Make the text."""
        with VerticalScroll(classes="dialog help"):
            yield Static(self._lines)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss()

    def action_down(self) -> None:
        """Scroll on."""
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def action_up(self) -> None:
        """Scroll back."""
        self.query_one(VerticalScroll).scroll_up(animate=False)


def help_text(view: View) -> Iterator[Text]:
    """Yield the help of a view and its focused pane."""
    yield Text(f"{view.place.capitalize()}\n", "bold").append(f"{view.about}\n\n", "not bold")
    focused = view.focused
    if isinstance(focused, (Listing, Timeline)):
        yield Text(f"{focused.title}\n", "bold").append(f"{focused.about}\n\n", "not bold")
    for where, title in (
        (view.place, "Here"),
        *_pane_of(focused),
        (EVERYWHERE, "Everywhere"),
    ):
        found = list(of(where))
        if not found:
            continue
        yield Text(f"{title}\n", "bold")
        for action in found:
            keys = " ".join(action.shown_keys)
            yield Text(f"  {keys:<12} ", "cyan").append(f"{action.label:<16} ", "default")
            yield Text(f"{action.meaning}\n", "default")
        yield Text("\n")


def _pane_of(focused: Widget | None) -> tuple[tuple[str, str], ...]:
    """Return what can be done in a focused pane, each with its title."""
    match focused:
        case Timeline():
            return ((TIMELINE, "In the timeline"),)
        case Listing():
            return ((LISTS, "In the list"),)
        case _:
            return (LISTS, "In a list"), (GRIDS, "In a table of data")


class Answered(Enum):
    """What a person wants after trouble."""

    RETRY = "retry"
    QUIT = "quit"


class Trouble(ModalScreen[Answered]):
    """The ledger is missing, locked or damaged: what to do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,enter", "retry", "Retry"),
        Binding("q,escape,ctrl+q", "quit_all", "Quit"),
    ]

    def __init__(self, error: FluxError) -> None:
        super().__init__()
        self._error = error

    def compose(self) -> ComposeResult:
        """Make the text."""
        from flux.tui.view import told

        with Vertical(classes="dialog trouble"):
            yield Static(_headline(self._error), classes="title", markup=False)
            yield Static(told(self._error))
            yield Static("\n r  try again     q  quit", classes="hint", markup=False)

    def action_retry(self) -> None:
        """Try again."""
        self.dismiss(Answered.RETRY)

    def action_quit_all(self) -> None:
        """Leave the browser."""
        self.dismiss(Answered.QUIT)


def _headline(error: FluxError) -> str:
    match error:
        case LedgerMissing():
            return "There is no ledger"
        case LedgerLocked():
            return "The ledger is locked"
        case LedgerDamaged():
            return "The ledger is damaged"
        case _:
            return "The ledger cannot be read"
