"""Time words: what each one means, and what holds for all of them in every zone."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flux.model.errors import UsageError
from flux.model.moment import Moment, Range, Span, moment_text, parse_moment, parse_range

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kolkata",
    )
]
NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)  # 16:30 in Berlin
SPAN = Span(Moment(lsn=0x1600000010), Moment(lsn=0x1600000900))

zones = st.sampled_from(ZONES)
nows = st.integers(788_918_400, 2_366_841_600).map(lambda value: datetime.fromtimestamp(value, UTC))
clocks = st.builds(time.strftime, st.times(), st.sampled_from(["%H:%M:%S", "%H:%M"]))


def at(text: str, **more: object) -> datetime:
    arguments = {"now": NOW, "zone": BERLIN} | more
    moment = parse_moment(text, **arguments)  # type: ignore[arg-type]
    assert moment.time is not None
    return moment.time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14:00", "2026-03-10T13:00:00+00:00"),
        ("16:30", "2026-03-10T15:30:00+00:00"),
        ("16:31", "2026-03-09T15:31:00+00:00"),
        ("9:05:07.25", "2026-03-10T08:05:07.250000+00:00"),
        ("2h", "2026-03-10T13:30:00+00:00"),
        ("-2h", "2026-03-10T13:30:00+00:00"),
        ("2h ago", "2026-03-10T13:30:00+00:00"),
        ("1.5h", "2026-03-10T14:00:00+00:00"),
        ("90s", "2026-03-10T15:28:30+00:00"),
        ("250ms", "2026-03-10T15:29:59.750000+00:00"),
        ("1d2h", "2026-03-09T13:30:00+00:00"),
        ("1w", "2026-03-03T15:30:00+00:00"),
        ("now", "2026-03-10T15:30:00+00:00"),
        ("today", "2026-03-09T23:00:00+00:00"),
        ("yesterday", "2026-03-08T23:00:00+00:00"),
        ("yesterday 14:00", "2026-03-09T13:00:00+00:00"),
        ("2026-03-01", "2026-02-28T23:00:00+00:00"),
        ("2026-03-01 14:00", "2026-03-01T13:00:00+00:00"),
        ("2026-07-01 14:00", "2026-07-01T12:00:00+00:00"),
        ("2026-03-01T14:00:00Z", "2026-03-01T14:00:00+00:00"),
        ("2026-03-01t14:00:00.123456789z", "2026-03-01T14:00:00.123456+00:00"),
        ("2026-03-01 14:00:00+02", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T14:00:00-05:30", "2026-03-01T19:30:00+00:00"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert at(text).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "25:00", "14:61", "2 h", "2mo", "1m2h", "1h1h", "99999999999d", "2026-02-30",
        "03/04/2026", "2026-03-10T14", "2026-03-10 14:00+99", "lsn:", "lsn:zz/1", "tomorrow",
        "yesterday noon", "2026-03-29 02:30", "14:00..14:05", "0000-01-01",
    ],
)  # fmt: skip
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_moment(text, now=NOW, zone=BERLIN)


def test_positions_and_requests() -> None:
    assert parse_moment("lsn:16/B374D848", now=NOW, zone=BERLIN) == Moment(lsn=0x16B374D848)
    assert parse_moment("16/b374d848", now=NOW, zone=BERLIN) == Moment(lsn=0x16B374D848)
    asked: list[str] = []

    def request(prefix: str) -> Span:
        asked.append(prefix)
        return SPAN

    assert parse_moment("req:550e", now=NOW, zone=BERLIN, request=request) == SPAN.end
    assert parse_moment("req:550e", now=NOW, zone=BERLIN, request=request, edge="start") == SPAN.start
    assert parse_range("req:550e", now=NOW, zone=BERLIN, request=request) == Range(SPAN.start, SPAN.end)
    assert parse_range("req:550e..", now=NOW, zone=BERLIN, request=request) == Range(SPAN.start, None)
    assert asked == ["550e"] * 4
    with pytest.raises(UsageError):
        parse_moment("req:550e", now=NOW, zone=BERLIN)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("14:00..14:05", "2026-03-10T13:00:00+00:00", "2026-03-10T13:05:00+00:00"),
        # still running: it ends now
        ("16:00..17:00", "2026-03-10T15:00:00+00:00", "2026-03-10T15:30:00+00:00"),
        ("17:00..18:00", "2026-03-09T16:00:00+00:00", "2026-03-09T17:00:00+00:00"),
        ("23:50..00:10", "2026-03-09T22:50:00+00:00", "2026-03-09T23:10:00+00:00"),
        # over midnight and not over yet: the one before
        ("15:00..14:00", "2026-03-09T14:00:00+00:00", "2026-03-10T13:00:00+00:00"),
        ("2026-03-01 23:00..01:00", "2026-03-01T22:00:00+00:00", "2026-03-02T00:00:00+00:00"),
        ("14:00+5m", "2026-03-10T13:00:00+00:00", "2026-03-10T13:05:00+00:00"),
        ("2h..1h", "2026-03-10T13:30:00+00:00", "2026-03-10T14:30:00+00:00"),
        ("2h", "2026-03-10T13:30:00+00:00", None),
        ("14:00..", "2026-03-10T13:00:00+00:00", None),
        ("..14:00", None, "2026-03-10T13:00:00+00:00"),
    ],
)
def test_ranges(text: str, since: str | None, until: str | None) -> None:
    found = parse_range(text, now=NOW, zone=BERLIN)
    times = [edge.time.isoformat() if edge and edge.time else None for edge in (found.since, found.until)]
    assert times == [since, until]


@pytest.mark.parametrize(
    "text", ["..", "", "1h..2h", "lsn:2/0..lsn:1/0", "lsn:1/0+5m", "14:00..15:00..16:00"]
)
def test_what_is_not_a_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_range(text, now=NOW, zone=BERLIN)


def test_a_clock_time_that_a_day_skips_is_the_day_befores() -> None:
    spring = datetime(2026, 3, 29, 10, 0, tzinfo=UTC)  # Berlin went from 02:00 to 03:00 today
    assert at("02:30", now=spring) == datetime(2026, 3, 28, 1, 30, tzinfo=UTC)


def test_of_two_equal_clock_times_the_later_counts() -> None:
    autumn = datetime(2026, 10, 25, 10, 0, tzinfo=UTC)  # Berlin had 02:30 twice today
    assert at("02:30", now=autumn) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert at("02:30", now=between) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert at("2026-10-25 02:30", now=autumn, edge="start") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@given(nows, zones, clocks)
@example(datetime(2026, 3, 29, 1, 0, tzinfo=UTC), BERLIN, "02:30")
@example(datetime(2011, 12, 31, 1, 0, tzinfo=UTC), ZoneInfo("Pacific/Apia"), "12:00")
def test_a_clock_time_is_the_latest_one_that_is_not_in_the_future(
    now: datetime, zone: ZoneInfo, clock: str
) -> None:
    found = at(clock, now=now, zone=zone)
    assert found <= now
    shown = found.astimezone(zone).strftime("%H:%M:%S" if clock.count(":") == 2 else "%H:%M")
    assert shown == clock
    assert now - found < timedelta(hours=50)


@given(nows, zones, clocks, clocks)
def test_a_range_of_clock_times_is_ordered_and_past(
    now: datetime, zone: ZoneInfo, first: str, last: str
) -> None:
    found = parse_range(f"{first}..{last}", now=now, zone=zone)
    assert found.since is not None
    assert found.until is not None
    assert found.since.time is not None
    assert found.until.time is not None
    assert found.since.time <= found.until.time <= now


@given(nows, zones, nows)
def test_what_is_printed_is_read_back(now: datetime, zone: ZoneInfo, instant: datetime) -> None:
    moment = Moment(time=instant)
    assert parse_moment(moment_text(moment, zone), now=now, zone=zone) == moment


@given(st.text())
def test_any_text_is_a_moment_or_a_usage_error(text: str) -> None:
    for parse in (parse_moment, parse_range):
        with contextlib.suppress(UsageError):
            parse(text, now=NOW, zone=BERLIN)
