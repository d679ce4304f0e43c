"""Rows as they were, and what differs between two moments, as a person reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from flux.cli import console
from flux.cli.answer import Document
from flux.cli.cell import pad
from flux.cli.story import Look, change_lines
from flux.model.outcome import Op

if TYPE_CHECKING:
    import pyarrow as pa

_SIGNS = {Op.INSERT: ("+", console.GREEN), Op.DELETE: ("-", console.RED), Op.UPDATE: ("~", console.YELLOW)}
_WORDS = {Op.INSERT: "added", Op.DELETE: "removed", Op.UPDATE: "changed"}


def row_lines(row: Document, look: Look) -> Iterator[str]:
    """Yield one row, a column a line."""
    labels = {column: console.escape(column) for column in row["row"]}
    width = max(map(cell_len, labels.values()), default=0)
    for column, value in row["row"].items():
        text = look.value(value, lossy=column in row.get("lossy", ()))
        yield f"  {pad(labels[column], width)}   {text}\n"


def spread(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return rows (`key`, `row` MAP) with a text column for each column of the relation."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = table.column("row").combine_chunks()
    names = list(columns)
    for name in pc.unique(rows.keys).to_pylist():
        if name not in names:
            names.append(name)
    arrays = [pc.map_lookup(rows, pa.scalar(name), "first") for name in names]
    return pa.Table.from_arrays(arrays, names=names)


def difference_lines(title: str, differences: Sequence[Document], look: Look) -> Iterator[str]:
    """Yield what differs: rows added, removed, changed, each with its columns."""
    counts = Counter(Op(difference["op"]) for difference in differences)
    parts = [f"{counts[op]:,} {word}" for op, word in _WORDS.items() if counts[op]]
    noun = "row differs" if len(differences) == 1 else "rows differ"
    heading = look.paint(console.escape(title), console.BOLD)
    yield f"{heading}  ({len(differences):,} {noun}: {', '.join(parts)})\n\n"
    names = [look.value(difference["key"]) for difference in differences]
    width = max(map(cell_len, names), default=0)
    for difference, name in zip(differences, names, strict=True):
        sign, style = _SIGNS[Op(difference["op"])]
        first, *others = change_lines(difference, look) or [""]
        yield f"  {look.paint(f'{sign} {pad(name, width)}', style)}   {first}".rstrip() + "\n"
        for other in others:
            yield " " * (width + 7) + other + "\n"
