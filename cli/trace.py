"""`flux trace`: a request step by step, and two of them side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux.cli import console
from flux.cli.cell import pad, shorten
from flux.cli.completion import complete_request
from flux.cli.options import FormatOption, FullOption, JsonOption, LedgerOption, OutputOption
from flux.cli.render import Format, Target, write_document, write_text
from flux.cli.story import Look, Names
from flux.cli.tail import duration_text
from flux.cli.why import change_text, documents_only, request_line, written
from flux.cli.window import open_reader, target
from flux.model.errors import NoAnswer, UsageError

if TYPE_CHECKING:
    from flux.ledger.spans import Span
    from flux.ledger.trace import Compared

Document = dict[str, Any]

LABEL_WIDTH_MAX = 78
"""Letters of a step, unless it is asked for in full."""
STEPS_MAX = 500
"""Steps that are shown, unless they are asked for in full."""
_MARKS = {"same": " ", "faster": "»", "slower": "«", "changed": "~", "missing": "-", "added": "+"}

WordsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="REQ | diff A B",
        help="A request id, or what it begins with; or `diff` and two of them.",
        autocompletion=complete_request,
        show_default=False,
    ),
]


def trace(
    words: WordsArgument,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show a request step by step: its spans, statements, calls, and what it changed, in their places.

    flux trace diff A B compares two requests, the first divergence on top, and ends with 1 when they
    differ. Example: flux trace 550e8400
    """
    goal = documents_only(target(form, json, output, full=full))
    if words[0] == "diff" and len(words) == 3:
        _diff(words[1], words[2], goal, ledger)
        return
    if words[0] == "diff" or len(words) > 1:
        raise UsageError(f"{len(words)} words", hint="flux trace REQ, or to compare two: flux trace diff A B")
    with open_reader(ledger) as reader:
        answer = reader.trace(words[0])
    look = Look(zone=goal.zone, colour=goal.colour, full=full)
    if goal.format is Format.JSON:
        write_document(written(trace_document(answer)), goal)
    else:
        write_text(trace_lines(answer, look), goal)
    if not answer["tops"]:
        raise NoAnswer("no span of it is recorded", hint="which changes are its own: flux why REQ")


def _diff(first: str, second: str, goal: Target, ledger: Any) -> None:
    with open_reader(ledger) as reader:
        answer = reader.trace_diff(first, second)
    if not answer["steps"]:
        raise NoAnswer("no span of either is recorded")
    if goal.format is Format.JSON:
        write_document(written(diff_document(answer)), goal)
    else:
        write_text(diff_lines(answer, Look(zone=goal.zone, colour=goal.colour, full=goal.full)), goal)
    if answer["divergence"] is not None:
        raise typer.Exit(1)


def span_document(span: Span, depth: int, origin: Any = None) -> Document:
    """Return one span."""
    failure = span.failure()
    start = origin or span.start
    return {
        "span_id": span.row["span_id"],
        "parent_id": span.row["parent_id"],
        "depth": depth,
        "name": span.name,
        "label": span.label,
        "kind": span.row["kind"],
        "service": span.row["service"],
        "at": span.start,
        "offset_ms": (span.start - start).total_seconds() * 1000,
        "duration_ms": span.row["duration_ms"],
        "failed": span.has_failed,
        "error_type": failure.kind if failure else None,
        "error_message": failure.message if failure else None,
        "http_status": span.status,
        "statement": span.statement,
        "rows": span.row_count,
        "changes": [_change_document(one) for one in span.changes],
    }


def _change_document(change: Mapping[str, Any]) -> Document:
    names = ("relation", "key", "key_columns", "op", "outcome", "at", "changed", "lsn", "commit_lsn", "seq")
    return {name: change[name] for name in names}


def trace_document(answer: Document) -> Document:
    """Return `{"request","spans","unplaced","sibling","skipped"}`; callers stand before what they called."""
    from flux.ledger.spans import walk

    tops = answer["tops"]
    origin = tops[0].start if tops else None
    return {
        "request": answer["request"],
        "spans": [span_document(span, depth, origin) for depth, span in walk(tops)],
        "unplaced": [_change_document(one) for one in answer["unplaced"]],
        "sibling": answer["sibling"],
        "skipped": [{"depth": one.depth, "label": one.span.label} for one in answer["skipped"]],
    }


def trace_lines(answer: Document, look: Look) -> Iterator[str]:
    """Yield the lines of a trace: a step a line, what it changed below it."""
    from flux.ledger.spans import walk
    from flux.ledger.why import parameters_of

    names = Names([answer["request"]["request_id"], answer["sibling"]])
    yield request_line(answer["request"], names, look) + "\n\n"
    tops = answer["tops"]
    skipped = list(answer["skipped"])
    steps = list(walk(tops))
    shown = steps if look.full else steps[:STEPS_MAX]
    origin = tops[0].start if tops else None
    services = {span.row["service"] for _, span in steps}
    for depth, span in shown:
        yield _step_line(span, depth, origin, look, with_service=len(services) > 1)
        indent = " " * (20 + 2 * depth)
        given = parameters_of(span) if look.full else {}
        if given:
            values = (f"{name}: {look.value(value)}" for name, value in sorted(given.items(), key=_in_order))
            yield indent + look.paint(f"with {', '.join(values)}", console.DIM) + "\n"
        failure = span.failure()
        if failure is not None and not any(child.has_failed for child in span.children):
            told = ": ".join(
                part for part in (failure.kind, (failure.message or "").partition("\n")[0]) if part
            )
            yield indent + look.paint("! " + console.escape(told or "failed"), console.RED) + "\n"
        for change in span.changes:
            yield indent + "* " + change_text(change, look) + "\n"
    if len(shown) < len(steps):
        yield f"  … and {len(steps) - len(shown):,} more steps (--full shows them)\n"
    for change in answer["unplaced"]:
        yield (
            " " * 20
            + "* "
            + change_text(change, look)
            + look.paint("  (its statement is not recorded)", console.DIM)
            + "\n"
        )
    if skipped:
        yield f"\nskipped, which {names.request(answer['sibling'])} did:\n"
        for one in skipped:
            yield " " * (2 + 2 * one.depth) + look.paint(_label(one.span, look), console.YELLOW) + "\n"


def _in_order(parameter: tuple[str, str | None]) -> tuple[int, str]:
    name = parameter[0]
    return (int(name), "") if name.isdigit() else (-1, name)


def _step_line(span: Span, depth: int, origin: Any, look: Look, *, with_service: bool) -> str:
    offset = (span.start - origin).total_seconds() * 1000
    took = duration_text(span.row["duration_ms"]).rjust(8)
    label = "  " * depth + _label(span, look)
    ends = [f"→ {span.status}" if span.status and (span.is_outbound or depth == 0) else ""]
    rows = span.row_count
    ends.append(f"{rows} row{'' if rows == 1 else 's'}" if rows is not None and span.is_sql else "")
    ends.append(f"({span.row['service']})" if with_service and span.row["service"] else "")
    end = console.escape(" ".join(part for part in ends if part))
    text = f"{label}  {end}".rstrip()
    return (
        f"{f'+{offset:.0f}'.rjust(8)}  {took}  {look.paint(text, console.RED) if span.has_failed else text}\n"
    )


def _label(span: Span, look: Look) -> str:
    text = console.escape(span.label)
    return text if look.full else shorten(text, LABEL_WIDTH_MAX)


def diff_document(answer: Document) -> Document:
    """Return `{"first","second","divergence","counts","steps"}`."""
    steps = answer["steps"]
    origins = answer["first"]["at"], answer["second"]["at"]

    def told(step: Compared) -> Document:
        spans = (
            None if span is None else span_document(span, step.depth, origin)
            for span, origin in zip((step.first, step.second), origins, strict=True)
        )
        first, second = spans
        document: Document = {"step": step.step.value, "depth": step.depth, "label": step.span.label}
        return document | {"why": list(step.why), "first": first, "second": second}

    return {
        "first": answer["first"],
        "second": answer["second"],
        "divergence": None if answer["divergence"] is None else told(answer["divergence"]),
        "counts": dict(Counter(one.step.value for one in steps)),
        "steps": [told(one) for one in steps],
    }


def diff_lines(answer: Document, look: Look) -> Iterator[str]:
    """Yield the lines of a comparison: both requests, where they part, then every step."""
    names = Names([answer["first"]["request_id"], answer["second"]["request_id"]])
    yield f"A  {request_line(answer['first'], names, look)}\n"
    yield f"B  {request_line(answer['second'], names, look)}\n\n"
    found = answer["divergence"]
    if found is None:
        yield "they did the same\n"
    else:
        yield (
            look.paint("FIRST DIVERGENCE", console.BOLD)
            + f"  {_label(found.span, look)}: {_difference(found)}\n"
        )
    counts = Counter(one.step.value for one in answer["steps"])
    yield ", ".join(f"{counts[name]:,} {name}" for name in _MARKS if counts[name]) + "\n\n"
    yield f"  {'A'.rjust(8)}  {'B'.rjust(8)}\n"
    for one in answer["steps"]:
        yield _compared_line(one, look)


def _difference(step: Compared) -> str:
    if step.why:
        return console.escape("; ".join(step.why))
    return {"missing": "only A did it", "added": "only B did it"}.get(step.step.value, step.step.value)


def _compared_line(step: Compared, look: Look) -> str:
    times = [
        pad(duration_text(one.row["duration_ms"]) if one is not None else "", 8, right=True)
        for one in (step.first, step.second)
    ]
    style = {
        "missing": console.RED,
        "added": console.GREEN,
        "changed": console.YELLOW,
        "slower": console.YELLOW,
    }
    text = f"{_MARKS[step.step.value]} {times[0]}  {times[1]}  {'  ' * step.depth}{_label(step.span, look)}"
    if step.why:
        text += f"  [{console.escape('; '.join(step.why))}]"
    return (
        look.paint(text, style.get(step.step.value, "")) + "\n" if step.step.value in style else text + "\n"
    )
