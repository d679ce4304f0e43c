"""What a person can do, in one table: the keys, the footer, the help and docs/tui.md are made of it.

An action's `id` names the method `action_<id>` of the view, or of the app, that does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType

EVERYWHERE = "everywhere"
LISTS = "lists"
"""Any list or text: it moves its own cursor."""
GRIDS = "tables of data"
TIMELINE = "timeline"
"""The bars above the incidents."""
LIVE = ("incidents", "incident", "requests", "row")
"""Views that follow what comes into the ledger."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done."""

    id: str
    keys: tuple[str, ...]
    """As Textual names them; the first one is shown."""
    label: str
    meaning: str
    where: tuple[str, ...] = (EVERYWHERE,)
    """Names of views, `everywhere`, or `lists`."""
    in_footer: bool = False

    @property
    def shown_keys(self) -> tuple[str, ...]:
        """The keys as a person reads them."""
        return tuple(KEY_NAMES.get(key, key) for key in self.keys)


KEY_NAMES = {
    "at": "@",
    "backspace": "Backspace",
    "comma": ",",
    "down": "↓",
    "end": "End",
    "enter": "Enter",
    "escape": "Esc",
    "f1": "F1",
    "full_stop": ".",
    "home": "Home",
    "left": "←",
    "left_square_bracket": "[",
    "minus": "-",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "plus": "+",
    "question_mark": "?",
    "right": "→",
    "right_square_bracket": "]",
    "slash": "/",
    "up": "↑",
    "ctrl+c": "Ctrl-C",
    "ctrl+d": "Ctrl-D",
    "ctrl+o": "Ctrl-O",
    "ctrl+p": "Ctrl-P",
    "ctrl+q": "Ctrl-Q",
    "ctrl+u": "Ctrl-U",
    "shift+tab": "Shift-Tab",
    "tab": "Tab",
}

ACTIONS = (
    Action(
        "help", ("question_mark", "f1"), "Help", "What can be done here, and what is focused.", in_footer=True
    ),
    Action("command_palette", ("ctrl+p",), "Palette", "Everything by its name; type to find it."),
    Action("back", ("escape", "left_square_bracket"), "Back", "To where you came from.", in_footer=True),
    Action("forward", ("right_square_bracket",), "Forward", "Again to where Back left."),
    Action("go('incidents')", ("1",), "Incidents", "Failing requests in groups, over time."),
    Action("go('requests')", ("2",), "Requests", "Requests as they come, or before the time cursor."),
    Action("go('tables')", ("3",), "Tables", "The captured tables; Enter shows one as of the time cursor."),
    Action("go('sql')", ("4",), "SQL", "A read-only console over the ledger."),
    Action("go('capture')", ("5",), "Capture", "How capture is doing: lag, rates, slot, gaps, errors."),
    Action(
        "search", ("slash",), "Find", "Find text; in Requests a filter, in a table a key.", in_footer=True
    ),
    Action("next_match", ("n",), "Next match", "Of what was searched for."),
    Action("previous_match", ("N",), "Previous match", "Of what was searched for."),
    Action(
        "seek",
        ("t",),
        "Time",
        "Set the time cursor: 14:00, 2h, lsn:…, req:…; or a window: 14:00..14:05; empty is now.",
        in_footer=True,
    ),
    Action("now", ("0",), "Now", "Take time cursor and window away: everything as of now."),
    Action("last_window", ("backspace",), "Window back", "To the window before it was narrowed."),
    Action("mark", ("W",), "Mark", "Mark this request, or this moment of a row, to compare it."),
    Action("compare", ("d",), "Compare", "Compare what is marked with what the cursor is on."),
    Action("copy", ("y",), "Copy", "As text, as JSON, or as the flux command (OSC 52).", in_footer=True),
    Action("export", ("x",), "Export", "Write what is shown to a file: .txt, .json or .svg."),
    Action("command", ("at",), "CLI", "Show the flux command that gives the same answer.", in_footer=True),
    Action("next_pane", ("tab",), "Next pane", "Move to the next pane."),
    Action("previous_pane", ("shift+tab",), "Previous pane", "Move to the pane before."),
    Action("zoom", ("z",), "Zoom", "Give the focused pane the whole screen, or take it back."),
    Action("wider", ("plus",), "Wider", "Make the left pane wider; it is remembered."),
    Action("narrower", ("minus",), "Narrower", "Make the left pane narrower; it is remembered."),
    Action("theme", ("T",), "Theme", "Choose the colours; they are remembered."),
    Action("reload", ("r",), "Reload", "Ask again."),
    Action("quit", ("q", "ctrl+q"), "Quit", "Leave."),
    Action("down", ("down", "j"), "Down", "The next line.", (LISTS,)),
    Action("up", ("up", "k"), "Up", "The line before.", (LISTS,)),
    Action("page_down", ("pagedown", "ctrl+d"), "Page down", "A page on.", (LISTS,)),
    Action("page_up", ("pageup", "ctrl+u"), "Page up", "A page back.", (LISTS,)),
    Action(
        "earlier_bucket", ("left", "h"), "Earlier part", "Pick the part of the window before.", (TIMELINE,)
    ),
    Action("later_bucket", ("right", "l"), "Later part", "Pick the next part of the window.", (TIMELINE,)),
    Action(
        "narrow", ("enter",), "Narrow", "Make the picked part the window, of Requests too.", (TIMELINE,), True
    ),
    Action("first", ("home", "g"), "First", "The first line.", (LISTS,)),
    Action("last", ("end", "G"), "Last", "The last line.", (LISTS,)),
    Action("left", ("left", "h"), "Left", "In a table of data: the column to the left.", (GRIDS,)),
    Action("right", ("right", "l"), "Right", "In a table of data: the column to the right.", (GRIDS,)),
    Action(
        "open", ("enter",), "Open", "Follow the line: to its request, row, exchange or table.", (LISTS,), True
    ),
    Action(
        "next_failed",
        ("e",),
        "Next failed",
        "The next request that failed, or part of the timeline with one.",
        ("requests", TIMELINE),
        True,
    ),
    Action(
        "previous_failed",
        ("E",),
        "Previous failed",
        "The failed request before, or part of the timeline with one.",
        ("requests", TIMELINE),
    ),
    Action("follow", ("f",), "Follow", "Follow what comes, or stand still.", LIVE, True),
    Action(
        "bodies", ("b",), "Bodies", "Show the request and response bodies, or hide them.", ("request",), True
    ),
    Action(
        "earlier", ("comma",), "Earlier", "Step the time cursor to the change before.", ("row", "table"), True
    ),
    Action(
        "later", ("full_stop",), "Later", "Step the time cursor to the next change.", ("row", "table"), True
    ),
    Action("since", ("s",), "Since", "What changed in the table since the time cursor.", ("table",), True),
)
"""Everything that can be done, in the order in which the help shows it."""


def of(where: str) -> Iterator[Action]:
    """Yield the actions of one place."""
    return (action for action in ACTIONS if where in action.where)


def bindings(where: str) -> list[BindingType]:
    """Return the keys of one place, as Textual binds them."""
    return [
        Binding(
            key,
            action.id,
            action.label,
            show=action.in_footer,
            key_display=shown,
            tooltip=action.meaning,
        )
        for action in of(where)
        for key, shown in zip(action.keys, action.shown_keys, strict=True)
    ]
