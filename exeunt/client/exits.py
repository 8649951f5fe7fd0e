"""Calls about the exit ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from exeunt.client.calls import Calls
from exeunt.client.parts import joined_exit
from exeunt.client.request_ids import new_request_id
from exeunt.v1 import exit_service_pb2 as exits


class Exits(Calls):
    """The part of a client that is about runs of exit handlers."""

    async def get_exit(self, exit_id: str) -> exits.Exit:
        """One record of the ledger."""
        return joined_exit(await self._parts(self._exits.ReadExit, exits.ReadExitRequest(id=exit_id)))

    async def list_exits(
        self,
        namespace: str = "",
        *,
        workflow: str = "",
        hook: str = "",
        states: Sequence[exits.Exit.State.ValueType] = (),
        uid: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 0,
        view: exits.ExitView.ValueType = exits.EXIT_VIEW_BASIC,
    ) -> list[exits.Exit]:
        """Records, newest first; all that match when `limit` is 0. An empty namespace means every one.

        `since` and `until` bound the time at which they became due.
        """
        narrowed = exits.ListExitsRequest(
            namespace=namespace, workflow=workflow, uid=uid, hook=hook, states=states, view=view
        )
        if since is not None:
            narrowed.due_after.FromDatetime(since)
        if until is not None:
            narrowed.due_before.FromDatetime(until)

        def request(token: str, size: int) -> exits.ListExitsRequest:
            narrowed.page_token, narrowed.page_size = token, size
            return narrowed

        return await self._pages(self._exits.ListExits, request, lambda answer: answer.exits, limit)

    async def watch_exits(
        self,
        namespace: str = "",
        *,
        workflow: str = "",
        hook: str = "",
        states: Sequence[exits.Exit.State.ValueType] = (),
        uid: str = "",
        changes_only: bool = False,
        view: exits.ExitView.ValueType = exits.EXIT_VIEW_BASIC,
        position: str = "",
    ) -> AsyncIterator[exits.WatchExitsResponse]:
        """Records that fit, whenever they change, for ever (WatchExits). A stream that breaks goes on where it was."""
        request = exits.WatchExitsRequest(
            namespace=namespace,
            workflow=workflow,
            uid=uid,
            hook=hook,
            states=states,
            changes_only=changes_only,
            view=view,
            position=position,
        )
        async for told in self._stream(
            lambda: self._exits.WatchExits(request, metadata=self._metadata), self.exit_server
        ):
            yield told
            if told.position:
                request.position = told.position

    async def replay_exit(
        self, exit_id: str, *, again: bool = False, revision: int = 0, request_id: str = ""
    ) -> exits.Exit:
        """Runs an exit run again; with `again` under new effect keys."""
        id = request_id or new_request_id()
        request = exits.ReplayExitRequest(request_id=id, id=exit_id, again=again, revision=revision)
        return await self._call(self._exits.ReplayExit, request)

    async def cancel_exit(
        self, exit_id: str, *, by: str = "", message: str = "", revision: int = 0, request_id: str = ""
    ) -> exits.Exit:
        """Ends an exit run that is under way for good; its record says who did, and why."""
        id = request_id or new_request_id()
        request = exits.CancelExitRequest(request_id=id, id=exit_id, by=by, message=message, revision=revision)
        return await self._call(self._exits.CancelExit, request)
