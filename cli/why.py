"""`flux why`: from a failed request to its cause, each line with its evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flux.cli import console
from flux.cli.answer import position
from flux.cli.checkout import excerpt
from flux.cli.completion import complete_request
from flux.cli.options import FormatOption, FullOption, JsonOption, LedgerOption, OutputOption
from flux.cli.render import Format, Target, write_document, write_text
from flux.cli.story import Look, Names
from flux.cli.subject import key_title
from flux.cli.tail import duration_text
from flux.cli.window import open_reader, target
from flux.model.errors import UsageError
from flux.model.lsn import lsn_text

Document = dict[str, Any]

_WIDTH = 14
"""Columns of a heading."""
STATEMENT_WIDTH_MAX = 100
"""Letters of a statement, unless it is asked for in full."""
NAMED_MAX = 3
"""Similar requests that are named."""
CHANGES_TITLE, PREVIOUS_TITLE, SIMILAR_TITLE = "DATA CHANGES", "PREVIOUS", "SIMILAR"

RequestArgument = Annotated[
    str,
    typer.Argument(
        metavar="REQ",
        help="A request id, or what it begins with.",
        autocompletion=complete_request,
        show_default=False,
    ),
]


def why(
    request: RequestArgument,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Say why a request failed: the cause, where in the code, what it tried, who planted the values.

    Every line names its evidence; what is not known is said to be unknown. Example: flux why 550e8400
    """
    goal = documents_only(target(form, json, output, full=full))
    with open_reader(ledger) as reader:
        answer = reader.why(request)
    _add_source(answer)
    if goal.format is Format.TABLE:
        write_text(why_lines(answer, Look(zone=goal.zone, colour=goal.colour, full=full)), goal)
    else:
        write_document(written(answer), goal)


def documents_only(goal: Target) -> Target:
    """Return `goal` unless its format is for rows."""
    if goal.format not in {Format.TABLE, Format.JSON}:
        raise UsageError(f"{goal.format} is for rows", hint="use --format table or json")
    return goal


def _add_source(answer: Document) -> None:
    """Add the source lines of the failure where they are at hand."""
    place = answer["location"]
    if place is None:
        return
    found = None
    if place["file"] is not None:
        found = excerpt(place["file"], place["line"], place["code_version"], Path.cwd())
    place["source"] = (
        None if found is None else {"first": found.first, "lines": list(found.lines), "note": found.note}
    )


def written(value: Any) -> Any:
    """Return a document with its log positions as texts."""
    if isinstance(value, Mapping):
        return {
            name: position(part) if name in {"lsn", "commit_lsn"} and isinstance(part, int) else written(part)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [written(part) for part in value]
    return value


def why_lines(answer: Document, look: Look) -> Iterator[str]:
    """Yield the lines of the answer, each section under its heading."""
    yield request_line(answer["request"], names_of(answer), look) + "\n\n"
    for title, lines in why_sections(answer, look):
        heading = look.paint(title.ljust(_WIDTH), console.BOLD)
        for nth, line in enumerate(lines):
            yield f"{' ' * _WIDTH if nth else heading}{line}".rstrip() + "\n"


def names_of(answer: Document) -> Names:
    """Return the short names of the requests in an answer."""
    similar = (answer["similar"] or {}).get("request_ids") or ()
    ids = [answer["request"]["request_id"], *(one["request_id"] for one in answer["previous"])]
    return Names([*ids, *similar])


def why_sections(answer: Document, look: Look) -> Iterator[tuple[str, list[str]]]:
    """Yield the sections of the answer: title and lines. A change, and a previous value, is one line each."""
    names = names_of(answer)
    went_well = answer["request"]["failed"] is False
    yield "ROOT CAUSE", list(_cause(answer, look)) or ["none"]
    if not went_well:
        yield "LOCATION", list(_location(answer, look)) or ["none"]
    if not went_well or answer["failed_sql"]:
        yield "FAILED SQL", list(_failed_sql(answer, look)) or ["none"]
    yield CHANGES_TITLE, list(_changes(answer["changes"], look)) or ["none"]
    yield PREVIOUS_TITLE, list(_previous(answer["previous"], names, look)) or ["none"]
    if not went_well:
        yield SIMILAR_TITLE, list(_similar(answer["similar"], names, look)) or ["unknown"]
        yield "SUGGESTION", list(_suggestions(answer["suggestions"], look)) or ["none"]
    if answer["unknown"]:
        yield "UNKNOWN", [console.escape(one) for one in answer["unknown"]]


def request_line(request: Mapping[str, Any], names: Names, look: Look) -> str:
    """Return what a request was: what was asked, its answer, how long, where, when, its id."""
    asked = " ".join(part for part in (request["method"], request["path"] or request["route"]) if part)
    status = f"→ {request['status']}" if request["status"] is not None else ""
    took = f"in {duration_text(request['duration_ms'])}" if request["duration_ms"] is not None else ""
    version = f"at {request['code_version'][:8]}" if request["code_version"] else ""
    head = " ".join(part for part in (asked or "a request", status, took) if part)
    parts = [look.paint(console.escape(head), console.BOLD), console.escape(request["service"] or "")]
    parts += [console.escape(version), look.clock(request["at"]) if request["at"] else ""]
    parts.append(look.paint(names.request(request["request_id"]), console.CYAN))
    return "  ".join(part for part in parts if part)


def _cause(answer: Document, look: Look) -> Iterator[str]:
    cause = answer["root_cause"]
    if cause is None:
        failed = answer["request"]["failed"]
        yield "unknown" if failed or failed is None else "none: it did not fail"
        return
    step = cause["step"]
    told = _told(cause)
    if step is not None:
        took = duration_text(step["duration_ms"])
        status = f" answered {step['status']}" if step["status"] else ""
        yield look.paint(_short(step["name"], look) + status, console.RED) + f" failed after {took}"
    yield look.paint(told, console.RED) + "  " + _evidence(cause, look)
    if cause.get("symptom"):
        yield f"which the application told as {_told(cause['symptom'])}"
    if not cause["certain"]:
        yield look.paint(
            "likely: the last step that failed; the request's own error does not name it", console.DIM
        )


def _told(cause: Mapping[str, Any]) -> str:
    message = (cause["message"] or "").partition("\n")[0]
    sqlstate = f" (SQLSTATE {cause['sqlstate']})" if cause.get("sqlstate") else ""
    return (
        console.escape(": ".join(part for part in (cause["error_type"], message) if part) or "unknown")
        + sqlstate
    )


def _location(answer: Document, look: Look) -> Iterator[str]:
    place = answer["location"]
    if place is None:
        yield "unknown"
        return
    yield console.escape(place["text"]) + "  " + _evidence(place, look)
    source = place.get("source")
    if source is None:
        return
    width = len(str(source["first"] + len(source["lines"])))
    for number, line in enumerate(source["lines"], source["first"]):
        mark = ">" if number == place["line"] else " "
        text = f"{mark} {number:>{width}} | {console.escape(line.expandtabs(4))}"
        yield look.paint(text, console.YELLOW) if mark == ">" else text
    if source["note"]:
        yield look.paint(f"({source['note']})", console.DIM)


def _failed_sql(answer: Document, look: Look) -> Iterator[str]:
    for one in answer["failed_sql"]:
        yield _short(one["statement"] or "(not recorded)", look) + "  " + _evidence(one, look)
        found = one["attempted"]
        if found is None:
            continue
        table = found["relation"].removeprefix("public.")
        where = ", ".join(f"{name}={_value(value, look)}" for name, value in found["where"].items())
        for row in found["rows"]:
            for name, value in row.items():
                yield (
                    f"{console.escape(table)}.{console.escape(name)} ← {_value(value, look, null='NULL')}"
                    + (f"  where {where}" if where else "")
                )
        if found["op"] == "delete":
            yield f"delete of {console.escape(table)}" + (f" where {where}" if where else "")


def _value(value: Mapping[str, Any], look: Look, *, null: str = "null") -> str:
    if value["known"]:
        return null if value["value"] is None else look.value(value["value"])
    return f"({look.value(value['value'])})"


def _changes(changes: Sequence[Document], look: Look) -> Iterator[str]:
    for one in changes:
        yield change_text(one, look) + "  " + _evidence(one, look)


def change_text(change: Mapping[str, Any], look: Look) -> str:
    """Return `users id=42  plan: free → null (rolled back)`."""
    parts = []
    for column, pair in (change["changed"] or {}).items():
        if change["op"] in {"insert", "delete"}:
            side = pair["to"] if change["op"] == "insert" else pair["from"]
            if side is not None and column not in change["key_columns"]:
                parts.append(f"{console.escape(column)}: {look.value(side)}")
        else:
            parts.append(f"{console.escape(column)}: {look.value(pair['from'])} → {look.value(pair['to'])}")
    op = "" if change["op"] == "update" else f" {change['op']}"
    outcome = {"committed": "", "rolled_back": " (rolled back)"}.get(
        change["outcome"], " (rolled back to a savepoint)"
    )
    text = f"{row_text(change, look)}{op}  {', '.join(parts)}".rstrip()
    return text + look.paint(outcome, console.RED)


def row_text(change: Mapping[str, Any], look: Look) -> str:
    """Return `users id=42`."""
    table = console.escape(change["relation"].removeprefix("public."))
    if change["key"] is None:
        return table
    return f"{table} {look.value(key_title(change['key_columns'], change['key']))}"


def _previous(previous: Sequence[Document], names: Names, look: Look) -> Iterator[str]:
    for one in previous:
        who = names.who(one) or f"({one['op']})"
        what = f" {console.escape(one['request'])}" if one["request"] else ""
        value = f"{console.escape(one['column'])}: {look.value(one['value'])}"
        since = f"set {look.clock(one['at']).strip()} by {look.paint(who, console.CYAN)}{what}"
        yield f"{row_text(one, look)}  {value}  {since}  {_evidence(one, look)}"


def _similar(similar: Document | None, names: Names, look: Look) -> Iterator[str]:
    if similar is None:
        return
    if not similar["count"]:
        yield "none: it is the only one that failed like this"
        return
    noun = "request" if similar["count"] == 1 else "requests"
    named = ", ".join(
        look.paint(names.request(one), console.CYAN) for one in similar["request_ids"][:NAMED_MAX]
    )
    more = ", …" if similar["count"] > NAMED_MAX else ""
    first, last = look.clock(similar["first_at"]), look.clock(similar["last_at"])
    when = first if first == last else f"{first} to {last}"
    yield f"{similar['count']:,} {noun} failed like this, {when}: {named}{more}"


def _suggestions(suggestions: Sequence[Document], look: Look) -> Iterator[str]:
    for one in suggestions:
        text = console.escape(one["text"])
        width = look.sentence_width or max(1, len(text))
        lines = textwrap.wrap(text, width, break_long_words=False)
        yield from lines[:-1]
        yield lines[-1] + "  " + look.paint(f"[rule {one['rule']}]", console.DIM)


def _short(text: str, look: Look) -> str:
    flat = console.escape(" ".join(text.split()))
    if look.full or len(flat) <= STATEMENT_WIDTH_MAX:
        return flat
    return flat[: STATEMENT_WIDTH_MAX - 1] + "…"


def _evidence(claim: Mapping[str, Any], look: Look) -> str:
    """Return where a claim is from: `[span 00f067aa0ba902b7]`, `[lsn 0/16B3748]`."""
    places = []
    for one in claim["evidence"][:1]:
        match one["table"]:
            case "spans":
                places.append(f"span {one['span_id']}")
            case "changes":
                places.append(f"lsn {lsn_text(one['lsn'])}")
            case _:
                places.append(f"request {one['request_id'][:8]}")
    return look.paint(f"[{', '.join(places)}]", console.DIM) if places else ""
