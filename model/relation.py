"""Relations (tables) and the versions that DDL gives them."""

from __future__ import annotations

from dataclasses import dataclass, field

ROW_TEXT = "?row"
"""Column under which a row is kept whole whose shape is not known: nothing is lost, nothing guessed."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a relation version. Generated columns are not recorded and not listed."""

    name: str
    type: str
    """As `format_type` prints it, for instance `numeric(10,2)`."""
    attnum: int
    """`pg_attribute.attnum`: survives a rename. 0 when it is not known."""
    is_key: bool
    not_null: bool
    missing: str | None = None
    """The value that rows older than the column have (ADD COLUMN … DEFAULT), as text."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One version of a table, valid from log position `lsn`.

    A leaf of a partitioned table is a relation of its own whose `root_id` and `root` name the
    table it is recorded under; any other table is its own root.
    """

    relation_id: int
    """OID of the table that the log names (the leaf, for a partition)."""
    relation: str
    """`schema.table`, unquoted, of `relation_id`."""
    root_id: int
    root: str
    lsn: int
    columns: tuple[Column, ...]
    """In the order of the table that the log names."""
    key: tuple[str, ...]
    """Key columns in key order: the replica identity index, else the primary key; may be empty."""
    replica_identity: str = "d"
    """`pg_class.relreplident`: d(efault), n(othing), f(ull), i(ndex)."""
    row_columns: tuple[str | None, ...] = field(default=())
    """The columns that `record::text` prints, in order; None stands for a generated column."""
    lossy: tuple[str, ...] = ()
    """Columns whose NaN and infinities the plugin sends as null (wal2json before 2.6)."""
    tracked: bool = True
    """False: from `lsn` on the relation is not captured, dropped or no longer tracked."""
