"""The timeline: how many requests there were over time, and how many failed, in bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.text import Text
from textual.widget import Widget

from flux.cli.story import Look

BARS = " ▁▂▃▄▅▆▇█"


class Timeline(Widget):
    """Three lines: requests, failed ones, and the time between first and last."""

    DEFAULT_CSS = "Timeline { border: round $panel; border-title-color: $text-muted; }"

    def __init__(self, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = "Requests and errors"
        self._parts: Sequence[dict[str, Any]] = ()
        self._count = 1
        self._look: Look | None = None

    def show(self, parts: Sequence[dict[str, Any]], count: int, look: Look) -> None:
        """Show the rows of `Ledger.activity`, asked for in `count` parts."""
        self._parts, self._count, self._look = parts, count, look
        self.refresh()

    def render(self) -> Text:
        """Draw it at the width there is."""
        width = max(1, self.content_size.width)
        text = Text(no_wrap=True, end="")
        if self._look is None:
            return text.append("asking…", "dim")
        if not self._parts:
            return text.append("no request is recorded")
        room = max(1, width - _LABEL)
        for name, style in (("requests", "green"), ("failed", "red")):
            counts = gathered(self._parts, name, self._count, room)
            text.append(f"{name:<9}", "dim")
            text.append(bars(counts), style)
            text.append(f" {sum(counts):>9,}\n", style)
        first, last = (self._clock(self._parts[0][name]) for name in ("first_at", "last_at"))
        text.append(" " * 9 + first + " " * max(1, room - len(first) - len(last)) + last, "dim")
        return text

    def _clock(self, at: datetime) -> str:
        return self._look.clock(at) if self._look else ""


_LABEL = 9 + 11
"""Columns of the name before the bars and the sum after them."""


def gathered(parts: Sequence[dict[str, Any]], name: str, count: int, room: int) -> list[int]:
    """Return the counts of `count` parts gathered into `room` columns."""
    counts = [0] * room
    for part in parts:
        counts[min(room - 1, int(part["nth"]) * room // count)] += part[name]
    return counts


def bars(counts: Sequence[int]) -> str:
    """Return a bar for each count; any at all is seen."""
    most = max(counts, default=0)
    steps = len(BARS) - 1
    return "".join(BARS[0 if not count else max(1, count * steps // most)] for count in counts)
