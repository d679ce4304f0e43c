r"""wal2json messages (format-version 2) as events, decoded as vectors.

Source: wal2json's README, "format-version 2". Every message is one event. The shape is the one that the
options of `wire` ask for (no types, no primary key); a key that is not expected is a `DecodeError`.
Values are the server's own text; three kinds differ on the wire and are turned back: booleans come as
`true`, bytea without its `\x`, and NaN and infinities as null before 2.6 (such columns are `lossy`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flux.decoder.catalog import NO_VERSION, Catalog
from flux.decoder.events import (
    ABSENT,
    BEGIN,
    COMMIT,
    DDL,
    DELETE,
    INSERT,
    MESSAGE,
    NULL,
    OTHER,
    PREFIXES,
    TEXT,
    TRACK,
    TRUNCATE,
    UNCHANGED,
    UPDATE,
    Events,
    Tuples,
)
from flux.decoder.forged import leave_out_forged
from flux.decoder.frames import HEADER_BYTES, Bools, Bytes, Frames, Ints, little_endian, texts
from flux.decoder.json_tokens import Tokens, decimals, positions, tokenize, word, words
from flux.decoder.schema import learn_messages
from flux.model.errors import DecodeError

_NAMES = (
    *(b"action", b"xid", b"timestamp", b"origin", b"lsn", b"nextlsn", b"schema", b"table"),
    *(b"columns", b"identity", b"name", b"value", b"transactional", b"prefix", b"content"),
)
"""Every key of an object in a message of wal2json."""
_WORDS = np.sort(np.array([word(name) for name in _NAMES], np.uint64))
_CODES = {name: int(np.searchsorted(_WORDS, word(name))) for name in _NAMES}

_OPENING = b'{"action":"'
_TRUNCATE = b'{"action":"T"'
BEGIN_OPENING, COMMIT_OPENING = b'{"action":"B"', b'{"action":"C"'
"""What these messages begin with."""


class _Keys:
    """The object keys of one run of messages, and the values that follow them."""

    def __init__(self, frames: Frames, tokens: Tokens) -> None:
        self.tokens = tokens
        key = np.flatnonzero(tokens.is_key)
        # With its closing quote a short name fits into one number: no need to measure each.
        raw = little_endian(tokens.buffer, tokens.start[key], 8)
        self._frequent: dict[bytes, Ints] = {}
        others = np.ones(key.size, np.bool_)
        for name in (b"name", b"value"):
            closed = name + b'"'
            mine = raw & np.uint64((1 << 8 * len(closed)) - 1) == word(closed)
            self._frequent[name] = key[mine]
            others &= ~mine
        key = key[others]
        first_bytes = words(tokens, key)
        code = np.minimum(np.searchsorted(_WORDS, first_bytes), _WORDS.size - 1).astype(np.uint8)
        known = _WORDS[code] == first_bytes
        if not known.all():
            bad = int(tokens.message[key[int(np.argmin(known))]])
            raise DecodeError("an unexpected key in a wal2json message", offset=0, lsn=int(frames.lsn[bad]))
        self._sorted = key[np.argsort(code, kind="stable")]
        count = np.bincount(code, minlength=len(_NAMES))
        self._stop = np.cumsum(count)
        self._first = self._stop - count

    def named(self, name: bytes) -> Ints:
        """Return the tokens of every key of that name, in order."""
        if name in self._frequent:
            return self._frequent[name]
        code = _CODES[name]
        found: Ints = self._sorted[self._first[code] : self._stop[code]]
        return found

    def in_messages(self, name: bytes, messages: Ints) -> Ints:
        """Return for each message its token of that key; raise `DecodeError` when one lacks it."""
        chosen = self._in_each(name)[messages]
        if (chosen < 0).any():
            raise DecodeError(f"a message without {name.decode()!r}", offset=0)
        return chosen

    def _in_each(self, name: bytes) -> Ints:
        """Return every message's first token of that key, or -1."""
        found = self.named(name)
        first = np.full(self.tokens.message_start.size, -1, np.int64)
        first[self.tokens.message[found[::-1]]] = found[::-1]
        return first

    def in_identity(self, column: Ints, message: Ints) -> Bools:
        """Return for each `name` key, in that message, whether it is of the old image (`identity`)."""
        columns, identity = self._in_each(b"columns"), self._in_each(b"identity")
        opener = np.where(columns >= 0, columns, identity)[message]
        if ((opener < 0) | (opener > column)).any() or ((identity >= 0) & (identity < columns)).any():
            raise DecodeError("a column outside of a row", offset=0)
        inside: Bools = ((identity >= 0)[message]) & (column > identity[message])
        return inside


def complete(messages: list[bytes]) -> int:
    """Return how many of `messages` can be decoded: truncates at the end wait for what follows them.

    One statement's truncates are told together or not at all: the root and its leaves are one change.
    """
    count = len(messages)
    while count and messages[count - 1].startswith(_TRUNCATE, HEADER_BYTES):
        if not messages[count - 1].endswith(b"}"):
            break  # not whole: to be refused now
        count -= 1
    return count


def decode(frames: Frames, catalog: Catalog, secret: str) -> Events:
    """Turn one run of messages into events; relation versions are taken from and added to `catalog`."""
    kind = _kinds(frames)
    tokens = tokenize(frames)
    keys = _Keys(frames, tokens)
    size = kind.size
    lsn = frames.lsn.copy()
    xid, commit_lsn = np.zeros(size, np.uint32), np.zeros(size, np.uint64)
    end_lsn, at_us = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    begin, commit = np.flatnonzero(kind == BEGIN), np.flatnonzero(kind == COMMIT)
    xid[begin] = _scalars(tokens, keys.in_messages(b"xid", begin))
    both = np.sort(np.concatenate([begin, commit]))
    commit_lsn[both] = _positions(tokens, keys.in_messages(b"lsn", both))
    end_lsn[commit] = _positions(tokens, keys.in_messages(b"nextlsn", commit))
    at_us[both] = _times(tokens, keys.in_messages(b"timestamp", both))
    lsn[both] = commit_lsn[both]
    logical = np.flatnonzero(kind == MESSAGE)
    lsn[logical] = _positions(tokens, keys.in_messages(b"lsn", logical))
    message, transactional, content_start, content_length = _messages(tokens, keys, logical, size)
    forged = leave_out_forged(tokens.buffer, message, content_start, content_length, secret)
    told = np.flatnonzero(((message == DDL) | (message == TRACK)) & transactional)
    schema = learn_messages(catalog, tokens.buffer, told, content_start, content_length, lsn)
    version = _versions(tokens, keys, kind, lsn, catalog)
    tuples, old, new = _rows(tokens, keys, kind, lsn, version, catalog)
    return Events(
        buffer=tokens.buffer,
        kind=kind,
        lsn=lsn,
        xid=xid,
        commit_lsn=commit_lsn,
        end_lsn=end_lsn,
        at_us=at_us,
        version=version,
        old=old,
        new=new,
        message=message,
        transactional=transactional,
        content_start=content_start,
        content_length=content_length,
        tuples=tuples,
        origin=_origins(tokens, keys, begin),
        forged=forged,
        schema=schema,
    )


def _kinds(frames: Frames) -> npt.NDArray[np.uint8]:
    """Return the action of each message; raise `DecodeError` when one does not begin and end as it must."""
    for place, letter in enumerate(_OPENING):
        if not (frames.buffer[np.minimum(frames.start + place, frames.buffer.size - 1)] == letter).all():
            raise DecodeError("not a wal2json message of format-version 2", offset=place)
    kind: npt.NDArray[np.uint8] = frames.buffer[frames.start + len(_OPENING)]
    known = np.isin(kind, np.array([BEGIN, COMMIT, INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE], np.uint8))
    if not known.all():
        bad = int(np.argmin(known))
        raise DecodeError(f"unknown action {int(kind[bad]):#04x}", offset=11, lsn=int(frames.lsn[bad]))
    whole = frames.buffer[frames.end - 1] == ord("}")
    if not whole.all():
        bad = int(np.argmin(whole))
        size = int(frames.end[bad] - frames.start[bad])
        raise DecodeError("a message is cut short", offset=size, lsn=int(frames.lsn[bad]))
    return kind


def _messages(
    tokens: Tokens, keys: _Keys, logical: Ints, size: int
) -> tuple[npt.NDArray[np.uint8], Bools, Ints, Ints]:
    """Return for each event kind, transactional flag, start and length of the content of messages (M)."""
    message, transactional = np.zeros(size, np.uint8), np.zeros(size, np.bool_)
    content_start, content_length = np.zeros(size, np.int64), np.zeros(size, np.int64)
    if logical.size:
        flag = tokens.end[keys.in_messages(b"transactional", logical)] + 2
        transactional[logical] = tokens.buffer[flag] == ord("t")
        prefix = tokens.value_of(keys.in_messages(b"prefix", logical))
        names = texts(tokens.buffer, tokens.start[prefix], tokens.length(prefix)).dictionary_encode()
        kinds = [PREFIXES.get(each.encode(), OTHER) for each in names.dictionary.to_pylist()]
        message[logical] = np.array(kinds, np.uint8)[names.indices.to_numpy(zero_copy_only=False)]
        content = tokens.value_of(keys.in_messages(b"content", logical))
        content_start[logical], content_length[logical] = tokens.start[content], tokens.length(content)
    return message, transactional, content_start, content_length


def _scalars(tokens: Tokens, key: Ints) -> Ints:
    """Return the integers that follow these keys; a comma and another key follow each of them."""
    following = tokens.start[np.minimum(key + 1, tokens.start.size - 1)]
    return decimals(tokens.buffer, tokens.end[key] + 2, following - 2)


def _positions(tokens: Tokens, key: Ints) -> npt.NDArray[np.uint64]:
    value = tokens.value_of(key)
    return positions(tokens.buffer, tokens.start[value], tokens.end[value])


def _times(tokens: Tokens, key: Ints) -> Ints:
    """Return the times that follow these keys, microseconds since 1970 UTC."""
    value = tokens.value_of(key)
    text = texts(tokens.buffer, tokens.start[value], tokens.length(value))
    try:
        cast = text.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise DecodeError("a commit time that is no time", offset=0) from error
    times: Ints = cast.to_numpy(zero_copy_only=False)
    return times


def _origins(tokens: Tokens, keys: _Keys, begin: Ints) -> dict[int, str]:
    """Return the numbers of replication origins, by the event number of the begin."""
    found = keys.named(b"origin")
    found = found[np.isin(tokens.message[found], begin)]
    number = _scalars(tokens, found)
    named = np.flatnonzero(number)
    return {int(tokens.message[found[each]]): str(number[each]) for each in named.tolist()}


def _versions(
    tokens: Tokens, keys: _Keys, kind: npt.NDArray[np.uint8], lsn: npt.NDArray[np.uint64], catalog: Catalog
) -> npt.NDArray[np.int32]:
    """Return the relation version of each row change; -1 for tables that are not tracked."""
    version = np.full(kind.size, NO_VERSION, np.int32)
    named = np.flatnonzero((kind == INSERT) | (kind == UPDATE) | (kind == DELETE) | (kind == TRUNCATE))
    if not named.size:
        return version
    schema = tokens.value_of(keys.in_messages(b"schema", named))
    table = tokens.value_of(keys.in_messages(b"table", named))
    schemas, tables = (
        texts(tokens.buffer, tokens.start[each], tokens.length(each)).dictionary_encode()
        for each in (schema, table)
    )
    labels: list[str] = tables.dictionary.to_pylist()
    pair = len(labels) * schemas.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    pair += tables.indices.to_numpy(zero_copy_only=False)
    spaces: list[str] = schemas.dictionary.to_pylist()
    which, code = np.unique(pair, return_inverse=True)
    names = [f"{spaces[each // len(labels)]}.{labels[each % len(labels)]}" for each in which.tolist()]
    version[named] = catalog.by_name(names, code.astype(np.int32), lsn[named])
    return version


def _rows(
    tokens: Tokens,
    keys: _Keys,
    kind: npt.NDArray[np.uint8],
    lsn: npt.NDArray[np.uint64],
    version: npt.NDArray[np.int32],
    catalog: Catalog,
) -> tuple[Tuples, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return all tuples and, for each event, its old and new one. May refine `version`."""
    name, value = keys.named(b"name"), keys.named(b"value")
    if name.size != value.size or (value - name != 2).any():
        raise DecodeError("a column without a name or a value", offset=0)
    message = tokens.message[name]
    from_old = keys.in_identity(name, message)
    called = tokens.value_of(name)
    encoded = texts(tokens.buffer, tokens.start[called], tokens.length(called)).dictionary_encode()
    code: Ints = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    labels: list[str] = encoded.dictionary.to_pylist()
    _refine(catalog, version, lsn, message, code, labels)
    place = _places(catalog, version[message], code, labels)

    new_message = np.flatnonzero((kind == INSERT) | (kind == UPDATE))
    old_message = np.flatnonzero((kind == UPDATE) | (kind == DELETE))
    # Each image is a list that the message ends with: one that is cut short ends elsewhere.
    images = np.concatenate(
        [keys.in_messages(b"columns", new_message), keys.in_messages(b"identity", old_message)]
    )
    if (tokens.buffer[tokens.message_end[tokens.message[images]] - 2] != ord("]")).any():
        raise DecodeError("a row is cut short", offset=0)
    of_tuple = np.concatenate([new_message, old_message])
    new, old = np.full(kind.size, -1, np.int32), np.full(kind.size, -1, np.int32)
    new[new_message] = np.arange(new_message.size)
    old[old_message] = new_message.size + np.arange(old_message.size)
    width = np.array([len(each.columns) for each in catalog.versions] + [0], np.int64)
    offset = np.concatenate([[0], np.cumsum(width[version[of_tuple]])])
    count = int(offset[-1])
    state = np.full(count, ABSENT, np.uint8)
    updated = np.repeat(
        np.concatenate([kind[new_message] == UPDATE, np.zeros(old_message.size, np.bool_)]), np.diff(offset)
    )
    state[updated] = UNCHANGED  # a column an update does not mention was not sent: unchanged TOAST
    start, length = np.zeros(count, np.int64), np.zeros(count, np.int64)
    kept = np.flatnonzero(place >= 0)
    row = np.where(from_old, old[message], new[message])[kept]
    if (row < 0).any():
        raise DecodeError("an image that its action does not have", offset=0)
    flat = offset[row] + place[kept]
    state[flat], start[flat], length[flat] = _values(tokens, value[kept])
    _mend_bytea(tokens.buffer, catalog, version[message[kept]], place[kept], flat, state, start, length)
    return Tuples(version[of_tuple], offset, state, start, length), old, new


def _values(tokens: Tokens, key: Ints) -> tuple[npt.NDArray[np.uint8], Ints, Ints]:
    """Return state, start and length of the value behind each `value` key."""
    buffer = tokens.buffer
    at = tokens.end[key] + 2
    first = buffer[at]
    quoted, null = first == ord('"'), first == ord("n")
    logical = (first == ord("t")) | (first == ord("f"))
    number = (first == ord("-")) | ((first >= ord("0")) & (first <= ord("9")))
    if not (quoted | null | logical | number).all():
        raise DecodeError("a value of an unknown kind", offset=0)
    following = np.minimum(key + 1, tokens.start.size - 1)
    start = np.where(quoted, tokens.start[following], at)
    # A number ends where its object does: `},{"name":`, `}],"identity":`, or `}]}` at the message's end.
    bare = np.flatnonzero(number)
    after, message = following[bare], tokens.message[key[bare]]
    is_last = (after == key[bare]) | (tokens.message[after] != message)
    stop = at.copy()
    stop[bare] = np.where(is_last, tokens.message_end[message] - 3, tokens.start[after] - 4)
    last = buffer[stop[bare] - 1]
    if (buffer[stop[bare]] != ord("}")).any() or ((last < ord("0")) | (last > ord("9"))).any():
        raise DecodeError("a number that does not end with its column", offset=0)
    # `true` and `false` are t and f in PostgreSQL's own text: the first letter alone.
    length = np.where(quoted, tokens.length(following), np.where(logical, 1, stop - at))
    return np.where(null, np.uint8(NULL), np.uint8(TEXT)), np.where(null, 0, start), np.where(null, 0, length)


def _mend_bytea(
    buffer: Bytes,
    catalog: Catalog,
    version: npt.NDArray[np.int32],
    place: Ints,
    flat: Ints,
    state: npt.NDArray[np.uint8],
    start: Ints,
    length: Ints,
) -> None:
    r"""Put back the `\x` of bytea values, over the colon and quote in front of them."""
    widest = max((len(each.columns) for each in catalog.versions), default=0)
    binary = np.zeros((len(catalog.versions) + 1, widest + 1), np.bool_)
    for number, each in enumerate(catalog.versions):
        binary[number, : len(each.columns)] = [column.type == "bytea" for column in each.columns]
    if not binary.any():
        return
    which = flat[binary[version, place] & (state[flat] == TEXT)]
    buffer[start[which] - 2] = ord("\\")
    buffer[start[which] - 1] = ord("x")
    start[which] -= 2
    length[which] += 2


def _refine(
    catalog: Catalog,
    version: npt.NDArray[np.int32],
    lsn: npt.NDArray[np.uint64],
    message: Ints,
    code: Ints,
    labels: list[str],
) -> None:
    """Ask the server for a relation that shows a column its version does not know.

    Generated columns are such, and are left out for good; anything else means that DDL went by unseen.
    """
    if not message.size:
        return
    # Each pair of a version and a name that occurs, once: counting is cheaper than sorting.
    pair = (version[message].astype(np.int64) + 1) * len(labels) + code
    for each in np.flatnonzero(np.bincount(pair)).tolist():
        number, label_code = each // len(labels) - 1, each % len(labels)
        if number == NO_VERSION:
            continue
        known = catalog.versions[number]
        label = labels[label_code]
        if any(column.name == label for column in known.columns) or (number, label) in catalog.ignored:
            continue
        found = catalog.lookup(known.relation_id)
        mine = np.unique(message[(version[message] == number) & (code == label_code)])
        if found is None or not any(column.name == label for column in found.columns):
            catalog.ignored.add((number, label))
            continue
        catalog.learn(replace(found, lsn=int(lsn[mine].min()), relation=known.relation))
        later = np.flatnonzero((version == number) & (lsn >= lsn[mine].min()))
        version[later] = len(catalog.versions) - 1


def _places(catalog: Catalog, version: npt.NDArray[np.int32], code: Ints, labels: list[str]) -> Ints:
    """Return the place of each named value in its relation version; -1 when it is left out."""
    table = np.full((len(catalog.versions) + 1, max(len(labels), 1)), -1, np.int64)
    for number in np.unique(version).tolist():
        if number != NO_VERSION:
            where = {column.name: place for place, column in enumerate(catalog.versions[number].columns)}
            table[number] = [where.get(label, -1) for label in labels] or [-1]
    found: Ints = table[version, code]
    return found
