"""The one widget for lists and texts: lines with a cursor, drawn when they are seen.

A line is drawn at the width there is, and only while it is visible, so a list may be as long as memory
allows. New lines replace the old ones in one step, and the cursor stays on the line with the same mark:
nothing flickers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from flux.tui.actions import LISTS, bindings
from flux.tui.jump import Jump

NEAR_END = 20
"""Lines before the end at which more are asked for."""
WRAPPED_MIN = 10
"""Columns below which nothing is wrapped: there is no room to read in."""
PLAIN_WIDTH = 160
"""Columns of a line that is copied or searched, if it fits itself to its width."""
ASKED = "…"
"""Shown until there is an answer: an empty pane would say that there is nothing."""
LETTERS_MAX = 10_000
"""Letters of a line that are shown."""
GAP = re.compile(" {3,}")
"""Between two columns."""
CONTINUED = 2
"""Columns by which the rest of a line that is wrapped is moved in."""

Draw = Callable[[int], Text]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a text, or what draws it at a width; where it leads to; what it is known by."""

    text: Text | Draw
    jump: Jump | None = None
    mark: Hashable = None

    def draw(self, width: int) -> Text:
        """Return it as it looks at a width."""
        return self.text if isinstance(self.text, Text) else self.text(width)


def ansi(text: str, jump: Jump | None = None, mark: Hashable = None) -> Line:
    """Return a line of the command line's own: its values are escaped, so the only codes in it are ours."""
    return Line(Text.from_ansi(text.rstrip("\n")), jump, mark)


def lines_of(texts: Iterable[str]) -> list[Line]:
    """Return the command line's lines, without jumps."""
    return [ansi(one) for text in texts for one in text.split("\n")[: text.count("\n") or 1]]


def wrapped(line: Line, width: int) -> list[Line]:
    """Return a line in as many as it needs; each leads where it leads."""
    if not isinstance(line.text, Text) or width <= WRAPPED_MIN or line.text.cell_len <= width:
        return [line]
    indent = len(line.text.plain) - len(line.text.plain.lstrip(" ")) + CONTINUED
    indent = min(indent, width // 3)
    text = _squeezed(_bounded(line.text))
    if text.cell_len <= width:
        return [Line(text, line.jump, line.mark)]
    parts = text.divide([_break(text.plain, width)])
    lines = [Line(parts[0], line.jump, line.mark)]
    rest = parts[1]
    while rest.plain.strip():
        head, *others = rest.divide([_break(rest.plain, width - indent)])
        lines.append(Line(Text(" " * indent, end="").append_text(head), line.jump, line.mark))
        rest = others[0] if others else Text()
    return lines


def _bounded(text: Text) -> Text:
    """Return as much of a text as anybody reads: a body may be one line of a million letters."""
    more = len(text) - LETTERS_MAX
    return (
        text if more <= 0 else text[:LETTERS_MAX].append(f" … and {more:,} more letters; y copies all", "dim")
    )


def _squeezed(text: Text) -> Text:
    """Return a text whose columns stand no further apart than two blanks: there is no room to align them."""
    begin = len(text.plain) - len(text.plain.lstrip(" "))
    made, place = Text(end=""), 0
    for gap in GAP.finditer(text.plain, begin):
        made.append_text(text[place : gap.start() + 2])
        place = gap.end()
    return made.append_text(text[place:])


def _break(text: str, width: int) -> int:
    """Return where to break a text: between two columns that fit, else after a blank, if not too far back."""
    fitting, taken = 0, 0
    for character in text:
        taken += cell_len(character)
        if taken > width:
            break
        fitting += 1
    column = text.rfind("  ", 0, fitting + 2)
    if fitting < len(text) and column > fitting // 2:
        return column + 2
    blank = text.rfind(" ", 0, fitting + 1)
    return blank + 1 if fitting < len(text) and blank > fitting // 2 else max(1, fitting)


class Listing(ScrollView, can_focus=True):
    """Lines with a cursor. `title` names the pane, `about` says in the help what it is for."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(LISTS)]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"listing--cursor", "listing--header"}
    DEFAULT_CSS = """
    Listing { background: $background; scrollbar-size: 1 1; scrollbar-gutter: stable;
        border: round $panel; border-title-color: $text-muted; }
    Listing:focus { border: round $accent; border-title-color: $text; }
    Listing > .listing--cursor { background: $surface-lighten-2; }
    Listing:focus > .listing--cursor { background: $accent-darken-2; }
    Listing > .listing--header { text-style: bold; }
    """

    cursor: reactive[int] = reactive(0, repaint=False)

    @dataclass
    class Opened(Message):
        """Enter, or a click, on a line."""

        listing: Listing
        line: Line

    @dataclass
    class Moved(Message):
        """The cursor is on another line."""

        listing: Listing
        line: Line | None

    @dataclass
    class NearEnd(Message):
        """The cursor nears the last line."""

        listing: Listing

    def __init__(self, title: str, about: str, *, header: Draw | None = None, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = title
        self.title = title
        self.about = about
        self.lines: Sequence[Line] = ()
        """As they are drawn: what was too long for one line is several."""
        self._is_asked = True
        self._whole: Sequence[Line] = ()
        self._wholes: Sequence[Line] = ()
        self._width = 0
        self._header = header

    # -- what is shown ----------------------------------------------------------------------------

    @property
    def current(self) -> Line | None:
        """The line under the cursor."""
        return self.lines[self.cursor] if 0 <= self.cursor < len(self.lines) else None

    def show(self, lines: Sequence[Line], *, at: Hashable = None) -> None:
        """Show other lines; the cursor goes to the mark `at`, else it stays on the line with its mark.

        That line also stays where it is on the screen, unless the top of the list was seen: what comes there
        is to be seen as well.
        """
        before, top = self.current, self.scroll_offset.y
        mark = at if at is not None else before.mark if before is not None else None
        place = self.cursor
        self._whole = lines
        self._is_asked = False
        self._width = self.scrollable_content_region.width
        parts = [(part, line) for line in lines for part in wrapped(line, self._width)]
        self.lines = [part for part, _ in parts]
        self._wholes = [line for _, line in parts]
        if mark is not None:
            place = next((nth for nth, line in enumerate(self.lines) if line.mark == mark), place)
        self.virtual_size = Size(0, len(self.lines) + self._above)
        moved = place - self.cursor
        self.set_reactive(Listing.cursor, max(0, min(place, len(self.lines) - 1)))
        if top and moved and at is None:
            self.scroll_to(y=top + moved, animate=False, immediate=True)
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved(self, self.current))

    def put_cursor(self, mark: Hashable) -> bool:
        """Move the cursor to the first line with a mark; tell whether there is one."""
        for nth, line in enumerate(self.lines):
            if line.mark == mark:
                self.cursor = nth
                return True
        return False

    def find(self, words: str, step: int) -> bool:
        """Move the cursor to the next line (`step` 1), or the one before (-1), that has `words`."""
        count = len(self.lines)
        for nth in range(1, count + 1):
            place = (self.cursor + step * nth) % count
            if words.lower() in self.lines[place].draw(PLAIN_WIDTH).plain.lower():
                self.cursor = place
                return True
        return False

    def plain_line(self) -> str:
        """Return the line under the cursor as plain text, however many it takes on the screen."""
        return self._wholes[self.cursor].draw(PLAIN_WIDTH).plain.strip() if self._wholes else ""

    def plain(self) -> str:
        """Return all lines as plain text."""
        drawn = [self._header(PLAIN_WIDTH)] if self._header else []
        drawn += [line.draw(PLAIN_WIDTH) for line in self._whole]
        return "".join(text.plain.rstrip() + "\n" for text in drawn)

    # -- drawing ----------------------------------------------------------------------------------

    @property
    def _above(self) -> int:
        return 1 if self._header else 0

    def render_line(self, y: int) -> Strip:
        """Draw one line of the screen."""
        width = self.scrollable_content_region.width
        scroll_y = self.scroll_offset.y
        if self._header and y == 0:
            style = self.get_component_rich_style("listing--header", partial=True)
            return self._strip(self._header(width), width, self.rich_style + style)
        nth = y + scroll_y - self._above
        if not 0 <= nth < len(self.lines):
            told = Text(ASKED if self._is_asked and not nth else "", "dim")
            return self._strip(told, width, self.rich_style)
        style = self.rich_style
        if nth == self.cursor:
            style += self.get_component_rich_style("listing--cursor", partial=True)
        return self._strip(self.lines[nth].draw(width), width, style)

    def _strip(self, text: Text, width: int, style: Style) -> Strip:
        strip = Strip(text.render(self.app.console)).apply_style(style)
        return strip.crop_extend(0, width, style)

    def watch_cursor(self, before: int, after: int) -> None:
        """Draw what the cursor left and where it came to."""
        if before == after:
            return
        self._keep_in_sight()
        # Two lines, not the pane: a tenth of the bytes and of the time. Scrolling draws the pane by itself.
        for place in (before, after):
            y = place - self.scroll_offset.y + self._above
            self.refresh(Region(0, y, self.scrollable_content_region.width, 1))
        self.post_message(self.Moved(self, self.current))
        if after >= len(self.lines) - NEAR_END:
            self.post_message(self.NearEnd(self))

    def on_resize(self) -> None:
        """Wrap the lines anew, and keep the cursor in sight."""
        if self._width != self.scrollable_content_region.width and not self._is_asked:
            self.show(self._whole)
        self._keep_in_sight()

    def _keep_in_sight(self) -> None:
        height = max(1, self.scrollable_content_region.height - self._above)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, immediate=True)

    # -- keys and mouse ---------------------------------------------------------------------------

    def _go(self, place: int) -> None:
        self.cursor = max(0, min(place, len(self.lines) - 1))

    def action_down(self) -> None:
        """Go a line down."""
        self._go(self.cursor + 1)

    def action_up(self) -> None:
        """Go a line up."""
        self._go(self.cursor - 1)

    def action_page_down(self) -> None:
        """Go a page down."""
        self._go(self.cursor + max(1, self.scrollable_content_region.height - 2))

    def action_page_up(self) -> None:
        """Go a page up."""
        self._go(self.cursor - max(1, self.scrollable_content_region.height - 2))

    def action_first(self) -> None:
        """Go to the first line."""
        self._go(0)

    def action_last(self) -> None:
        """Go to the last line."""
        self._go(len(self.lines) - 1)

    def action_open(self) -> None:
        """Follow the line."""
        if self.current is not None:
            self.post_message(self.Opened(self, self.current))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the line; a second click follows it."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        place = offset.y + self.scroll_offset.y - self._above
        if not 0 <= place < len(self.lines):
            return
        if place == self.cursor and event.chain > 1:
            self.action_open()
        self._go(place)
