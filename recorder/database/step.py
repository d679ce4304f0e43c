"""One statement on its way through a driver: the tag it needs, and the span it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from flux.recorder.ambient import Tag, current
from flux.recorder.exchange import Exchange, begin, finish_sql
from flux.recorder.fault import count, fault
from flux.recorder.statement import Statement, examine
from flux.recorder.tag import Tagging


class Step:
    """A statement that is about to run, or runs."""

    __slots__ = ("batch", "exchange", "parameters", "statement", "tag", "tagging", "text")

    def __init__(
        self,
        text: str,
        parameters: Any,
        tagging: Tagging,
        tag: Tag | None,
        exchange: Exchange | None,
        batch: int | None,
    ) -> None:
        self.text = text
        """As the driver was given it, with placeholders."""
        self.parameters = parameters
        """As the driver was given them."""
        self.tagging = tagging
        """What its connection knows."""
        self.tag = tag
        """To be set with it; None when there is nothing to set."""
        self.exchange = exchange
        """Its span, in the making."""
        self.batch = batch
        """Sets of parameters, when there are many."""
        self.statement: Statement = examine(text)
        """What its text says."""

    def finish(self, rows: int | None, error: BaseException | None) -> None:
        """Take note of how it ended."""
        try:
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
                database=self.tagging.database,
                rows=rows,
                batch=self.batch,
                error=error,
            )
        except Exception as wrong:  # noqa: BLE001 (the application goes on)
            fault("a statement's end", wrong)

    def untagged(self) -> None:
        """Take note that it runs without the tag it should have."""
        self.tag = None
        count("untagged")


class Connections:
    """The connections of one driver that have run a request's statement."""

    def __init__(self) -> None:
        self._taggings: WeakKeyDictionary[Any, Tagging] = WeakKeyDictionary()

    def tagging(self, connection: Any) -> Tagging | None:
        """Return what is known of a connection; None when it has run nothing that concerns us."""
        return self._taggings.get(connection)

    def step(
        self,
        connection: Any,
        text: str,
        parameters: Any,
        *,
        in_transaction: bool,
        usable: bool,
        database: Callable[[], str],
        batch: int | None = None,
        recorded: bool = True,
    ) -> Step | None:
        """Begin a statement; None when it is nobody's.

        `in_transaction`: one is open before it. `usable`: it is not a failed one. `database` says its name,
        asked once for a connection. `recorded`: it becomes a span.
        """
        request = current()
        tagging = self._taggings.get(connection)
        if tagging is None:
            if request is None:
                return None
            tagging = self._taggings[connection] = Tagging(database())
        exchange = begin(request) if recorded and request is not None else None
        step = Step(text, parameters, tagging, None, exchange, batch)
        tag = tagging.wanted(request, step.statement, in_transaction=in_transaction)
        if usable:
            step.tag = tag
        return step

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
