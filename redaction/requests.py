"""Requests, spans and exchanges: headers, bodies, statements with their parameters, URLs and error texts.

They come by the hundred where changes come by the hundred thousand, so they are taken row by row, and only
what looks into texts sees all of them at once. What a rule took out of one field of a request is looked for
in all the others of that request: an error quotes a parameter, a body echoes a header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from flux.model.batch import TEXT
from flux.model.redaction import Action
from flux.redaction import failures, statements
from flux.redaction.known import Known
from flux.redaction.texts import Edit, Texts

SOUGHT_LENGTH_MIN = 6
"""Of a redacted value that is looked for elsewhere: shorter ones are words that mean something else there."""
SOUGHT_MAX = 1000
"""Values that are looked for in the fields of one request."""

Document = dict[str, Any]
_Edits = Callable[[str], Iterable[Edit]]

_HEADER = re.compile(r"http\.(?:request|response)\.header\.(.+)")
_PARAMETER = re.compile(r"db\.(?:query|statement|operation|sql)\.param(?:eter)?s?\.(.+)")
_STATEMENTS = frozenset({"db.query.text", "db.statement", "db.query.summary"})
_URLS = frozenset({"url.full", "url.query", "url.path", "http.url", "http.target"})
_ERRORS = frozenset({"exception.message", "exception.stacktrace", "error.message", "flux.error.message"})
_FINGERPRINT = "flux.exchange.fingerprint"
_EXACT = frozenset({"trace_id", "span_id", "parent_id", "kind"})
"""Columns that hold no text of the application's: hexadecimal ids, and words of ours."""
_IDS = frozenset({"request_id", "replay_of"})
_QUERY = re.compile(r"(?<=[?&;])([^=&;#\s]+)=([^&;#\s]*)")


@dataclass(slots=True, eq=False)
class _Leaf:
    """A text whose place in a row waits for what is stored there."""

    text: str
    edits: list[Edit]
    request_id: str
    identifying: bool
    kept: str = ""


@dataclass(slots=True)
class _Pass:
    """One call: the leaves met, and the values that rules took out, by request."""

    known: Known
    texts: Texts
    leaves: list[_Leaf] = field(default_factory=list)
    sought: dict[str, dict[str, str]] = field(default_factory=dict)
    request_id: str = ""
    """Of the row at hand."""

    def seen(self, value: str, kept: str) -> None:
        """Look for `value` in the other fields of this request."""
        mine = self.sought.setdefault(self.request_id, {})
        if len(value) >= SOUGHT_LENGTH_MIN and len(mine) < SOUGHT_MAX:
            mine.setdefault(value, kept)

    def leaf(self, text: str | None, edits: Iterable[Edit] = (), *, identifying: bool = False) -> Any:
        """Return a leaf for `text`."""
        if text is None:
            return None
        made = _Leaf(text, list(edits), self.request_id, identifying)
        self.leaves.append(made)
        return made

    def whole(self, action: Action, text: str | None) -> str | None:
        """Return what is kept of a value that a rule names; null stays null."""
        if text is None:
            return None
        kept = self.known.policy.kept(action, text)
        self.seen(text, kept)
        return kept

    def settle(self) -> None:
        """Find out what is stored for every leaf."""
        for identifying in (False, True):
            leaves = [leaf for leaf in self.leaves if leaf.identifying == identifying]
            edits = {number: self._edits(leaf) for number, leaf in enumerate(leaves)}
            values = pa.array([leaf.text for leaf in leaves], TEXT)
            done = self.texts.inside(values, edits, identifying=identifying).to_pylist()
            for leaf, kept in zip(leaves, done, strict=True):
                leaf.kept = kept

    def _edits(self, leaf: _Leaf) -> list[Edit]:
        found = list(leaf.edits)
        if not leaf.identifying:
            for value, kept in self.sought.get(leaf.request_id, {}).items():
                at = leaf.text.find(value)
                while at >= 0:
                    found.append(Edit(at, at + len(value), kept))
                    at = leaf.text.find(value, at + len(value))
        return found

    # -- kinds of text ----------------------------------------------------------------------------

    def json_edits(self, text: str) -> Iterator[Edit]:
        """Yield the edits of a body: JSON, or a form."""
        yield from self._form_edits("?" + text, shift=1) if _is_form(text) else ()

    def url_edits(self, text: str) -> Iterator[Edit]:
        """Yield the edits of a URL, or of a query alone."""
        bare = "?" not in text and "=" in text
        yield from self._form_edits("?" + text if bare else text, shift=int(bare))

    def _form_edits(self, text: str, *, shift: int) -> Iterator[Edit]:
        """Yield the edits of the parameters that are members of a document with a rule."""
        for found in _QUERY.finditer(text):
            action = self.texts.member(found[1])
            if action is not None:
                kept = self.whole(action, found[2]) or ""
                yield Edit(found.start(2) - shift, found.end(2) - shift, kept)

    def error_edits(self, text: str) -> Iterator[Edit]:
        """Yield the edits of an error's text."""
        return failures.edits(text, self.known, self.texts, self.seen)

    def statement_edits(self, text: str) -> Iterator[Edit]:
        """Yield the edits of a statement."""
        return statements.edits(text, self.known, self.texts, self.seen)


def redact(
    requests: pa.Table, spans: pa.Table, exchanges: pa.Table, known: Known, texts: Texts
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return rows of `REQUESTS`, `SPANS` and `EXCHANGES` as they are stored."""
    run = _Pass(known, texts)
    tables = []
    # Exchanges first: they say what is looked for elsewhere. (It is looked for once all are read.)
    for table, row in ((exchanges, _exchange), (spans, _span), (requests, _request)):
        rows = []
        for each in table.to_pylist():
            run.request_id = each["request_id"] or each.get("trace_id") or ""
            rows.append(row(each, run))
        tables.append(rows)
    run.settle()
    made = []
    for table, rows in zip((exchanges, spans, requests), tables, strict=True):
        stored = [_stored(row) for row in rows]
        made.append(pa.Table.from_pylist(stored, schema=table.schema) if stored else table)
    return made[2], made[1], made[0]


def _stored(value: Any) -> Any:
    """Return a row with every leaf as it is kept."""
    if isinstance(value, _Leaf):
        return value.kept
    if isinstance(value, _Json):
        return value.text()
    if isinstance(value, _Fingerprint):
        return value.text()
    if isinstance(value, _Number):
        return value.value if value.leaf.kept == value.leaf.text else value.leaf.kept
    if isinstance(value, dict):
        return {_stored(name): _stored(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_stored(each) for each in value)
    return value


@dataclass(slots=True)
class _Json:
    """A text that is a JSON document of ours, with leaves in it."""

    given: str
    content: Any

    def text(self) -> str:
        """Return the document; the text that came, if nothing of it was redacted."""
        stored = _stored(self.content)
        return self.given if stored == orjson.loads(self.given) else orjson.dumps(stored).decode()


@dataclass(slots=True)
class _Fingerprint:
    """An exchange's fingerprint: of what is stored, where that is not what was sent.

    The one of the raw request would let its values be guessed and checked.
    """

    row: Document
    given: str | None
    target: str | None
    request: str | None

    def text(self) -> str | None:
        """Return the fingerprint."""
        target, request = _stored(self.row["target"]), _stored(self.row["request"])
        if (target, request) == (self.target, self.request):
            return self.given
        words = "\0".join(each or "" for each in (self.row["kind"], target, request))
        return hashlib.sha256(words.encode()).hexdigest()[:16]


def _request(row: Document, run: _Pass) -> Document:
    stored = {}
    for name, value in row.items():
        if name in {"request", "response"}:
            stored[name] = _message(value, run)
        elif not isinstance(value, str) or name in _EXACT:
            stored[name] = value
        elif name in {"error_message", "error_stack"}:
            stored[name] = run.leaf(value, run.error_edits(value))
        elif name in {"path", "route"}:
            stored[name] = run.leaf(value, run.url_edits(value))
        else:
            stored[name] = run.leaf(value, identifying=name in _IDS)
    return stored


def _message(message: Document | None, run: _Pass) -> Document | None:
    if message is None:
        return None
    headers = message["headers"]
    return {
        "headers": None if headers is None else list(_headers(headers, run)),
        "body": _body(message["body"], run),
    }


def _headers(headers: Iterable[tuple[str, str | None]], run: _Pass) -> Iterator[tuple[Any, Any]]:
    for name, value in headers:
        rule = run.known.policy.of_header(name)
        if rule is None:
            yield run.leaf(name), run.leaf(value, run.url_edits(value) if value else ())
        elif rule.action is Action.DROP:
            run.whole(Action.MASK, value)
        else:
            yield name, run.whole(rule.action, value)


def _body(body: str | None, run: _Pass) -> Any:
    if body is None:
        return None
    for edit in run.texts.json_values(body):
        run.seen(*edit)
    return run.leaf(body, run.json_edits(body))


def _is_form(text: str) -> bool:
    """Tell a form from other bodies."""
    return text[:1] not in {"{", "[", "<"} and "=" in text


def _span(row: Document, run: _Pass) -> Document:
    attributes = dict(row["attributes"] or ())
    is_sql = any(name in attributes for name in _STATEMENTS)
    stored = {name: value for name, value in row.items() if name not in {"attributes", "events"}}
    for name, value in row.items():
        if isinstance(value, str) and name not in _EXACT and name != "status":
            edits = run.statement_edits(value) if is_sql and name == "name" else ()
            stored[name] = run.leaf(value, edits, identifying=name in _IDS)
    if row["attributes"] is not None:
        stored["attributes"] = list(_attributes(attributes, run))
    else:
        stored["attributes"] = None
    stored["events"] = row["events"] and [
        {
            "name": run.leaf(event["name"]),
            "at": event["at"],
            "attributes": event["attributes"] and list(_attributes(dict(event["attributes"]), run)),
        }
        for event in row["events"]
    ]
    return {name: stored[name] for name in row}


def _attributes(attributes: dict[str, str | None], run: _Pass) -> Iterator[tuple[Any, Any]]:
    parameters: dict[str, statements.Parameter] = {}
    for name in _STATEMENTS & set(attributes):
        parameters.update(statements.parameters(attributes[name] or "", run.known))
    for name, value in attributes.items():
        header, parameter = _HEADER.fullmatch(name), _PARAMETER.fullmatch(name)
        action: Action | None = run.texts.member(name)
        if header is not None:
            rule = run.known.policy.of_header(header[1])
            action = rule.action if rule is not None else None
        elif parameter is not None:
            action = _parameter_action(parameters, parameter[1], run)
        elif name == _FINGERPRINT and run.known.policy.rules:
            continue  # the exchange has one of what is stored
        if action is Action.DROP:
            run.whole(Action.MASK, value)
        elif action is not None:
            yield name, _header_value(value, action, run) if header else run.whole(action, value)
        elif name == "flux.request_id":
            yield name, run.leaf(value, identifying=True)
        else:
            yield run.leaf(name), run.leaf(value, _attribute_edits(name, value or "", run))


def _header_value(value: str | None, action: Action, run: _Pass) -> str | None:
    """Redact a header's values: they come as a JSON array of texts, or as one text."""
    try:
        listed = orjson.loads(value or "")
    except orjson.JSONDecodeError:
        listed = None
    if not isinstance(listed, list):
        return run.whole(action, value)
    return orjson.dumps([run.whole(action, str(each)) for each in listed]).decode()


def _attribute_edits(name: str, value: str, run: _Pass) -> Iterable[Edit]:
    if name in _STATEMENTS:
        return run.statement_edits(value)
    if name in _ERRORS:
        return run.error_edits(value)
    if name in _URLS:
        return run.url_edits(value)
    if name in {"flux.request.body", "flux.response.body"}:
        for edit in run.texts.json_values(value):
            run.seen(*edit)
        return run.json_edits(value)
    return ()


def _parameter_action(parameters: dict[str, statements.Parameter], name: str, run: _Pass) -> Action | None:
    """Return what is done with a parameter; of one that the statement does not show it is not told."""
    found = parameters.get(name)
    if found is not None:
        return found.action
    return Action.MASK if run.known.policy.columns else None


def _exchange(row: Document, run: _Pass) -> Document:
    stored: Document = dict(row)
    stored["request_id"] = run.leaf(row["request_id"], identifying=True)
    stored["target"] = run.leaf(row["target"], run.url_edits(row["target"] or ""))
    for name in ("request", "response", "error"):
        stored[name] = _document(row[name], run, is_error=name == "error")
    stored["fingerprint"] = _Fingerprint(stored, row["fingerprint"], row["target"], row["request"])
    return stored


def _document(text: str | None, run: _Pass, *, is_error: bool) -> Any:
    if text is None:
        return None
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return run.leaf(text, run.error_edits(text))
    return _Json(text, _content(content, run, is_error=is_error))


def _content(content: Any, run: _Pass, *, is_error: bool) -> Any:
    if not isinstance(content, dict):
        return _leaves(content, run, is_error=is_error)
    stored: Document = {}
    said = content.get("statement")
    parameters = statements.parameters(said, run.known) if isinstance(said, str) else {}
    for name, value in content.items():
        if name == "statement" and isinstance(value, str):
            stored[name] = run.leaf(value, run.statement_edits(value))
        elif name == "parameters" and isinstance(said, str):
            stored[name] = _parameters(value, parameters, run)
        elif name == "headers" and isinstance(value, dict):
            stored[name] = _header_object(value, run)
        elif name == "body" and isinstance(value, str):
            stored[name] = _body(value, run)
        elif name == "url" and isinstance(value, str):
            stored[name] = run.leaf(value, run.url_edits(value))
        else:
            stored[name] = _leaves(value, run, is_error=is_error, name=name)
    return stored


def _header_object(headers: Document, run: _Pass) -> Document:
    stored: dict[Any, Any] = {}
    for name, value in headers.items():
        rule = run.known.policy.of_header(name)
        values = value if isinstance(value, list) else [value]
        if rule is not None and rule.action is Action.DROP:
            for each in values:
                run.whole(Action.MASK, str(each))
            continue
        if rule is None:
            kept = [run.leaf(str(each)) for each in values]
        else:
            kept = [run.whole(rule.action, str(each)) for each in values]
        called = run.leaf(name) if rule is None else name
        stored[called] = kept if isinstance(value, list) else kept[0]
    return stored


def _parameters(given: Any, said: dict[str, statements.Parameter], run: _Pass) -> Any:
    """Redact the parameters of a statement, by place or by name."""

    def one(name: str, value: Any) -> Any:
        action = _parameter_action(said, name, run)
        if action is None or value is None:
            return _leaves(value, run, is_error=False)
        return run.whole(action, value if isinstance(value, str) else orjson.dumps(value).decode())

    if isinstance(given, dict):
        return {name: one(name, value) for name, value in given.items()}
    if isinstance(given, list):
        return [one(str(place), value) for place, value in enumerate(given)]
    return one("", given)


def _leaves(value: Any, run: _Pass, *, is_error: bool, name: str = "") -> Any:
    """Return a document of any shape with its texts as leaves, and members with a rule redacted."""
    action = run.texts.member(name) if name else None
    if action is not None and value is not None:
        return run.whole(action, value if isinstance(value, str) else orjson.dumps(value).decode())
    if isinstance(value, str):
        return run.leaf(value, run.error_edits(value) if is_error else ())
    if isinstance(value, dict):
        return {run.leaf(key): _leaves(each, run, is_error=is_error, name=key) for key, each in value.items()}
    if isinstance(value, list):
        return [_leaves(each, run, is_error=is_error) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and run.known.policy.patterns:
        return _Number(value, run.leaf(orjson.dumps(value).decode()))
    return value


@dataclass(slots=True)
class _Number:
    """A number, which a pattern may match as text."""

    value: float
    leaf: _Leaf
