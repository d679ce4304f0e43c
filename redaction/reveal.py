"""Encrypted values in an answer, decrypted: in texts, and in the texts of maps, lists and structs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flux.model.cipher import ENCRYPTED, Cipher


def revealed(table: pa.Table, cipher: Cipher) -> pa.Table:
    """Return `table` with every encrypted value in it decrypted.

    Raises `UsageError` for a value of another key.
    """
    for place, column in enumerate(table.schema):
        values = table.column(place).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type)
        table = table.set_column(place, column, _revealed(values, cipher))
    return table


def _revealed(values: pa.Array, cipher: Cipher) -> pa.Array:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        sealed = pc.match_substring(values, ENCRYPTED)
        if not pc.any(sealed).as_py():
            return values
        encoded = values.dictionary_encode()
        texts = [cipher.revealed(text) for text in encoded.dictionary.to_pylist()]
        return pa.array(texts, kind).take(encoded.indices)
    if not pa.types.is_nested(kind) or not _has_text(kind):
        return values
    # An answer is what a person reads: rows of nested columns are few enough to be taken one by one.
    return pa.array([_value(each, cipher) for each in values.to_pylist()], kind)


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _value(value: Any, cipher: Cipher) -> Any:
    if isinstance(value, str):
        return cipher.revealed(value) if ENCRYPTED in value else value
    if isinstance(value, dict):
        return {name: _value(each, cipher) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_value(each, cipher) for each in value)
    return value
