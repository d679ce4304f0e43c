"""`flux ledger info` and `flux ledger compact`: looking after the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from flux.cli import console
from flux.cli.answer import Document, position, rows_of
from flux.cli.cell import json_text, pad
from flux.cli.health import size
from flux.cli.options import FormatOption, JsonOption, LedgerOption, OutputOption
from flux.cli.render import Format, Rows, Target, write_document, write_rows, write_text
from flux.cli.story import Look, gap_line
from flux.cli.window import open_reader, target


def info(
    ledger: LedgerOption = None,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Show what the ledger holds: sources, positions, rows, files, gaps."""
    goal = target(form, json, output)
    with open_reader(ledger) as reader:
        facts = reader.info()
        positions = [_with_positions(row, "commit_lsn", "end_lsn") for row in rows_of(reader.positions())]
        gaps = [_with_positions(row, "from_lsn", "to_lsn") for row in rows_of(reader.gaps())]
    document = facts | {"positions": positions, "gaps": gaps}
    if goal.format is Format.JSON:
        write_document(document, goal)
    elif goal.format is Format.JSONL:
        write_text([json_text(document) + "\n"], goal)
    elif goal.format is Format.TABLE:
        write_text(_lines(document, goal), goal)
    else:
        write_rows(Rows(("table", "rows"), list(facts["rows"].items())), goal)


def _with_positions(row: Document, *names: str) -> Document:
    return row | {name: position(row[name]) for name in names}


def _lines(document: Document, goal: Target) -> Iterator[str]:
    look = Look(zone=goal.zone, colour=goal.colour)
    yield f"{look.paint(console.escape(document['path']), console.BOLD)}\n"
    counts = document["rows"]
    facts = [
        ("format", str(document["format"])),
        ("size", f"{size(document['bytes'])} in {document['files']:,} files"),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none yet"),
    ]
    facts += [
        ("source", f"{row['source']}: up to {row['commit_lsn']}, commit of {look.clock(row['at'])}")
        for row in document["positions"]
    ]
    waiting = set(document["sources"]) - {row["source"] for row in document["positions"]}
    facts += [("source", f"{name}: nothing captured yet") for name in sorted(waiting)]
    for name, text in facts:
        yield f"  {pad(name, 6)}  {console.escape(text)}\n"
    for gap in document["gaps"]:
        yield gap_line(gap, look)


def compact(ledger: LedgerOption = None) -> None:
    """Merge small files and sort them by row. flux up does it by itself, when it is time to."""
    from flux.ledger import Writer

    with Writer.open(ledger, source="") as writer:
        done = writer.maintain(force=True)
    console.note(
        f"merged {done.merged_files:,} files, deleted {done.deleted_files:,} that nothing reads any more"
    )
