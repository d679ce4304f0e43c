"""The one door: whatever is to be stored goes through a `Redactor` first, when there are rules.

`ledger.Writer` calls it, so nothing can be stored past it. Thread safe: batches come from one thread,
requests from others, and what is known of relations is replaced as a whole, never changed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import pyarrow as pa

from flux.model.batch import RELATIONS, ROW, TEXT, Batch
from flux.model.redaction import Action, Policy
from flux.model.relation import Column, Relation
from flux.redaction import requests as request_rows
from flux.redaction import statements
from flux.redaction.known import Known
from flux.redaction.rows import plain, redact_images, redact_keys
from flux.redaction.texts import Edit, Texts

STATEMENTS_MAX = 4096
"""Statements whose edits are remembered: an application says the same again and again."""


class Redactor:
    """Applies a policy. Raises `UsageError` where a rule would make keys the same."""

    def __init__(self, policy: Policy, relations: Iterable[Relation] = ()) -> None:
        self.policy = policy
        self.texts = Texts(policy)
        self.known = Known(policy)
        self._lock = threading.Lock()
        self._edits = lru_cache(STATEMENTS_MAX)(self._statement_edits)
        self.learn(relations)

    def learn(self, relations: Iterable[Relation]) -> None:
        """Take in versions of relations, also those of transactions that are not over."""
        with self._lock:
            known = self.known.with_more(relations)
            if known is not self.known:
                self.known = known
                self._edits.cache_clear()

    # -- what the log brings ----------------------------------------------------------------------

    def batch(self, batch: Batch) -> Batch:
        """Return `batch` as it is stored."""
        rows = batch.relations.to_pylist()
        if rows:
            relations = [_shape(row, rows) for row in rows]
            self.learn(relations)
            self._check(relations)
        return replace(
            batch,
            changes=self.changes(batch.changes),
            late=map(self.changes, batch.late) if batch.late else (),
            contexts=self.contexts(batch.contexts),
            transactions=self._transactions(batch.transactions),
            relations=self._relations(rows) if rows else batch.relations,
            ddl=self._ddl(batch.ddl),
        )

    def relation(self, relation: Relation) -> Relation:
        """Return a version of a relation as it is stored."""
        self.learn([relation])
        self._check([relation])
        return replace(
            relation,
            columns=tuple(
                replace(column, missing=self._missing(relation.root_id, column.name, column.missing))
                for column in relation.columns
            ),
        )

    def rows(self, relation: Relation, rows: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """Yield the rows of a baseline as they are stored; a dropped column is missing in them."""
        known = self.known
        root = known.roots[relation.root_id]
        for batch in rows:
            names, columns = [], []
            for name in batch.schema.names:
                rule, values = known.rule(relation.root_id, name), plain(batch.column(name))
                if rule is not None and rule.action is Action.DROP:
                    continue
                names.append(name)
                if rule is not None:
                    columns.append(self.texts.whole(rule.action, values))
                elif self.texts.looks_inside:
                    columns.append(self.texts.inside(values, identifying=name in root.key_columns))
                else:
                    columns.append(values)
            yield pa.RecordBatch.from_arrays(columns, names=names)

    def _check(self, relations: Iterable[Relation]) -> None:
        for relation in relations:
            self.policy.check_key(relation, self.known.roots[relation.root_id].columns)

    def changes(self, changes: pa.Table) -> pa.Table:
        """Return rows of `CHANGES` as they are stored."""
        known = self.known
        if not changes.num_rows:
            return changes
        root_id = plain(changes.column("relation_id")).to_numpy()
        lsn = plain(changes.column("lsn")).to_numpy()
        for name in ("before", "after"):
            changes = _put(
                changes, name, redact_images(plain(changes.column(name)), root_id, known, self.texts)
            )
        for name in ("key", "old_key"):
            changes = _put(changes, name, redact_keys(changes.column(name), root_id, lsn, known, self.texts))
        return self._plain_texts(changes, ("request_id", "actor"))

    def contexts(self, contexts: pa.Table) -> pa.Table:
        """Return rows of `CONTEXTS` as they are stored."""
        if not contexts.num_rows:
            return contexts
        contexts = self._plain_texts(
            contexts, ("request_id", "actor", "application_name", "db_user", "client_addr")
        )
        contexts = _put(contexts, "attributes", self._attributes(plain(contexts.column("attributes"))))
        return _put(contexts, "statement", self._statements(plain(contexts.column("statement"))))

    def _transactions(self, transactions: pa.Table) -> pa.Table:
        if not transactions.num_rows or not self.policy.patterns:
            return transactions
        lists = plain(transactions.column("request_ids"))
        ids = self._repeating(plain(lists.flatten()), identifying=True)
        offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
        made = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), ids)
        return self._plain_texts(_put(transactions, "request_ids", made), ("origin",))

    def _relations(self, rows: list[dict[str, object]]) -> pa.Table:
        for row in rows:
            missing = row["missing"] or ()
            kept = []
            for name, value in missing:  # type: ignore[attr-defined]
                stored = self._missing(row["root_id"], name, value)  # type: ignore[arg-type]
                if stored is not None:
                    kept.append((name, stored))
            row["missing"] = kept
        return pa.Table.from_pylist(rows, schema=RELATIONS)

    def _missing(self, root_id: int, name: str, value: str | None) -> str | None:
        """Return the value that rows older than a column have in it, as it is stored."""
        if value is None:
            return None
        rule = self.known.rule(root_id, name)
        if rule is None:
            return self.texts.inside_one(value)
        return None if rule.action is Action.DROP else self.policy.kept(rule.action, value)

    def _ddl(self, ddl: pa.Table) -> pa.Table:
        if not ddl.num_rows:
            return ddl
        ddl = self._plain_texts(ddl, ("request_id",))
        return _put(ddl, "statement", self._statements(plain(ddl.column("statement"))))

    # -- what the application's side tells --------------------------------------------------------

    def requests(
        self, requests: pa.Table, spans: pa.Table, exchanges: pa.Table
    ) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return rows of `REQUESTS`, `SPANS` and `EXCHANGES` as they are stored."""
        return request_rows.redact(requests, spans, exchanges, self.known, self.texts)

    # -- texts ------------------------------------------------------------------------------------

    def _plain_texts(self, table: pa.Table, names: tuple[str, ...]) -> pa.Table:
        """Look for patterns in columns of few different texts."""
        if not self.policy.patterns:
            return table
        for name in names:
            values = self._repeating(plain(table.column(name)), identifying=name == "request_id")
            table = _put(table, name, values)
        return table

    def _repeating(self, values: pa.Array, *, identifying: bool = False) -> pa.Array:
        if not self.texts.looks_inside:
            return values
        encoded = values.dictionary_encode()
        return self.texts.inside(encoded.dictionary, identifying=identifying).take(encoded.indices)

    def _attributes(self, attributes: pa.Array) -> pa.Array:
        """Redact the attributes of a tag: one JSON object, taken apart by member."""
        if not self.texts.looks_inside or not len(attributes):
            return attributes
        stored: list[list[tuple[str, str | None]] | None] = []
        edits: dict[int, list[Edit]] = {}
        count = 0
        for row in attributes.to_pylist():
            kept = (
                None
                if row is None
                else [pair for pair in row if self.texts.member(pair[0]) is not Action.DROP]
            )
            for name, value in kept or ():
                edits[count] = self._attribute_edits(name, value)
                count += 1
            stored.append(kept)
        names, values = (
            pa.array([pair[place] for row in stored for pair in row or ()], TEXT) for place in (0, 1)
        )
        done = zip(
            self._repeating(names).to_pylist(), self.texts.inside(values, edits).to_pylist(), strict=True
        )
        return pa.array([row and [next(done) for _ in row] for row in stored], ROW)

    def _attribute_edits(self, name: str, value: str | None) -> list[Edit]:
        if value is None:
            return []
        action = self.texts.member(name)
        if action is not None:
            return [Edit(0, len(value), self.policy.kept(action, value))]
        return list(self.texts.json_edits(value, root=name)) if value[:1] in {"{", "["} else []

    def _statements(self, values: pa.Array) -> pa.Array:
        if not (self.policy.columns or self.texts.looks_inside):
            return values
        encoded = values.dictionary_encode()
        known = self.known
        edits = {place: self._edits(text, known) for place, text in enumerate(encoded.dictionary.to_pylist())}
        return self.texts.inside(encoded.dictionary, edits).take(encoded.indices)

    def _statement_edits(self, text: str, known: Known) -> tuple[Edit, ...]:
        return tuple(statements.edits(text, known, self.texts))


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, pa.field(name, values.type), values)


def _shape(row: dict[str, object], rows: list[dict[str, object]]) -> Relation:
    """Return the version that a row of `RELATIONS` tells, as far as rules need it."""
    ids = {each["relation_id"]: each["relation"] for each in rows}
    return Relation(
        relation_id=row["relation_id"],  # type: ignore[arg-type]
        relation=row["relation"],  # type: ignore[arg-type]
        root_id=row["root_id"],  # type: ignore[arg-type]
        root=ids.get(row["root_id"], row["relation"]),  # type: ignore[arg-type]
        lsn=row["lsn"],  # type: ignore[arg-type]
        columns=tuple(
            Column(each["name"], each["type"], each["attnum"] or 0, each["is_key"], each["not_null"])
            for each in row["columns"]  # type: ignore[attr-defined]
        ),
        key=tuple(row["key"] or ()),  # type: ignore[arg-type]
        row_columns=tuple(row["row_columns"] or ()),  # type: ignore[arg-type]
    )
