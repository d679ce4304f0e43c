"""Key text: the canonical text of a row's key.

One column: the value's own text. Several: a JSON array of the texts in key order, without spaces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flux.model.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def key_text(values: Sequence[str]) -> str:
    """Return the key text of `values`, which are in key order and never NULL."""
    if len(values) == 1:
        return values[0]
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))


def composite_key_texts(parts: Sequence[pa.Array]) -> pa.Array:
    """Return the key texts of many rows at once, exactly as `key_text` writes them.

    `parts` are the key columns in key order, arrays of one length; null where a part is null.
    """
    # Imported here: a question for one row needs none of it, and it takes 60 ms.
    import pyarrow.compute as pc

    quoted = pc.binary_join_element_wise(*(_json_texts(part) for part in parts), ",")
    return pc.binary_join_element_wise("[", quoted, "]", "")


def _json_texts(array: pa.Array) -> pa.Array:
    """Return texts as JSON strings."""
    import pyarrow as pa
    import pyarrow.compute as pc

    escaped = pc.replace_substring(pc.replace_substring(array, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(escaped, "[\\x00-\\x1f]")).as_py():
        # Control characters in a key: rare enough to be written one at a time.
        texts = array.to_pylist()
        escaped = pa.array(
            [None if t is None else json.dumps(t, ensure_ascii=False)[1:-1] for t in texts], pa.string()
        )
    return pc.binary_join_element_wise('"', escaped, '"', "")


def parse_key(text: str, columns: Sequence[str]) -> str:
    """Return the canonical key text for what a user typed, given the relation's key columns.

    A composite key may be typed as a JSON array (`["eu",42]`) or comma-separated (`eu,42`).
    Raises `UsageError` when it does not fit the key.
    """
    if len(columns) == 1:
        return text
    names = ", ".join(columns)
    if text.startswith("["):
        try:
            parts = json.loads(text)
        except ValueError:
            parts = None
        if not isinstance(parts, list):
            raise UsageError(f"not a JSON array: {text!r}", hint=f"the key is ({names})")
        values = [part if isinstance(part, str) else json.dumps(part) for part in parts]
    else:
        values = text.split(",")
    if len(values) != len(columns):
        raise UsageError(
            f"the key has {len(columns)} columns, {len(values)} given",
            hint=f'give them as a JSON array in this order: ({names}), for instance --id \'["a","b"]\'',
        )
    return key_text(values)
