"""The questions about single rows: history, blame, at, diff.

The changes are read by key, which touches a few row groups of each file; the fold is Python's,
because planning the same fold as one SQL statement takes longer (100 ms) than reading (20 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from flux import sql
from flux.ledger import answer
from flux.ledger.catalog import Extent, File
from flux.ledger.engine import literal
from flux.ledger.fold import Event, Fold, Life, Line, own_changes
from flux.ledger.moment import Cut
from flux.ledger.shape import Shape
from flux.model.outcome import Op, Outcome
from flux.model.relation import Relation

IDS_MAX = 500
"""Ids looked up by one statement."""

Context = dict[str, Any]
Cache = dict[tuple[str | int, ...], list[Event]]
"""(scan, source, relation OID), with the key where the scan is of one row → its events."""
KEPT_ROWS_MAX = 64
"""Rows whose events are kept for the next question."""
KEPT_EVENTS_MAX = 1_000
"""Of a row with more events none are kept."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One relation, as seen at one moment."""

    lake: duckdb.DuckDBPyConnection
    files: Callable[[str], Sequence[File]]
    """The files of a table."""
    part: Callable[[str, Sequence[File]], str]
    """What to read for those rows of a table that lie in some of its files."""
    source: str
    relation: Relation
    names: tuple[str, ...]
    """Every name it ever had: its changes are stored under the name of their time."""
    shape: Shape
    cut: Cut
    cache: Cache
    """What every row's question needs of this relation, as long as the ledger does not change."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines of a history are wanted."""

    columns: tuple[str, ...] = ()
    request: str | None = None
    outcome: str | None = None
    since: Cut | None = None
    until: Cut | None = None
    limit: int | None = None

    def has(self, line: Line) -> bool:
        """Tell whether a line is wanted."""
        event = line.event
        if self.request is not None and event.request_id != self.request:
            return False
        if self.outcome is not None and event.outcome != self.outcome:
            return False
        if self.columns and not any(column.label in self.columns for column, _, _ in line.changed):
            return False
        return self._is_between(event.place_lsn, event.at_us)

    def has_gap(self, gap: Mapping[str, Any]) -> bool:
        """Tell whether a gap lies where lines are wanted."""
        return self._is_between(gap["from_lsn"], gap["from_us"]) or self._is_between(
            gap["to_lsn"], gap["to_us"]
        )

    def _is_between(self, place_lsn: int, at_us: int | None) -> bool:
        if self.since is not None:
            mark, here = (
                (self.since.at_us, at_us) if self.since.at_us is not None else (self.since.lsn, place_lsn)
            )
            if here is None or here < mark:
                return False
        if self.until is not None:
            mark, here = (
                (self.until.at_us, at_us) if self.until.at_us is not None else (self.until.lsn, place_lsn)
            )
            if here is None or here > mark:
                return False
        return True


def history(
    asked: Sequence[Asked], key: str | None, where: Mapping[str, str | None], wanted: Wanted
) -> pa.Table:
    """Return the history of a row, or of the rows that `where` once fitted; see `Ledger.history`.

    `asked` are the relation and those of its name that were dropped before it.
    """
    lines = [line for one in asked for line in _lines(one, key, where) if wanted.has(line)]
    lines.sort(key=lambda line: _order(line.event))
    newest = asked[-1]
    gaps = [gap for gap in _gaps(newest) if wanted.has_gap(gap)]
    if wanted.limit:
        lines = lines[-wanted.limit :]
        first = lines[0].event.place_lsn if lines else 0
        gaps = [gap for gap in gaps if gap["to_lsn"] is None or gap["to_lsn"] >= first]
    contexts = _contexts(newest, [line.event for line in lines])
    rows = [(line.event.place_lsn, 0, answer.history_row(line, contexts)) for line in lines]
    rows += [(gap["from_lsn"], 1, answer.gap_row(newest.source, gap)) for gap in gaps]
    rows.sort(key=lambda row: row[:2])
    return pa.Table.from_pylist([row for _, _, row in rows], schema=answer.HISTORY)


def _lines(asked: Asked, key: str | None, where: Mapping[str, str | None]) -> Iterable[Line]:
    if key is None and not asked.relation.key:
        yield from (Line(event, own_changes(event, asked.shape)) for event in _matching(asked, where))
        return
    keys = [key] if key is not None else None
    if key is None and where:
        keys = sorted({event.key for event in _matching(asked, where) if event.key is not None})
    fold = _folded(asked, keys)
    yield from fold.lines()


def _folded(asked: Asked, keys: Sequence[str] | None) -> Fold:
    fold = Fold(asked.shape, keys)
    for event in _events(asked, keys):
        fold.add(event)
    return fold


def _life(asked: Asked, key: str) -> Life | None:
    return _folded(asked, [key]).live.get(key)


def at(asked: Asked, key: str) -> pa.Table:
    """Return the row as of the moment: one line, or none if it was not there."""
    life = _life(asked, key)
    rows = [_row_at(asked, key, life)] if life is not None else []
    return pa.Table.from_pylist(rows, schema=answer.AT)


def first(asked: Asked, count: int) -> pa.Table:
    """Return the first `count` rows of a table as of the moment, in the order of their keys.

    Only they are read and folded, and what lies before them and is gone. Every version has a key.
    """
    rows: list[dict[str, Any]] = []
    done: list[str] = []
    drawn = count
    while len(rows) < count:
        keys = _keys_from(asked, done[-1] if done else "", drawn)
        new = [key for key in keys if key not in done[-1:]]
        live = _folded(asked, new).live if new else {}
        rows += [_row_at(asked, key, live[key]) for key in new if key in live]
        if len(keys) < drawn:
            break
        # Of many rows that are gone ever more at a time.
        done, drawn = keys, 2 * drawn
    return pa.Table.from_pylist(rows[:count], schema=answer.AT)


def _row_at(asked: Asked, key: str, life: Life) -> dict[str, Any]:
    image = _image(asked.shape, life)
    return {
        "source": asked.source,
        "relation_id": asked.relation.relation_id,
        "key": key,
        "row": list(image.items()),
        "lossy": [label for label, value in image.items() if value is None and _is_lossy(asked, label)],
    }


def diff(old: Asked, new: Asked, key: str) -> pa.Table:
    """Return what differs in the row between two moments: one line, or none."""
    lives = _life(old, key), _life(new, key)
    before, after = (_image(new.shape, life) if life is not None else {} for life in lives)
    changed = [
        (label, {"from": before.get(label), "to": after.get(label)})
        for label in {**after, **before}
        if before.get(label) != after.get(label)
    ]
    rows = []
    if changed or (lives[0] is None) != (lives[1] is None):
        op = Op.INSERT if lives[0] is None else Op.DELETE if lives[1] is None else Op.UPDATE
        rows.append(
            {
                "source": new.source,
                "relation_id": new.relation.relation_id,
                "key": key,
                "op": str(op),
                "changed": changed,
                "lossy": [label for label, _ in changed if _is_lossy(new, label)],
            }
        )
    return pa.Table.from_pylist(rows, schema=answer.DIFF)


def blame(asked: Asked, key: str) -> pa.Table:
    """Return who owns each column of the row; see `Ledger.blame`."""
    life = _life(asked, key)
    if life is None:
        return answer.BLAME.empty_table()
    contexts = _contexts(asked, [owner for owner in life.owners.values() if owner is not None])
    gaps = _gaps(asked)
    rows = []
    for column in asked.shape.current or sorted(life.columns.values(), key=lambda one: one.order()):
        if column.col not in life.state:
            continue
        value, owner = life.state[column.col], life.owners.get(column.col)
        given_lsn = owner.place_lsn if owner is not None else column.since_lsn
        rows.append(
            {
                "column": column.label,
                "value": value,
                "source": asked.source,
                "relation_id": asked.relation.relation_id,
                "lossy": value is None and column.is_lossy,
                "rolled_back": _rolled_back(life, column.col, value, owner),
                "gaps": [
                    answer.gap_value(gap)
                    for gap in gaps
                    if gap["to_lsn"] is None or gap["to_lsn"] > given_lsn
                ],
            }
            | (answer.owner_row(owner, contexts) if owner else _ddl(asked, column.since_lsn))
        )
    return pa.Table.from_pylist(rows, schema=answer.BLAME)


def _rolled_back(life: Life, col: str, value: str | None, owner: Event | None) -> list[dict[str, Any]]:
    """The later attempts to make the column something else."""
    after = _order(owner) if owner is not None else _order(life.first)
    return [
        {
            "value": new,
            "at": line.event.at_us,
            "request_id": line.event.request_id,
            "outcome": line.event.outcome,
            "lsn": line.event.lsn,
        }
        for line in sorted(life.lines, key=lambda line: _order(line.event))
        if not line.event.is_committed
        and line.event.op in {Op.INSERT, Op.UPDATE}
        and _order(line.event) > after
        for column, _, new in line.changed
        if column.col == col and new != value
    ]


def _image(shape: Shape, life: Life) -> dict[str, str | None]:
    if not shape:
        return {life.columns[col].label: value for col, value in life.state.items()}
    return {column.label: life.state[column.col] for column in shape.current if column.col in life.state}


def _is_lossy(asked: Asked, label: str) -> bool:
    return any(column.label == label and column.is_lossy for column in asked.shape.current)


# -- reading --------------------------------------------------------------------------------------


def _order(event: Event) -> tuple[int, int, bool, int]:
    """Commit order; inside a transaction log order, an attempt before the change of its position."""
    return event.place_lsn, event.lsn, event.is_committed, event.seq or 0


def _scan(asked: Asked, name: str, column: str, has: Callable[[Extent], bool], **more: Any) -> list[Event]:
    return [_event(row) for row in _scanned(asked, name, column, has, **more)]


def _keys_from(asked: Asked, first: str, count: int) -> list[str]:
    """Return `count` keys in order from `first` on, or all there are; under each name of the table."""
    # The files say where keys lie: first a stretch as long as a file's, then longer ones, then all.
    ends = sorted(
        {high for file in asked.files("changes") if (high := file.of("key").high) and high >= first}
    )
    nth = 1
    while True:
        last = ends[nth - 1] if nth < len(ends) else None
        found = {
            key
            for (key,) in _scanned(
                asked,
                "keys_from",
                "key",
                partial(Extent.has_between, first=first, last=last),
                first=first,
                last=last or "",
                is_last=last is None,
                count=count,
            )
        }
        if len(found) >= count or last is None:
            return sorted(found, key=str.encode)[:count]
        nth *= 4


def _scanned(
    asked: Asked, name: str, column: str, has: Callable[[Extent], bool], **more: Any
) -> list[tuple[Any, ...]]:
    """Read changes from the files in which the table's may be, and of which `has` is true in a column."""
    rows: list[tuple[Any, ...]] = []
    lists = {word: value for word, value in more.items() if isinstance(value, list)}
    for relation in asked.names:
        files = [
            file
            for file in asked.files("changes")
            if file.of("relation").has_text((relation,)) and has(file.of(column))
        ]
        words = {
            "source": asked.source,
            "relation_id": asked.relation.relation_id,
            "relation": relation,
            **more,
        }
        # Constants: DuckDB skips by them, and whenever it binds a parameter it looks for modules that are not
        # there.
        constants = {
            word: literal(value) if isinstance(value, str) else str(value)
            for word, value in words.items()
            if word not in lists
        }
        text = sql.text(f"ledger/reader/scan_{name}.sql")
        text = text.format(changes=asked.part("changes", files), **constants)
        rows += asked.lake.execute(text, lists).fetchall()
    return rows


def _cached(asked: Asked, name: str, column: str, has: Callable[[Extent], bool]) -> list[Event]:
    """Events that touch few rows, or all: the same for every key."""
    place = name, asked.source, asked.relation.relation_id
    if place not in asked.cache:
        asked.cache[place] = _scan(asked, name, column, has)
    return asked.cache[place]


def _event(row: tuple[Any, ...]) -> Event:
    *words, before, after, unchanged, place_lsn = row
    old = None if before is None else list(before.items())
    new = None if after is None else list(after.items())
    if unchanged and old is not None and new is not None:
        # A column that was not sent because it did not change has its old value, if that was sent.
        new += [pair for pair in old if pair[0] in unchanged]
    return Event(*(*words, old, new, place_lsn))


def _events(asked: Asked, keys: Sequence[str] | None) -> list[Event]:
    """Everything that touches the rows with one of `keys` (None: all), in order, up to the moment."""
    if keys is None:
        return _in_order(asked, _scan(asked, "all", "key", _any))
    # PostgreSQL's texts have no NUL, and DuckDB's statements may not.
    keys = [key for key in keys if "\0" not in key]
    moves = _cached(asked, "moves", "old_key", lambda old_keys: old_keys.has_values)
    lineage = dict.fromkeys(keys)
    before = -1
    while before != len(lineage):
        before = len(lineage)
        lineage |= dict.fromkeys(
            move.old_key
            for move in moves
            if move.is_committed and move.key in lineage and move.old_key is not None
        )
    if len(lineage) == 1:
        found = _of_row(asked, next(iter(lineage)))
    else:
        every = sorted(lineage)
        found = _scan(asked, "keys", "key", lambda keys: keys.has_text(every), keys=every)
    found += [move for move in moves if move.old_key in lineage and move.key not in lineage]
    found += _cached(asked, "truncates", "key", lambda keys: keys.has_nulls)
    return _in_order(asked, found)


def _of_row(asked: Asked, key: str) -> list[Event]:
    """What happened under a key: history, blame and state of a row ask for it in turn."""
    place = "key", asked.source, asked.relation.relation_id, key
    found = asked.cache.get(place)
    if found is None:
        found = _scan(asked, "key", "key", lambda keys: keys.has_text((key,)), key=key)
        if len(found) <= KEPT_EVENTS_MAX:
            kept = [one for one in asked.cache if one[0] == "key"]
            if len(kept) >= KEPT_ROWS_MAX:
                del asked.cache[kept[0]]
            asked.cache[place] = found
    return list(found)


def _matching(asked: Asked, where: Mapping[str, str | None]) -> list[Event]:
    names, values = list(where), list(where.values())
    if not names:
        return _in_order(asked, _scan(asked, "all", "key", _any))
    return _in_order(asked, _scan(asked, "where", "key", _any, names=names, values=values))


def _any(_: Extent) -> bool:
    return True


def _in_order(asked: Asked, found: list[Event]) -> list[Event]:
    landed = _landed(asked, [one for one in found if one.outcome == Outcome.SAVEPOINT_ROLLED_BACK])
    placed = []
    for one in found:
        event = replace(one, old_key=None) if one.old_key == one.key else one
        if event.outcome == Outcome.SAVEPOINT_ROLLED_BACK:
            commits = [lsn for lsn in landed.get(event.xid, ()) if lsn > event.lsn]
            event = replace(event, place_lsn=min(commits, default=event.lsn))
        if asked.cut.has(event.place_lsn, event.at_us, is_committed=event.is_committed):
            placed.append(event)
    return sorted(placed, key=_order)


def _landed(asked: Asked, attempts: list[Event]) -> dict[int | None, list[int]]:
    """The commits of the transactions in which a savepoint was rolled back."""
    landed: dict[int | None, list[int]] = {}
    xids = {one.xid for one in attempts if one.xid is not None}
    rows = _by_ids(asked, "landed", "transactions", "xid", xids)
    for xid, commit_lsn in rows:
        landed.setdefault(xid, []).append(commit_lsn)
    return landed


def _contexts(asked: Asked, events: Iterable[Event]) -> dict[tuple[str, int], Context]:
    ids = {event.context_id for event in events if event.context_id is not None}
    found: dict[tuple[str, int], Context] = {}
    for context_id, attributes, *words in _by_ids(asked, "contexts", "contexts", "context_id", ids):
        names = ("application_name", "db_user", "client_addr", "backend_pid", "statement")
        pairs = None if attributes is None else list(attributes.items())
        found[asked.source, context_id] = {"attributes": pairs, **dict(zip(names, words, strict=True))}
    return found


def _by_ids(asked: Asked, name: str, table: str, column: str, ids: Iterable[int]) -> list[tuple[Any, ...]]:
    """Rows of a table by ids."""
    ordered = sorted(ids)
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(ordered), IDS_MAX):
        some = ordered[start : start + IDS_MAX]
        files = [file for file in asked.files(table) if file.of(column).has_number(some)]
        words = {"ids": ", ".join(map(str, some)), "source": literal(asked.source)}
        text = sql.text(f"ledger/reader/{name}.sql").format(**words, **{table: asked.part(table, files)})
        rows += asked.lake.execute(text).fetchall()
    return rows


def _gaps(asked: Asked) -> list[dict[str, Any]]:
    text = sql.text("ledger/reader/gaps_of.sql").format(source=literal(asked.source))
    rows = asked.lake.execute(text).fetchall()
    names = ("from_lsn", "to_lsn", "from_us", "to_us", "reason")
    gaps = [dict(zip(names, row, strict=True)) for row in rows]
    return [gap for gap in gaps if asked.cut.has(gap["from_lsn"], gap["from_us"], is_committed=False)]


def _ddl(asked: Asked, lsn: int) -> dict[str, Any]:
    """When and by which request a column was added."""
    row = asked.lake.execute(
        sql.text("ledger/reader/ddl_at.sql"), {"source": asked.source, "lsn": lsn}
    ).fetchone()
    given = {"op": "ddl", "lsn": lsn}
    return given | {"at": row[0], "request_id": row[1]} if row is not None else given
