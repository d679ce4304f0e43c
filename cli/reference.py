"""docs/CLI.md, made from the commands themselves: `python -m flux.cli.reference > docs/CLI.md`.

A test holds the file equal to what this makes, so that no command, option or exit code is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from flux.cli.main import EXITS, tree

_HEAD = """\
# The command line

<!-- Made by `python -m flux.cli.reference`; do not edit. -->

Answers go to stdout, everything else to stderr. The bytes are the same on a terminal and in a pipe,
colour apart. `--debug` may stand anywhere and shows where an error was raised. `flux help COMMAND` is
`flux COMMAND --help`; `flux --version` prints the version.

`flux --install-completion` teaches your shell to complete commands, options, the ledger's tables and
recent request ids; `flux --show-completion` prints what it would install.
"""

_FORMATS = """\
## Formats

`--format` (`-f`) is one of `table`, `json`, `jsonl`, `csv`, `parquet`, `arrow`; `--json` is short for
`--format json`; `--output FILE` (`-o`) writes to a file.

- **table** is for people: local time (`TZ` decides), long values shortened in the middle (`--full` does
  not), NULL as `null`, the empty string as `''`, values with blanks at their ends in quotes, `null or NaN`
  where the plugin cannot tell the two apart.
- **json** and **jsonl** are exact: times are RFC 3339 in UTC, log positions text like `16/B374D848`, values
  PostgreSQL's own text, NULL `null`.
- **csv** has a header; NULL is an empty field, the empty string `""`, nested values JSON.
- **parquet** and **arrow** (an IPC stream) keep types; they refuse to go to a terminal.

Control characters, ANSI sequences and marks that change the reading order are written out (`\\x1b`,
`\\u202e`) in table and csv; in JSON they are in its own escapes, and the value stays the same.

An answer has at most `--limit` rows (0 lifts it); when there are more, stderr says so.

`flux state blame --porcelain` prints one line a column, fields separated by tabs, in this order for ever
(new fields come at the end). Values are written as PostgreSQL's COPY does: `\\N` is NULL, and `\\t`, `\\n`,
`\\r`, `\\\\` are a tab, a line end, a carriage return, a backslash.

- `owner` column value at op request_id actor application_name db_user client_addr lsn commit_lsn seq
- `attempt` column value at outcome request_id lsn (after the owner of its column)

## Times

| written | means |
|---|---|
| `14:00`, `14:00:05` | the most recent such clock time, never in the future |
| `2h`, `90s`, `1d2h` | so long ago; units `ms s m h d w`, `m` is minutes |
| `now`, `today`, `yesterday`, `yesterday 14:00` | as they say |
| `2026-03-10`, `2026-03-10 14:00`, `2026-03-10T14:00:00Z` | that time; local without an offset |
| `lsn:16/B374D848` | a log position |
| `req:550e8400` | a request: where it starts a range its first change, else its last |
| `14:00..14:05`, `14:00..`, `..14:05`, `14:00+5m` | ranges, for `--since` |

What a time word was understood as is said on stderr.

## Names

A table is `users`, `public.users` or `"Odd Name"`. A request id may be cut to any unique prefix, with or
without `req:`. The key of several columns is `eu,42` or a JSON array `["eu","42"]`.

## Where settings come from

The first that is there counts; `flux config show` says which it was.

- the database: `--dsn`, `FLUX_DSN`, `DATABASE_URL`, then libpq's own (`PGHOST` …, service and password file)
- the ledger: `--ledger`, `FLUX_LEDGER`, `ledger` in `flux.toml`, `.flux` in this folder or one above,
  the user's data folder
- colour: `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb`; time zone: `TZ`; `FLUX_DEBUG=1` is `--debug`
"""


def reference() -> str:
    """Return the whole document."""
    command = tree()
    parts = [_HEAD, "## Commands\n"]
    parts += [
        f"- [`{path}`](#{path.replace(' ', '-')}): {short(made)}" for path, made in leaves(command, "flux")
    ]
    parts.append("")
    for path, made in leaves(command, "flux"):
        parts += list(_section(path, made))
    parts.append(_FORMATS)
    parts += ["## Exit codes\n", "| code | meaning |", "|---|---|"]
    parts += [f"| {code} | {meaning} |" for code, meaning in EXITS.items()]
    return "\n".join(parts) + "\n"


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and command of every command that is no group."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from leaves(child, f"{path} {name}")


def short(command: Any) -> str:
    """Return the first sentence of a command's help."""
    return str(command.help).strip().split("\n\n")[0].replace("\n", " ")


def _section(path: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"### {path}\n"
    yield f"`{path} {usage}`\n"
    for paragraph in str(command.help).strip().split("\n\n"):
        yield paragraph.replace("\n", " ") + "\n"
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            name, text = (part.replace("|", "\\|") for part in record)
            rows.append(f"| `{name}` | {text} |")
    if rows:
        yield "| option | meaning |"
        yield "|---|---|"
        yield from rows
        yield ""


if __name__ == "__main__":
    sys.stdout.write(reference())
