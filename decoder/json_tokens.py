"""JSON text split into tokens as vectors: where its strings are, which are keys, what they say.

A reader for machine-written JSON in one buffer: it relies on no white space between tokens. It keeps
every number as its own text, which the bulk JSON readers do not (they turn `1.10` into 1.1). Finding
the quotes that are not escaped splits the text for good: outside strings no quote occurs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flux.decoder.frames import HEADER_BYTES, Bools, Bytes, Frames, Ints, little_endian
from flux.model.errors import DecodeError

_ESCAPES = np.zeros(256, np.uint8)
for _letter, _meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _ESCAPES[_letter] = _meaning

_HEX = np.full(256, 255, np.uint8)
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)

_POSITION_BYTES_MAX = 17
"""Two times eight digits and the slash."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The strings of the JSON text, escapes resolved, in order."""

    buffer: Bytes
    """Writable; every position below is an offset in it."""
    start: Ints
    """[t] First byte of each string's content."""
    end: Ints
    """[t] The closing quote."""
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
    quotes = np.flatnonzero(buffer == ord('"'))
    if starters.size:
        escaped = np.zeros(buffer.size, np.bool_)
        escaped[starters + 1] = True
        quotes = quotes[~escaped[quotes]]
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
    if not starters.size:
        return Tokens(buffer, start, end, is_key, message, frames.start, frames.end)
    return _unescape(frames, Tokens(buffer, start, end, is_key, message, frames.start, frames.end), starters)


def _escape_starters(buffer: Bytes) -> Ints:
    """Return the backslashes that begin an escape: in a run of them every other one."""
    slashes = np.flatnonzero(buffer == ord("\\"))
    if not slashes.size:
        return slashes
    fresh = np.concatenate([[True], np.diff(slashes) != 1])
    run_start = np.maximum.accumulate(np.where(fresh, np.arange(slashes.size), 0))
    starters: Ints = slashes[(np.arange(slashes.size) - run_start) % 2 == 0]
    return starters


def _unescape(frames: Frames, tokens: Tokens, starters: Ints) -> Tokens:
    """Replace the escapes inside strings, closing the gaps they leave."""
    buffer = tokens.buffer
    token = np.searchsorted(tokens.start, starters, side="right") - 1
    inside = (token >= 0) & (starters < tokens.end[np.maximum(token, 0)])
    starters, token = starters[inside], token[inside]
    letter = buffer[starters + 1]
    unicode = letter == ord("u")
    meaning = _ESCAPES[letter]
    if (meaning[~unicode] == 0).any():
        raise DecodeError("an escape that JSON does not know", offset=0, lsn=int(frames.lsn[0]))
    drop = np.zeros(buffer.size, np.bool_)
    drop[starters] = True
    buffer[starters[~unicode] + 1] = meaning[~unicode]
    wide = starters[unicode]
    if wide.size:
        digits = [_HEX[buffer[wide + place]] for place in range(2, 6)]
        # Written for control characters only; anything else would need more than the byte we leave.
        if any((digit == 255).any() for digit in digits) or (digits[0] | digits[1] | (digits[2] > 7)).any():
            raise DecodeError("a \\u escape beyond ASCII", offset=0, lsn=int(frames.lsn[0]))
        for place in range(1, 5):
            drop[wide + place] = True
        buffer[wide + 5] = digits[2] * 16 + digits[3]
    # Only strings lose bytes: counting them is cheaper than looking up how many lie before each place.
    lost = np.where(unicode, 5, 1)
    by_token = np.bincount(token, lost, tokens.start.size).astype(np.int64)
    by_message = np.bincount(tokens.message[token], lost, tokens.message_start.size).astype(np.int64)
    up_to_token, up_to_message = np.cumsum(by_token), np.cumsum(by_message)
    return Tokens(
        buffer[~drop],
        tokens.start - (up_to_token - by_token),
        tokens.end - up_to_token,
        tokens.is_key,
        tokens.message,
        tokens.message_start - (up_to_message - by_message),
        tokens.message_end - up_to_message,
    )


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
