"""`flux tail`: the requests as they come, with their outcome and what they changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux.cli import console
from flux.cli.answer import position
from flux.cli.cell import json_text, pad
from flux.cli.options import FormatOption, FullOption, JsonOption, LedgerOption, LimitOption, OutputOption
from flux.cli.render import Format, Rows, Target, write_list, write_rows, write_text
from flux.cli.story import Names
from flux.cli.window import Clock, announce_truncation, open_reader, target
from flux.model.errors import NoAnswer, UsageError
from flux.model.filter import FIELDS, Filter, among, is_of_changes, parse_filter

if TYPE_CHECKING:
    import pyarrow as pa

    from flux.ledger import Ledger

Document = dict[str, Any]

BACKFILL = 20
"""Requests of before that are shown first."""
LOOK_INTERVAL_S = 0.25
"""Between looks at the catalog's version, a read of a millisecond."""
SETTLE_S = 1.0
"""A request is shown so long after it came: the outcome of what it rolled back comes with a heartbeat."""
ROUTE_WIDTH_MAX = 48
CHANGES_MAX = 6
"""Kinds of changes that are named in a line."""
_HELP = "help"
_COLUMNS = ("at", "request_id", "service", "method", "route", "path", "status", "duration_ms", "failed")
_ERROR = ("error_type", "error_message", "error_location", "code_version", "trace_id")

FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="FILTER",
        help="Only these: 'status>=500 and path~\"^/check\"'; 'help' lists the fields.",
        show_default=False,
    ),
]


def tail(  # noqa: PLR0913, PLR0917 - the options of a command
    where: FilterOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Begin then, or a range: 14:00..14:05.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="End then, and do not follow.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on with what comes, until Ctrl-C.")
    ] = True,
    limit: LimitOption = BACKFILL,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show requests as they come, with their outcome and what they changed; begin with the last ones.

    Example: flux tail --filter 'status>=500 and path~"^/check"' --since 2h
    """
    if where == _HELP:
        _list_fields()
        return
    tree = parse_filter(where) if where is not None else None
    goal = target(form, json, output, full=full)
    with open_reader(ledger) as reader:
        span = Clock(reader, goal.zone).range(since, until)
        for moment in (span.since, span.until):
            if moment is not None and moment.time is None:
                raise UsageError("tail goes by time", hint="write --since 2h, or --since 14:00..14:05")
        start = span.since.time if span.since else None
        end = span.until.time if span.until else None
        is_live = follow and end is None and output is None and goal.format in {Format.TABLE, Format.JSONL}
        if follow and end is None and not is_live and goal.format is not Format.JSON:
            console.note(f"{goal.format} has an end: what is there is written, what comes is not followed")
        # With --since everything since then is shown, unless a number was asked for.
        wanted = None if not limit or (start is not None and limit == BACKFILL) else limit
        found = reader.requests(tree, since=start, until=end, limit=wanted + 1 if wanted else None)
        version = reader.version
        truncated = wanted is not None and found.num_rows > wanted
        documents = described(reader, found.slice(0, wanted) if truncated else found)
        lines = Lines(goal)
        lines.write(documents)
        if truncated and start is not None:
            announce_truncation(wanted or 0, "newest", "request")
        if is_live:
            _follow(reader, tree, version, lines)
        elif not documents:
            raise nothing(reader)


def nothing(reader: Ledger) -> NoAnswer:
    """Return the answer when no request fits: because none is recorded at all, or none of that kind."""
    if reader.requests(limit=1).num_rows:
        return NoAnswer("no request fits")
    return NoAnswer(
        "no request is recorded yet",
        hint="send OpenTelemetry traces to flux up (port 4318), or use flux.recorder: docs/REQUESTS.md",
    )


def described(reader: Ledger, found: pa.Table) -> list[Document]:
    """Return requests as documents with their changes, oldest first."""
    requests = found.to_pylist()[::-1]
    changes: dict[str, list[Document]] = {}
    if requests:
        asked = list(dict.fromkeys(one["request_id"] for one in requests))
        for change in reader.changes_of(asked).to_pylist():
            changes.setdefault(change["request_id"], []).append(_change(change))
    return [
        {name: one[name] for name in (*_COLUMNS, *_ERROR)} | {"changes": changes.get(one["request_id"], [])}
        for one in requests
    ]


def _change(change: Document) -> Document:
    return {
        "relation": change["relation"],
        "key": change["key"],
        "op": change["op"],
        "outcome": change["outcome"],
        "lsn": position(change["lsn"]),
        "commit_lsn": position(change["commit_lsn"]),
        "seq": change["seq"],
    }


def _follow(reader: Ledger, tree: Filter | None, version: int, lines: Lines) -> None:
    """Write each request once it has settled: none twice, none left out."""
    waiting: list[tuple[float, pa.Table]] = []
    # What its changes are is known only once they have come: such a filter waits with the request.
    is_late = is_of_changes(tree)
    while True:
        found, version = reader.requests_after(version, None if is_late else tree)
        if found.num_rows:
            waiting.append((time.monotonic() + SETTLE_S, found))
        while waiting and waiting[0][0] <= time.monotonic():
            _, settled = waiting.pop(0)
            if is_late and tree is not None:
                fitting = among(tree, settled.column("request_id").to_pylist())
                settled = reader.requests(fitting, since=min(settled.column("at").to_pylist()))
            lines.write(described(reader, settled))
            sys.stdout.flush()
        time.sleep(LOOK_INTERVAL_S)


class Lines:
    """Requests in the format that was asked for, some at a time."""

    def __init__(self, goal: Target) -> None:
        self._goal = goal

    def write(self, documents: Sequence[Document]) -> None:
        """Write them."""
        goal = self._goal
        match goal.format:
            case Format.TABLE:
                write_text(request_lines(documents, goal), goal)
            case Format.JSON:
                write_list(documents, goal)
            case Format.JSONL:
                write_text((json_text(one) + "\n" for one in documents), goal)
            case _:
                names = (*_COLUMNS, *_ERROR, "changes")
                records = [[_flat(one[name]) for name in names] for one in documents]
                write_rows(Rows(names, records), goal)


def _flat(value: Any) -> Any:
    return json_text(value) if isinstance(value, list) else value


def request_lines(documents: Sequence[Document], goal: Target) -> list[str]:
    """Return a line for each request: when, what, its answer, how long, what it changed; then its error."""
    names = Names([one["request_id"] for one in documents])
    today = datetime.now(goal.zone).date()
    lines = []
    for one in documents:
        local = one["at"].astimezone(goal.zone)
        day = "" if local.date() == today else f"{local:%Y-%m-%d} "
        when = day + local.strftime("%H:%M:%S.%f")[:-3]
        asked = " ".join(part for part in (one["method"], one["path"] or one["route"]) if part) or "(unnamed)"
        status = str(one["status"]) if one["status"] is not None else "fail" if one["failed"] else "ok"
        style = (
            console.RED if one["failed"] else console.YELLOW if (one["status"] or 0) >= 400 else console.GREEN
        )
        cells = [
            when,
            pad(console.escape(asked), ROUTE_WIDTH_MAX),
            console.paint(status.rjust(4), style, colour=goal.colour),
            duration_text(one["duration_ms"]).rjust(8),
            console.paint(names.request(one["request_id"]), console.CYAN, colour=goal.colour),
            changes_text(one["changes"]),
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
        if one["failed"]:
            told = ": ".join(part for part in (one["error_type"], _first_line(one["error_message"])) if part)
            place = f"  ({one['error_location']})" if one["error_location"] else ""
            if told or place:
                text = console.escape(told + place)
                lines.append(
                    " " * (len(when) + 2) + console.paint(text, console.RED, colour=goal.colour) + "\n"
                )
    return lines


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0][:200]


def duration_text(milliseconds: float | None) -> str:
    """Return a duration for people: `12 ms`, `5.0 s`."""
    if milliseconds is None:
        return "?"
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def changes_text(changes: Sequence[Document]) -> str:
    """Return `orders insert, users update 2× (rolled back)`."""
    counts: dict[tuple[str, str, bool], int] = {}
    for one in changes:
        kind = one["relation"].removeprefix("public."), one["op"], one["outcome"] != "committed"
        counts[kind] = counts.get(kind, 0) + 1
    parts = []
    for (relation, op, undone), count in counts.items():
        times = f" {count}×" if count > 1 else ""
        parts.append(f"{console.escape(relation)} {op}{times}{' (rolled back)' if undone else ''}")
    more = [f"and {len(parts) - CHANGES_MAX} more"] if len(parts) > CHANGES_MAX else []
    return ", ".join(parts[:CHANGES_MAX] + more)


def _list_fields() -> None:
    for name, (kind, meaning) in FIELDS.items():
        console.out(f"{name:<10}{kind:<10}{meaning}\n")
    console.out("\nand, or, not, ( ); = != < <= > >= ~ !~ in (…) is null\n")
