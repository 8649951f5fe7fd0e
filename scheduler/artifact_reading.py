"""The bytes of an artifact for who looks at it, from whichever store they lie in (GetArtifact)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from exeunt.artifacts.embedded_port import PART_BYTES
from exeunt.artifacts.stores import MissingError, Store, StoreError
from exeunt.language.place_parts import PlaceError
from exeunt.scheduler.artifact_stores import ArtifactStores
from exeunt.scheduler.node_artifacts import NodeArtifact
from exeunt.service.errors import not_found, unavailable, wrong_state
from exeunt.v1 import workflow_service_pb2 as pb

READERS = 16
"""Artifacts that are read at once; further calls wait for their turn."""


class ArtifactReader:
    """Reads artifacts, so many at once."""

    def __init__(self, stores: ArtifactStores) -> None:
        self._stores = stores
        self._turns = asyncio.Semaphore(READERS)

    async def read(self, artifact: NodeArtifact, head: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The artifact, in GetArtifactResponses. `head`: its workflow without nodes. Raises what GetArtifact says."""
        async with self._turns:
            yield pb.GetArtifactResponse(artifact=shown(artifact))
            if artifact.tree.get("deleted"):
                raise not_found("artifact", f"{artifact.name} (it was removed by artifactGC)")
            try:
                async with self._stores.opened(artifact.tree, head) as store:
                    async for piece in _pieces(store, store.place.key):
                        yield piece
            except MissingError as error:
                raise not_found("artifact", f"{artifact.name} ({error})") from error
            except StoreError as error:
                if error.temporary:
                    raise unavailable("ARTIFACT_AWAY", str(error), 1.0) from error
                raise wrong_state("ARTIFACT_UNREADABLE", str(error), ("artifact", artifact.name)) from error
            except PlaceError as error:
                text = f"artifact {artifact.name}: {error}"
                raise wrong_state("ARTIFACT_UNREADABLE", text, ("artifact", artifact.name)) from error


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
