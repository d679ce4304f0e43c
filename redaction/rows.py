"""Row images and keys: the columns that rules name, redacted a whole batch at a time.

A MAP is its keys and items as two flat arrays; the verdict on each item is looked up in a small table by
relation and column. Only items with a verdict, and those in which a pattern is found, are touched.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux.model.batch import ROW, TEXT
from flux.model.key import key_text
from flux.model.redaction import Action, Rule
from flux.model.relation import ROW_TEXT
from flux.redaction.known import Known, Root
from flux.redaction.texts import Texts

Ints = npt.NDArray[np.int64]
_FREE = -1
"""The verdict on an item that no rule names."""
_WHOLE_ROW = -2
"""The verdict on a row that is kept whole, of a relation with rules."""


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return one array, text as `string`."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow 26 keeps an empty one chunked
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array.cast(TEXT) if array.type == pa.string_view() else array


def redact_images(images: pa.Array, root_id: npt.NDArray[np.uint32], known: Known, texts: Texts) -> pa.Array:
    """Return row images, one MAP for each of `root_id`, as they are stored."""
    offsets = images.offsets.to_numpy().astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    if first == last:
        return images
    names = images.keys.slice(first, last - first).dictionary_encode()
    code: Ints = names.indices.to_numpy().astype(np.int64)
    width = np.diff(offsets)
    roots, which = np.unique(root_id, return_inverse=True)
    labels = names.dictionary.to_pylist()
    verdicts, in_key = _verdicts(roots, labels, known)
    owner = np.repeat(which, width)
    verdict = verdicts[owner, code]
    is_free = verdict == _FREE
    if is_free.all() and not texts.looks_inside:
        return images
    items = plain(images.items.slice(first, last - first))
    parts, place = [items], np.arange(len(items))

    def put(where: Ints, new: pa.Array) -> None:
        place[where] = sum(map(len, parts)) + np.arange(where.size)
        parts.append(new)

    for number in np.unique(verdict[~is_free]).tolist():
        where = np.flatnonzero(verdict == number)
        action = Action.MASK if number == _WHOLE_ROW else known.policy.rules[number].action
        if action is not Action.DROP:
            put(where, texts.whole(action, items.take(pa.array(where))))
    if texts.looks_inside:
        keyed = in_key[owner, code]
        for identifying in (False, True):
            where = np.flatnonzero(is_free & (keyed == identifying))
            if where.size:
                put(where, texts.inside(items.take(pa.array(where)), identifying=identifying))
    dropped = [rule.number - 1 for rule in known.policy.columns if rule.action is Action.DROP]
    kept = np.flatnonzero(~np.isin(verdict, dropped))
    count = np.bincount(np.repeat(np.arange(width.size), width)[kept], minlength=width.size)
    entries = pa.concat_arrays(parts).take(pa.array(place[kept]))
    keys = names.dictionary.take(names.indices.take(pa.array(kept)))
    return _maps(np.concatenate([[0], np.cumsum(count)]).astype(np.int32), keys, entries, images)


def _verdicts(
    roots: npt.NDArray[np.uint32], labels: list[str], known: Known
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return by relation and column the number of the rule, and whether it tells rows apart."""
    verdicts = np.full((roots.size, len(labels)), _FREE, np.int64)
    in_key = np.zeros(verdicts.shape, np.bool_)
    for row, root_id in enumerate(roots.tolist()):
        root = known.roots.get(root_id)
        key = root.key_columns if root is not None else frozenset()
        for column, label in enumerate(labels):
            rule = known.rule(root_id, label)
            if rule is not None:
                verdicts[row, column] = _WHOLE_ROW if label == ROW_TEXT else rule.number - 1
            in_key[row, column] = label in key
    return verdicts, in_key


def _maps(offsets: npt.NDArray[np.int32], keys: pa.Array, items: pa.Array, like: pa.Array) -> pa.Array:
    entries = pa.StructArray.from_arrays(
        [keys, items], fields=[pa.field("key", TEXT, nullable=False), pa.field("value", TEXT)]
    )
    there = pc.is_valid(like).to_numpy(zero_copy_only=False)
    validity = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.MapArray.from_buffers(ROW, len(like), [validity, pa.py_buffer(offsets)], children=[entries])


def redact_keys(
    keys: pa.Array,
    root_id: npt.NDArray[np.uint32],
    lsn: npt.NDArray[np.uint64],
    known: Known,
    texts: Texts,
) -> pa.Array:
    """Return key texts as they are stored: each part as the column's own value is."""
    keys = plain(keys)
    for each in np.unique(root_id).tolist():
        root = known.roots.get(each)
        if root is None or not (texts.looks_inside or root.key_columns & set(root.rules)):
            continue
        mine = root_id == each
        version = root.key_at(lsn)
        for number, (_, columns) in enumerate(root.keys):
            chosen = mine & (version == number)
            if columns and chosen.any():
                new = _redacted_keys(keys.filter(pa.array(chosen)), columns, root, texts)
                keys = pc.replace_with_mask(keys, pa.array(chosen), new)
    return keys


def _redacted_keys(keys: pa.Array, columns: tuple[str, ...], root: Root, texts: Texts) -> pa.Array:
    rules = [root.rules.get(column) for column in columns]
    if len(columns) == 1:
        return _of_column(keys, rules[0], texts)
    if not any(rules) and not texts.looks_inside:
        return keys
    split = [_parts(text, len(columns)) for text in keys.to_pylist()]
    done = [
        _of_column(
            pa.array([None if parts is None else parts[column] for parts in split], TEXT), rule, texts
        ).to_pylist()
        for column, rule in enumerate(rules)
    ]
    return pa.array(
        [
            None if parts is None else key_text([column[row] for column in done])
            for row, parts in enumerate(split)
        ],
        TEXT,
    )


def _of_column(values: pa.Array, rule: Rule | None, texts: Texts) -> pa.Array:
    if rule is None:
        return texts.inside(values, identifying=True) if texts.looks_inside else values
    # A key column without equality is refused; of a shape that was rolled back it may come all the same.
    return texts.whole(texts.policy.identifying(rule.action), values)


def _parts(text: str | None, width: int) -> list[str] | None:
    """Return the parts of a key of several columns; of a text that is none, the text for each."""
    if text is None:
        return None
    try:
        parts = json.loads(text)
    except ValueError:
        parts = None
    if not isinstance(parts, list) or len(parts) != width:
        return [text] * width
    return [str(part) for part in parts]
