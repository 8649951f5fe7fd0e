"""Steps that need no process (http, plugin, resource): done in the event loop, with the code of exeunt.actions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from exeunt.actions.context import Context, StartedWorkflow, StartRefused, Toolbox, Unavailable
from exeunt.actions.done_here import can_perform, perform
from exeunt.chains import DEPTH_LABEL, ROOT_LABEL
from exeunt.client import Client, ClientError
from exeunt.executor.attempt import SchedulerLink
from exeunt.executor.secrets import StepSecrets
from exeunt.executor.slots import only_waits
from exeunt.internal.v1 import step_pb2 as pb
from exeunt.steps import result_to_proto
from exeunt.wire_work import work_of

_asked_in: ContextVar[Mapping[str, str] | None] = ContextVar("asked_in", default=None)
"""The trace context of the step that is being done: what it starts becomes part of the same trace."""

_above: ContextVar[dict[str, str]] = ContextVar("above")
"""How deep in a chain the workflow of that step stands."""

MAY_PASS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")


class ActionRunner:
    """Does the work of one step at a time for each slot."""

    def __init__(self, tools: Toolbox) -> None:
        self._tools = tools

    async def __call__(self, step: pb.Step, secrets: StepSecrets) -> pb.StepResult:
        """Does it; never raises but for cancellation."""
        try:
            work = work_of(step)
        except ValueError as error:
            return pb.StepResult(phase="Error", message=str(error))
        if not can_perform(work):
            return pb.StepResult(phase="Error", message="this executor cannot do such work; is it too old?")
        context = Context(
            self._tools,
            idempotency_key=step.idempotency_key,
            namespace=step.namespace,
            uid=step.uid,
            workflow=step.workflow,
            node=step.node,
            node_name=step.node_name,
            attempt=step.attempt,
            timeout_seconds=step.timeout_seconds,
            trace=dict(step.trace_context),
            look_up=secrets.look_up,
            masker=secrets.masker,
        )
        _asked_in.set(context.trace)
        _above.set({DEPTH_LABEL: str(step.chain_depth + 1), ROOT_LABEL: step.chain_root})
        return result_to_proto(await perform(work, context))


class WorkflowStarter:
    """Starts workflows for `trigger` and `resource` steps, by way of a scheduler."""

    def __init__(self, links: Callable[[], Sequence[SchedulerLink]], token: str = "") -> None:
        self._links = links
        self._token = token

    async def __call__(self, manifest: dict[str, Any], namespace: str, key: str) -> StartedWorkflow:
        """Starts it once for each key; see `exeunt.actions.context.StartWorkflow`."""
        links = self._links()
        if not links:
            raise Unavailable("no scheduler can be reached just now")
        async with Client(links[0].address, token=self._token, trace=_asked_in.get()) as client:
            try:
                answer = await client.submit(
                    [("-", json.dumps(manifest))],
                    namespace=namespace,
                    request_id=key,
                    labels=_above.get({}),
                )
            except ClientError as error:
                raise (Unavailable if error.code in MAY_PASS else StartRefused)(str(error)) from error
        if len(answer.workflows) != 1:
            raise StartRefused(f"one workflow is expected in the manifest, there are {len(answer.workflows)}")
        started = answer.workflows[0]
        return StartedWorkflow(started.name, started.uid, started.namespace)


class WorkflowFollower:
    """Follows a child by way of a scheduler, and of another one when that has gone (the port WaitWorkflow)."""

    def __init__(
        self, links: Callable[[], Sequence[SchedulerLink]], connected: Callable[[], Awaitable[None]], token: str = ""
    ) -> None:
        """`connected` returns as soon as any scheduler is."""
        self._links = links
        self._connected = connected
        self._token = token

    async def __call__(self, child: StartedWorkflow) -> AsyncIterator[Mapping[str, Any]]:
        """The child whenever it changes, in Argo's shape, to its final state; one that was deleted is that."""
        only_waits.get()()
        while True:
            await self._connected()
            async with Client(self._links()[0].address, token=self._token) as client:
                try:
                    async for state in client.follow(child.name, child.namespace, uid=child.uid):
                        yield state.object
                        if state.final:
                            return
                except ClientError as error:
                    if error.code == "NOT_FOUND":
                        yield {"metadata": child._asdict(), "status": {"phase": "Deleted"}}
                        return
                    if error.code not in MAY_PASS:
                        raise
