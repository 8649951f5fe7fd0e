"""The public API of workflows (WorkflowService): who asks what, and which part of the scheduler answers."""

# ruff: noqa: N802 - the names of methods are the contract's

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from exeunt.driver.turns import Turns
from exeunt.engine.commands import Rejected, ResumeRun, RetryRun, SetNodes, ShutdownRun, SuspendRun, selection
from exeunt.journal.access import NatsAccess, reads, writes
from exeunt.journal.request_ids import given_or_new
from exeunt.journal.steplogs import StepLogs
from exeunt.scheduler import answers, logs, refusal, watch
from exeunt.scheduler.artifact_reading import ArtifactReader, shown
from exeunt.scheduler.attempts import Executor
from exeunt.scheduler.commands import Commands
from exeunt.scheduler.dispatch import Dispatch
from exeunt.scheduler.entry import OpenWorkflow
from exeunt.scheduler.find import Elsewhere
from exeunt.scheduler.lists import WorkflowLists, filter_of, page_size, read_behind, write_behind
from exeunt.scheduler.many import WorkflowsWatcher
from exeunt.scheduler.node_artifacts import NodeArtifacts
from exeunt.scheduler.peers import Peers, was_passed_on
from exeunt.scheduler.reading import WorkflowReader
from exeunt.scheduler.submissions import Submissions
from exeunt.scheduler.submit import SubmissionChecker
from exeunt.scheduler.view import parts, whole
from exeunt.service.bounds import check_message
from exeunt.service.errors import invalid
from exeunt.v1 import workflow_service_pb2 as pb
from exeunt.v1 import workflow_service_pb2_grpc
from exeunt.words import phases

DELETED = "the workflow is deleted"

Context = grpc.aio.ServicerContext[Any, Any]


class WorkflowService(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """Serves the API."""

    def __init__(
        self,
        *,
        checker: SubmissionChecker,
        submissions: Submissions,
        reader: WorkflowReader,
        lists: WorkflowLists,
        many: WorkflowsWatcher,
        commands: Commands,
        dispatch: Dispatch,
        peers: Peers,
        logs: StepLogs,
        artifacts: ArtifactReader,
        access: NatsAccess,
        turns: Turns,
    ) -> None:
        self.access = access
        self._checker = checker
        self._submissions = submissions
        self._reader = reader
        self._lists = lists
        self._many = many
        self._commands = commands
        self._dispatch = dispatch
        self._peers = peers
        self._logs = logs
        self._artifacts = artifacts
        self._turns = turns

    # --- submitting ---------------------------------------------------------------------------------------------------

    @writes
    async def SubmitWorkflow(self, request: pb.SubmitWorkflowRequest, context: Context) -> pb.SubmitWorkflowResponse:
        """Starts all workflows of the documents, or none; answers when that is durable."""
        return await self._submissions.submit(request, context)

    @reads
    async def LintWorkflow(self, request: pb.LintWorkflowRequest, context: Context) -> pb.LintWorkflowResponse:
        """Checks documents; the answer lists what is wrong with them."""
        documents = refusal.named(request.documents)
        problems = await self._checker.lint(documents, request.namespace)
        return pb.LintWorkflowResponse(problems=[refusal.shown(problem, documents) for problem in problems])

    # --- looking ------------------------------------------------------------------------------------------------------

    @reads
    async def GetWorkflow(self, request: pb.GetWorkflowRequest, context: Context) -> pb.Workflow:
        """One workflow, with the nodes of running exit handlers unless another view is asked for."""
        found = await self._reader.find(context, request)
        if isinstance(found, Elsewhere):
            passed: pb.Workflow = await self._reader.pass_on(found, "GetWorkflow", request)
            return passed
        if request.view in (pb.WORKFLOW_VIEW_UNSPECIFIED, pb.WORKFLOW_VIEW_FULL):
            return whole(await self._reader.whole(found))
        return await answers.summary(found, request.view)

    async def ReadWorkflow(
        self, request: pb.ReadWorkflowRequest, context: Context
    ) -> AsyncIterator[pb.ReadWorkflowResponse]:
        """The whole workflow, in parts."""
        async with self.access.reading.required():
            found = await self._reader.find(context, request)
        if isinstance(found, Elsewhere):
            async for answer in self._reader.stream(found, "ReadWorkflow", request):
                yield answer
            return
        seen = await self._reader.whole(found)
        for part in parts(seen.head, seen.nodes.items(), seen.version):
            yield pb.ReadWorkflowResponse(part=part)
            await asyncio.sleep(0)

    @reads
    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, context: Context) -> pb.ListWorkflowsResponse:
        """A page of workflows, newest first, without their nodes."""
        return await self._lists.page(request, context)

    async def WatchWorkflow(
        self, request: pb.WatchWorkflowRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowResponse]:
        """Changes of one workflow, until its exit handlers have ended."""
        watch.check_position(request.position)
        async with self.access.reading.required():
            found = await self._reader.find(context, request)
        if isinstance(found, Elsewhere):
            changes = self._reader.stream(found, "WatchWorkflow", request)
        elif isinstance(found, OpenWorkflow):
            changes = watch.watch(self._peers, found, request.position, in_parts=request.parts)
        else:
            seen = await self._reader.whole(found)
            changes = watch.over(self._turns, seen, request.position, in_parts=request.parts)
        async with aclosing(changes) as all_changes:
            async for change in all_changes:
                yield change

    async def WatchWorkflows(
        self, request: pb.WatchWorkflowsRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkflowsResponse]:
        """Changes of all workflows that fit, for ever."""
        wanted = filter_of(request)
        async with self.access.reading.required():
            self._lists.check_loaded()
        await context.send_initial_metadata(())
        many = self._many
        changes = many.own(request, wanted) if was_passed_on(context) else many.all(request, wanted)
        async with aclosing(changes) as all_changes:
            async for change in all_changes:
                yield change

    async def GetLogs(self, request: pb.GetLogsRequest, context: Context) -> AsyncIterator[pb.GetLogsResponse]:
        """Output of steps: what is kept, then what comes."""
        wanted = logs.wanted(request)
        async with self.access.reading.required():
            found = await self._reader.find(context, request)
        await context.send_initial_metadata(())  # lines may be long in coming: the caller knows that it is heard
        kept = self._logs
        if isinstance(found, Elsewhere):
            answers = self._reader.stream(found, "GetLogs", request)
        elif isinstance(found, OpenWorkflow):
            display = logs.ChosenNodes(await self._reader.whole(found), wanted, found.run)
            if request.follow:
                answers = logs.followed(kept, found, display, wanted)
            else:
                answers = logs.kept(kept, display, found.run.namespace, found.run.uid, wanted)
        else:
            seen = await self._reader.whole(found)
            metadata = seen.head["metadata"]
            answers = logs.kept(kept, logs.ChosenNodes(seen, wanted), metadata["namespace"], metadata["uid"], wanted)
        async with aclosing(answers) as all_lines:
            async for lines in all_lines:
                yield lines

    @reads
    async def ListArtifacts(self, request: pb.ListArtifactsRequest, context: Context) -> pb.ListArtifactsResponse:
        """A page of the artifacts that nodes have kept."""
        size, behind = page_size(request.page_size), read_behind(request.page_token)
        found = await self._reader.find(context, request)
        if isinstance(found, Elsewhere):
            passed: pb.ListArtifactsResponse = await self._reader.pass_on(found, "ListArtifacts", request)
            return passed
        kept = NodeArtifacts(await self._reader.whole(found), request.node)
        await self._turns.through(kept.look())
        start = int(behind) if behind.isdecimal() else 0
        answer = pb.ListArtifactsResponse(artifacts=map(shown, kept.found[start : start + size]))
        if len(kept.found) > start + size:
            answer.next_page_token = write_behind(str(start + size))
        return answer

    async def GetArtifact(
        self, request: pb.GetArtifactRequest, context: Context
    ) -> AsyncIterator[pb.GetArtifactResponse]:
        """The bytes of an artifact."""
        if not request.artifact:
            raise invalid("artifact is missing", [("artifact", "give the artifact's name")])
        async with self.access.reading.required():
            found = await self._reader.find(context, request)
        if isinstance(found, Elsewhere):
            pieces = self._reader.stream(found, "GetArtifact", request)
        else:
            view = await self._reader.whole(found)
            kept = NodeArtifacts(view, request.node)
            await self._turns.through(kept.look())
            pieces = self._artifacts.read(kept.the(request.artifact), view.head)
        async with aclosing(pieces) as all_pieces:
            async for piece in all_pieces:
                yield piece

    # --- steering -----------------------------------------------------------------------------------------------------

    @writes
    async def StopWorkflow(self, request: pb.StopWorkflowRequest, context: Context) -> pb.Workflow:
        """Ends the main run; exit handlers run. With a selector: only these suspend nodes fail."""
        id = given_or_new(request.request_id)
        check_message(request)
        if request.node_field_selector:
            _check("node_field_selector", selection.check, request.node_field_selector)
            ended = SetNodes(
                request.node_field_selector,
                phase="Failed",
                message=request.message,
                request_id=id,
                by=request.by,
                revision=request.revision,
            )
            return await self._commands.steer("StopWorkflow", request, context, ended)
        command = ShutdownRun("Stop", id, request.message, by=request.by, revision=request.revision)
        return await self._commands.command("StopWorkflow", request, context, command)

    @writes
    async def TerminateWorkflow(self, request: pb.TerminateWorkflowRequest, context: Context) -> pb.Workflow:
        """Ends everything; exit handlers run only where the workflow asks for that."""
        check_message(request)
        id = given_or_new(request.request_id)
        command = ShutdownRun("Terminate", id, request.message, by=request.by, revision=request.revision)
        return await self._commands.command("TerminateWorkflow", request, context, command)

    @writes
    async def SuspendWorkflow(self, request: pb.SuspendWorkflowRequest, context: Context) -> pb.Workflow:
        """Starts no further steps until it is resumed."""
        check_message(request)
        command = SuspendRun(given_or_new(request.request_id), request.message, request.by, request.revision)
        return await self._commands.command("SuspendWorkflow", request, context, command)

    @writes
    async def ResumeWorkflow(self, request: pb.ResumeWorkflowRequest, context: Context) -> pb.Workflow:
        """Resumes the workflow; with a selector: only these suspend nodes."""
        _check("node_field_selector", selection.check, request.node_field_selector)
        check_message(request)
        command = ResumeRun(
            given_or_new(request.request_id),
            request.node_field_selector,
            message=request.message,
            by=request.by,
            revision=request.revision,
        )
        return await self._commands.steer("ResumeWorkflow", request, context, command)

    @writes
    async def SetNodes(self, request: pb.SetNodesRequest, context: Context) -> pb.Workflow:
        """Sets outputs and phases of suspend nodes that wait."""
        check_message(request)
        if not request.node_field_selector.strip(" ,"):
            text = "say which nodes, as in displayName=approve: without a selector all that wait would be set"
            raise invalid("node_field_selector is missing", [("node_field_selector", text)])
        _check("node_field_selector", selection.check, request.node_field_selector)
        phase = phases.word(request.phase)
        _check("phase", selection.check_phase, phase or str(request.phase or ""))
        self._checker.check_parameters("output_parameters", request.output_parameters)
        command = SetNodes(
            selector=request.node_field_selector,
            parameters={p.name: p.value for p in request.output_parameters},
            phase=phase,
            message=request.message,
            request_id=given_or_new(request.request_id),
            revision=request.revision,
            by=request.by,
        )
        return await self._commands.steer("SetNodes", request, context, command)

    @writes
    async def DeleteWorkflow(self, request: pb.DeleteWorkflowRequest, context: Context) -> pb.DeleteWorkflowResponse:
        """Deletes it: now, or when it has ended; exit handlers run only where the workflow asks for that."""
        check_message(request)
        id, why = given_or_new(request.request_id), request.message or DELETED
        command = ShutdownRun("Terminate", id, why, deleted=True, by=request.by, revision=request.revision)
        return await self._commands.delete(request, context, command)

    @writes
    async def RetryWorkflow(self, request: pb.RetryWorkflowRequest, context: Context) -> pb.Workflow:
        """Runs again what failed, when all is over."""
        check_message(request)
        self._checker.check_parameters("parameters", request.parameters)
        id, values = given_or_new(request.request_id), {p.name: p.value for p in request.parameters}
        return await self._commands.retry(request, context, RetryRun(id, values, request.message, request.by))

    @writes
    async def ResubmitWorkflow(self, request: pb.ResubmitWorkflowRequest, context: Context) -> pb.Workflow:
        """Starts a new workflow of the same manifest and arguments."""
        return await self._submissions.resubmit(request, context)

    async def ListExecutors(self, request: pb.ListExecutorsRequest, context: Context) -> pb.ListExecutorsResponse:
        """The executors that are connected, by id."""
        size = page_size(request.page_size)
        behind = read_behind(request.page_token)
        known = [e for e in self._dispatch.executors.values() if e.link is not None]
        later = sorted((e for e in known if e.profile.id > behind), key=lambda e: e.profile.id)
        answer = pb.ListExecutorsResponse(executors=[_executor(e) for e in later[:size]])
        if len(later) > size:
            answer.next_page_token = write_behind(later[size - 1].profile.id)
        return answer


def _check(field: str, check: Callable[[str], None], text: str) -> None:
    """Raises INVALID_ARGUMENT for what is wrong whatever state the workflow is in."""
    try:
        check(text)
    except Rejected as error:
        raise invalid(str(error), [(field, str(error))], reason=error.reason) from None


def _executor(executor: Executor) -> pb.ExecutorInfo:
    profile = executor.profile
    seen = Timestamp()
    seen.FromNanoseconds(int(executor.seen_at * 1e9))
    return pb.ExecutorInfo(
        id=profile.id,
        labels=profile.labels,
        capabilities=profile.capabilities,
        slots=profile.slots,
        exit_slots=profile.exit_slots,
        running=sorted(flight.where() for flight in executor.flights.values()),
        draining=executor.draining,
        seen_time=seen,
    )
