"""Many texts at once: whole values redacted, JSON paths and patterns looked for inside.

What is put in place of a value is sealed until the last pattern was looked for: no pattern takes an encrypted
value apart. Patterns are RE2 over the whole array; only the texts that hold something are touched one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flux.model.json_path import Place, last_name, member, places, string
from flux.model.redaction import LAST, LAST_LENGTH_MIN, MASK, Action, Policy

_SEALS = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
"""Characters for private use, each of which stands for a text meanwhile."""
_FOREIGN = "[\U000f0000-\U0010fffd]"


class Edit(NamedTuple):
    """Characters `start` to `end` of a text become `text`."""

    start: int
    end: int
    text: str


class _Seals:
    """Texts that patterns do not see into."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._back: dict[int, str] = {}
        self._free = iter([*_SEALS[0], *_SEALS[1]])

    def seal(self, text: str) -> str:
        """Return one character for `text`; the text itself when there are no more."""
        found = self._of.get(text)
        if found is None:
            code = next(self._free, None)
            if code is None:
                return text
            found = self._of[text] = chr(code)
            self._back[code] = text
        return found

    def open(self, text: str) -> str:
        """Return `text` with every sealed text in its place."""
        return text.translate(self._back)


class Texts:
    """The rules that look into texts. Thread safe."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._patterns = policy.patterns
        self._path_rules = policy.paths
        self._paths = [rule.path for rule in policy.paths]
        names = [last_name(path) for path in self._paths]
        self._names = None if None in names else sorted({name for name in names if name is not None})

    @property
    def looks_inside(self) -> bool:
        """There is a rule by pattern or JSON path."""
        return bool(self._patterns or self._paths)

    @property
    def has_paths(self) -> bool:
        """There is a rule by JSON path."""
        return bool(self._paths)

    def whole(self, action: Action, values: pa.Array) -> pa.Array:
        """Return what is kept of `values` (text), each of them redacted; null stays null."""
        if action in {Action.HASH, Action.ENCRYPT}:
            encoded = values.dictionary_encode()
            keep: Callable[[str], str] = partial(self.policy.kept, action)
            if (cipher := self.policy.cipher) is not None:
                keep = cipher.hashed if action is Action.HASH else cipher.encrypted
            kept = list(map(keep, encoded.dictionary.to_pylist()))
            return pa.array(kept, pa.string()).take(encoded.indices)
        masked = pc.if_else(pc.is_valid(values), MASK, pa.scalar(None, pa.string()))
        if action is not Action.LAST4:
            return masked
        ends = pc.binary_join_element_wise("[…", pc.utf8_slice_codeunits(values, -LAST), "]", "")
        return pc.if_else(pc.greater_equal(pc.utf8_length(values), LAST_LENGTH_MIN), ends, masked)

    def inside(
        self,
        values: pa.Array,
        edits: Mapping[int, Iterable[Edit]] | None = None,
        *,
        identifying: bool = False,
    ) -> pa.Array:
        """Return `values` (text) without what the rules name inside of them, and with `edits` by place.

        `identifying`: the values tell rows apart, and stay different as far as a key can make them.
        """
        seals = _Seals()
        todo = self._json_edits(values)
        for place, more in (edits or {}).items():
            todo.setdefault(place, []).extend(more)
        todo = {place: found for place, found in todo.items() if found}
        sealed = np.zeros(len(values), np.bool_)
        if todo:
            where = sorted(todo)
            texts = [_edited(values[place].as_py(), todo[place], seals) for place in where]
            sealed[where] = True
            values = pc.replace_with_mask(values, pa.array(sealed), pa.array(texts, pa.string()))
        for rule in self._patterns:
            hit = pc.match_substring_regex(values, rule.pattern).fill_null(False)
            if not pc.any(hit).as_py():
                continue
            action = self.policy.identifying(rule.action) if identifying else rule.action
            if action in {Action.MASK, Action.DROP}:
                put = MASK if action is Action.MASK else ""
                new = pc.replace_substring_regex(values.filter(hit), rule.pattern, put)
            else:
                fresh = pc.and_(hit, pa.array(~sealed))
                clean = pc.replace_substring_regex(values.filter(fresh), _FOREIGN, "\ufffd")
                values = pc.replace_with_mask(values, fresh, clean)
                sealed |= hit.to_numpy(zero_copy_only=False)
                new = self._matches(values.filter(hit), rule.pattern, action, seals)
            values = pc.replace_with_mask(values, hit, new)
        if sealed.any():
            mine = pa.array(sealed)
            opened = [seals.open(text) for text in values.filter(mine).to_pylist()]
            values = pc.replace_with_mask(values, mine, pa.array(opened, pa.string()))
        return values

    def _matches(self, values: pa.Array, pattern: str, action: Action, seals: _Seals) -> pa.Array:
        """Return `values`, in which the pattern is, with what it matches redacted and sealed."""
        rest = [text.encode() for text in values.to_pylist()]
        done: list[list[str]] = [[] for _ in rest]
        left = list(range(len(rest)))
        while left:
            spans = pc.extract_regex_span(
                pa.array([rest[number] for number in left], pa.binary()).cast(pa.string()),
                f"(?P<flux>{pattern})",
            ).to_pylist()
            matched = []
            for number, span in zip(left, spans, strict=True):
                start, length = span["flux"] if span is not None else (0, 0)
                if not length:
                    continue
                text = rest[number]
                found = text[start : start + length].decode()
                done[number] += [text[:start].decode(), seals.seal(self.policy.kept(action, found))]
                rest[number] = text[start + length :]
                matched.append(number)
            left = matched
        return pa.array(
            ["".join(parts) + tail.decode() for parts, tail in zip(done, rest, strict=True)], pa.string()
        )

    def _json_edits(self, values: pa.Array) -> dict[int, list[Edit]]:
        """Return the edits that JSON paths ask for, by place."""
        if not self._paths or not len(values):
            return {}
        likely = pc.match_substring_regex(values, r"^\s*[\[{]")
        if self._names is not None:
            named = pc.match_substring(values, "\\u")
            for name in self._names:
                named = pc.or_(named, pc.match_substring(values, name))
            likely = pc.and_(likely, named)
        where = np.flatnonzero(likely.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
        return {place: list(self.json_edits(values[place].as_py())) for place in where}

    def json_edits(self, text: str, *, root: str | None = None) -> Iterator[Edit]:
        """Yield the edits that JSON paths ask for; `root`: the text is the value of that member."""
        for place in places(text, self._paths, root=root):
            edit = self._json_edit(text, place)
            if edit is not None:
                yield edit

    def json_values(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield each text that a JSON path names in `text`, and what is kept of it."""
        if not self._paths:
            return
        for place in places(text, self._paths):
            token = text[place.start : place.end]
            value = string(token) if token.startswith('"') else token
            yield value, self.policy.kept(self._path_rules[place.path].action, value)

    def _json_edit(self, text: str, place: Place) -> Edit | None:
        action = self._path_rules[place.path].action
        token = text[place.start : place.end]
        if action is Action.DROP:
            return Edit(place.outer_start, place.outer_end, "")
        if token == "null":  # noqa: S105 (JSON)
            return None
        value = string(token) if token.startswith('"') else token
        return Edit(place.start, place.end, f'"{self.policy.kept(action, value)}"')

    def member(self, name: str) -> Action | None:
        """Return what a JSON path says of the member `name` of a document."""
        found = member(name, self._paths) if self._paths else None
        return None if found is None else self._path_rules[found].action

    def inside_one(self, text: str, edits: Sequence[Edit] = ()) -> str:
        """Return one text as `inside` does."""
        return str(self.inside(pa.array([text], pa.string()), {0: edits})[0].as_py())


def _edited(text: str, edits: Iterable[Edit], seals: _Seals) -> str:
    """Return `text` with edits, of which some may overlap: all that one of them takes is gone."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits):
        if edit.end <= at and edit.start < at:
            continue
        parts.append(_plain(text[at : edit.start]))
        if edit.text:
            parts.append(seals.seal(edit.text))
        at = max(at, edit.end)
    parts.append(_plain(text[at:]))
    return "".join(parts)


_NO_SEALS = dict.fromkeys([*_SEALS[0], *_SEALS[1]], "\ufffd")


def _plain(text: str) -> str:
    """Return `text` without characters that seals use."""
    return text if text.isascii() else text.translate(_NO_SEALS)
