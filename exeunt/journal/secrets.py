"""Stored secrets: among the other manifests, but sealed; opened only where and when a value is needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from exeunt.journal.keyring import CannotOpen, Keyring, Sealed
from exeunt.journal.manifests import Manifests
from exeunt.journal.repeat import NATS_AWAY, Repeat, once
from exeunt.language.secret import SecretMissing, SecretUnreadable, text_of

T = TypeVar("T")

KIND = "Secret"
RETRY_SECONDS = 0.5  # NATS is connected and does not answer: nothing tells when it will

log = logging.getLogger(__name__)


class Secrets:
    """Puts and gets secrets by namespace and name."""

    def __init__(self, manifests: Manifests, keys: Keyring, repeat: Repeat = once) -> None:
        self._manifests = manifests
        self._keys = keys
        self._repeat = repeat

    def sealed(self, namespace: str, name: str, values: Mapping[str, bytes]) -> dict[str, Any]:
        """A secret as it is stored: its name, and the rest sealed. Only with a key."""
        content = msgspec.msgpack.encode(dict(values))
        key, data = self._keys.seal(content, _bound_to(namespace, name))
        return {"kind": KIND, "metadata": {"name": name, "namespace": namespace}, "key": key, "sealed": data}

    async def values(self, namespace: str, name: str) -> dict[str, bytes]:
        """All values of a secret by key; waits while NATS is away. Raises SecretMissing, SecretUnreadable."""
        tree = await self._patiently(lambda: self._manifests.get(KIND, namespace, name))
        if tree is None:
            raise SecretMissing(f"there is no secret '{name}' in namespace {namespace}")
        return self._opened(tree, namespace, name)

    def _opened(self, tree: Any, namespace: str, name: str) -> dict[str, bytes]:
        try:
            stored = msgspec.convert(tree, _Stored)
            content = self._keys.open(Sealed(stored.key, stored.sealed), _bound_to(namespace, name))
            return msgspec.msgpack.decode(content, type=dict[str, bytes])
        except CannotOpen as error:
            raise SecretUnreadable(f"the secret '{name}' {error}") from None
        except msgspec.DecodeError:  # ValidationError too
            raise SecretUnreadable(f"the secret '{name}' cannot be read: it is stored in another form") from None

    async def text(self, namespace: str, name: str, key: str) -> str:
        """One value as text. Raises SecretMissing, SecretUnreadable."""
        return text_of(await self.values(namespace, name), name, key)

    async def reseal(self) -> int:
        """Seals with the first key what was sealed with another one that is known; how many. Waits while NATS is away.

        What cannot be opened is left as it is, and told of.
        """
        return await self._patiently(self._reseal)

    async def _reseal(self) -> int:
        count = 0
        async for stored in self._manifests.each(KIND):
            if stored.tree.get("key") == self._keys.first:
                continue
            metadata = stored.tree.get("metadata") or {}
            namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
            try:
                values = self._opened(stored.tree, namespace, name)
            except SecretUnreadable as error:
                log.warning("namespace %s: %s", namespace, error)
                continue
            count += await self._manifests.replace(stored, self.sealed(namespace, name, values))
        return count

    async def _patiently(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        while True:
            try:
                return await self._repeat(call)
            except NATS_AWAY as error:
                log.warning("the store of secrets does not answer yet: %s", error or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)


class _Stored(msgspec.Struct):
    """What the store holds."""

    key: str
    sealed: bytes


def _bound_to(namespace: str, name: str) -> bytes:
    return f"exeunt secret\0{namespace}\0{name}".encode()
