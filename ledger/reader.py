"""Reading a ledger: every question, while it is being written, in any number of processes.

Each question is asked of one moment: the ledger as the newest commit left it when the question
came (`catalog.Snapshot`). The files of that moment are immutable and outlive the question
(`upkeep.READER_GRACE_S`), so a reader never waits and never sees half a transaction.

A reader is an in-memory DuckDB whose views are the ledger's tables, under the same names and with
the same macros that the ledger keeps in its catalog. It can read nothing else: see `sandbox`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import duckdb
import orjson
import pyarrow as pa

from flux import sql
from flux.ledger import (
    answer,
    catalog,
    failure,
    layout,
    naming,
    questions,
    requests,
    row,
    sandbox,
    sources,
    table,
    typed,
)
from flux.ledger.engine import identifier, literals
from flux.ledger.location import locate
from flux.ledger.moment import AsOf, Cut, resolve
from flux.ledger.requests import QUIET_S
from flux.ledger.shape import Shape
from flux.ledger.shapes import relation_versions
from flux.model.filter import Filter
from flux.model.moment import Moment, Span
from flux.model.relation import Relation

FEW_ROWS = 2000
"""Of a table so many are folded one by one, which is faster than all of them at once."""
MATERIALIZED = ("relations", "gaps", "baselines", "ddl")
"""Small tables that many questions read: kept in memory instead of read from files each time."""


def open_ledger(path: str | os.PathLike[str] | None = None) -> Ledger:
    """Open the ledger at `path` for reading; None finds it as the command line does.

    Raises `LedgerMissing`, `LedgerDamaged`.
    """
    return Ledger(layout.inspect(locate(path)[0]))


class Ledger:
    """A ledger open for questions; see the module's contract. Close it, or use it in `with`."""

    def __init__(self, place: layout.Layout) -> None:
        self._place = place
        self._lake = sandbox.open_closed(place.data)
        self._lake.execute(sql.text("ledger/reader/kept.sql"))
        self._lake.execute(sql.text("ledger/010_tables.sql"))
        self._lake.execute("use memory.main")
        self._snapshot: catalog.Snapshot | None = None
        self._columns: dict[str, str] = {}
        self._versions: list[tuple[str, Relation]] = []
        self._has_macros = False
        self._typed: set[int] = set()
        self._cache: row.Cache = {}
        self._ids: dict[str, str] = {}
        self._cuts: dict[tuple[str, AsOf], Cut] = {}
        with failure.translated(place.root, "read"):
            self._refresh()

    # -- names ------------------------------------------------------------------------------------

    def relation(self, name: str, *, source: str | None = None) -> Relation:
        """Return the newest version of the relation that `name` means.

        `users`, `public.users`, `"Odd Name"`, or a name from before a rename; a partition means its
        root. Raises `UsageError` with near matches, or with the candidates if several fit.
        """
        return self._target(name, source)[1]

    def relation_names(self) -> list[str]:
        """Return the names of all relations, `schema.table`."""
        self._refresh()
        return naming.relation_names(self._versions)

    def request(self, prefix: str) -> str:
        """Return the request id that `prefix`, with or without `req:`, begins.

        Raises `UsageError` when none or several do; several are listed.
        """
        self._refresh()
        # One question asks for the same one many times, and each look is a scan of all ids.
        if prefix not in self._ids:
            self._ids[prefix] = naming.request(self._lake, prefix)
        return self._ids[prefix]

    def request_span(self, prefix: str) -> Span:
        """Return the moments of a request's first and last change. Raises as `request` does."""
        self._refresh()
        return naming.request_span(self._lake, naming.request(self._lake, prefix))

    def time_of(self, lsn: int) -> datetime | None:
        """Return the time of the newest commit up to a log position; None if there is none."""
        self._refresh()
        row = self._lake.execute(sql.text("ledger/reader/time_of.sql"), {"lsn": lsn}).fetchone()
        return None if row is None else row[0]

    def commit_beside(
        self, relation: str, as_of: AsOf, step: Literal[-1, 1], *, source: str | None = None
    ) -> tuple[Moment, datetime] | None:
        """Return the commit that changed a table next after a moment, or last before it (`step` -1).

        With its time; None if there is none.
        """
        owner, target = self._target(relation, source)
        cut = self._cut(owner, as_of)
        words = {"source": owner, "relation_id": target.relation_id, "lsn": cut.lsn, "step": step}
        with failure.translated(self._place.root, "read"):
            row = self._lake.execute(sql.text("ledger/reader/commit_beside.sql"), words).fetchone()
        return None if row is None else (Moment(lsn=row[0]), row[1])

    # -- questions --------------------------------------------------------------------------------

    def history(  # noqa: PLR0913 -- each narrows one thing, by name only
        self,
        relation: str,
        key: str | None = None,
        *,
        where: Mapping[str, str | None] | None = None,
        as_of: AsOf = None,
        since: AsOf = None,
        until: AsOf = None,
        columns: Sequence[str] = (),
        request: str | None = None,
        outcome: str | None = None,
        limit: int | None = None,
        source: str | None = None,
    ) -> pa.Table:
        """Return what happened to a row, or to the rows that once matched `where`, oldest first.

        `key` is key text (`model.key`). `columns`, `request`, `outcome`, `since` and `until` leave
        lines out; `limit` keeps the newest so many. Columns: `answer.HISTORY`.
        """
        # Before the rest: it looks for a newer commit, and all that follows must be of one.
        request_id = self.request(request) if request is not None else None
        owner, target = self._target(relation, source)
        asked = [self._asked(owner, one, as_of) for one in naming.namesakes(self._versions, owner, target)]
        wanted = row.Wanted(
            columns=tuple(columns),
            request=request_id,
            outcome=outcome,
            since=self._cut(owner, since) if since is not None else None,
            until=self._cut(owner, until) if until is not None else None,
            limit=limit,
        )
        with failure.translated(self._place.root, "read"):
            return row.history(asked, key, where or {}, wanted)

    def blame(self, relation: str, key: str, *, as_of: AsOf = None, source: str | None = None) -> pa.Table:
        """Return who owns each column of a row: one line a column, none if there is no such row.

        Columns: `answer.BLAME`.
        """
        owner, target = self._target(relation, source)
        asked = self._asked(owner, target, as_of)
        with failure.translated(self._place.root, "read"):
            return row.blame(asked, key)

    def at(
        self,
        relation: str,
        key: str | None = None,
        *,
        as_of: AsOf = None,
        limit: int | None = None,
        source: str | None = None,
    ) -> pa.Table:
        """Return a row, or all rows of a table, as of a moment. Columns: `answer.AT`.

        With `limit` the first rows, by key where the table has one.
        """
        owner, target = self._target(relation, source)
        asked = self._asked(owner, target, as_of)
        with failure.translated(self._place.root, "read"):
            if key is not None:
                return row.at(asked, key)
            if limit and limit <= FEW_ROWS and asked.shape.is_keyed:
                return row.first(asked, limit)
            self._need_macros()
            return table.at(self._lake, target, asked.cut, limit)

    def diff(
        self,
        relation: str,
        key: str | None = None,
        *,
        since: AsOf,
        until: AsOf = None,
        source: str | None = None,
    ) -> pa.Table:
        """Return what differs between two moments in a row or a table. Columns: `answer.DIFF`."""
        owner, target = self._target(relation, source)
        old, new = self._cut(owner, since), self._cut(owner, until)
        with failure.translated(self._place.root, "read"):
            if key is None:
                self._need_macros()
                return table.diff(self._lake, target, old, new)
            later = self._asked(owner, target, until)
            # Both moments in the columns of the later one.
            return row.diff(replace(later, cut=old), later, key)

    def sql(self, query: str) -> pa.Table:
        """Return the answer of one reading SQL statement over the ledger's tables and macros.

        No file of the machine can be read or written through it. Raises `UsageError` for anything
        but a question, and for what DuckDB finds wrong with it.
        """
        self._refresh()
        self._need_macros()
        # Not of all: it takes time for each table, and a database may have hundreds.
        missing = typed.named_in(query, [version for _, version in self._versions]) - self._typed
        if missing:
            typed.refresh(self._lake, missing)
            self._typed |= missing
        return sandbox.ask(self._lake, query)

    # -- requests ---------------------------------------------------------------------------------

    def requests(
        self,
        where: Filter | str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return the newest `limit` requests that fit a filter (`model.filter`), newest first.

        Columns: `sql/ledger/requests/listed.sql`.
        """
        self._refresh()
        with failure.translated(self._place.root, "read"):
            return requests.listed(self._lake, where, since=since, until=until, limit=limit)

    @property
    def version(self) -> int:
        """The commit of the ledger that the last question was asked of."""
        return (self._snapshot or self._refresh()).version

    def refresh(self) -> int:
        """Look for a newer commit of the ledger; return the newest one, as `version` does from now on."""
        with failure.translated(self._place.root, "read"):
            return self._refresh().version

    def requests_after(self, version: int, where: Filter | str | None = None) -> tuple[pa.Table, int]:
        """Return the requests that came into the ledger after a `version`, and the version they reach to."""
        with failure.translated(self._place.root, "read"):
            reached, files = catalog.arrived(self._place.catalog, self._place.data, "requests", version)
            if not files:
                return requests.listed(self._lake, where, limit=1).slice(0, 0), reached
            source = requests.arrived(files, version)
            self._refresh()
            return requests.listed(self._lake, where, source=source), reached

    def changes_of(self, request_ids: Sequence[str]) -> pa.Table:
        """Return what requests changed, or tried to. Columns: `sql/ledger/requests/changes.sql`."""
        self._refresh()
        with failure.translated(self._place.root, "read"):
            return requests.changes(self._lake, request_ids)

    def request_rows(self, request_id: str) -> pa.Table:
        """Return what is recorded of a request: a row for each service that took part, in their order."""
        self._refresh()
        with failure.translated(self._place.root, "read"):
            return requests.whole(self._lake, request_id)

    def request_titles(self, request_ids: Sequence[str]) -> dict[str, str]:
        """Return `POST /checkout → 500` for those of the requests that are recorded."""
        with failure.translated(self._place.root, "read"):
            return requests.titles(self._lake, request_ids)

    def requests_alike(self, request: dict[str, Any]) -> pa.Table:
        """Return the other requests that failed as this row of `request_rows` did, newest first."""
        with failure.translated(self._place.root, "read"):
            return requests.alike(self._lake, request)

    def sibling(self, request: dict[str, Any]) -> str | None:
        """Return the request of the same route nearest in time that went well; None if there is none."""
        with failure.translated(self._place.root, "read"):
            return requests.sibling(self._lake, request)

    def spans_of(self, request_id: str) -> pa.Table:
        """Return the spans of a request and of the rest of its trace, oldest first. Columns: `SPANS`."""
        self._refresh()
        with failure.translated(self._place.root, "read"):
            found = requests.whole(self._lake, request_id).column("trace_id").to_pylist()
            return requests.spans(self._lake, request_id, found[0] if found else None)

    def exchanges_of(self, request_id: str) -> pa.Table:
        """Return what a request asked of others, in its order. Columns: `EXCHANGES`."""
        self._refresh()
        with failure.translated(self._place.root, "read"):
            return requests.exchanges(self._lake, request_id)

    def why(self, prefix: str) -> dict[str, Any]:
        """Return why a request failed, each claim with its evidence; see `ledger.why`."""
        from flux.ledger.why import why

        return why(self, self.request(prefix))

    def trace(self, prefix: str) -> dict[str, Any]:
        """Return a request's spans with its mutations in their places; see `ledger.trace`."""
        from flux.ledger.trace import traced

        return traced(self, self.request(prefix))

    def trace_diff(self, first: str, second: str) -> dict[str, Any]:
        """Return two requests side by side, step by step; see `ledger.trace`."""
        from flux.ledger.trace import compared

        return compared(self, self.request(first), self.request(second))

    def rows_of(self, request_ids: Sequence[str], limit: int | None = None) -> pa.Table:
        """Return the rows that requests changed, or tried to. Columns: `sql/ledger/requests/rows.sql`."""
        with failure.translated(self._place.root, "read"):
            return requests.rows(self._lake, request_ids, limit)

    def incidents(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        quiet_s: float = QUIET_S,
    ) -> pa.Table:
        """Return failing requests in groups: by route, error type and location, with a quiet time between.

        Newest first. Columns: `sql/ledger/requests/incidents.sql`.
        """
        self._refresh()
        with failure.translated(self._place.root, "read"):
            return requests.incidents(self._lake, since=since, until=until, quiet_s=quiet_s)

    def activity(
        self, *, since: datetime | None = None, until: datetime | None = None, buckets: int = 60
    ) -> pa.Table:
        """Return how many requests there were, and failed, in equal parts of a window.

        Parts without any are left out. Columns: `sql/ledger/requests/activity.sql`.
        """
        self._refresh()
        with failure.translated(self._place.root, "read"):
            return requests.activity(self._lake, since=since, until=until, buckets=buckets)

    # -- about the ledger -------------------------------------------------------------------------

    def gaps(self) -> pa.Table:
        """Return the stretches of the log that the ledger does not have, oldest first."""
        return self._read("gaps")

    def positions(self) -> pa.Table:
        """Return the newest position of each source."""
        return self._read("positions")

    def info(self) -> dict[str, Any]:
        """Return facts about the ledger: its path, format, sources, rows, files and bytes."""
        snapshot = self._refresh()
        files = list(self._place.data.rglob("*.parquet"))
        return {
            "path": str(self._place.root),
            "format": layout.FORMAT,
            "sources": [source.name for source in sources.read(self._place.root)],
            "rows": {name: snapshot.row_counts.get(name, 0) for name in sorted(snapshot.columns)},
            "files": len(files),
            "bytes": sum(file.stat().st_size for file in files) + self._place.catalog.stat().st_size,
        }

    @property
    def path(self) -> Path:
        """The ledger's folder."""
        return self._place.root

    def interrupt(self) -> None:
        """Cut off the question that another thread is asking; it ends with an error."""
        self._lake.interrupt()

    def close(self) -> None:
        """Let go of the memory; the ledger itself is not touched."""
        self._lake.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the moment -------------------------------------------------------------------------------

    def _read(self, name: str) -> pa.Table:
        self._refresh()
        return self._lake.execute(sql.text(f"ledger/reader/{name}.sql")).to_arrow_table()

    def _need_macros(self) -> None:
        """Make the macros when the first question needs them: it takes 50 ms."""
        if not self._has_macros:
            questions.install(self._lake)
            self._has_macros = True

    def _refresh(self) -> catalog.Snapshot:
        """Make the views show the newest commit; what it did not touch stays as it is."""
        if self._snapshot and catalog.version(self._place.catalog) == self._snapshot.version:
            return self._snapshot
        before = self._snapshot
        snapshot = catalog.read(self._place.catalog, self._place.data, before)
        changed = [
            name
            for name in snapshot.columns
            if before is None
            or snapshot.files.get(name) != before.files.get(name)
            or snapshot.inlined.get(name) != before.inlined.get(name)
        ]
        for name in changed:
            self._show(name, snapshot)
        if "relations" in changed:
            self._versions = relation_versions(self._lake)
            self._typed = set()
        self._snapshot = snapshot
        self._cache, self._ids, self._cuts = {}, {}, {}
        return snapshot

    def _show(self, name: str, snapshot: catalog.Snapshot) -> None:
        """Make a table of the ledger readable; tables and columns of a newer Flux are left out."""
        try:
            known = set(self._lake.table(f"kept.{identifier(name)}").columns)
        except duckdb.CatalogException:
            return
        places = {column: nth for nth, column in enumerate(snapshot.columns[name], 1) if column in known}
        self._columns[name] = ", ".join(identifier(column) for column in places)
        files = snapshot.files.get(name, ())
        inlined = snapshot.inlined.get(name, ())
        words = {"table": identifier(name), "columns": self._columns[name]}
        self._lake.execute(sql.text("ledger/reader/clear.sql").format(**words))
        if inlined:
            words["values"] = ", ".join(f"kept_row[{nth}]" for nth in places.values())
            kept = orjson.dumps(inlined).decode()
            self._lake.execute(sql.text("ledger/reader/keep_inlined.sql").format(**words), [kept])
        if files and name in MATERIALIZED:
            words["part"] = self._text_of(name, files, has_kept=False)
            self._lake.execute(sql.text("ledger/reader/keep_files.sql").format(**words))
            files = ()
        words["part"] = self._text_of(name, files, has_kept=bool(inlined))
        self._lake.execute(sql.text("ledger/reader/view.sql").format(**words))

    def _files(self, name: str) -> Sequence[catalog.File]:
        """Return the files of a table."""
        return (self._snapshot or self._refresh()).files.get(name, ())

    def _part(self, name: str, files: Sequence[catalog.File]) -> str:
        """Return what to read for those rows of a table that lie in some of its files, or in no file."""
        snapshot = self._snapshot or self._refresh()
        return self._text_of(name, files, has_kept=bool(snapshot.inlined.get(name)))

    def _text_of(self, name: str, files: Sequence[catalog.File], *, has_kept: bool) -> str:
        kind = "both" if files and has_kept else "files" if files else "kept"
        words = {"table": identifier(name), "columns": self._columns[name]}
        words["files"] = literals(file.path for file in files)
        return sql.text(f"ledger/reader/part_of_{kind}.sql").format(**words)

    def _target(self, name: str, source: str | None) -> tuple[str, Relation]:
        self._refresh()
        return naming.relation(self._versions, name, source)

    def _cut(self, source: str, as_of: AsOf) -> Cut:
        if (source, as_of) not in self._cuts:
            self._cuts[source, as_of] = resolve(self._lake, source, as_of)
        return self._cuts[source, as_of]

    def _asked(self, source: str, target: Relation, as_of: AsOf) -> row.Asked:
        cut = self._cut(source, as_of)
        versions = [
            version
            for owner, version in self._versions
            if owner == source and version.relation_id == target.relation_id
        ]
        names = tuple(dict.fromkeys(version.relation for version in reversed(versions)))
        return row.Asked(
            self._lake,
            self._files,
            self._part,
            source,
            target,
            names,
            Shape(versions, bound_lsn=cut.lsn),
            cut,
            self._cache,
        )


__all__ = ["Ledger", "answer", "open_ledger"]
