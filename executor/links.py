"""The links to all schedulers: those of the settings, and those that they tell of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from exeunt.executor.attempts import Attempts
from exeunt.executor.session import Profile, Session


class Links:
    """Keeps one session for each scheduler."""

    def __init__(self, addresses: Iterable[str], profile: Profile, attempts: Attempts) -> None:
        self._configured = tuple(addresses)
        self._profile = profile
        self._attempts = attempts
        self._sessions: dict[str, Session] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Opens the links and keeps them until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._open()
            await asyncio.Event().wait()

    def _open(self) -> None:
        for address in sorted(self._addresses() - self._sessions.keys()):
            assert self._group is not None
            session = self._sessions[address] = Session(
                address, self._profile, self._attempts, wanted=self._wanted, on_peers=self._open
            )
            task = self._group.create_task(session.run(), name=f"session {address}")
            task.add_done_callback(partial(self._closed, address))

    def _closed(self, address: str, _task: asyncio.Task[None]) -> None:
        self._sessions.pop(address, None)

    def _addresses(self) -> set[str]:
        named = {peer for link in self._attempts.links for peer in link.peers}
        return named.union(self._configured)

    def _wanted(self, session: Session) -> bool:
        return session.address in self._addresses() or not self._attempts.links
