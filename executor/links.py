"""The links to all schedulers: those of the settings, and those that they tell of.

One scheduler may have several addresses, as where a Service stands before all of them: there is one link to it all the
same, by the address that led to it first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from exeunt.executor.attempts import Attempts
from exeunt.executor.session import ExecutorIdentity, Session


class Links:
    """Keeps one session for each scheduler."""

    def __init__(self, addresses: Iterable[str], identity: ExecutorIdentity, attempts: Attempts) -> None:
        self._configured = tuple(addresses)
        self._identity = identity
        self._attempts = attempts
        self._sessions: dict[str, Session] = {}
        self._group: asyncio.TaskGroup | None = None
        self._told: set[str] = set()  # what the schedulers told of when any was there last
        self._fences: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Opens the links and keeps them until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._open()
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def wanted(self, session: Session) -> bool:
        """Whether somebody names its address, and no other session leads to the scheduler that listens there."""
        return session.address in self._addresses() or not self._attempts.links

    def streams(self) -> list[str]:
        """The names of all streams that live or are being opened."""
        return [session.stream for session in self._sessions.values() if session.stream]

    def connected(self, session: Session) -> None:
        """The session leads to a scheduler: what that one asked for on an earlier link is this one's business now."""
        fence = self._fences.pop(session.replica, None)
        if fence is not None:
            fence.cancel()
        self._attempts.links.append(session)
        self._attempts.follow(session)
        self.changed()

    def disconnected(self, session: Session) -> None:
        """Its stream has ended; the scheduler may come back by this address or another."""
        self._attempts.links.remove(session)
        self._attempts.unheard(session)
        # What was silent before it was noticed counts: ten seconds of the grace are kept back for it.
        grace = max(session.grace - 10, session.grace / 2)
        loop = asyncio.get_running_loop()
        self._fences[session.replica] = loop.call_later(grace, self._fenced, session.replica)
        self.changed()

    def changed(self) -> None:
        """Links came, went, or told of other schedulers."""
        for link in self._attempts.links:
            link.wake()  # what is lent is dealt out anew
        self._attempts.poke()
        self._open()

    def _fenced(self, replica: str) -> None:
        del self._fences[replica]
        for attempt in self._attempts.unfinished():
            if attempt.scheduler == replica and attempt.step is not None and attempt.step.fenced:
                self._attempts.fail(attempt, f"lost: the step is fenced, and its scheduler {replica} was not heard")

    def _open(self) -> None:
        if self._group is None:
            return
        for address in sorted(self._addresses() - self._sessions.keys()):
            session = self._sessions[address] = Session(address, self._identity, self._attempts, self)
            task = self._group.create_task(session.run(), name=f"session {address}")
            task.add_done_callback(partial(self._closed, address))

    def _closed(self, address: str, _task: asyncio.Task[None]) -> None:
        self._sessions.pop(address, None)
        self._open()  # it may be wanted again since it was told that it is not

    def _addresses(self) -> set[str]:
        links = self._attempts.links
        if links:
            self._told = {peer for link in links for peer in link.peers}
        elsewhere = {link.advertised for link in links if link.advertised != link.address}
        return self._told.union(self._configured) - elsewhere
