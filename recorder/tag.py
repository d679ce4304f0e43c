"""The tag of a transaction: what is set, and when it has to be set again.

A driver keeps one `Tagging` for each of its connections and asks it before each statement. The rule is
the same everywhere: a write wants the tag of the request in force, unless this transaction has it already.
Whatever may have taken the tag back (the end of a transaction, `rollback to`, `reset`)
makes it forgotten here; setting it once too often costs nothing, for it travels with the write.
"""

from __future__ import annotations

from functools import cache

from flux import sql
from flux.recorder.ambient import Request, Tag
from flux.recorder.life import active
from flux.recorder.statement import Statement


class Tagging:
    """What one connection knows of the tag of its transaction."""

    __slots__ = ("_known", "database", "with_begin")

    def __init__(self, database: str) -> None:
        self._known: Tag | None = None
        self.database = database
        """The name of the connection's database."""
        self.with_begin: Tag | None = None
        """To be set in the same text as the `begin` that comes next; psycopg's."""

    def wanted(self, request: Request | None, statement: Statement, *, in_transaction: bool) -> Tag | None:
        """Return the tag that must be set with this statement; None when there is nothing to set.

        `in_transaction` says that a transaction is open and usable before the statement.
        """
        if not in_transaction:
            self._known = None
        if request is None or not statement.writes:
            # A write outside a request, in a transaction that one has tagged, stays its.
            return None
        return None if request.tag == self._known else request.tag

    def settle(self, tag: Tag | None, statement: Statement) -> None:
        """Take note that `statement` was executed, with `tag` before it."""
        if statement.controls:
            self._known = None
        elif tag is not None:
            self._known = tag

    @property
    def known(self) -> bool:
        """Whether there is a tag to be forgotten."""
        return self._known is not None

    def forget(self) -> None:
        """Take note that the tag may be gone."""
        self._known = None


def statement() -> str:
    """Return the statement that sets a tag, with its parameters as `$1`, `$2`, `$3`."""
    recorder = active()
    return _statement("tag_message" if recorder is not None and recorder.settings.tag_message else "tag")


@cache
def _statement(name: str) -> str:
    lines = sql.text(f"recorder/{name}.sql").splitlines()
    return "".join(line for line in lines if not line.startswith("--")).strip()
