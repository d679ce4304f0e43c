"""`flux status` and `flux doctor`: how capture is doing, and what stands in its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flux.cli import console
from flux.cli.cell import pad
from flux.cli.options import DsnOption, FormatOption, JsonOption, LedgerOption, OutputOption, SourceOption
from flux.cli.redaction import find_policy
from flux.cli.render import Format, Rows, Target, write_rows, write_text
from flux.cli.settings import source_dsn
from flux.cli.setup import chosen_source
from flux.cli.story import Look
from flux.cli.window import open_reader, target
from flux.model.errors import FluxError, Unreachable, UsageError
from flux.model.lsn import lsn_text

if TYPE_CHECKING:
    from flux.capture.doctor import Finding
    from flux.capture.status import Status

_POSITIONS = ("commit_lsn", "confirmed_lsn", "server_lsn")
_STYLES = {"ok": console.GREEN, "warn": console.YELLOW, "fault": console.RED}
_HEALTHY = {"reserved", "extended"}


def status(
    dsn: DsnOption = None,
    ledger: LedgerOption = None,
    source: SourceOption = None,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Show how far capture is: position, lag, rates, and how its replication slot is doing."""
    from flux.capture.status import read_status
    from flux.ledger import sources
    from flux.ledger.layout import inspect
    from flux.ledger.location import locate

    where = target(form, json, output)
    folder, _ = locate(ledger)
    inspect(folder)
    listed = [chosen_source(folder, source)] if source else sources.read(folder)
    if not listed:
        raise UsageError(f"nothing is captured into the ledger {folder} yet", hint="run `flux init`")
    found = [read_status(folder, one, source_dsn(dsn).value) for one in listed]
    if where.format is Format.TABLE:
        look = Look(zone=where.zone, colour=where.colour)
        write_text((line for one in found for line in status_lines(one, look)), where)
        return
    documents = [_status_document(one) for one in found]
    write_rows(Rows(tuple(documents[0]), [tuple(document.values()) for document in documents]), where)


def _status_document(one: Status) -> dict[str, Any]:
    document = asdict(one)
    for name in _POSITIONS:
        document[name] = lsn_text(document[name]) if document[name] else None
    at_us = document.pop("at_us")
    document["at"] = datetime.fromtimestamp(at_us / 1e6, UTC) if at_us else None
    return document


def status_lines(one: Status, look: Look) -> Iterator[str]:
    """Yield what is known of a source: its state, position, lag, rates, slot and last error."""
    at = datetime.fromtimestamp(one.at_us / 1e6, UTC) if one.at_us else None
    style = console.GREEN if one.state == "streaming" else console.YELLOW
    process = f" (process {one.pid})" if one.running else ""
    yield f"{console.escape(one.source)}: {console.paint(one.state, style, colour=look.colour)}{process}\n"
    lines: list[tuple[str, str]] = []
    if at is not None:
        clock = at.astimezone(look.zone).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(("position", f"{lsn_text(one.commit_lsn)}, commit of {clock}"))
    elif one.state == "never":
        lines.append(("position", "nothing captured yet; run `flux up`"))
    lines.append(("lag", _lag(one)))
    if one.running:
        lines.append(("rate", f"{one.rows_per_s:,.0f} rows/s, {one.rows:,} since it was started"))
    if one.open_attempts:
        lines.append(("open", f"{one.open_attempts:,} attempts whose outcome is not known yet"))
    if one.baselines_pending:
        lines.append(("baselines", f"{one.baselines_pending:,} tables wait to be copied"))
    if one.running:
        lines.append(("requests", _requests(one)))
    style = console.YELLOW if one.slot_in_danger else console.GREEN
    slot = console.paint(
        one.slot_health, style if one.slot_health in _HEALTHY else console.RED, colour=look.colour
    )
    kept = f", the server keeps {size(one.slot_retained_bytes)} for it" if one.slot_retained_bytes else ""
    left = one.slot_safe_bytes
    safe = "" if left is None else f", {size(max(left, 0))} more until it is lost"
    lines.append(("slot", f"{one.slot}: {slot}{kept}{safe}"))
    if one.slot_health == "lost":
        lines.append(("danger", "log was removed before it was read; `flux up --resnapshot` records the gap"))
    elif one.slot_in_danger:
        lines.append(("danger", "log that was not read yet may be removed soon; `flux doctor` says more"))
    if one.unreachable:
        lines.append(("server", f"did not answer: {one.unreachable}"))
    if one.last_error and one.state != "streaming":
        lines.append(("last error", one.last_error))
    for name, text in lines:
        yield f"  {pad(name, 10)}  {text if name == 'slot' else console.escape(text)}\n"


def _lag(one: Status) -> str:
    if one.lag_bytes is None:
        return "unknown"
    if one.lag_bytes == 0 or one.lag_s == 0.0:
        return "none"
    seconds = f", {one.lag_s:,.1f} s" if one.lag_s is not None else ""
    return f"{size(one.lag_bytes)} of log{seconds}"


def _requests(one: Status) -> str:
    """Return what the intake of spans does, in one line."""
    if not one.intake_address:
        return f"spans are not listened for{f': {one.intake_error}' if one.intake_error else ''}"
    less = [
        f"{count:,} {what}"
        for count, what in (
            (one.spans_dropped, "spans dropped by the recorder"),
            (one.spans_refused, "spans refused"),
            (one.exports_refused, "exports refused"),
        )
        if count
    ]
    error = [f"last error: {one.intake_error}"] if one.intake_error else []
    taken = f"{one.requests:,} with {one.spans:,} spans through {one.intake_address}"
    return ", ".join([taken, *less, *error])


def size(count: int | None) -> str:
    """Return a number of bytes for people."""
    if count is None:
        return "unknown"
    number, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"


def doctor(
    dsn: DsnOption = None,
    ledger: LedgerOption = None,
    source: SourceOption = None,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Check every precondition of capture; each fault comes with what mends it. Changes nothing.

    Ends with 1 when there is a fault.
    """
    from flux.capture import source as database
    from flux.capture.doctor import Finding, examine, examine_machine
    from flux.ledger.location import locate

    where = target(form, json, output)
    folder, _ = locate(ledger)
    findings = [*examine_machine(), *_examine_ledger(folder)]
    away: Unreachable | None = None
    try:
        known = chosen_source(folder, source)
        plugin, slot = known.plugin, known.slot
    except FluxError:
        plugin, slot = "pgoutput", None
    try:
        with database.connect(source_dsn(dsn).value, application_name="flux doctor") as connection:
            findings += examine(connection, plugin=plugin, slot=slot)
    except Unreachable as error:
        away = error
        findings.append(Finding("connection", "fault", error.what, error.why, error.hint))
    if where.format is Format.TABLE:
        write_text(_finding_lines(findings, where), where)
    else:
        columns = ("name", "level", "what", "why", "hint", "sql")
        write_rows(Rows(columns, [tuple(asdict(finding).values()) for finding in findings]), where)
    if away is not None:
        raise typer.Exit(Unreachable.exit_code)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def _examine_ledger(folder: Path) -> Iterator[Finding]:
    """Yield what is right and wrong with the ledger."""
    from flux.capture.doctor import Finding

    try:
        with open_reader(folder) as reader:
            gaps = reader.gaps().num_rows
    except FluxError as error:
        yield Finding("ledger", "fault", error.what, error.why, error.hint)
        return
    try:
        policy = find_policy(folder)
    except FluxError as error:
        yield Finding("redaction", "fault", error.what, error.why, error.hint)
    else:
        if policy is not None:
            yield Finding("redaction", "ok", f"{_count(len(policy.rules), 'rule')} in {policy.origin}")
    yield Finding("ledger", "ok", f"the ledger is {folder}")
    if gaps:
        yield Finding(
            "gaps",
            "warn",
            f"the ledger has {_count(gaps, 'gap')}: changes in it may be missing",
            hint="history shows where they lie; `flux ledger info` lists them",
        )


def _finding_lines(findings: list[Finding], where: Target) -> Iterator[str]:
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        level = console.paint(pad(finding.level, 5), _STYLES[finding.level], colour=where.colour)
        yield f"{level}  {pad(finding.name, width)}  {console.escape(finding.what)}\n"
        for label, text in (("why", finding.why), ("hint", finding.hint), ("run", finding.sql)):
            if text and finding.level != "ok":
                yield f"{' ' * (width + 9)}{label}: {console.escape(text)}\n"
    faults = sum(1 for finding in findings if finding.level == "fault")
    warnings = sum(1 for finding in findings if finding.level == "warn")
    yield f"\n{_count(faults, 'fault')}, {_count(warnings, 'warning')}\n"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
