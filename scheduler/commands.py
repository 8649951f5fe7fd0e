"""What operators ask of a workflow, carried out once for each request id, at the revision that was meant.

What another scheduler has is passed on to it. What concerns nodes that wait goes to running exit handlers first.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc

from exeunt.engine.commands import Rejected, ResumeRun, RetryRun, SetNodes, ShutdownRun
from exeunt.journal.errors import LogClosed, NotOwner
from exeunt.journal.subjects import partition_of
from exeunt.scheduler.again import Retries
from exeunt.scheduler.answers import shown
from exeunt.scheduler.archive import Archived, Archiver
from exeunt.scheduler.collector import ArtifactCollector
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.find import Elsewhere, Finder, named
from exeunt.scheduler.launch import Launcher
from exeunt.scheduler.mend import Mender
from exeunt.scheduler.peers import Peers
from exeunt.scheduler.requests import ClaimedCommand, Requests, deleted_since, uid_of
from exeunt.scheduler.unread import Unread
from exeunt.service.errors import Code, RpcError, unavailable, wrong_state
from exeunt.v1 import workflow_service_pb2 as pb

REVISION_CHANGED = "REVISION_CHANGED"

Steering = ResumeRun | SetNodes
Context = grpc.aio.ServicerContext[Any, Any]


class Commands:
    """Carries them out. `method` is the name of the call, for what is passed on and for what people read."""

    def __init__(
        self,
        *,
        requests: Requests,
        finder: Finder,
        peers: Peers,
        archiver: Archiver,
        collector: ArtifactCollector,
        mender: Mender,
        launcher: Launcher,
        retries: Retries,
    ) -> None:
        self._requests = requests
        self._finder = finder
        self._peers = peers
        self._archiver = archiver
        self._collector = collector
        self._mender = mender
        self._launcher = launcher
        self._retries = retries

    async def steer(self, method: str, request: Any, context: Context, command: Steering) -> pb.Workflow:
        """Resumes or sets nodes that wait: first those of exit runs, then the workflow's own. Safe to repeat."""
        turn = await self._requests.turn(method, request, context)
        found = turn.found
        if isinstance(found, OpenWorkflow | Archived) and not turn.done and command.request_id not in _requests(found):
            uid = uid_of(found)
            _require_revision(found, command.revision)
            # of a workflow that is over a handler may run again
            if isinstance(found, Archived) or found.closed or found.run.state.open_hooks:
                command.elsewhere = await self._peers.steer_exits(partition_of(uid), uid, command)
        return await self._carry_out(turn, method, request, command)

    async def command(self, method: str, request: Any, context: Context, command: Any) -> pb.Workflow:
        turn = await self._requests.turn(method, request, context)
        return await self._carry_out(turn, method, request, command)

    async def delete(
        self, request: pb.DeleteWorkflowRequest, context: Context, command: ShutdownRun
    ) -> pb.DeleteWorkflowResponse:
        """Removes a workflow that is over; ends one that is not, which is removed then."""
        turn = await self._requests.turn("DeleteWorkflow", request, context)
        found = turn.found
        if isinstance(found, Elsewhere):
            answer: pb.DeleteWorkflowResponse = await self._peers.pass_on(found.address, "DeleteWorkflow", request)
            return answer
        gone = found is None or (not turn.done and await self._delete(found, command))
        await self._requests.carried_out(turn, request)
        return pb.DeleteWorkflowResponse(gone=gone)

    async def retry(self, request: pb.RetryWorkflowRequest, context: Context, command: RetryRun) -> pb.Workflow:
        """Has a workflow that is over go on as its next attempt."""
        turn = await self._requests.turn("RetryWorkflow", request, context)
        found = turn.found
        if isinstance(found, OpenWorkflow) and found.closed:
            await self._archiver.settled(found)
            found = await self._finder.find(context, "", "", found.uid)
        if isinstance(found, Elsewhere):
            request.request_id = command.request_id
            passed: pb.Workflow = await self._peers.pass_on(found.address, "RetryWorkflow", request)
            return passed
        if found is None:
            raise deleted_since("what this request has retried")
        if isinstance(found, Unread):
            raise _rests(found)
        if turn.done or command.request_id in _requests(found):
            return await shown(found)
        _require_revision(found, request.revision)
        if isinstance(found, OpenWorkflow):
            await self._ask(found, command)  # refused: it runs
            return await shown(found)
        self._launcher.admit(1)
        try:
            opened = await self._retries.retry(found, command)
        except Rejected as error:  # of two retries the other one was quicker
            raise _rejected(error, ("workflow", found.head["metadata"]["name"])) from None
        except (NotOwner, LogClosed):
            raise unavailable("MOVED", "the workflow belongs to another scheduler by now; ask again") from None
        await self._requests.carried_out(turn, request)
        return await shown(opened)

    async def _delete(self, found: OpenWorkflow | Archived | Unread, command: ShutdownRun) -> bool:
        """Deletes it; says whether it is gone by now."""
        archiver = self._archiver
        if isinstance(found, Unread):
            _require_revision(found, command.revision)
            await self._end_unread(found, command)
            return True
        if isinstance(found, OpenWorkflow):
            if found.closed:
                _require_revision(found, command.revision)
            else:
                try:
                    await self._ask(found, command)
                except RpcError as error:
                    if error.reason != "WORKFLOW_FINISHED":
                        raise  # its end is decided and not durable yet: then it goes as one that is over
                else:
                    return False
            await archiver.settled(found)
            kept = await archiver.get(found.uid)
            if kept is None:  # it was deleted while it ran
                await archiver.remove(found.run.namespace, found.run.name, found.uid)
                return True
            found = kept
        else:
            _require_revision(found, command.revision)
        await self._collector.delete(found, command.by, command.message)
        return True

    async def _carry_out(self, turn: ClaimedCommand, method: str, request: Any, command: Any) -> pb.Workflow:
        found = turn.found
        if isinstance(found, Elsewhere):
            request.request_id = command.request_id
            passed: pb.Workflow = await self._peers.pass_on(found.address, method, request)
            return passed
        if found is None:
            raise deleted_since("the workflow of this request")
        if not turn.done:
            await self._do(found, method, command)
            await self._requests.carried_out(turn, request)
        return await shown(found)

    async def _do(self, found: OpenWorkflow | Archived | Unread, method: str, command: Any) -> None:
        if isinstance(found, Unread):
            if not (isinstance(command, ShutdownRun) and command.strategy == "Terminate"):
                raise _rests(found)
            await self._end_unread(found, command)
        elif isinstance(found, Archived) or found.closed:
            if command.request_id in _requests(found) or (isinstance(command, Steering) and command.elsewhere):
                return
            _require_revision(found, command.revision)
            namespace, name = named(found)
            raise wrong_state(
                "WORKFLOW_FINISHED",
                f"the workflow {name!r} is over: there is nothing to {_verb(method)}",
                ("workflow", f"{namespace}/{name}"),
            )
        else:
            await self._ask(found, command)

    async def _end_unread(self, found: Unread, command: ShutdownRun) -> None:
        if not found.closed:
            await self._mender.end_unread(found, command)
        await self._archiver.keep_unread(found, deleted=command.deleted)

    async def _ask(self, entry: OpenWorkflow, command: Any) -> None:
        try:
            if entry.driver.rests and isinstance(command, ShutdownRun) and command.strategy == "Terminate":
                await self._mender.end(entry, command)
            else:
                await entry.driver.ask(command)
        except Rejected as error:
            raise _rejected(error, ("workflow", f"{entry.run.namespace}/{entry.run.name}")) from None
        except (NotOwner, LogClosed):
            raise unavailable("MOVED", "the workflow belongs to another scheduler by now; ask again") from None


def _rests(found: Unread) -> RpcError:
    text = f"the workflow cannot go on: {found.why}; it can be terminated, or deleted"
    return wrong_state("WORKFLOW_RESTS", text, ("workflow", f"{found.namespace}/{found.name}"))


def _require_revision(found: OpenWorkflow | Archived | Unread, wanted: int) -> None:
    """Raises ABORTED unless the workflow stands at that revision; any will do for 0."""
    if isinstance(found, OpenWorkflow):
        require(wanted, found.run.commits, named(found))
    elif isinstance(found, Archived):
        require(wanted, found.version, named(found))
    else:
        require(wanted, found.number, named(found))


def require(wanted: int, revision: int, names: tuple[str, str]) -> None:
    """The same of a workflow of that namespace and name."""
    if wanted not in (0, revision):
        namespace, name = names
        text = f"{name} is at revision {revision}, not at {wanted}: look at it again"
        raise RpcError(Code.ABORTED, REVISION_CHANGED, text, resource=("workflow", f"{namespace}/{name}"))


def _rejected(error: Rejected, resource: tuple[str, str]) -> RpcError:
    if error.reason == REVISION_CHANGED:
        return RpcError(Code.ABORTED, error.reason, str(error), resource=resource)
    return wrong_state(error.reason, str(error), resource)


def _requests(found: OpenWorkflow | Archived) -> Collection[str]:
    """The commands that were carried out on it."""
    return found.requests if isinstance(found, Archived) else found.run.state.requests


def _verb(method: str) -> str:
    return "set" if method == "SetNodes" else method.removesuffix("Workflow").lower()
