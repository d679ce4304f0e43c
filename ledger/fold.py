"""The fold: what each change did to a row, given what the ledger already knew of it.

Committed changes are replayed in commit order. An insert, a baseline or an arrival from another
key begins a life of a row; a delete, a truncate or a departure to another key ends what is known
under a key. What the server did not send (unchanged TOAST) is carried forward; what it sent as
old is checked against what the ledger had. Attempts change nothing and are told beside.

This is the row at a time; the macros `_fold` and `table_at` say the same of many rows at once, and a
property test holds both equal to a database that was really changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flux.ledger.shape import Known, Shape
from flux.model.outcome import Op, Outcome

Image = Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Event:
    """A change or an attempt as it is stored, in the order of history."""

    source: str
    relation: str
    relation_id: int
    key: str | None
    old_key: str | None
    at_us: int | None
    """Microseconds since 1970-01-01 UTC."""
    op: str
    outcome: str
    request_id: str | None
    actor: str | None
    lsn: int
    commit_lsn: int | None
    seq: int | None
    xid: int | None
    subxid: int | None
    context_id: int | None
    before: Image | None
    after: Image | None
    place_lsn: int
    """Where it lies in history: its commit, or for an attempt its own position."""

    @property
    def is_committed(self) -> bool:
        """Whether it is part of the row's state; an attempt is not."""
        return self.outcome == Outcome.COMMITTED


@dataclass(frozen=True, slots=True)
class Line:
    """One line of history: an event and what it did."""

    event: Event
    changed: list[tuple[Known, str | None, str | None]]
    """Column, from, to."""
    unknown: list[Known] = field(default_factory=list)
    """Columns of `changed` whose `from` the ledger does not know."""
    mismatch: list[Known] = field(default_factory=list)
    """Columns of which the server sent another old value than the ledger had."""


@dataclass(slots=True)
class Life:
    """A row from its beginning to its end, through changes of its key."""

    first: Event
    state: dict[str, str | None] = field(default_factory=dict)
    """Column identity → value; what is not known is absent."""
    columns: dict[str, Known] = field(default_factory=dict)
    owners: dict[str, Event | None] = field(default_factory=dict)
    """Column identity → the change that gave the value; None: ADD COLUMN did."""
    lines: list[Line] = field(default_factory=list)
    shown: int = 0
    """How many of `lines` were told while the row bore the key that was asked for."""


class Fold:
    """The lives of the rows of one relation that bore one of some keys."""

    def __init__(self, shape: Shape, asked: Iterable[str] | None) -> None:
        """`asked` are the keys whose history is wanted; None: every row's."""
        self.live: dict[str, Life] = {}
        """The rows that are there, by key."""
        self._shape = shape
        self._asked = None if asked is None else frozenset(asked)
        self._lives: list[Life] = []
        self._loose: list[Line] = []

    def lines(self) -> list[Line]:
        """Return the history of the asked keys; the caller sorts it."""
        told = [line for life in self._lives for line in life.lines[: life.shown]]
        return told + self._loose

    def add(self, event: Event) -> None:
        """Take in the next event."""
        if not event.is_committed:
            self._add_attempt(event)
        elif event.op == Op.TRUNCATE:
            for key, life in self.live.items():
                self._end(life, event, key)
            self.live.clear()
        elif event.op == Op.DELETE:
            key = event.key or ""
            life = self._taken(key) or self._begin(event)
            self._end(life, event, key)
        else:
            self._set(event)

    def _is_asked(self, *keys: str | None) -> bool:
        return any(key is not None and (self._asked is None or key in self._asked) for key in keys)

    def _taken(self, key: str) -> Life | None:
        """Return the row that bore the key until now."""
        return self.live.pop(key) if key in self.live else None

    def _begin(self, event: Event) -> Life:
        life = Life(event)
        self._lives.append(life)
        return life

    def _set(self, event: Event) -> None:
        key = event.key or ""
        if event.op == Op.INSERT:
            life = self._begin(event)
        elif event.old_key is not None:
            life = self._taken(event.old_key) or self._begin(event)
        else:
            life = self.live.get(key) or self._begin(event)
        mismatch = self._check(life, event)
        changed: list[tuple[Known, str | None, str | None]] = []
        unknown: list[Known] = []
        is_start = life.first is event
        for name, value in event.after or ():
            column = self._shape.column(name, event.lsn)
            is_known = column.col in life.state
            old = life.state.get(column.col)
            if value != old:
                changed.append((column, old, value))
                if not is_known and not (is_start and event.op in {Op.INSERT, Op.BASELINE}):
                    unknown.append(column)
            if is_start or not is_known or value != old:
                life.owners[column.col] = event
            life.state[column.col] = value
            life.columns[column.col] = column
        if is_start:
            self._give_added(life)
        self._tell(life, Line(event, changed, unknown, mismatch), event.key, event.old_key)
        self.live[key] = life

    def _give_added(self, life: Life) -> None:
        """Columns that are added during the life begin with what the table gives its older rows."""
        for column in self._shape.added_after(life.first.lsn):
            if column.col not in life.state:
                life.state[column.col] = column.missing
                life.columns[column.col] = column
                life.owners[column.col] = None

    def _check(self, life: Life, event: Event) -> list[Known]:
        """Compare what the server says the row was with what the ledger had, and believe the server."""
        mismatch = []
        for name, value in event.before or ():
            column = self._shape.column(name, event.lsn)
            if column.col in life.state and life.state[column.col] != value:
                mismatch.append(column)
            life.state[column.col] = value
            life.columns[column.col] = column
        return mismatch

    def _end(self, life: Life, event: Event, key: str) -> None:
        mismatch = self._check(life, event)
        changed: list[tuple[Known, str | None, str | None]] = [
            (life.columns[col], value, None)
            for col, value in life.state.items()
            if value is not None and self._shape.has(col, event.lsn)
        ]
        if life.first is event:
            self._give_added(life)
        self._tell(life, Line(event, changed, [], mismatch), key)

    def _tell(self, life: Life, line: Line, *keys: str | None) -> None:
        life.lines.append(line)
        if self._is_asked(*keys):
            life.shown = len(life.lines)

    def _add_attempt(self, event: Event) -> None:
        line = Line(event, own_changes(event, self._shape))
        if event.op == Op.TRUNCATE:
            if any(self._is_asked(key) for key in self.live):
                self._loose.append(line)
            return
        life = self.live.get(event.key or "") or self.live.get(event.old_key or "")
        if self._is_asked(event.key, event.old_key):
            if life is not None:
                self._tell(life, line, event.key, event.old_key)
            else:
                self._loose.append(line)
        elif life is not None:
            life.lines.append(line)


def own_changes(event: Event, shape: Shape) -> list[tuple[Known, str | None, str | None]]:
    """Return what an event did by its own two images: attempts, and rows without a key."""
    columns: dict[str, Known] = {}
    sides: list[dict[str, str | None]] = []
    for image in (event.before, event.after):
        side: dict[str, str | None] = {}
        for name, value in image or ():
            column = shape.column(name, event.lsn)
            columns[column.col] = column
            side[column.col] = value
        sides.append(side)
    old, new = sides
    shared = new.keys() & old.keys() if event.before is not None and event.after is not None else columns
    return [
        (columns[col], old.get(col), new.get(col))
        for col in columns
        if col in shared and old.get(col) != new.get(col)
    ]
