"""JSON text split into tokens as vectors: where its strings are, which are keys, what they say.

A reader for machine-written JSON in one buffer: it relies on no white space between tokens. It keeps
every number as its own text, which the bulk JSON readers do not (they turn `1.10` into 1.1). Finding
the quotes that are not escaped splits the text for good: outside strings no quote occurs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flux.decoder.frames import (
    BUFFER_BYTES_MAX,
    HEADER_BYTES,
    PADDING_BYTES,
    Bools,
    Bytes,
    Frames,
    Ints,
    little_endian,
    texts,
)
from flux.model.errors import DecodeError

_ESCAPES = np.zeros(256, np.uint8)
for _letter, _meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPES[_letter] = _meaning

_HEX = np.full(256, 255, np.uint8)
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)

_ROOM = 2
"""Bytes in front of a string whose escapes were resolved: a bytea gets its `\\x` there."""

_POSITION_BYTES_MAX = 17
"""Two times eight digits and the slash."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The strings of the JSON text in its order, escapes resolved; those with escapes lie behind it."""

    buffer: Bytes
    """Writable; every position below is an offset in it."""
    start: Ints
    """[t] First byte of each string's content."""
    end: Ints
    """[t] First byte behind each string's content: of a key always its closing quote."""
    is_key: Bools
    """[t] The string is an object's key: a colon follows it."""
    message: Ints
    """[t] The message each string belongs to."""
    message_start: Ints
    message_end: Ints

    def length(self, which: Ints) -> Ints:
        """Return the lengths of these strings in bytes."""
        length: Ints = self.end[which] - self.start[which]
        return length

    def value_of(self, key: Ints) -> Ints:
        """Return the tokens that are the values of these keys; raise `DecodeError` if one is no string."""
        value = key + 1
        there = value < self.start.size
        place = np.minimum(value, max(self.start.size - 1, 0))
        if not (there & (self.buffer[self.end[key] + 2] == ord('"')) & ~self.is_key[place]).all():
            raise DecodeError("a value that is no string", offset=0)
        return value


def tokenize(frames: Frames) -> Tokens:
    """Split the messages into strings; raise `DecodeError` when quotes do not pair within a message.

    Their headers are blanked.
    """
    buffer = frames.buffer
    # The headers between the messages are binary: a quote or backslash there is none of ours.
    buffer[(frames.start[:, np.newaxis] - np.arange(1, HEADER_BYTES + 1)).ravel()] = 0
    starters = _escape_starters(buffer)
    escaped = starters + 1
    escaped = escaped[buffer[escaped] == ord('"')]
    # Not there while the others are looked for: cheaper than to leave them out of a million.
    buffer[escaped] = 0
    quotes = np.flatnonzero(buffer == ord('"'))
    buffer[escaped] = ord('"')
    count = np.diff(np.searchsorted(quotes, frames.end), prepend=0)
    if (count % 2).any():
        bad = int(np.argmax(count % 2))
        raise DecodeError(
            "a string that does not end",
            offset=int(frames.end[bad] - frames.start[bad]),
            lsn=int(frames.lsn[bad]),
        )
    start, end = quotes[0::2] + 1, quotes[1::2].copy()
    is_key = buffer[end + 1] == ord(":")
    message = np.repeat(np.arange(count.size), count // 2)
    tokens = Tokens(buffer, start, end, is_key, message, frames.start, frames.end)
    return _unescape(tokens, starters) if starters.size else tokens


def _escape_starters(buffer: Bytes) -> Ints:
    """Return the backslashes that begin an escape: in a run of them every other one."""
    slashes = np.flatnonzero(buffer == ord("\\"))
    if not slashes.size:
        return slashes
    fresh = np.concatenate([[True], np.diff(slashes) != 1])
    run_start = np.maximum.accumulate(np.where(fresh, np.arange(slashes.size), 0))
    starters: Ints = slashes[(np.arange(slashes.size) - run_start) % 2 == 0]
    return starters


def _unescape(tokens: Tokens, starters: Ints) -> Tokens:
    """Resolve the escapes of the strings that have some, and put them behind all others.

    In a buffer that has no room for them they are put back where they were, one by one.
    """
    buffer = tokens.buffer
    token = np.searchsorted(tokens.start, starters, side="right") - 1
    inside = (token >= 0) & (starters < tokens.end[np.maximum(token, 0)])
    starters, token = starters[inside], token[inside]
    if not token.size:
        return tokens
    letter = buffer[starters + 1]
    unicode = letter == ord("u")
    meaning = _ESCAPES[letter]
    if (meaning[~unicode] == 0).any():
        raise DecodeError("an escape that JSON does not know", offset=0)
    fresh = np.concatenate([[True], token[1:] != token[:-1]])
    changed, first = token[fresh], np.flatnonzero(fresh)
    if tokens.is_key[changed].any():
        raise DecodeError("an escape in a key", offset=0)
    wide = starters[unicode]
    digits = [_HEX[buffer[wide + place]] for place in range(2, 6)]
    # Written for control characters only; anything else would need more than the byte we leave.
    if any((digit == 255).any() for digit in digits) or (digits[0] | digits[1] | (digits[2] > 7)).any():
        raise DecodeError("a \\u escape beyond ASCII", offset=0)
    buffer[starters[~unicode] + 1] = meaning[~unicode]
    buffer[wide + 5] = digits[2] * 16 + digits[3]
    # With the two bytes before each: whoever puts something in front of a string finds room there.
    size = tokens.length(changed) + _ROOM
    begin = tokens.start[changed] - _ROOM
    taken = np.frombuffer(texts(buffer, begin, size).buffers()[2], np.uint8, int(size.sum()))
    kept = np.ones(taken.size, np.bool_)
    dropped = starters + np.repeat(np.cumsum(size) - size - begin, np.diff(first, append=token.size))
    kept[dropped] = False
    for place in range(1, 5):
        kept[dropped[unicode] + place] = False
    left = taken[kept]
    size -= np.add.reduceat(np.where(unicode, 5, 1), first)
    if buffer.size + left.size + PADDING_BYTES > BUFFER_BYTES_MAX:
        # There is a message of the largest size, so they are few, or it is worth the time.
        for at, first_byte, length in zip(
            begin.tolist(), (np.cumsum(size) - size).tolist(), size.tolist(), strict=True
        ):
            buffer[at : at + length] = left[first_byte : first_byte + length]
        tokens.end[changed] = begin + size
        return tokens
    tokens.end[changed] = buffer.size + np.cumsum(size)
    tokens.start[changed] = tokens.end[changed] - size + _ROOM
    return replace(tokens, buffer=np.concatenate([buffer, left, np.zeros(PADDING_BYTES, np.uint8)]))


def words(tokens: Tokens, which: Ints) -> npt.NDArray[np.uint64]:
    """Return the first 8 bytes of each string as one integer, shorter ones padded with zeros."""
    size = np.minimum(tokens.length(which), 8).astype(np.uint64)
    raw = little_endian(tokens.buffer, tokens.start[which], 8).astype(np.uint64)
    keep = np.where(size >= 8, ~np.uint64(0), (np.uint64(1) << (size * np.uint64(8))) - np.uint64(1))
    return raw & keep


def word(text: bytes) -> np.uint64:
    """Return what `words` gives for `text`."""
    return np.uint64(int.from_bytes(text[:8].ljust(8, b"\0"), "little"))


def decimals(buffer: Bytes, start: Ints, end: Ints) -> Ints:
    """Return the unsigned decimal integers at `start:end`; raise `DecodeError` when one is not."""
    value = np.zeros(start.size, np.int64)
    length = end - start
    if (length < 1).any() or (length > 18).any():
        raise DecodeError("not a number", offset=0)
    for place in range(int(length.max(initial=0))):
        active = length > place
        digit = buffer[start[active] + place].astype(np.int64) - ord("0")
        if ((digit < 0) | (digit > 9)).any():
            raise DecodeError("not a number", offset=place)
        value[active] = value[active] * 10 + digit
    return value


def positions(buffer: Bytes, start: Ints, end: Ints) -> npt.NDArray[np.uint64]:
    """Return the log positions written as `16/B374D848` at `start:end`."""
    value = np.zeros(start.size, np.uint64)
    low = np.zeros(start.size, np.uint64)
    seen_slash = np.zeros(start.size, np.bool_)
    length = end - start
    if (length > _POSITION_BYTES_MAX).any():
        raise DecodeError("not a log position", offset=_POSITION_BYTES_MAX)
    for place in range(int(length.max(initial=0))):
        active = np.flatnonzero(length > place)
        letter = buffer[start[active] + place]
        slash = letter == ord("/")
        digit = _HEX[letter]
        if ((digit == 255) & ~slash).any():
            raise DecodeError("not a log position", offset=place)
        if seen_slash[active[slash]].any():
            raise DecodeError("not a log position", offset=place)
        value[active[slash]] = low[active[slash]]
        low[active[slash]] = 0
        seen_slash[active[slash]] = True
        number = active[~slash]
        low[number] = low[number] * np.uint64(16) + digit[~slash].astype(np.uint64)
    if not seen_slash.all() or (value >> np.uint64(32)).any() or (low >> np.uint64(32)).any():
        raise DecodeError("not a log position", offset=0)
    return (value << np.uint64(32)) | low
