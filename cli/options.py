"""Options that several commands share: one name, one meaning, one help line each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flux.cli.completion import complete_relation
from flux.cli.render import Format

LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="PATH",
        help="The ledger's folder. Default: FLUX_LEDGER, flux.toml, .flux up the tree, your data folder.",
        show_default=False,
    ),
]
DsnOption = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        metavar="DSN",
        help="The source database, as URL or key=value. Default: FLUX_DSN, DATABASE_URL, libpq's own.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How the answer is written; table unless said.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the answer to FILE.", show_default=False),
]
FullOption = Annotated[bool, typer.Option("--full", help="Do not shorten long values in a table.")]
LimitOption = Annotated[
    int,
    typer.Option("--limit", "-n", min=0, metavar="N", help="At most N rows; 0 for all."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="TIME|LSN", help="As things stood then: 14:00, 2h, …", show_default=False
    ),
]
IdOption = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="KEY",
        help='The row\'s key. Several columns: eu,42 or \'["eu","42"]\'.',
        show_default=False,
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="COLUMN=VALUE",
        help="Rows with this value, for tables without a key; repeatable.",
        show_default=False,
    ),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="NAME",
        help="The captured database's short name; needed only if the ledger has several.",
        show_default=False,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="From then on; or a range: 14:00..14:05.", show_default=False
    ),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Up to then.", show_default=False)
]
TableArgument = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help='users, public.users or "Odd Name".',
        autocompletion=complete_relation,
        show_default=False,
    ),
]
KeyArgument = Annotated[
    str | None,
    typer.Argument(metavar="KEY", help="The same as --id KEY.", show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

LIMIT_ROWS = 1000
"""Rows an answer has at most unless `--limit` says otherwise."""

OtlpPortOption = Annotated[
    int | None,
    typer.Option(
        "--otlp-port",
        min=0,
        max=65535,
        metavar="PORT",
        help="Port of the intake of OpenTelemetry's spans; 0 for a free one. Default: 4318.",
        show_default=False,
    ),
]
OtlpHostOption = Annotated[
    str | None,
    typer.Option(
        "--otlp-host",
        metavar="HOST",
        help="Where it listens; beyond loopback it wants a token, in FLUX_OTLP_TOKEN or a file"
        " that flux.toml names. Default: 127.0.0.1.",
        show_default=False,
    ),
]
