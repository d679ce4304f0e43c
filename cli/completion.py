"""What the shell completes with Tab: relation names and recent request ids, from the ledger.

A completion never fails and never speaks: without a ledger there is nothing to offer.
"""

from __future__ import annotations

from pathlib import Path

import typer

REQUEST = "req:"


def complete_relation(context: typer.Context, incomplete: str) -> list[str]:
    """Return relations that begin with what is typed, without `public.` unless that was typed."""
    try:
        from flux.cli.window import open_reader

        with open_reader(_ledger(context)) as reader:
            names = reader.relation_names()
    except Exception:  # noqa: BLE001 - see the contract
        return []
    short = [name.removeprefix("public.") for name in names]
    return [name for name in dict.fromkeys([*short, *names]) if name.startswith(incomplete)]


def complete_request(context: typer.Context, incomplete: str) -> list[str]:
    """Return recent request ids that begin with what is typed, with or without `req:`."""
    try:
        from flux import sql
        from flux.cli.window import open_reader
        from flux.ledger.engine import literal

        prefix = incomplete.removeprefix(REQUEST)
        with open_reader(_ledger(context)) as reader:
            query = sql.text("cli/recent_requests.sql").format(prefix=literal(prefix))
            found = reader.sql(query).column(0).to_pylist()
    except Exception:  # noqa: BLE001 - see the contract
        return []
    start = REQUEST if incomplete.startswith(REQUEST) else ""
    return [start + request_id for request_id in found]


def _ledger(context: typer.Context) -> Path | None:
    given = context.params.get("ledger")
    return Path(given) if given else None
