"""Policies for tests, as a `flux.toml` would say them."""

from __future__ import annotations

import tomllib

from flux.model.cipher import Cipher
from flux.model.redaction import Policy, read

KEY = Cipher(bytes(range(32)))


def policy(text: str, *, cipher: Cipher | None = KEY) -> Policy:
    """Return the policy of a `flux.toml` with this text."""
    return read(tomllib.loads(text)["redact"], origin="flux.toml", cipher=cipher)


def rules(*words: str, cipher: Cipher | None = KEY) -> Policy:
    """Return a policy of rules, each written as `action way=value way=value`."""
    tables = []
    for word in words:
        action, *ways = word.split(" ")
        tables.append({"action": action, **dict(way.split("=", 1) for way in ways)})
    return read(tables, origin="flux.toml", cipher=cipher)
