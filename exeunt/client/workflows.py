"""Calls about workflows: submitting, looking, steering."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from exeunt.client.calls import Calls
from exeunt.client.errors import ClientError
from exeunt.client.parts import Joined
from exeunt.client.request_ids import new_request_id
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1.phase_pb2 import Phase
from exeunt.visible import quoted
from exeunt.words import phases as words


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


class VerbOptions(TypedDict, total=False):
    """What every verb may be told: who asks, for which workflow and revision of it, and under which request id."""

    by: str
    uid: str
    revision: int
    request_id: str


class ExplainedOptions(VerbOptions, total=False):
    """The same, and why."""

    message: str


class Workflows(Calls):
    """The part of a client that is about workflows."""

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
            parameters=_values(parameters),
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
        self,
        namespace: str = "",
        *,
        phases: Sequence[str] = (),
        selector: str = "",
        limit: int = 0,
        view: pb.WorkflowView.ValueType = pb.WORKFLOW_VIEW_BASIC,
    ) -> list[pb.Workflow]:
        """Workflows without their nodes, newest first; all of them when `limit` is 0. Empty: of every namespace.

        `phases` are words, as in Running. With WORKFLOW_VIEW_OBJECT each has its `json`.
        """
        wanted = _numbers(phases)

        def request(token: str, size: int) -> pb.ListWorkflowsRequest:
            return pb.ListWorkflowsRequest(
                namespace=namespace, page_size=size, page_token=token, phases=wanted, selector=selector, view=view
            )

        return await self._pages(self._workflows.ListWorkflows, request, lambda answer: answer.workflows, limit)

    async def watch(
        self, name: str = "", namespace: str = "", *, uid: str = "", position: str = ""
    ) -> AsyncIterator[pb.WatchWorkflowResponse]:
        """Changes of a workflow until it is final. A stream that breaks is taken up again where it was."""
        async for change, joined in self._changes(name, namespace, uid, position):
            if joined is not None:
                change.workflow.CopyFrom(joined.workflow())
            yield change

    async def _changes(
        self, name: str, namespace: str, uid: str, position: str
    ) -> AsyncIterator[tuple[pb.WatchWorkflowResponse, Joined | None]]:
        """Each change, and what came in parts of it."""

        joined: Joined | None = None
        reset = False

        def start() -> Any:
            nonlocal joined, reset
            joined, reset = None, False
            request = pb.WatchWorkflowRequest(namespace=namespace, name=name, uid=uid, position=position, parts=True)
            return self._workflows.WatchWorkflow(request, metadata=self._metadata)

        async for message in self._stream(start, self.server):
            change = message
            if message.HasField("part"):
                joined = joined or Joined()
                joined.add(message.part)
                reset = reset or message.reset
                if message.more:
                    continue
                change = pb.WatchWorkflowResponse(
                    workflow=joined.summary, reset=reset, final=message.final, position=message.position
                )
            position = change.position
            yield change, joined
            if change.final:
                return
            joined, reset = None, False

    async def watch_workflows(
        self,
        namespace: str = "",
        *,
        phases: Sequence[str] = (),
        selector: str = "",
        view: pb.WorkflowView.ValueType = pb.WORKFLOW_VIEW_BASIC,
        position: str = "",
        changes_only: bool = False,
    ) -> AsyncIterator[pb.WatchWorkflowsResponse]:
        """Workflows that fit, whenever they change, for ever (WatchWorkflows). A stream that breaks goes on."""
        request = pb.WatchWorkflowsRequest(
            namespace=namespace,
            selector=selector,
            phases=_numbers(phases),
            view=view,
            position=position,
            changes_only=changes_only,
        )
        async for told in self._stream(
            lambda: self._workflows.WatchWorkflows(request, metadata=self._metadata), self.server
        ):
            yield told
            if told.position:
                request.position = told.position

    async def follow(self, name: str = "", namespace: str = "", *, uid: str = "") -> AsyncIterator[Followed]:
        """A workflow whenever it has changed, whole each time, until it and its exit handlers have ended."""
        nodes: dict[str, Any] = {}
        async for change, joined in self._changes(name, namespace, uid, ""):
            found: dict[str, Any] = json.loads(change.workflow.json) if joined is None else joined.object
            status = found.setdefault("status", {})
            changed = status.get("nodes") or {}
            if change.reset:
                nodes.clear()
            nodes.update(changed)
            status["nodes"] = nodes
            yield Followed(change.workflow, found, changed, change.final)

    async def logs(
        self,
        name: str = "",
        namespace: str = "",
        *,
        uid: str = "",
        node: str = "",
        follow: bool = False,
        tail: int = 0,
        attempt: int | None = None,
        stream: pb.LogStream.ValueType = pb.LOG_STREAM_UNSPECIFIED,
        since: datetime | None = None,
    ) -> AsyncIterator[pb.LogLine]:
        """Lines of output of a workflow's steps. A stream that breaks is taken up again behind the last line."""
        request = pb.GetLogsRequest(
            namespace=namespace,
            name=name,
            uid=uid,
            node=node,
            follow=follow,
            tail=tail,
            attempt=attempt,
            stream=stream,
        )
        if since is not None:
            request.since.FromDatetime(since)
        async for answer in self._stream(
            lambda: self._workflows.GetLogs(request, metadata=self._metadata), self.server
        ):
            for line in answer.lines:
                yield line
            if answer.position:
                request.position, request.tail = answer.position, 0

    async def stop(
        self, name: str = "", namespace: str = "", *, selector: str = "", **asked: Unpack[ExplainedOptions]
    ) -> pb.Workflow:
        """Ends the main run; exit handlers run. With a selector: only waiting suspend nodes that fit."""
        return await self._verb("StopWorkflow", name, namespace, asked, node_field_selector=selector)

    async def terminate(self, name: str = "", namespace: str = "", **asked: Unpack[ExplainedOptions]) -> pb.Workflow:
        """Ends everything; exit handlers run only where the workflow's annotation asks for it."""
        return await self._verb("TerminateWorkflow", name, namespace, asked)

    async def suspend(self, name: str = "", namespace: str = "", **asked: Unpack[ExplainedOptions]) -> pb.Workflow:
        """Starts no further steps until resumed."""
        return await self._verb("SuspendWorkflow", name, namespace, asked)

    async def resume(
        self, name: str = "", namespace: str = "", *, selector: str = "", **asked: Unpack[ExplainedOptions]
    ) -> pb.Workflow:
        """Resumes a workflow and its suspend nodes, or only the nodes that the selector names."""
        return await self._verb("ResumeWorkflow", name, namespace, asked, node_field_selector=selector)

    async def set_nodes(
        self,
        name: str = "",
        namespace: str = "",
        *,
        selector: str,
        outputs: Mapping[str, str] | None = None,
        phase: str = "",
        **asked: Unpack[ExplainedOptions],
    ) -> pb.Workflow:
        """Gives waiting suspend nodes their outputs or their end."""
        given, ended = _values(outputs), _number(phase) if phase else Phase.PHASE_UNSPECIFIED
        return await self._verb(
            "SetNodes", name, namespace, asked, node_field_selector=selector, output_parameters=given, phase=ended
        )

    async def retry(
        self,
        name: str = "",
        namespace: str = "",
        *,
        parameters: Mapping[str, str] | None = None,
        **asked: Unpack[ExplainedOptions],
    ) -> pb.Workflow:
        """Runs again what failed of a workflow that has ended, its exit handlers included."""
        return await self._verb("RetryWorkflow", name, namespace, asked, parameters=_values(parameters))

    async def resubmit(
        self,
        name: str = "",
        namespace: str = "",
        *,
        parameters: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        **asked: Unpack[VerbOptions],
    ) -> pb.Workflow:
        """Submits a new workflow of the manifest and arguments of another."""
        given = _values(parameters)
        return await self._verb("ResubmitWorkflow", name, namespace, asked, parameters=given, labels=labels or {})

    async def delete(self, name: str = "", namespace: str = "", **asked: Unpack[ExplainedOptions]) -> bool:
        """Deletes a workflow; True when it is gone, False while its exit handlers still run."""
        request = _request_of("DeleteWorkflow", name, namespace, asked)
        answer: pb.DeleteWorkflowResponse = await self._call(self._workflows.DeleteWorkflow, request)
        return answer.gone

    async def _verb(self, method: str, name: str, namespace: str, asked: VerbOptions, **more: object) -> pb.Workflow:
        """Has something done to a workflow, by this method of the service."""
        request = _request_of(method, name, namespace, asked, **more)
        answer: pb.Workflow = await self._call(getattr(self._workflows, method), request)
        return answer

    async def executors(self) -> list[pb.ExecutorInfo]:
        """The executors that are connected."""

        def request(token: str, size: int) -> pb.ListExecutorsRequest:
            return pb.ListExecutorsRequest(page_size=size, page_token=token)

        return await self._pages(self._workflows.ListExecutors, request, lambda answer: answer.executors, 0)


def _request_of(method: str, name: str, namespace: str, asked: VerbOptions, **more: object) -> object:
    """The request of a verb."""
    given = {"request_id": new_request_id(), **asked, **more}
    return getattr(pb, f"{method}Request")(name=name, namespace=namespace, **given)


def _values(given: Mapping[str, str] | None) -> list[pb.ParameterValue]:
    return [pb.ParameterValue(name=name, value=value) for name, value in (given or {}).items()]


def _numbers(phases: Sequence[str]) -> list[Phase.ValueType]:
    return [_number(phase) for phase in phases]


def _number(phase: str) -> Phase.ValueType:
    """The enum's value for a phase in words. Raises ClientError."""
    found = words.number(phase)
    if not found:
        known = ", ".join(filter(None, map(words.word, Phase.values())))
        raise ClientError("INVALID_ARGUMENT", "INVALID_PHASE", f"{quoted(phase)} is no phase: {known} are")
    return found
