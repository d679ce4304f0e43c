"""What a command asks about: the ledger it opens, and the time words it was given.

A resolved time is echoed on stderr, so that `14:00` leaves no doubt about the day it meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from flux.cli import console
from flux.cli.render import Format, Target
from flux.model.errors import UsageError
from flux.model.moment import Edge, Moment, Range, Span, moment_text, parse_moment, parse_range

if TYPE_CHECKING:
    from flux.ledger import Ledger


def open_reader(option: Path | None) -> Ledger:
    """Open the ledger that the option, the environment or the folder names."""
    from flux.ledger import open_ledger

    return open_ledger(option)


def target(
    chosen: Format | None,
    json: bool,
    output: Path | None = None,
    *,
    full: bool = False,
) -> Target:
    """Return where and how to answer. Raises `UsageError` when the options contradict each other."""
    if json and chosen not in {None, Format.JSON}:
        raise UsageError(f"--json and --format {chosen} contradict each other", hint="give one of them")
    wanted = Format.JSON if json else chosen or Format.TABLE
    return Target(format=wanted, zone=console.local_zone(), output=output, full=full)


@dataclass(frozen=True, slots=True)
class Clock:
    """Resolves time words for one command: all of them see the same now."""

    ledger: Ledger
    zone: tzinfo
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def moment(self, text: str | None, *, name: str = "as of", edge: Edge = "end") -> Moment | None:
        """Return the moment `text` names and echo it; None for None."""
        if text is None:
            return None
        found = parse_moment(text, now=self.now, zone=self.zone, request=self._request, edge=edge)
        console.note(f"{name} {moment_text(found, self.zone)}")
        return found

    def range(self, since: str | None, until: str | None) -> Range:
        """Return the range of `--since` and `--until` and echo it; `--since` may hold both ends."""
        if since is None and until is None:
            return Range()
        if since is not None and until is not None:
            if ".." in since + until:
                raise UsageError("a range has both ends", hint="leave out --until, or write one moment each")
            text = f"{since}..{until}"
        else:
            text = since if since is not None else f"..{until}"
        found = parse_range(text, now=self.now, zone=self.zone, request=self._request)
        start = moment_text(found.since, self.zone) if found.since else "the beginning"
        end = moment_text(found.until, self.zone) if found.until else "now"
        console.note(f"from {start} to {end}")
        return found

    def between(self, start: str, end: str | None) -> tuple[Moment, Moment | None]:
        """Return the two moments of a comparison and echo them: a request means before and after it."""
        if end is None and ".." in start:
            found = self.range(start, None)
            if found.since is None:
                raise UsageError("the older moment is missing", hint="write it as 14:00..14:05")
            return found.since, found.until
        since = parse_moment(start, now=self.now, zone=self.zone, request=self._request, edge="start")
        if start.strip()[:4].lower() == "req:" and since.lsn is not None:
            since = Moment(lsn=since.lsn - 1)
        until = None
        if end is not None:
            until = parse_moment(end, now=self.now, zone=self.zone, request=self._request)
        shown = moment_text(until, self.zone) if until else "now"
        console.note(f"from {moment_text(since, self.zone)} to {shown}")
        return since, until

    def _request(self, prefix: str) -> Span:
        return self.ledger.request_span(prefix)


def announce_truncation(limit: int, which: str, noun: str) -> None:
    """Say on stderr that there is more than the `first` or `newest` so many."""
    shown = f"{noun} is" if limit == 1 else f"{limit:,} {noun}s are"
    console.warn(f"only the {which} {shown} shown; --limit 0 shows all")
