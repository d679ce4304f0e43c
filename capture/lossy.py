"""Columns whose NaN and infinities the plugin sends as null: wal2json before 2.6. Pure.

The relation versions name them, so that a question prints `null or NaN` instead of a NULL that
nobody knows. Versions that come out of the stream do not know their plugin: they are marked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from flux.capture.source import is_lossy
from flux.model.batch import RELATIONS, Batch
from flux.model.errors import listed
from flux.model.relation import Relation


def mark_batch(batch: Batch) -> Batch:
    """Return `batch` with the lossy columns of its relation versions named."""
    if batch.relations.num_rows == 0:
        return batch
    rows = batch.relations.to_pylist()
    for row in rows:
        row["lossy"] = [column["name"] for column in row["columns"] if is_lossy(column["type"])]
    return replace(batch, relations=pa.Table.from_pylist(rows, schema=RELATIONS))


def warning(relations: Sequence[Relation]) -> str:
    """Return what to tell the user when capture begins; empty when no column is concerned.

    `relations`: all versions, oldest first.
    """
    newest = {each.relation_id: each for each in relations}
    names = [f"{each.relation}.{column}" for each in newest.values() if each.tracked for column in each.lossy]
    if not names:
        return ""
    return (
        "warning: this wal2json sends NaN and infinities as null (2.6 and pgoutput do not); "
        f"history prints `null or NaN` for {listed(names)}"
    )
