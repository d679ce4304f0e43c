r"""`flux state blame --porcelain`: one line a column, tab-separated, the same for ever.

    owner    column value at op request_id actor application_name db_user client_addr lsn commit_lsn seq
    attempt  column value at outcome request_id lsn      (rolled back later; after its column's owner)

Fields are written as PostgreSQL's COPY writes text: NULL is `\N`; tab, line end, carriage return and
backslash are escaped. New fields come at the end of a line. Documented in docs/CLI.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from flux.cli.answer import Document
from flux.cli.cell import utc_time
from flux.cli.console import escape_cell

_OWNER = ("at", "op", "request_id", "actor")
_CONTEXT = ("application_name", "db_user", "client_addr")
_PLACE = ("lsn", "commit_lsn", "seq")
_ATTEMPT = ("value", "at", "outcome", "request_id", "lsn")


def porcelain_lines(columns: Sequence[Document]) -> Iterator[str]:
    """Yield the lines of a blame."""
    for column in columns:
        fields = ["owner", column["column"], column["value"]]
        fields += [column[name] for name in _OWNER]
        fields += [column["context"][name] for name in _CONTEXT]
        fields += [column[name] for name in _PLACE]
        yield _line(fields)
        for attempt in column["rolled_back"]:
            yield _line(["attempt", column["column"], *(attempt[name] for name in _ATTEMPT)])


def _line(fields: Sequence[Any]) -> str:
    return "\t".join(_field(field) for field in fields) + "\n"


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, datetime):
        return utc_time(value)
    text = str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return escape_cell(text)
