"""Relation versions between the vocabulary (`model.relation`) and the ledger's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from flux import sql
from flux.model.batch import RELATIONS
from flux.model.relation import Column, Relation


def relation_versions(lake: duckdb.DuckDBPyConnection) -> list[tuple[str, Relation]]:
    """Return every version of every relation, with its source, by source, OID and position.

    Each has its root's newest name.
    """
    rows = lake.execute(sql.text("ledger/reader/versions.sql")).to_arrow_table().to_pylist()
    newest = {(row["source"], row["relation_id"]): row["relation"] for row in rows}
    for row in rows:
        row["root"] = newest.get((row["source"], row["root_id"]), row["relation"])
    return [(row["source"], relation_of(row)) for row in rows]


def relation_of(row: Mapping[str, Any]) -> Relation:
    """Return the relation version that a row of `relations`, with its root's name, holds."""
    missing = dict(row["missing"] or ())
    return Relation(
        relation_id=row["relation_id"],
        relation=row["relation"],
        root_id=row["root_id"] if row["root_id"] is not None else row["relation_id"],
        root=row["root"],
        lsn=row["lsn"],
        columns=tuple(
            Column(
                name=column["name"],
                type=column["type"],
                attnum=column["attnum"] or 0,
                is_key=bool(column["is_key"]),
                not_null=bool(column["not_null"]),
                missing=missing.get(column["name"]),
            )
            for column in row["columns"]
        ),
        key=tuple(row["key"] or ()),
        replica_identity=row["replica_identity"] or "d",
        row_columns=tuple(row["row_columns"] or ()),
        lossy=tuple(row["lossy"] or ()),
        tracked=row.get("tracked") is not False,
    )


def relations_table(relations: Sequence[Relation]) -> pa.Table:
    """Return `relations` as the rows a batch carries (`model.batch.RELATIONS`)."""
    rows = [
        {
            "relation_id": relation.relation_id,
            "relation": relation.relation,
            "lsn": relation.lsn,
            "columns": [
                {
                    "name": column.name,
                    "type": column.type,
                    "attnum": column.attnum,
                    "is_key": column.is_key,
                    "not_null": column.not_null,
                }
                for column in relation.columns
            ],
            "replica_identity": relation.replica_identity,
            "key": list(relation.key),
            "missing": [
                (column.name, column.missing) for column in relation.columns if column.missing is not None
            ],
            "lossy": list(relation.lossy),
            "root_id": relation.root_id,
            "row_columns": list(relation.row_columns),
        }
        for relation in relations
    ]
    return pa.Table.from_pylist(rows, schema=RELATIONS)
