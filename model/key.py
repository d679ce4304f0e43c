"""Key text: the canonical text of a row's key.

One column: the value's own text. Several: a JSON array of the texts in key order, without spaces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from flux.model.errors import UsageError


def key_text(values: Sequence[str]) -> str:
    """Return the key text of `values`, which are in key order and never NULL."""
    if len(values) == 1:
        return values[0]
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))


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
