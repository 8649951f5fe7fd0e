"""Manifest bundles of runs: got from the blobs by their hash, decoded once, kept while there is room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from exeunt.cache import ByteCache
from exeunt.engine import decide
from exeunt.engine.decide import Run
from exeunt.engine.facts import Commit
from exeunt.journal.blobs import BlobMissingError, Blobs
from exeunt.journal.repeat import Repeat, once
from exeunt.language.manifest import Bundle
from exeunt.launch import decode_bundle

log = logging.getLogger(__name__)

KEPT_BYTES = 64 * 1024 * 1024
RETRY_SECONDS = 1.0


class BundleUnusable(Exception):  # noqa: N818 - it is an answer
    """There is no bundle of that hash, or it cannot be read. Trying again does not help."""


class _NotAtHand(Exception):  # noqa: N818 - it is a question
    """The fold needs a bundle that is not at hand."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Bundles:
    """Bundles by hash."""

    def __init__(self, blobs: Blobs, repeat: Repeat | None = None) -> None:
        """`repeat` makes calls again that were cut off with the connection to NATS (`exeunt.journal.repeat`)."""
        self._blobs = blobs
        self._repeat: Repeat = repeat or once
        self._kept: ByteCache[str, Bundle] = ByteCache(KEPT_BYTES)

    def keep(self, name: str, bundle: Bundle, size: int) -> None:
        """Keeps a bundle, of so many bytes as it is stored, at hand."""
        self._kept.put(name, bundle, size)

    def known(self, name: str) -> Bundle | None:
        """The bundle, if it is at hand."""
        return self._kept.get(name)

    async def get(self, name: str) -> Bundle:
        """The bundle. Waits while NATS is away; raises BundleUnusable when there is none."""
        while True:
            bundle = self.known(name)
            if bundle is not None:
                return bundle
            try:
                content = await self._repeat(lambda: self._blobs.get(name))
                bundle = decode_bundle(content)
            except BlobMissingError as error:
                raise BundleUnusable(f"the workflow's manifest is gone: {error}") from None
            except (msgspec.DecodeError, RecursionError) as error:
                raise BundleUnusable(f"the workflow's manifest cannot be read: {error}") from None
            except Exception as error:  # noqa: BLE001 - NATS is away: nothing is lost, it waits
                log.warning("the manifest %s cannot be got yet: %s", name, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.keep(name, bundle, len(content))

    async def replayed(self, commits: Iterable[Commit]) -> Run:
        """The fold of a run's commits, with whatever bundle they name. Raises what the fold raises."""
        found = list(commits)
        while True:
            try:
                return decide.replay(self._at_hand, found)
            except _NotAtHand as error:
                await self.get(error.name)

    def _at_hand(self, name: str) -> Bundle:
        bundle = self.known(name)
        if bundle is None:
            raise _NotAtHand(name)
        return bundle
