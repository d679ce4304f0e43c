"""One statement on its way through a driver: the tag it needs, and the span it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from flux.recorder.ambient import Tag, current
from flux.recorder.exchange import Exchange, begin, finish_sql
from flux.recorder.fault import count, failing_open
from flux.recorder.statement import Statement, examine
from flux.recorder.tag import Tagging


@dataclass(slots=True)
class Step:
    """A statement that is about to run, or runs."""

    text: str
    """As the driver was given it, with placeholders."""
    statement: Statement
    """What its text says."""
    tagging: Tagging
    """What its connection knows."""
    tag: Tag | None
    """To be set with it; None when there is nothing to set."""
    exchange: Exchange | None
    """Its span, in the making."""
    parameters: Any
    """As the driver was given them."""
    database: str
    """Its name."""
    batch: int | None = None
    """Sets of parameters, when there are many."""

    def finish(self, rows: int | None, error: BaseException | None) -> None:
        """Take note of how it ended."""
        with failing_open("a statement's end"):
            if error is None:
                self.tagging.settle(self.tag, self.statement)
                if self.tag is not None:
                    count("tags")
            else:
                # It may or may not have come to setting the tag.
                self.tagging.forget()
            finish_sql(
                self.exchange,
                self.text,
                self.parameters,
                database=self.database,
                rows=rows,
                batch=self.batch,
                error=error,
            )

    def untagged(self) -> None:
        """Take note that it runs without the tag it should have."""
        self.tag = None
        count("untagged")


class Connections:
    """The connections of one driver that have run a request's statement."""

    def __init__(self) -> None:
        self._taggings: WeakKeyDictionary[Any, Tagging] = WeakKeyDictionary()

    def knows(self, connection: Any) -> bool:
        """Whether statements of this connection are to be looked at: in a request, or after one."""
        return current() is not None or connection in self._taggings

    def step(
        self,
        connection: Any,
        text: str,
        parameters: Any,
        *,
        in_transaction: bool,
        usable: bool,
        database: str,
        batch: int | None = None,
        recorded: bool = True,
    ) -> Step:
        """Begin a statement.

        `in_transaction`: one is open before it. `usable`: it is not a failed one. `recorded`: it becomes a
        span.
        """
        request = current()
        tagging = self._taggings.get(connection)
        if tagging is None:
            tagging = self._taggings[connection] = Tagging()
        statement = examine(text)
        tag = tagging.wanted(request, statement, in_transaction=in_transaction)
        exchange = begin(request) if recorded and request is not None else None
        return Step(text, statement, tagging, tag if usable else None, exchange, parameters, database, batch)

    def forget(self, connection: Any) -> None:
        """Take note that a connection's tag may be gone."""
        tagging = self._taggings.get(connection)
        if tagging is not None:
            tagging.forget()


def first_of(sets: Any) -> tuple[Any, int | None]:
    """Return the first set of parameters and their number, without using up what can be read once only."""
    if isinstance(sets, Sequence) and len(sets):
        return sets[0], len(sets)
    return None, None
