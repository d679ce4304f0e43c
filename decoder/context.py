"""Who made changes: the JSON of `flux.context` and `flux.tag` messages as columns.

A context is written by Flux's trigger, and says all; a tag by the application, and says whose work follows in
its transaction. Of the session a tag says nothing: anyone may write one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from flux.decoder.frames import Bools, Ints
from flux.decoder.traceparent import with_traces
from flux.model.batch import CONTEXTS, ROW

_FIELDS = pa.schema(
    [
        ("request_id", pa.string()),
        ("actor", pa.string()),
        ("attributes", pa.string()),
        ("application_name", pa.string()),
        ("db_user", pa.string()),
        ("client_addr", pa.string()),
        ("backend_pid", pa.int32()),
        ("statement", pa.string()),
        ("xid", pa.string()),
    ]
)

_BOUNDS = {"request_id": 1024, "actor": 1024, "attributes": 65_536}
"""What a tag may say, and how many characters are kept of it: as the trigger keeps of its settings."""
_SESSION = ("application_name", "db_user", "client_addr", "backend_pid")
"""What stays the same in a transaction, whoever's work it is."""

TAG_BYTES_MAX = 1 << 20
"""A tag that keeps to its bounds is shorter, however it is escaped; a longer one is malformed."""

MALFORMED = "malformed"
"""The attribute under which attributes that are no JSON object are kept, as they were."""


def parse_contexts(contents: Sequence[bytes | memoryview]) -> tuple[pa.Table, Bools]:
    """Read `n` contents; return the fields of `_FIELDS` (n rows) and which contents were well-formed.

    A request that is named by a comment of the statement alone is in `request_id`.
    """
    if not contents:
        return _FIELDS.empty_table(), np.zeros(0, np.bool_)
    fields, good = _parse(contents)
    request_id, statement = (fields.column(name).combine_chunks() for name in ("request_id", "statement"))
    place = _FIELDS.get_field_index("request_id")
    return fields.set_column(place, _FIELDS.field(place), with_traces(request_id, statement)), good


def _parse(contents: Sequence[bytes | memoryview]) -> tuple[pa.Table, Bools]:
    lines = b"\n".join(contents)
    try:
        table = pa.json.read_json(
            io.BytesIO(lines),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1024),
            parse_options=pa.json.ParseOptions(explicit_schema=_FIELDS, unexpected_field_behavior="ignore"),
        )
        # It takes any bytes for text, and bytes is what a message may hold.
        table.validate(full=True)
        if table.num_rows == len(contents) and b"\r" not in lines:
            return table.select(_FIELDS.names), np.ones(len(contents), np.bool_)
    except pa.ArrowInvalid:
        pass  # some message among them is malformed: find out which, one at a time
    good = np.zeros(len(contents), np.bool_)
    rows = []
    for number, content in enumerate(contents):
        row = _parse_one(content)
        good[number] = row is not None
        rows.append(row or {})
    return pa.Table.from_pylist(rows, schema=_FIELDS), good


def _parse_one(content: bytes | memoryview) -> dict[str, object] | None:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    row: dict[str, object] = {}
    for field in _FIELDS:
        given = value.get(field.name)
        fits = isinstance(given, int if field.name == "backend_pid" else str) and not isinstance(given, bool)
        if given is not None and not fits:
            return None
        if field.name == "backend_pid" and given is not None and not 0 <= given < 1 << 31:
            return None
        row[field.name] = given
    return row


def parse_tags(contents: Sequence[bytes | memoryview]) -> tuple[pa.Table, Bools]:
    """Read `n` contents of tags, as `parse_contexts` does; only what a tag may say is not null."""
    # One by one. Strangers write these: of many lines read at once, those of one could be brought to count
    # as another's, and Arrow's reader ends the process at a first line that is `null`.
    said = [_said(content) for content in contents]
    columns = {
        name: pa.array([each[place] if each else None for each in said], pa.string())
        for place, name in enumerate(_BOUNDS)
    }
    fields = [columns.get(field.name, pa.nulls(len(said), field.type)) for field in _FIELDS]
    return pa.table(fields, schema=_FIELDS), np.array([each is not None for each in said], np.bool_)


def _said(content: bytes | memoryview) -> list[str | None] | None:
    """Return what a tag says, in the order of `_BOUNDS`; None if it is malformed."""
    try:
        value = orjson.loads(content)
        if not isinstance(value, dict):
            return None
        if isinstance(value.get("attributes"), dict):
            value["attributes"] = orjson.dumps(value["attributes"]).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None  # what is nested too deeply can be read, not written
    texts = []
    for name, bound in _BOUNDS.items():
        text = value.get(name)
        if text is not None and not isinstance(text, str):
            return None
        texts.append(text[:bound] if text else None)
    return texts


def with_sessions(contexts: pa.Table, is_tag: Bools, owner: Ints) -> pa.Table:
    """Return rows of `CONTEXTS` where tags have the session of the context before them.

    `owner` is the number of each row's transaction, in the order of which the rows are.
    """
    number = np.arange(is_tag.size)
    # Those of a transaction follow each other, so the nearest context before a tag is its own or another's.
    nearest = np.maximum.accumulate(np.where(is_tag, -1, number))
    found = is_tag & (nearest >= 0) & (owner[np.maximum(nearest, 0)] == owner)
    if not found.any():
        return contexts
    rows = pa.array(np.where(found, nearest, number))
    for name in _SESSION:
        place = contexts.schema.get_field_index(name)
        contexts = contexts.set_column(place, contexts.schema.field(place), contexts.column(name).take(rows))
    return contexts


def contexts_table(fields: pa.Table, context_id: pa.Array, xid: pa.Array) -> pa.Table:
    """Return rows of `CONTEXTS`; the position of a context's message is its id."""
    columns = {name: fields.column(name).combine_chunks() for name in fields.column_names}
    return pa.table(
        [
            context_id,
            xid,
            context_id,
            _absent_if_empty(columns["request_id"]),
            _absent_if_empty(columns["actor"]),
            parse_attributes(columns["attributes"]),
            *(
                columns[name]
                for name in ("application_name", "db_user", "client_addr", "backend_pid", "statement")
            ),
        ],
        schema=CONTEXTS,
    )


def _absent_if_empty(array: pa.Array) -> pa.Array:
    """After SET LOCAL a setting reads '' and not NULL: both mean that there is none."""
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def parse_attributes(array: pa.Array) -> pa.Array:
    """Turn the setting's JSON text into MAPs. Each distinct text is read once."""
    encoded = array.dictionary_encode()
    maps = pa.array([_attributes(text) for text in encoded.dictionary.to_pylist()], ROW)
    return maps.take(encoded.indices)


def _attributes(text: str) -> list[tuple[str, str | None]] | None:
    if not text:
        return None
    try:
        value = orjson.loads(text)
        if not isinstance(value, dict):
            return [(MALFORMED, text)]
        return [
            (name, each if each is None or isinstance(each, str) else orjson.dumps(each).decode())
            for name, each in value.items()
        ]
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return [(MALFORMED, text)]  # what is nested too deeply can be read, not written
