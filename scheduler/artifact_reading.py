"""The bytes of an artifact for who looks at it, from whichever store they lie in (GetArtifact)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from exeunt.artifacts.embedded_port import PART_BYTES, EmbeddedRoad
from exeunt.artifacts.stores import MissingError, Store, StoreAccess, StoreError, from_mapping
from exeunt.journal.secrets import Secrets
from exeunt.language.place_parts import ArtifactPlace, PlaceError, selectors
from exeunt.language.places import place_of
from exeunt.language.secret import SecretMissing, SecretUnreadable
from exeunt.scheduler.node_artifacts import NodeArtifact, whole_place
from exeunt.service.errors import RpcError, not_found, unavailable, wrong_state
from exeunt.v1 import workflow_service_pb2 as pb

READERS = 16
"""Artifacts that are read at once; further calls wait for their turn."""


class ArtifactReader:
    """Reads artifacts with the secrets of their workflow's namespace, never with credentials of the scheduler's own."""

    def __init__(self, secrets: Secrets, embedded: EmbeddedRoad | None) -> None:
        self._secrets = secrets
        self._embedded = embedded
        self._turns = asyncio.Semaphore(READERS)

    async def read(self, artifact: NodeArtifact, head: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The artifact, in GetArtifactResponses. `head`: its workflow without nodes. Raises what GetArtifact says."""
        async with self._turns:
            yield pb.GetArtifactResponse(artifact=shown(artifact))
            metadata = head["metadata"]
            try:
                place = place_of(whole_place(artifact.tree, head))
                store = await self._store(place, artifact.name, metadata["namespace"], metadata["uid"])
                try:
                    async for piece in _pieces(store, place.key):
                        yield piece
                finally:
                    await store.close()
            except MissingError as error:
                raise not_found("artifact", f"{artifact.name} ({error})") from error
            except StoreError as error:
                if error.temporary:
                    raise unavailable("ARTIFACT_AWAY", str(error), 1.0) from error
                raise wrong_state("ARTIFACT_UNREADABLE", str(error), ("artifact", artifact.name)) from error
            except PlaceError as error:
                text = f"artifact {artifact.name}: {error}"
                raise wrong_state("ARTIFACT_UNREADABLE", text, ("artifact", artifact.name)) from error

    async def _store(self, place: ArtifactPlace, name: str, namespace: str, uid: str) -> Store:
        from exeunt.artifacts.registry import store_for  # clients of all stores: a scheduler may never need one

        known: dict[str, dict[str, str]] = {}
        for secret in {selector.name for _, selector in selectors(place)}:
            known[secret] = await self._values(namespace, secret, name)
        access = StoreAccess(
            secret=from_mapping(known),
            artifact=name,
            environment=False,
            embedded=self._embedded,
            namespace=namespace,
            uid=uid,
        )
        return store_for(place, access)

    async def _values(self, namespace: str, secret: str, artifact: str) -> dict[str, str]:
        try:
            values = await self._secrets.values(namespace, secret)
            return {key: value.decode() for key, value in values.items()}
        except SecretMissing:
            return {}  # the store says which field asks for it
        except (SecretUnreadable, UnicodeDecodeError) as error:
            raise _unreadable(artifact, secret, error) from error


def _unreadable(artifact: str, secret: str, error: Exception) -> RpcError:
    text = f"artifact {artifact}: the secret {secret} of its place cannot be used: {error}"
    return wrong_state("ARTIFACT_UNREADABLE", text, ("artifact", artifact))


async def _pieces(store: Store, key: str) -> AsyncIterator[pb.GetArtifactResponse]:
    """The object under the key, or else the objects below it."""
    found = False
    try:
        async for piece in _chunks(store, key):
            yield piece
            found = True
    except MissingError:
        if found or not await store.is_directory(key):
            raise
    else:
        return
    async for one in store.list(key):
        name = one.key.removeprefix(f"{key.strip('/')}/")
        if name and not (one.size == 0 and name.endswith("/")):
            yield pb.GetArtifactResponse(file=name)
            async for piece in _chunks(store, one.key):
                yield piece


async def _chunks(store: Store, key: str) -> AsyncIterator[pb.GetArtifactResponse]:
    async for piece in store.open(key):
        for start in range(0, len(piece), PART_BYTES):
            yield pb.GetArtifactResponse(chunk=piece[start : start + PART_BYTES])
            await asyncio.sleep(0)


def shown(artifact: NodeArtifact) -> pb.KeptArtifact:
    """As the API has it."""
    return pb.KeptArtifact(
        node=artifact.node,
        display_name=artifact.display_name,
        name=artifact.name,
        path=str(artifact.tree.get("path", "")),
        store=artifact.store,
        artifact_json=json.dumps(artifact.tree, ensure_ascii=False),
    )
