"""The redaction key: keyed hashes of values, and values encrypted so that equal ones stay equal.

    flux:hash:v1:<32 hexadecimal digits>            keyed BLAKE2b (RFC 7693), 128 bits
    flux:enc:v1:<8 digits>:<base64url>;             AES-256-GCM (NIST SP 800-38D): nonce, ciphertext, tag

The eight digits tell one key from another and say nothing else of it. The nonce is a keyed hash of the value
(docs/decisions/0011): one value has one text, or the rows of a new baseline would all seem changed. Both hide
the value and show which values are equal and how long an encrypted one is. Pure; no key is ever printed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from flux.model.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HASH_BYTES = 16
"""So many that two of a ledger's values hardly ever have the same hash."""

HASHED = "flux:hash:v1:"
ENCRYPTED = "flux:enc:v1:"
_TOKEN = re.compile(re.escape(ENCRYPTED) + r"([0-9a-f]{8}):([A-Za-z0-9_-]+);")


@dataclass(frozen=True)
class Cipher:
    """What one redaction key does. Thread safe."""

    key: bytes = field(repr=False)
    """32 bytes."""

    @cached_property
    def name(self) -> str:
        """Eight digits that tell this key from another."""
        return self._derived(b"name")[:4].hex()

    @cached_property
    def _hash_key(self) -> bytes:
        return self._derived(b"hash")

    @cached_property
    def _nonce_key(self) -> bytes:
        return self._derived(b"nonce")

    @cached_property
    def _aead(self) -> AESGCM:
        # Imported here: only who encrypts needs it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._derived(b"encrypt"))

    def _derived(self, purpose: bytes) -> bytes:
        """Return a key for one purpose alone."""
        return hashlib.blake2b(b"flux redaction v1 " + purpose, key=self.key, digest_size=KEY_BYTES).digest()

    def hashed(self, text: str) -> str:
        """Return the keyed hash of `text`."""
        digest = hashlib.blake2b(text.encode(), key=self._hash_key, digest_size=_HASH_BYTES)
        return HASHED + digest.hexdigest()

    def encrypted(self, text: str) -> str:
        """Return `text` encrypted: the same text for the same value."""
        value = text.encode()
        nonce = hashlib.blake2b(value, key=self._nonce_key, digest_size=_NONCE_BYTES).digest()
        sealed = nonce + self._aead.encrypt(nonce, value, None)
        return f"{ENCRYPTED}{self.name}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')};"

    def revealed(self, text: str) -> str:
        """Return `text` with every encrypted value in it decrypted.

        Raises `UsageError` for a value of another key, or one that is damaged.
        """
        return _TOKEN.sub(self._reveal, text)

    def _reveal(self, token: re.Match[str]) -> str:
        if token[1] != self.name:
            raise UsageError(
                "cannot reveal with this key",
                why=f"a value was encrypted with key {token[1]}, and this one is {self.name}",
                hint="give the key that `flux up` had then, in FLUX_REDACTION_KEY or the key file",
            )
        try:
            sealed = base64.urlsafe_b64decode(token[2] + "=" * (-len(token[2]) % 4))
            value = self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
            return value.decode()
        except Exception as error:  # InvalidTag of a library that is imported late, or bad base64
            raise UsageError(
                "cannot reveal an encrypted value",
                why="it is cut or damaged",
                hint="ask without --reveal to see what is stored",
            ) from error


def parse_key(text: str, *, origin: str) -> Cipher:
    """Read a key: 32 bytes as 64 hexadecimal digits or as base64. `origin` is what an error names."""
    word = text.strip()
    try:
        key = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else _base64(word)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"the redaction key in {origin} cannot be used",
            why=f"it is not {KEY_BYTES} bytes in base64 or hexadecimal digits",
            hint="make one with: openssl rand -base64 32",
        )
    return Cipher(key)


def _base64(word: str) -> bytes:
    plain = word.replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
