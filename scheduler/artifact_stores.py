"""Stores of artifacts, opened with secrets of the workflow's namespace, never with the scheduler's own credentials."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from exeunt.artifacts.embedded_port import EmbeddedRoad
from exeunt.artifacts.stores import HostGuard, Store, StoreAccess, StoreError, from_mapping
from exeunt.journal.secrets import Secrets
from exeunt.language.place_parts import selectors
from exeunt.language.places import place_of
from exeunt.language.secret import SecretMissing, SecretUnreadable
from exeunt.scheduler.node_artifacts import whole_place


class ArtifactStores:
    """Opens them, where the guard lets a scheduler be pointed.

    `embedded` is the way to the embedded store, None where there is none.
    """

    def __init__(self, secrets: Secrets, embedded: EmbeddedRoad | None, guard: HostGuard) -> None:
        self._guard = guard
        self._secrets = secrets
        self._embedded = embedded

    @contextlib.asynccontextmanager
    async def opened(self, tree: Mapping[str, Any], head: Mapping[str, Any]) -> AsyncIterator[Store]:
        """The store of an artifact. `head`: its workflow without nodes. Raises StoreError, PlaceError."""
        from exeunt.artifacts.registry import store_for  # clients of all stores: a scheduler may never need one

        place, metadata = place_of(whole_place(tree, head)), head["metadata"]
        name, namespace = str(tree.get("name", "")), metadata["namespace"]
        known = {one: await self._values(namespace, one, name) for one in {each.name for _, each in selectors(place)}}
        access = StoreAccess(
            secret=from_mapping(known),
            artifact=name,
            environment=False,
            embedded=self._embedded,
            namespace=namespace,
            uid=metadata["uid"],
            guard=self._guard,
        )
        store = store_for(place, access)
        try:
            yield store
        finally:
            await store.close()

    async def _values(self, namespace: str, secret: str, artifact: str) -> dict[str, str]:
        try:
            values = await self._secrets.values(namespace, secret)
            return {key: value.decode() for key, value in values.items()}
        except SecretMissing:
            return {}  # the store says which field asks for it
        except (SecretUnreadable, UnicodeDecodeError) as error:
            said = f"artifact {artifact}: the secret {secret} of its place cannot be used: {error}"
            raise StoreError(said) from error
