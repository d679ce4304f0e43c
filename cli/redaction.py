"""The redaction rules and the key that a command goes by: `[[redact]]` and `[redaction]` in `flux.toml`.

The nearest `flux.toml` that has either counts: up the tree from here, as for the ledger, else up the tree
from the ledger's folder, so that a service started elsewhere has the same rules. The key comes from the
environment (`FLUX_REDACTION_KEY`, or the variable that `key_env` names), else from the file `key_file`; it is
never shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flux.cli.settings import Setting
from flux.model.cipher import Cipher, parse_key
from flux.model.errors import UsageError
from flux.model.redaction import Action, Policy, read
from flux.model.relation import Relation

KEY_VARIABLE = "FLUX_REDACTION_KEY"
"""Holds the key unless `key_env` names another variable."""


def find_policy(
    ledger: Path, *, environment: Mapping[str, str] = os.environ, start: Path | None = None
) -> Policy | None:
    """Return the rules in force for the ledger in this folder; None when there are none.

    Raises `UsageError` that names the file and the rule for one that cannot be meant.
    """
    file, document = _document(ledger, start)
    cipher, _ = _key(file, document, environment)
    if not document.get("redact"):
        return None
    return read(document["redact"], origin=str(file), cipher=cipher)


def find_key(
    ledger: Path, *, environment: Mapping[str, str] = os.environ, start: Path | None = None
) -> Cipher:
    """Return the redaction key. Raises `UsageError` when there is none, or it cannot be used."""
    file, document = _document(ledger, start)
    cipher, _ = _key(file, document, environment)
    if cipher is None:
        raise UsageError(
            "there is no redaction key",
            why=f"neither {KEY_VARIABLE} nor `key_file` under [redaction] in {file.name} gives one",
            hint=f"set {KEY_VARIABLE} to the key that `flux up` has",
        )
    return cipher


def settings(ledger: Path, *, environment: Mapping[str, str] = os.environ) -> Iterator[Setting]:
    """Yield the rules and where the key comes from, for `flux config show`: names, no key."""
    file, document = _document(ledger, None)
    cipher, origin = _key(file, document, environment)
    if cipher is not None:
        yield Setting("redaction key", f"key {cipher.name}", origin)
    policy = find_policy(ledger, environment=environment)
    for rule in policy.rules if policy is not None else ():
        yield Setting(f"redaction rule {rule.number}", rule.text, str(file))


def stored_key(ledger: Path, relation: Relation, values: list[str]) -> list[str]:
    """Return the parts of a key that a user typed as the ledger holds them.

    Raises `UsageError` when they are hashed or encrypted there and the key is not at hand.
    """
    policy = find_policy(ledger)
    if policy is None:
        return values
    return [
        _stored(policy, relation, column, value) for column, value in zip(relation.key, values, strict=True)
    ]


def stored_value(ledger: Path, relation: Relation, column: str, value: str) -> str:
    """Return a value of a column that a user typed as the ledger holds it."""
    policy = find_policy(ledger)
    return value if policy is None else _stored(policy, relation, column, value)


def _stored(policy: Policy, relation: Relation, column: str, value: str) -> str:
    rule = policy.of_column((relation.relation, relation.root), (column,))
    if rule is None or rule.action is Action.DROP:
        return value
    return policy.kept(rule.action, value)


def _document(ledger: Path, start: Path | None) -> tuple[Path, dict[str, Any]]:
    """Return the nearest settings that speak of redaction, and their file."""
    from flux.ledger.location import SETTINGS, read_settings

    start = (Path.cwd() if start is None else start).absolute()
    for folder in dict.fromkeys((start, *start.parents, ledger, *ledger.parents)):
        document = read_settings(folder / SETTINGS)
        if "redact" in document or "redaction" in document:
            return folder / SETTINGS, document
    return start / SETTINGS, {}


def _key(
    file: Path, document: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Cipher | None, str]:
    """Return the key, and where it comes from."""
    section = document.get("redaction", {})
    unknown = sorted(set(section) - {"key_env", "key_file"}) if isinstance(section, dict) else ["redaction"]
    if unknown or not all(isinstance(value, str) and value for value in section.values()):
        raise UsageError(
            f"cannot read {file}",
            why=f"[redaction] has {unknown[0]!r}" if unknown else "[redaction] holds what is no text",
            hint='write under [redaction]: key_env = "VARIABLE" or key_file = "PATH"',
        )
    variable = section.get("key_env", KEY_VARIABLE)
    if text := environment.get(variable):
        return parse_key(text, origin=variable), variable
    if "key_file" not in section:
        return None, ""
    place = file.parent / Path(section["key_file"]).expanduser()
    try:
        return parse_key(place.read_text(encoding="ascii"), origin=str(place)), str(place)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            f"cannot read the redaction key in {place}",
            why=why or "",
            hint="mend `key_file` under [redaction]",
        ) from None
