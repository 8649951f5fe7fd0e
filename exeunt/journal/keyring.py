"""The keys that secrets are sealed with: AES-256-GCM, bound to the secret's namespace and name.

The first key seals; every key opens, so that keys can be changed while old secrets are still there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exeunt.service.settings import SettingsError

KEY_BYTES = 32
NONCE_BYTES = 12
SETTING = (
    "Key that stored secrets are sealed with: 32 random bytes in base64 (openssl rand -base64 32), or file:PATH for a "
    "file that holds it; several with commas or line ends between while keys are changed: the first one seals. "
    "Schedulers and exit handlers need the same; without one no secrets can be stored or read"
)
"""The help of the setting `secret_key`."""


class CannotOpen(Exception):  # noqa: N818 - it is an answer
    """The seal cannot be opened with these keys. The text is for people and goes on from the secret's name."""


class Sealed(NamedTuple):
    """What is stored: which key it was sealed with, and the nonce with the ciphertext."""

    key: str
    data: bytes


class Keyring:
    """Keys by their ids, the one that seals first. Without keys nothing can be sealed or opened."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        self.first = next(iter(self._keys), "")

    def __len__(self) -> int:
        return len(self._keys)

    def seal(self, content: bytes, bound_to: bytes) -> Sealed:
        """Seals with the first key. The seal opens only with the same `bound_to`."""
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(self.first, nonce + self._keys[self.first].encrypt(nonce, content, bound_to))

    def open(self, sealed: Sealed, bound_to: bytes) -> bytes:
        """What was sealed. Raises CannotOpen."""
        if not self._keys:
            raise CannotOpen("cannot be read: this service has no key (setting secret-key, EXEUNT_SECRET_KEY)")
        key = self._keys.get(sealed.key)
        if key is None:
            raise CannotOpen(
                f"was sealed with the key {sealed.key}, which is not among this service's ({', '.join(self._keys)})"
            )
        try:
            return key.decrypt(sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:], bound_to)
        except InvalidTag:
            raise CannotOpen("cannot be read: what is stored was changed, or belongs to another secret") from None


def key_id(key: bytes) -> str:
    """The name of a key, which tells nothing about it."""
    return hashlib.blake2b(key, digest_size=4, person=b"exeunt key id").hexdigest()


def new_key() -> str:
    """A new key, as it stands in settings and files."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def read_keys(setting: str) -> Keyring:
    """The keys of the setting `secret_key`. Raises SettingsError, which never quotes a key."""
    path = setting.removeprefix("file:") if setting.startswith("file:") else ""
    try:
        texts = (Path(path).read_text() if path else setting).replace(",", " ").split()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "it holds no text"
        raise SettingsError([f"--secret-key: {path}: {said}"]) from None
    if path and not texts:
        raise SettingsError([f"--secret-key: {path} holds no key"])
    keys: list[bytes] = []
    problems: list[str] = []
    for at, text in enumerate(texts, 1):
        try:
            keys.append(_decoded(text))
        except ValueError as error:
            problems.append(f"--secret-key: key {at}{f' in {path}' if path else ''}: {error}")
    if problems:
        raise SettingsError(problems)
    return Keyring(keys)


def _decoded(text: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        raise ValueError("this is not base64; make a key with: openssl rand -base64 32") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, this one {len(key)}; make one with: openssl rand -base64 32")
    return key
