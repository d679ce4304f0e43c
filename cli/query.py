"""`flux sql`: DuckDB over the ledger, read-only; one query, a file, or a prompt."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux import sql as sql_files
from flux.cli import console
from flux.cli.options import (
    LIMIT_ROWS,
    FormatOption,
    FullOption,
    JsonOption,
    LedgerOption,
    LimitOption,
    OutputOption,
)
from flux.cli.redaction import find_key
from flux.cli.render import Target, write_rows
from flux.cli.window import announce_truncation, open_reader, target
from flux.model.errors import FluxError, UsageError

if TYPE_CHECKING:
    from flux.ledger import Ledger
    from flux.model.cipher import Cipher

_HELP = """\
End a query with ; to run it. \\d lists what can be asked, \\q or Ctrl-D leaves, Ctrl-C drops the line.
The tables are changes, contexts, transactions, relations, ddl, gaps, positions; for each captured
table there are current.NAME (its rows now) and history.NAME (its changes). Quote "at": it is a keyword.
"""


def sql(  # noqa: PLR0913, PLR0917 - the options of a command
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="One query.", show_default=False)
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", "-c", metavar="QUERY", help="One query.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Read the query from FILE.", show_default=False),
    ] = None,
    ledger: LedgerOption = None,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
    limit: LimitOption = LIMIT_ROWS,
    full: FullOption = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Decrypt values that a redaction rule encrypted; needs the key.")
    ] = False,
) -> None:
    """Ask the ledger in SQL (DuckDB's), read-only; a prompt without a query.

    Example: flux sql "select op, key, request_id from changes where relation = 'public.users'"
    """
    given = [text for text in (query, command, file) if text is not None]
    if len(given) > 1:
        raise UsageError("more than one query given", hint="give QUERY, -c QUERY or --file FILE")
    where = target(form, json, output, full=full)
    text = _text(given[0]) if given else None
    if text is None and not sys.stdin.isatty():
        text = sys.stdin.read()
    with open_reader(ledger) as reader:
        cipher = find_key(reader.path) if reveal else None
        if text is not None:
            _answer(reader, text, limit, where, cipher)
        else:
            _prompt(reader, limit, where, cipher)


def _text(given: str | Path) -> str:
    if isinstance(given, str):
        return given
    try:
        return given.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"cannot read {given}", why=why or "") from error


def _answer(reader: Ledger, query: str, limit: int, where: Target, cipher: Cipher | None) -> None:
    table = reader.sql(query)
    is_cut = bool(limit) and table.num_rows > limit
    shown = table.slice(0, limit) if is_cut else table
    if cipher is not None:
        from flux.redaction.reveal import revealed

        shown = revealed(shown, cipher)
    write_rows(shown, where)
    if is_cut:
        announce_truncation(limit, "first", "row")


def _prompt(reader: Ledger, limit: int, where: Target, cipher: Cipher | None) -> None:
    """Read queries from the terminal until the end of input; an error ends a query, not the prompt."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() its line editing
    console.note("flux sql, read-only. \\h for help, \\q to leave.")
    pending: list[str] = []
    while True:
        try:
            line = input("flux> " if not pending else "   -> ")
        except EOFError:
            console.out("\n")
            return
        except KeyboardInterrupt:
            console.out("\n")
            pending.clear()
            continue
        word = line.strip()
        if not pending and word in {"\\q", "exit", "quit", ".quit", ".exit"}:
            return
        if not pending and word in {"\\h", "\\?", "help", ".help"}:
            sys.stderr.write(_HELP)
            continue
        if not pending and word in {"\\d", "\\dt", ".tables"}:
            line = sql_files.text("cli/tables.sql").rstrip() + ";"
        pending.append(line)
        if not line.rstrip().endswith(";"):
            continue
        query = "\n".join(pending)
        pending.clear()
        try:
            _answer(reader, query, limit, where, cipher)
        except FluxError as error:
            console.report(error)
        except KeyboardInterrupt:
            console.note("dropped")
