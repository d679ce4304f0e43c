"""The values of attributes as the text that the ledger holds.

A text is itself; a number or a bool is its JSON; an array or a map is JSON; bytes are base64 as in
OTLP's own JSON.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Attributes = dict[str, str | None]
"""Name → text; None for an attribute without a value. Of a name that comes twice the last counts."""


def attributes_of(pairs: Iterable[KeyValue]) -> Attributes:
    """Return what a list of the protocol says."""
    return {pair.key: _text(pair.value) for pair in pairs}


def _text(value: AnyValue) -> str | None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "int_value":
        return str(value.int_value)
    found = _plain(value)
    if found is None or isinstance(found, str):
        return found
    return orjson.dumps(found).decode()


def _plain(value: AnyValue) -> object:
    """Return a value as JSON knows it; the protocol's parser has bounded how deep it nests."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    if kind == "double_value":
        number = value.double_value
        # As protobuf's JSON writes them; JSON itself has no such numbers.
        return (
            number if math.isfinite(number) else str(number).replace("inf", "Infinity").replace("nan", "NaN")
        )
    return getattr(value, kind) if kind is not None else None


def listed(text: str | None) -> list[str]:
    """Return the texts of an attribute that may be an array of texts or one text."""
    if text is None:
        return []
    if text.startswith("["):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return [text]
        return [each if isinstance(each, str) else orjson.dumps(each).decode() for each in found]
    return [text]


def number(text: str | None, most: int) -> int | None:
    """Return a whole number from 0 to `most`, None when the text is none."""
    # A long text of digits would be a long time of Python's.
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 20:
        return None
    found = int(text)
    return found if found <= most else None
