"""The timeline: how many requests there were over time, and how many failed; a window is picked in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from flux.cli.story import Look
from flux.tui.actions import TIMELINE, bindings
from flux.tui.listing import ASKED

BARS = " ▁▂▃▄▅▆▇█"
_US = timedelta(microseconds=1)


class Timeline(Widget, can_focus=True):
    """Three lines: requests, failed ones, and the time between first and last. `about` is for the help."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(TIMELINE)]
    DEFAULT_CSS = """
    Timeline { border: round $panel; border-title-color: $text-muted; }
    Timeline:focus { border: round $accent; border-title-color: $text; }
    """
    title = "Requests and errors"
    about = "Requests and failed ones per part of the window. ← and → pick a part, Enter makes it the window."

    bucket: reactive[int | None] = reactive(None)
    """The column of bars that is picked."""

    @dataclass
    class Picked(Message):
        """Enter on a part: it is to be the window. Both ends are in it."""

        since: datetime
        until: datetime

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = self.title
        self._parts: Sequence[dict[str, Any]] = ()
        self._count = 1
        self._look: Look | None = None

    def show(self, parts: Sequence[dict[str, Any]], count: int, look: Look) -> None:
        """Show the rows of `Ledger.activity`, asked for in `count` parts."""
        picked = self.picked()
        self._parts, self._count, self._look = parts, count, look
        # A live window grows: what is picked is kept by its time, not by its place.
        self.bucket = None if picked is None else self._column(picked[0])
        self._name_bucket()
        self.refresh()

    # -- drawing ----------------------------------------------------------------------------------

    def render(self) -> Text:
        """Draw it at the width there is."""
        text = Text(no_wrap=True, end="")
        if self._look is None:
            return text.append(ASKED, "dim")
        if not self._parts:
            return text.append("no request is recorded here")
        room = self.room
        for name, style in (("requests", "green"), ("failed", "red")):
            counts = gathered(self._parts, name, self._count, room)
            text.append(f"{name:<{_NAME}}", "dim")
            drawn = Text(bars(counts), style)
            if self.bucket is not None:
                drawn.stylize("reverse", self.bucket, self.bucket + 1)
            text.append_text(drawn)
            text.append(f" {sum(counts):>9,}\n", style)
        first, last = (self._look.clock(self._parts[0][name]) for name in ("first_at", "last_at"))
        text.append(" " * _NAME + first + " " * max(1, room - len(first) - len(last)) + last, "dim")
        return text

    @property
    def room(self) -> int:
        """How many columns of bars there are."""
        return max(1, min(self.content_size.width - _NAME - _SUM, self._count))

    @property
    def _window(self) -> tuple[datetime, datetime] | None:
        return (self._parts[0]["first_at"], self._parts[0]["last_at"]) if self._parts else None

    # -- picking ----------------------------------------------------------------------------------

    def picked(self) -> tuple[datetime, datetime] | None:
        """Return the ends of what is picked."""
        if self.bucket is None or self._window is None:
            return None
        return ends(*self._window, self._count, self.room, self.bucket)

    def _column(self, at: datetime) -> int | None:
        if self._window is None or not self._window[0] <= at <= self._window[1]:
            return None
        first, last = self._window
        return column((at - first) // _US, max(1, (last - first) // _US), self._count, self.room)

    def _pick(self, bucket: int) -> None:
        if self._parts:
            self.bucket = max(0, min(bucket, self.room - 1))

    def watch_bucket(self) -> None:
        """Say what is in it."""
        self._name_bucket()

    def on_resize(self) -> None:
        """Let go of a column that is no more."""
        if self.bucket is not None and self.bucket >= self.room:
            self.bucket = None

    def _name_bucket(self) -> None:
        found = self.picked()
        if found is None or self._look is None or self.bucket is None:
            self.border_title = self.title
            return
        requests, failed = (
            gathered(self._parts, name, self._count, self.room)[self.bucket]
            for name in ("requests", "failed")
        )
        since, until = (_fine(at.astimezone(self._look.zone)) for at in found)
        noun = "request" if requests == 1 else "requests"
        self.border_title = f"{since} to {until}: {requests:,} {noun}, {failed:,} failed"

    def action_earlier_bucket(self) -> None:
        """Pick the part before."""
        self._pick(self.room - 1 if self.bucket is None else self.bucket - 1)

    def action_later_bucket(self) -> None:
        """Pick the next part."""
        self._pick(0 if self.bucket is None else self.bucket + 1)

    def action_previous_failed(self) -> None:
        """Pick the part before in which a request failed."""
        self._to_failed(-1)

    def action_next_failed(self) -> None:
        """Pick the next part in which a request failed."""
        self._to_failed(1)

    def _to_failed(self, step: int) -> None:
        failed = gathered(self._parts, "failed", self._count, self.room)
        begin = (-1 if step > 0 else self.room) if self.bucket is None else self.bucket
        place = begin + step
        while 0 <= place < len(failed) and not failed[place]:
            place += step
        if 0 <= place < len(failed):
            self._pick(place)
        else:
            self.notify("no further one failed")

    def action_narrow(self) -> None:
        """Make what is picked the window."""
        found = self.picked()
        if found is None:
            self.notify("pick a part first: ← and →, or e for one in which a request failed")
        elif found[1] <= found[0]:
            self.notify("the window cannot become narrower")
        else:
            self.bucket = None
            self.post_message(self.Picked(*found))

    def on_click(self, event: events.Click) -> None:
        """Pick the column; a second click makes it the window."""
        offset = event.get_content_offset(self)
        if offset is None or not 0 <= offset.x - _NAME < self.room:
            return
        again = self.bucket == offset.x - _NAME
        self._pick(offset.x - _NAME)
        if again and event.chain > 1:
            self.action_narrow()


_NAME, _SUM = 9, 11
"""Columns of the name before the bars, and of the sum after them."""


def gathered(parts: Sequence[dict[str, Any]], name: str, count: int, room: int) -> list[int]:
    """Return the counts of `count` parts gathered into `room` columns."""
    counts = [0] * room
    for part in parts:
        counts[min(room - 1, int(part["nth"]) * room // count)] += part[name]
    return counts


def column(at_us: int, whole_us: int, count: int, room: int) -> int:
    """Return the column of `gathered` in which a moment of a window lies, as `Ledger.activity` counts it."""
    nth = min(count - 1, at_us * count // whole_us)
    return min(room - 1, nth * room // count)


def ends(first: datetime, last: datetime, count: int, room: int, nth: int) -> tuple[datetime, datetime]:
    """Return the first and the last microsecond of a column of the window `first` to `last`."""
    whole_us = max(1, (last - first) // _US)
    # The inverse of `column`: where that one rounds down, the first moment is found by rounding up.
    begins = [-(-(-(-(one * count) // room) * whole_us) // count) for one in (nth, nth + 1)]
    until = last if nth == room - 1 else first + (begins[1] - 1) * _US
    return first + begins[0] * _US, until


def bars(counts: Sequence[int]) -> str:
    """Return a bar for each count; any at all is seen."""
    most = max(counts, default=0)
    steps = len(BARS) - 1
    return "".join(BARS[0 if not count else max(1, count * steps // most)] for count in counts)


def _fine(at: datetime) -> str:
    """Return a time of the day to the millisecond: a part may be a blink."""
    return at.strftime("%m-%d %H:%M:%S.%f")[:-3]
