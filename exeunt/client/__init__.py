"""The Python client: workflows and exit ledger over gRPC, with one kind of error that says what is wrong.

    async with Client("127.0.0.1:7600") as client:
        [workflow] = (await client.submit([("hello.yaml", text)])).workflows
        async for state in client.follow(workflow.name):
            print(state.object["status"]["phase"])

Mutating calls carry a request id, so that a repeated one is the same one; calls that find a service away are repeated
for a while. It needs little of this package but exeunt.v1. What happens is heard from `exeunt.client.events`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from exeunt.client.errors import ClientError, error_of
from exeunt.client.parts import Joined, joined_exit
from exeunt.client.token import HEADER, find_token, interceptors
from exeunt.v1 import exit_service_pb2 as exits
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1.exit_service_pb2_grpc import ExitServiceStub
from exeunt.v1.workflow_service_pb2_grpc import WorkflowServiceStub

__all__ = ["Client", "ClientError", "Followed", "error_of", "find_token", "interceptors", "new_request_id", "trace_in"]

T = TypeVar("T")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
Answer = TypeVar("Answer")
MESSAGE_BYTES = 32 * 1024 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_retries", 0),  # retried here, where the pause that a service asks for is known
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

CONNECTING = 30.0
"""A stream that broke after more seconds than these was there: gRPC gives up connecting after 20."""


@dataclass(frozen=True)
class Followed:
    """A workflow as it is now: the summary, the whole object in Argo's shape, and whether nothing more will come.

    `changed` has the nodes that are new or different since the last time. The nodes of `object` are the same mapping
    each time, brought up to date: following a workflow of many nodes costs what changes, not what there is.
    """

    summary: pb.Workflow
    object: dict[str, Any]
    changed: dict[str, Any]
    final: bool


class Client:
    """Calls a cluster. Use it as an async context manager, in one event loop."""

    def __init__(
        self,
        server: str,
        *,
        exit_server: str | None = None,
        timeout: float = 30.0,
        patience: float = 15.0,
        token: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        """`server` is the scheduler's HOST:PORT, `exit_server` the exit handler's (behind one gateway: the same).

        `timeout`: seconds for one call. `patience`: seconds for which a call is repeated while a service is away.
        `token`: what the services want to be sent; None looks for it (the cluster.json of a local cluster of yours that
        listens at `server`, else EXEUNT_TOKEN).
        `trace`: W3C trace context (`traceparent`, `tracestate`): what is submitted becomes part of that trace.
        """
        if token is None:
            token = find_token(server)
        self.server = server
        self.exit_server = exit_server or server
        self._timeout = timeout
        self._patience = patience
        bearer = [(HEADER, f"Bearer {token}")] if token else []
        self._metadata = (*bearer, *(trace or {}).items())
        self._channel = grpc.aio.insecure_channel(server, options=OPTIONS)
        self._exit_channel = (
            self._channel
            if self.exit_server == server
            else grpc.aio.insecure_channel(self.exit_server, options=OPTIONS)
        )
        self._workflows: Any = WorkflowServiceStub(self._channel)
        self._exits: Any = ExitServiceStub(self._exit_channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._channel.close()
        if self._exit_channel is not self._channel:
            await self._exit_channel.close()

    # workflows

    async def submit(
        self,
        documents: Iterable[tuple[str, str]],
        *,
        namespace: str = "",
        name: str = "",
        generate_name: str = "",
        entrypoint: str = "",
        parameters: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        by: str = "",
        request_id: str = "",
    ) -> pb.SubmitWorkflowResponse:
        """Submits the workflows of documents, each a pair of file name and text; returns when they are durable."""
        request = pb.SubmitWorkflowRequest(
            request_id=request_id or new_request_id(),
            documents=[pb.Document(file=file, text=text) for file, text in documents],
            namespace=namespace,
            name=name,
            generate_name=generate_name,
            entrypoint=entrypoint,
            parameters=[pb.ParameterValue(name=k, value=v) for k, v in (parameters or {}).items()],
            labels=labels or {},
            validate_only=validate_only,
            by=by,
        )
        return await self._call(self._workflows.SubmitWorkflow, request)

    async def lint(self, documents: Iterable[tuple[str, str]], namespace: str = "") -> list[pb.Problem]:
        """Checks documents without starting anything."""
        sent = [pb.Document(file=file, text=text) for file, text in documents]
        request = pb.LintWorkflowRequest(documents=sent, namespace=namespace)
        answer: pb.LintWorkflowResponse = await self._call(self._workflows.LintWorkflow, request)
        return list(answer.problems)

    async def get(self, name: str = "", namespace: str = "", *, uid: str = "") -> pb.Workflow:
        """One workflow, by name or uid; its `json` is the whole object."""
        return (await self._read(name, namespace, uid)).workflow()

    async def read(self, name: str = "", namespace: str = "", *, uid: str = "") -> tuple[pb.Workflow, dict[str, Any]]:
        """One workflow, by name or uid: the summary, without JSON, and the whole object in Argo's shape."""
        found = await self._read(name, namespace, uid)
        return found.summary, found.object

    async def _read(self, name: str, namespace: str, uid: str) -> Joined:
        request = pb.ReadWorkflowRequest(namespace=namespace, name=name, uid=uid)
        found = Joined()
        for answer in await self._parts(self._workflows.ReadWorkflow, request):
            found.add(answer.part)
        return found

    async def list_workflows(
        self, namespace: str = "", *, phases: Sequence[str] = (), selector: str = "", limit: int = 0
    ) -> list[pb.Workflow]:
        """Workflows without their nodes, newest first; all of them when `limit` is 0. Empty: of every namespace."""

        def request(token: str, size: int) -> pb.ListWorkflowsRequest:
            return pb.ListWorkflowsRequest(
                namespace=namespace, page_size=size, page_token=token, phases=phases, selector=selector
            )

        return await self._pages(self._workflows.ListWorkflows, request, lambda answer: answer.workflows, limit)

    async def watch(
        self, name: str = "", namespace: str = "", *, uid: str = "", version: int = 0
    ) -> AsyncIterator[pb.WorkflowChange]:
        """Changes of a workflow until it is final. A stream that breaks is taken up again where it was."""
        async for change, joined in self._changes(name, namespace, uid, version):
            if joined is not None:
                change.workflow.CopyFrom(joined.workflow())
            yield change

    async def _changes(
        self, name: str, namespace: str, uid: str, version: int
    ) -> AsyncIterator[tuple[pb.WorkflowChange, Joined | None]]:
        """Each change, and what came in parts of it."""

        joined: Joined | None = None
        reset = False

        def start() -> Any:
            nonlocal joined, reset
            joined, reset = None, False
            request = pb.WatchWorkflowRequest(namespace=namespace, name=name, uid=uid, version=version, parts=True)
            return self._workflows.WatchWorkflow(request, metadata=self._metadata)

        async for message in self._stream(start):
            change = message
            if message.HasField("part"):
                joined = joined or Joined()
                joined.add(message.part)
                reset = reset or message.reset
                if message.more:
                    continue
                change = pb.WorkflowChange(workflow=joined.summary, reset=reset, final=message.final)
            version = change.workflow.version
            yield change, joined
            if change.final:
                return
            joined, reset = None, False

    async def follow(self, name: str = "", namespace: str = "", *, uid: str = "") -> AsyncIterator[Followed]:
        """A workflow whenever it has changed, whole each time, until it and its exit handlers have ended."""
        nodes: dict[str, Any] = {}
        async for change, joined in self._changes(name, namespace, uid, 0):
            found: dict[str, Any] = json.loads(change.workflow.json) if joined is None else joined.object
            status = found.setdefault("status", {})
            changed = status.get("nodes") or {}
            if change.reset:
                nodes.clear()
            nodes.update(changed)
            status["nodes"] = nodes
            yield Followed(change.workflow, found, changed, change.final)

    async def logs(
        self, name: str, namespace: str = "", *, node: str = "", follow: bool = False, tail: int = 0
    ) -> AsyncIterator[pb.LogLine]:
        """Lines of output of a workflow's steps."""
        request = pb.GetLogsRequest(namespace=namespace, name=name, node=node, follow=follow, tail=tail)
        stream = self._workflows.GetLogs(request, metadata=self._metadata)
        try:
            async for line in stream:
                yield line
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error
        finally:
            stream.cancel()

    async def stop(
        self,
        name: str = "",
        namespace: str = "",
        *,
        message: str = "",
        selector: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Ends the main run; exit handlers run. With a selector: only waiting suspend nodes that fit."""
        request = pb.StopWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            message=message,
            by=by,
            node_field_selector=selector,
        )
        return await self._call(self._workflows.StopWorkflow, request)

    async def terminate(
        self,
        name: str = "",
        namespace: str = "",
        *,
        message: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Ends everything; exit handlers run only where the workflow's annotation asks for it."""
        request = pb.TerminateWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            message=message,
            by=by,
        )
        return await self._call(self._workflows.TerminateWorkflow, request)

    async def suspend(
        self,
        name: str = "",
        namespace: str = "",
        *,
        message: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Starts no further steps until resumed."""
        request = pb.SuspendWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            message=message,
            by=by,
        )
        return await self._call(self._workflows.SuspendWorkflow, request)

    async def resume(
        self,
        name: str = "",
        namespace: str = "",
        *,
        selector: str = "",
        message: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Resumes a workflow and its suspend nodes, or only the nodes that the selector names."""
        request = pb.ResumeWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            node_field_selector=selector,
            message=message,
            by=by,
        )
        return await self._call(self._workflows.ResumeWorkflow, request)

    async def set_nodes(
        self,
        name: str = "",
        namespace: str = "",
        *,
        selector: str,
        outputs: Mapping[str, str] | None = None,
        phase: str = "",
        message: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Gives waiting suspend nodes their outputs or their end."""
        request = pb.SetNodesRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            node_field_selector=selector,
            output_parameters=[pb.ParameterValue(name=k, value=v) for k, v in (outputs or {}).items()],
            phase=phase,
            message=message,
            by=by,
        )
        return await self._call(self._workflows.SetNodes, request)

    async def retry(
        self,
        name: str = "",
        namespace: str = "",
        *,
        parameters: Mapping[str, str] | None = None,
        message: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Runs again what failed of a workflow that has ended, its exit handlers included."""
        request = pb.RetryWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            message=message,
            by=by,
            parameters=[pb.ParameterValue(name=k, value=v) for k, v in (parameters or {}).items()],
        )
        return await self._call(self._workflows.RetryWorkflow, request)

    async def resubmit(
        self,
        name: str = "",
        namespace: str = "",
        *,
        parameters: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> pb.Workflow:
        """Submits a new workflow of the manifest and arguments of another."""
        request = pb.ResubmitWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            by=by,
            parameters=[pb.ParameterValue(name=k, value=v) for k, v in (parameters or {}).items()],
            labels=dict(labels or {}),
        )
        return await self._call(self._workflows.ResubmitWorkflow, request)

    async def delete(
        self,
        name: str = "",
        namespace: str = "",
        *,
        message: str = "",
        by: str = "",
        uid: str = "",
        request_id: str = "",
    ) -> bool:
        """Deletes a workflow; True when it is gone, False while its exit handlers still run."""
        request = pb.DeleteWorkflowRequest(
            request_id=request_id or new_request_id(),
            namespace=namespace,
            name=name,
            uid=uid,
            message=message,
            by=by,
        )
        answer: pb.DeleteWorkflowResponse = await self._call(self._workflows.DeleteWorkflow, request)
        return answer.gone

    async def executors(self) -> list[pb.ExecutorInfo]:
        """The executors that are connected."""

        def request(token: str, size: int) -> pb.ListExecutorsRequest:
            return pb.ListExecutorsRequest(page_size=size, page_token=token)

        return await self._pages(self._workflows.ListExecutors, request, lambda answer: answer.executors, 0)

    # exit ledger

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
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 0,
    ) -> list[exits.Exit]:
        """Records, newest first; all that match when `limit` is 0. An empty namespace means every one.

        `since` and `until` bound the time at which they became due.
        """
        narrowed = exits.ListExitsRequest(namespace=namespace, workflow=workflow, hook=hook, states=states)
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
        changes_only: bool = False,
    ) -> AsyncIterator[exits.Exit]:
        """Records as they change, for ever; first those there are. After a break with the service it begins anew."""
        request = exits.WatchExitsRequest(
            namespace=namespace, workflow=workflow, hook=hook, states=states, changes_only=changes_only
        )
        async for record in self._stream(lambda: self._exits.WatchExits(request, metadata=self._metadata)):
            yield record

    async def replay_exit(self, exit_id: str, *, again: bool = False, request_id: str = "") -> exits.Exit:
        """Runs an exit run again; with `again` under new effect keys."""
        request = exits.ReplayExitRequest(request_id=request_id or new_request_id(), id=exit_id, again=again)
        return await self._call(self._exits.ReplayExit, request)

    async def cancel_exit(self, exit_id: str, *, by: str = "", message: str = "", request_id: str = "") -> exits.Exit:
        """Ends an exit run that is under way for good; its record says who did, and why."""
        request = exits.CancelExitRequest(request_id=request_id or new_request_id(), id=exit_id, by=by, message=message)
        return await self._call(self._exits.CancelExit, request)

    # how calls are made

    async def _call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        """One call, repeated while the service is away and patience lasts; each has a request id or changes nothing."""
        loop = asyncio.get_running_loop()
        ends, pause = loop.time() + self._patience, 0.1
        while True:
            try:
                return await method(request, timeout=self._timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                failure = error_of(error)
                wait = max(failure.pause, pause * random.uniform(0.5, 1.0))
                if failure.code != "UNAVAILABLE" or loop.time() + wait > ends:
                    raise failure from error
                await asyncio.sleep(wait)
                pause = min(pause * 2, 1.0)

    async def _parts(self, method: Callable[..., Any], request: object) -> list[Any]:
        """All of a stream that ends, read anew while the service is away; `timeout` is that of each message."""

        async def read(request: object, *, timeout: float, metadata: Any) -> list[Any]:
            found: list[Any] = []
            stream = method(request, metadata=metadata)
            try:
                async with asyncio.timeout(timeout) as waiting:
                    async for part in stream:
                        found.append(part)
                        waiting.reschedule(asyncio.get_running_loop().time() + timeout)
            except TimeoutError:
                text = f"nothing has come for {timeout:g} s"
                raise ClientError("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", text) from None
            finally:
                stream.cancel()
            return found

        return await self._call(read, request)

    async def _stream(self, start: Callable[[], Any]) -> AsyncIterator[Any]:
        """A stream that is opened again while the service is away; `start` must go on from where the last one was.

        Patience is counted from the break: a stream may have had nothing to say for hours before.
        """
        loop = asyncio.get_running_loop()
        ends, pause = 0.0, 0.1
        while True:
            stream, began = start(), loop.time()
            try:
                async for item in stream:
                    ends, pause = 0.0, 0.1
                    yield item
            except grpc.aio.AioRpcError as error:
                failure, now = error_of(error), loop.time()
                if not ends or now - began > CONNECTING:
                    ends, pause = now + self._patience, 0.1
                if failure.code != "UNAVAILABLE" or now + pause > ends:
                    raise failure from error
                await asyncio.sleep(max(failure.pause, pause * random.uniform(0.5, 1.0)))
                pause = min(pause * 2, 1.0)
            else:
                return
            finally:
                stream.cancel()

    async def _pages(
        self,
        method: Callable[..., Awaitable[Any]],
        request: Callable[[str, int], object],
        items: Callable[[Any], Iterable[T]],
        limit: int,
    ) -> list[T]:
        found: list[T] = []
        token = ""
        while True:
            size = min(limit - len(found), 1000) if limit else 1000
            answer = await self._call(method, request(token, size))
            found += items(answer)
            token = answer.next_page_token
            if not token or (limit and len(found) >= limit):
                return found[:limit] if limit else found


def trace_in(environ: Mapping[str, str]) -> dict[str, str]:
    """The trace context of this process, as TRACEPARENT and TRACESTATE name it to programs; empty without one."""
    found = {name: environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
    if not _TRACEPARENT.fullmatch(found["traceparent"]):
        return {}
    return {name: text for name, text in found.items() if text and text.isascii() and text.isprintable()}


def new_request_id() -> str:
    """An id under which a call may be repeated."""
    return str(uuid.uuid4())
