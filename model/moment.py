"""Time words: what a person types to name a moment or a range of the past. Pure, no I/O, no clock.

    14:00  14:00:05        the most recent such clock time that is not in the future
    2h  90s  1d2h  1.5h    so long ago (units ms s m h d w; m is minutes; a day is 24 hours)
    now  today  yesterday  yesterday 14:00
    2026-03-10  2026-03-10 14:00  2026-03-10T14:00:00.5Z  2026-03-10 14:00:00+02
    lsn:16/B374D848        a log position (bare `16/B374D848` too)
    req:550e8400           a request: its first change as the start, its last one as the end

    A..B  A..  ..B  A+5m   ranges; a clock time after `..` is the first one after A

Times without an offset are in the `zone` passed in, daylight saving included: a clock time that a
day does not have is looked for on the day before, and of two equal ones the later counts.
Everything else is a `UsageError`: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

from flux.model.errors import UsageError, invariant
from flux.model.lsn import lsn_text, parse_lsn

Edge = Literal["start", "end"]
"""Which end of a request (or of an ambiguous local time) a word stands for."""

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?")
_DATED = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)\s?([Zz]|[+-]\d{2}(?::?\d{2})?)?)?"
)
_DAY = re.compile(r"(today|yesterday)(?:\s+(\S+))?")
_AGO = re.compile(r"-?((?:\d+(?:\.\d+)?(?:ms|[smhdw]))+)(?:\s+ago)?")
_STEP = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_LATER = re.compile(r"(.+)\+((?:\d+(?:\.\d+)?(?:ms|[smhdw]))+)")
_POSITION = re.compile(r"(?:lsn:)?([0-9a-f]{1,8}/[0-9a-f]{1,8})", re.IGNORECASE)
_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DAYS_SEARCHED = 8
"""How far a clock time is looked for: more days than any zone ever left out in a row."""
_HINT = "write it as 14:00, 2h, yesterday 14:00, 2026-03-10T14:00:00Z, lsn:16/B374D848 or req:550e8400"


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of the past: exactly one of a log position and a time."""

    lsn: int | None = None
    time: datetime | None = None
    """Aware, UTC."""

    def __post_init__(self) -> None:
        invariant((self.lsn is None) != (self.time is None), "a moment is a position or a time")
        invariant(self.time is None or self.time.tzinfo is UTC, "the time of a moment is UTC")


@dataclass(frozen=True, slots=True)
class Span:
    """What a request covers: from its first change to its last, both included."""

    start: Moment
    end: Moment


@dataclass(frozen=True, slots=True)
class Range:
    """From `since` to `until`, both included; None is open."""

    since: Moment | None = None
    until: Moment | None = None


Requests = Callable[[str], Span]
"""Resolves what follows `req:` (any unique prefix); raises a `FluxError` when it cannot."""


def parse_moment(
    text: str, *, now: datetime, zone: tzinfo, request: Requests | None = None, edge: Edge = "end"
) -> Moment:
    """Return the moment that `text` names, seen from `now` (aware) in `zone`.

    `edge` says which end of a request `req:…` stands for. Raises `UsageError`.
    """
    word = text.strip()
    if match := _POSITION.fullmatch(word):
        return Moment(lsn=parse_lsn(match[1]))
    if word[:4].lower() == "req:":
        span = _request(word, request)
        return span.start if edge == "start" else span.end
    try:
        found = _time(word, now.astimezone(UTC), zone, edge)
    except (OverflowError, ValueError):
        found = None
    if found is None:
        raise UsageError(f"not a time: {text!r}", hint=_HINT)
    return Moment(time=found)


def parse_range(text: str, *, now: datetime, zone: tzinfo, request: Requests | None = None) -> Range:
    """Return the range that `text` names.

    A single moment is a range without an end, except a request, which is its whole span. Raises
    `UsageError`, also for a range that ends before it starts.
    """
    word = text.strip()
    first, dots, last = (part.strip() for part in word.partition(".."))
    if not dots:
        if word[:4].lower() == "req:":
            span = _request(word, request)
            return Range(span.start, span.end)
        if later := _LATER.fullmatch(word):
            return _lasting(later[1], later[2], now, zone, request)
        return Range(since=parse_moment(word, now=now, zone=zone, request=request, edge="start"))
    if not first and not last:
        raise UsageError(f"not a range: {text!r}", hint="write it as 14:00..14:05, 14:00.. or ..14:05")
    if first and last and (clocks := _clock_range(first, last, now.astimezone(UTC), zone)):
        return clocks
    since = parse_moment(first, now=now, zone=zone, request=request, edge="start") if first else None
    if last and since and since.time and (clock := _clock(last)) is not None:
        end = min(_first_after(clock, since.time, zone), now.astimezone(UTC))
        return _ordered(text, Range(since, Moment(time=end)))
    until = parse_moment(last, now=now, zone=zone, request=request, edge="end") if last else None
    return _ordered(text, Range(since, until))


def moment_text(moment: Moment, zone: tzinfo) -> str:
    """Return `moment` for a person: local time with its offset, or the log position."""
    if moment.time is not None:
        return moment.time.astimezone(zone).isoformat(sep=" ", timespec="auto")
    return f"lsn:{lsn_text(moment.lsn or 0)}"


def _ordered(text: str, found: Range) -> Range:
    """Return `found` unless it ends before it starts (as far as that can be compared here)."""
    since, until = found.since, found.until
    if since and until:
        times = since.time and until.time and until.time < since.time
        positions = since.lsn is not None and until.lsn is not None and until.lsn < since.lsn
        if times or positions:
            raise UsageError(f"the range ends before it starts: {text!r}", hint="write the older one first")
    return found


def _request(word: str, request: Requests | None) -> Span:
    if request is None:
        raise UsageError(f"a request does not name a time here: {word!r}", hint=_HINT)
    return request(word[4:].strip())


def _lasting(first: str, length: str, now: datetime, zone: tzinfo, request: Requests | None) -> Range:
    """Resolve `A+5m`: from A on, five minutes long, never beyond now."""
    since = parse_moment(first, now=now, zone=zone, request=request, edge="start")
    duration = _duration(length)
    if since.time is None or duration is None:
        raise UsageError(f"not a range: {first + '+' + length!r}", hint="write it as 14:00+5m")
    try:
        end = since.time + duration
    except OverflowError:
        end = now.astimezone(UTC)
    return Range(since, Moment(time=max(since.time, min(end, now.astimezone(UTC)))))


def _time(word: str, now: datetime, zone: tzinfo, edge: Edge) -> datetime | None:
    """Return the time a word names, or None; ValueError and OverflowError when it is out of bounds."""
    if word == "now":
        return now
    if (clock := _clock(word)) is not None:
        return _last_before(clock, now, zone)
    if match := _AGO.fullmatch(word):
        duration = _duration(match[1])
        return None if duration is None else now - duration
    if match := _DAY.fullmatch(word):
        days = 1 if match[1] == "yesterday" else 0
        clock = _clock(match[2]) if match[2] else time()
        day = now.astimezone(zone).date() - timedelta(days=days)
        return None if clock is None else _pick(_on(day, clock, zone), edge)
    if match := _DATED.fullmatch(word):
        return _dated(match, zone, edge)
    return None


def _dated(match: re.Match[str], zone: tzinfo, edge: Edge) -> datetime | None:
    day = date(int(match[1]), int(match[2]), int(match[3]))
    clock = _clock(match[4]) if match[4] else time()
    if clock is None:
        return None
    if not match[5]:
        return _pick(_on(day, clock, zone), edge)
    offset = match[5]
    if offset in "Zz":
        return datetime.combine(day, clock, UTC)
    shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:].lstrip(":") or 0))
    if shift >= timedelta(hours=24):
        return None
    return datetime.combine(day, clock, UTC) - (shift if offset[0] == "+" else -shift)


def _pick(instants: list[datetime], edge: Edge) -> datetime | None:
    """Choose of two equal local times the one that makes a range wider; None if there is none."""
    if not instants:
        return None
    return instants[0] if edge == "start" else instants[-1]


def _clock(word: str) -> time | None:
    match = _CLOCK.fullmatch(word)
    if match is None:
        return None
    fraction = int((match[4] or "").ljust(6, "0")[:6])
    try:
        return time(int(match[1]), int(match[2]), int(match[3] or 0), fraction)
    except ValueError:
        return None


def _duration(word: str) -> timedelta | None:
    """Read `1d2h` as a length; units must fall from large to small, each once."""
    steps = _STEP.findall(word)
    order = list(_SECONDS)
    ranks = [order.index(unit) for _, unit in steps]
    if ranks != sorted(set(ranks)):
        return None
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in steps))


def _on(day: date, clock: time, zone: tzinfo) -> list[datetime]:
    """Return the instants (UTC, ascending) at which `zone` shows `clock` on `day`: at most two."""
    found = set()
    for fold in (0, 1):
        local = datetime.combine(day, clock.replace(fold=fold), zone)
        instant = local.astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0):
            found.add(instant)
    return sorted(found)


def _last_before(clock: time, bound: datetime, zone: tzinfo) -> datetime:
    """Return the latest instant not after `bound` at which `zone` shows `clock`."""
    today = bound.astimezone(zone).date()
    for back in range(_DAYS_SEARCHED):
        for instant in reversed(_on(today - timedelta(days=back), clock, zone)):
            if instant <= bound:
                return instant
    raise ValueError("no such clock time")


def _first_after(clock: time, bound: datetime, zone: tzinfo) -> datetime:
    """Return the earliest instant not before `bound` at which `zone` shows `clock`."""
    today = bound.astimezone(zone).date()
    for ahead in range(_DAYS_SEARCHED):
        for instant in _on(today + timedelta(days=ahead), clock, zone):
            if instant >= bound:
                return instant
    raise ValueError("no such clock time")


def _clock_range(first: str, last: str, now: datetime, zone: tzinfo) -> Range | None:
    """Return the most recent window between two clock times, or None if they are none.

    One that is still running ends now; one over midnight that has not ended yet is the one before it.
    """
    since_clock, until_clock = _clock(first), _clock(last)
    if since_clock is None or until_clock is None:
        return None
    since = _last_before(since_clock, now, zone)
    until = _first_after(until_clock, since, zone)
    if until > now and until_clock > since_clock:
        until = now
    elif until > now:
        until = _last_before(until_clock, now, zone)
        since = _last_before(since_clock, until, zone)
    return Range(Moment(time=since), Moment(time=until))
