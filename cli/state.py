"""`flux state history|blame|at|diff`: what happened to rows."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from flux.cli import console
from flux.cli.answer import (
    Document,
    blame_document,
    difference_document,
    flat_blame,
    flat_differences,
    flat_history,
    history_document,
    row_document,
    rows_of,
    timeline,
)
from flux.cli.cell import json_text
from flux.cli.completion import complete_request
from flux.cli.options import (
    LIMIT_ROWS,
    AsOfOption,
    FormatOption,
    FullOption,
    IdOption,
    JsonOption,
    KeyArgument,
    LedgerOption,
    LimitOption,
    OutputOption,
    SinceOption,
    SourceOption,
    TableArgument,
    UntilOption,
    WhereOption,
)
from flux.cli.picture import difference_lines, row_lines, spread
from flux.cli.porcelain import porcelain_lines
from flux.cli.question import Question, follow, no_key_given, not_there, unknown_then
from flux.cli.render import Format, Target, write_columns, write_document, write_list, write_rows, write_text
from flux.cli.story import Layout, Look, blame_lines, history_lines, timeline_lines
from flux.cli.subject import Subject, row_of
from flux.cli.window import Clock, announce_truncation, open_reader, target
from flux.model.errors import NoAnswer, UsageError
from flux.model.moment import Moment, moment_text
from flux.model.outcome import Outcome

if TYPE_CHECKING:
    import pyarrow as pa

    from flux.ledger import Ledger

FollowOption = Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")]
_BINARY = {Format.PARQUET, Format.ARROW}


def history(  # noqa: PLR0913, PLR0917 - the options of a command
    table: TableArgument,
    key: KeyArgument = None,
    identity: IdOption = None,
    where: WhereOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_of: AsOfOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME", help="Only changes of it; repeatable.", show_default=False),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            "--request",
            metavar="REQ",
            help="Only what this request did; any unique prefix.",
            autocompletion=complete_request,
            show_default=False,
        ),
    ] = None,
    outcome: Annotated[
        Outcome | None, typer.Option("--outcome", help="Only changes with it.", show_default=False)
    ] = None,
    follow_on: FollowOption = False,
    limit: LimitOption = LIMIT_ROWS,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
    source: SourceOption = None,
) -> None:
    """Show every mutation of a row, committed or rolled back, with the request that made it.

    Without a key: of all rows of the table. Example: flux state history users --id 42 --since 2h
    """
    goal = target(form, json, output, full=full)
    with open_reader(ledger) as reader:
        subject = row_of(reader, table, key, identity, where=where, source=source)
        clock = Clock(reader, goal.zone)
        question = Question(
            subject,
            clock.moment(as_of),
            clock.range(since, until),
            tuple(column or ()),
            request,
            outcome.value if outcome else None,
            limit,
            source,
        )
        if follow_on:
            if output or as_of or question.range.until:
                raise UsageError("--follow has no end", hint="leave out --output, --as-of and --until")
            _follow(reader, question, goal)
            return
        answer, truncated = question.history(reader)
        if not question.is_answered(answer) and goal.format is Format.TABLE:
            raise question.nothing(reader)
        _write_history(answer, question, goal)
        if truncated:
            announce_truncation(limit, "newest", "mutation")
        if not question.is_answered(answer):
            raise question.nothing(reader)


def _look(goal: Target, subject: Subject, only: Iterable[str] = ()) -> Look:
    return Look(
        zone=goal.zone,
        colour=goal.colour,
        full=goal.full,
        only=frozenset(only),
        key=frozenset(subject.relation.key),
        many=subject.key is None and bool(subject.relation.key),
    )


def _write_history(answer: pa.Table, question: Question, goal: Target) -> None:
    subject = question.subject
    if goal.format in _BINARY:
        write_columns(answer, goal)
        return
    lines = timeline(answer, with_key=subject.key is None)
    if goal.format is Format.JSON:
        write_document(history_document(subject.relation.root, subject.key, lines), goal)
    elif goal.format is Format.JSONL:
        write_text((json_text(line) + "\n" for line in lines), goal)
    elif goal.format is Format.CSV:
        write_rows(flat_history(lines), goal)
    else:
        write_text(history_lines(subject.title, lines, _look(goal, subject, question.columns)), goal)
    _warn_of_mismatches(lines)


def _warn_of_mismatches(lines: list[Document]) -> None:
    """A broken ledger must be loud."""
    for line in lines:
        if line.get("mismatch"):
            columns = ", ".join(line["mismatch"])
            console.warn(
                f"at {line['lsn']} the server's old value of {columns} is not the one the ledger had: "
                "a change before it is missing; run flux doctor"
            )


def _follow(reader: Ledger, question: Question, goal: Target) -> None:
    """Write what there is, then each new line as it comes, in the layout of the first."""
    if goal.format not in {Format.TABLE, Format.JSONL}:
        raise UsageError("--follow has no end", hint="use it with --format table or jsonl")
    subject, look = question.subject, _look(goal, question.subject, question.columns)
    layout: Layout | None = None
    for news in follow(reader, question):
        answer, truncated = (news, False) if layout else question.newest(news)
        lines = timeline(answer, with_key=subject.key is None)
        if goal.format is Format.JSONL:
            write_text((json_text(line) + "\n" for line in lines), goal)
        elif layout is None:
            write_text(history_lines(subject.title, lines, look), goal)
        else:
            write_text(timeline_lines(lines, layout, look), goal)
        layout = layout or Layout.of([line for line in lines if "gap" not in line], look)
        if truncated:
            announce_truncation(question.limit, "newest", "mutation")
        _warn_of_mismatches(lines)
        sys.stdout.flush()


def blame(  # noqa: PLR0913, PLR0917 - the options of a command
    table: TableArgument,
    key: KeyArgument = None,
    identity: IdOption = None,
    as_of: AsOfOption = None,
    porcelain: Annotated[
        bool, typer.Option("--porcelain", help="Tab-separated lines for scripts, stable for ever.")
    ] = False,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
    source: SourceOption = None,
) -> None:
    """Show who owns each value of a row, and whose later attempt at it was rolled back.

    Example: flux state blame users --id 42
    """
    goal = target(form, json, output, full=full)
    if porcelain and (form or json):
        raise UsageError("--porcelain is a format of its own", hint="leave out --format and --json")
    with open_reader(ledger) as reader:
        subject = row_of(reader, table, key, identity, source=source)
        if subject.key is None:
            raise no_key_given(reader, subject)
        moment = Clock(reader, goal.zone).moment(as_of)
        name = subject.relation.root
        answer = reader.blame(name, subject.key, as_of=moment, source=source)
        document = blame_document(name, subject.key, answer)
        columns = document["columns"]
        if porcelain:
            write_text(porcelain_lines(columns), goal)
        elif goal.format in _BINARY:
            write_columns(answer, goal)
        elif goal.format is Format.JSON:
            write_document(document, goal)
        elif goal.format is Format.JSONL:
            write_text((json_text(column) + "\n" for column in columns), goal)
        elif goal.format is Format.CSV:
            write_rows(flat_blame(columns), goal)
        else:
            write_text(blame_lines(columns, _look(goal, subject), document["gaps"]), goal)
        if not columns:
            raise not_there(reader, subject, moment, source)


def at(  # noqa: PLR0913, PLR0917 - the options of a command
    table: TableArgument,
    key: KeyArgument = None,
    identity: IdOption = None,
    as_of: AsOfOption = None,
    limit: LimitOption = LIMIT_ROWS,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
    source: SourceOption = None,
) -> None:
    """Show a row, or the whole table, as it was; without --as-of as it is in the ledger now.

    Example: flux state at users --id 42 --as-of 14:00
    """
    goal = target(form, json, output, full=full)
    with open_reader(ledger) as reader:
        subject = row_of(reader, table, key, identity, source=source)
        moment = Clock(reader, goal.zone).moment(as_of)
        name = subject.relation.root
        wanted = limit + 1 if limit and subject.key is None else None
        answer = reader.at(name, subject.key, as_of=moment, limit=wanted, source=source)
        truncated = wanted is not None and answer.num_rows > limit
        if not answer.num_rows and (unknown := unknown_then(reader, subject, moment)):
            raise NoAnswer(unknown)
        _write_rows_at(answer.slice(0, limit) if truncated else answer, subject, goal)
        if truncated:
            announce_truncation(limit, "first", "row")
        if subject.key is not None and not answer.num_rows:
            raise not_there(reader, subject, moment, source)


def _write_rows_at(answer: pa.Table, subject: Subject, goal: Target) -> None:
    documents = (row_document(row) for row in rows_of(answer))
    if goal.format is Format.JSONL:
        write_text((json_text(document) + "\n" for document in documents), goal)
    elif goal.format is Format.JSON and subject.key is None:
        write_list(documents, goal)
    elif goal.format is Format.JSON:
        for document in documents:
            write_document(document, goal)
    elif goal.format is Format.TABLE and subject.key is not None:
        write_text((line for row in documents for line in row_lines(row, _look(goal, subject))), goal)
    else:
        rows = spread(answer, [column.name for column in subject.relation.columns])
        if goal.format in _BINARY:
            write_columns(rows, goal)
        else:
            write_rows(rows, goal)


def diff(  # noqa: PLR0913, PLR0917 - the options of a command
    table: TableArgument,
    key: KeyArgument = None,
    identity: IdOption = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="The older moment; a request means before it.", show_default=False
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TIME",
            help="The newer moment; a request means after it. Default: now.",
            show_default=False,
        ),
    ] = None,
    limit: LimitOption = LIMIT_ROWS,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    full: FullOption = False,
    ledger: LedgerOption = None,
    source: SourceOption = None,
) -> None:
    """Show what differs in a row or a table between two moments, or around requests.

    Ends with 1 when something differs, with 0 when nothing does. Example:
    flux state diff users --from 14:00 --to 14:05, or --from req:550e --to req:550e
    """
    goal = target(form, json, output, full=full)
    if start is None:
        raise UsageError("--from is missing", hint="for instance --from 2h, or --from 14:00 --to 14:05")
    with open_reader(ledger) as reader:
        subject = row_of(reader, table, key, identity, source=source)
        since, until = Clock(reader, goal.zone).between(start, end)
        answer = reader.diff(subject.relation.root, subject.key, since=since, until=until, source=source)
        if unknown := unknown_then(reader, subject, since):
            console.warn(f"at the older moment, {unknown}")
        truncated = bool(limit) and answer.num_rows > limit
        _write_differences(answer.slice(0, limit) if truncated else answer, subject, goal, (since, until))
        if truncated:
            announce_truncation(limit, "first", "row")
    if answer.num_rows:
        raise typer.Exit(1)
    console.note(f"nothing of {subject.title} differs")


def _write_differences(
    answer: pa.Table, subject: Subject, goal: Target, moments: tuple[Moment, Moment | None]
) -> None:
    if goal.format in _BINARY:
        write_columns(answer, goal)
        return
    columns = [column.name for column in subject.relation.columns]
    differences = [difference_document(row, columns) for row in rows_of(answer)]
    if goal.format is Format.JSON:
        start, end = (None if moment is None else moment_text(moment, UTC) for moment in moments)
        heading = {"relation": subject.relation.root, "from": start, "to": end}
        write_document(heading | {"differences": differences}, goal)
    elif goal.format is Format.JSONL:
        write_text((json_text(difference) + "\n" for difference in differences), goal)
    elif goal.format is Format.CSV:
        write_rows(flat_differences(differences), goal)
    elif differences:
        write_text(difference_lines(subject.title, differences, _look(goal, subject)), goal)
