"""`flux incident list|show`: failing requests in groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux.cli import console
from flux.cli.cell import json_text
from flux.cli.options import (
    FormatOption,
    FullOption,
    JsonOption,
    LedgerOption,
    LimitOption,
    OutputOption,
    SinceOption,
    UntilOption,
)
from flux.cli.render import Format, Rows, Target, write_document, write_list, write_rows, write_text
from flux.cli.story import Look, Names
from flux.cli.tail import nothing
from flux.cli.why import documents_only
from flux.cli.window import Clock, announce_truncation, open_reader, target
from flux.model.errors import NoAnswer, UsageError

if TYPE_CHECKING:
    from flux.ledger import Ledger

Document = dict[str, Any]

LISTED_MAX = 50
"""Incidents that are listed unless `--limit` says otherwise."""
ROWS_SHOWN = 10
"""Rows and requests of an incident that are named, unless it is asked for in full."""

QuietOption = Annotated[
    float,
    typer.Option(
        "--quiet", min=1.0, metavar="SECONDS", help="Failures so far apart belong to two incidents."
    ),
]


def list_(
    since: SinceOption = None,
    until: UntilOption = None,
    quiet: QuietOption = 300.0,
    limit: LimitOption = LISTED_MAX,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List incidents: failing requests of one route, error and location, with no quiet time between.

    Example: flux incident list --since 2h
    """
    goal = target(form, json, output, full=full)
    with open_reader(ledger) as reader:
        found = _incidents(reader, goal, since, until, quiet)
        shown = found[:limit] if limit else found
        documents = [_counted(reader, one) for one in shown]
        if goal.format is Format.TABLE:
            if documents:
                write_rows(_rows(documents, goal), goal)
        elif goal.format is Format.JSON:
            write_list(documents, goal)
        elif goal.format is Format.JSONL:
            write_text((json_text(one) + "\n" for one in documents), goal)
        else:
            names = tuple(documents[0]) if documents else ("incident",)
            write_rows(Rows(names, [[_flat(one[name]) for name in names] for one in documents]), goal)
        if len(shown) < len(found):
            announce_truncation(limit, "newest", "incident")
        if not found:
            raise _none(reader)


def _flat(value: Any) -> Any:
    return json_text(value) if isinstance(value, (list, dict)) else value


def _none(reader: Ledger) -> NoAnswer:
    if reader.requests(limit=1).num_rows:
        return NoAnswer("no request failed")
    return nothing(reader)


def show(
    incident: Annotated[
        str,
        typer.Argument(metavar="ID", help="An incident's id, or what it begins with.", show_default=False),
    ],
    quiet: QuietOption = 300.0,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show one incident: since when, how many, which requests, which rows, which commits.

    Example: flux incident show 3f2a91c0
    """
    goal = documents_only(target(form, json, output, full=full))
    with open_reader(ledger) as reader:
        found = [
            one for one in _incidents(reader, goal, None, None, quiet) if one["incident"].startswith(incident)
        ]
        if not found:
            raise UsageError(
                f"no incident begins with {incident}", hint="see which there are: flux incident list"
            )
        if len(found) > 1:
            listed = ", ".join(one["incident"] for one in found[:ROWS_SHOWN])
            raise UsageError(f"several incidents begin with {incident}: {listed}", hint="type more of the id")
        document = _counted(reader, found[0])
        rows = reader.rows_of(found[0]["request_ids"]).to_pylist()
        document["rows"] = rows
        if goal.format is Format.JSON:
            write_document(document, goal)
        else:
            write_text(incident_lines(document, Look(zone=goal.zone, colour=goal.colour, full=full)), goal)


def _incidents(
    reader: Ledger, goal: Target, since: str | None, until: str | None, quiet: float
) -> list[Document]:
    span = Clock(reader, goal.zone).range(since, until)
    for moment in (span.since, span.until):
        if moment is not None and moment.time is None:
            raise UsageError("incidents go by time", hint="write --since 2h, or --since 14:00..14:05")
    found = reader.incidents(
        since=span.since.time if span.since else None,
        until=span.until.time if span.until else None,
        quiet_s=quiet,
    )
    return list(found.to_pylist())


def _counted(reader: Ledger, one: Document) -> Document:
    """Return an incident with how many rows its requests touched."""
    rows = reader.rows_of(one["request_ids"]).to_pylist()
    return {
        "incident": one["incident"],
        "state": "open" if one["open"] else "quiet",
        "service": one["service"],
        "method": one["method"],
        "route": one["route"],
        "error_type": one["error_type"],
        "error_message": one["error_message"],
        "error_location": one["error_location"],
        "statuses": one["statuses"] or [],
        "count": one["count"],
        "first_at": one["first_at"],
        "last_at": one["last_at"],
        "affected_rows": len(rows),
        "first_version": one["first_version"],
        "last_version": one["last_version"],
        "request_ids": one["request_ids"],
    }


def _rows(documents: list[Document], goal: Target) -> Rows:
    look = Look(zone=goal.zone)
    names = ("incident", "state", "route", "error", "location", "count", "rows", "first", "last")
    records = [
        (
            one["incident"],
            one["state"],
            route_of(one),
            one["error_type"] or ", ".join(map(str, one["statuses"])),
            one["error_location"] or "unknown",
            one["count"],
            one["affected_rows"],
            look.clock(one["first_at"]),
            look.clock(one["last_at"]),
        )
        for one in documents
    ]
    return Rows(names, records)


def route_of(one: Document) -> str:
    """Return `POST /checkout`."""
    return " ".join(part for part in (one["method"], one["route"]) if part) or "(unnamed)"


def incident_lines(one: Document, look: Look) -> Iterator[str]:
    """Yield the lines of an incident."""
    title = f"{route_of(one)}  {one['error_type'] or ', '.join(map(str, one['statuses']))}"
    yield (
        look.paint(console.escape(title), console.BOLD) + f"  {one['state']}  incident {one['incident']}\n\n"
    )
    message = (one["error_message"] or "unknown").partition("\n")[0]
    first, last = look.clock(one["first_at"]), look.clock(one["last_at"])
    noun = "request" if one["count"] == 1 else "requests"
    versions = [one["first_version"], one["last_version"]]
    seen = "unknown" if None in versions else " to ".join(dict.fromkeys(str(each)[:12] for each in versions))
    facts = (
        ("ERROR", message),
        ("LOCATION", one["error_location"] or "unknown"),
        ("WINDOW", f"{first} to {last}"),
        ("FAILED", f"{one['count']:,} {noun}" + (f" of {one['service']}" if one["service"] else "")),
        ("COMMIT", seen),
    )
    for name, text in facts:
        yield look.paint(name.ljust(10), console.BOLD) + console.escape(text) + "\n"
    yield from _listed("REQUESTS", _requests(one, look), look)
    yield from _listed("ROWS", _touched(one), look)
    newest = Names(one["request_ids"]).request(one["request_ids"][-1]).removeprefix("req:")
    yield f"\nwhy: flux why {newest}\n"


def _requests(one: Document, look: Look) -> list[str]:
    names = Names(one["request_ids"])
    return [look.paint(names.request(request_id), console.CYAN) for request_id in one["request_ids"]]


def _touched(one: Document) -> list[str]:
    lines = []
    for row in one["rows"]:
        counts = [f"{row['committed']:,} committed" if row["committed"] else ""]
        counts.append(f"{row['rolled_back']:,} rolled back" if row["rolled_back"] else "")
        table = row["relation"].removeprefix("public.")
        key = "" if row["key"] is None else f" {row['key']}"
        lines.append(console.escape(f"{table}{key}: ") + ", ".join(part for part in counts if part))
    return lines


def _listed(name: str, lines: list[str], look: Look) -> Iterator[str]:
    shown = lines if look.full else lines[:ROWS_SHOWN]
    for place, line in enumerate(shown):
        yield (look.paint(name.ljust(10), console.BOLD) if not place else " " * 10) + line + "\n"
    if len(shown) < len(lines):
        yield " " * 10 + f"… and {len(lines) - len(shown):,} more (--full shows them)\n"
    if not lines:
        yield look.paint(name.ljust(10), console.BOLD) + "none\n"
